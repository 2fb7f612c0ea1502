"""Objects as an API server would show them, for tests of the operator: what is not said is as it is for most."""

from __future__ import annotations

import datetime
from typing import Any

NAMESPACE, CLUSTER, UID = "default", "demo", "cluster-uid"

#: A moment for tests that need one: 2026-01-01, in seconds since 1970.
NOW = 1767225600.0


def at(seconds: float) -> str:
    """A time as Kubernetes writes it."""
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def group(name: str = "w", replicas: int = 2, **more: Any) -> dict[str, Any]:
    """A group of a MantaCluster's spec."""
    return {"name": name, "replicas": replicas, "resources": {"limits": {"cpu": "2", "memory": "4Gi"}}, **more}


def cluster(
    *groups: dict[str, Any],
    name: str = CLUSTER,
    uid: str = UID,
    generation: int = 1,
    metadata: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A MantaCluster."""
    return {
        "apiVersion": "manta.compute/v1alpha1",
        "kind": "MantaCluster",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": uid,
            "generation": generation,
            "resourceVersion": "1",
            **(metadata or {}),
        },
        "spec": {"image": "manta:1", "workerGroups": list(groups), **spec},
        **({"status": status} if status is not None else {}),
    }


def owned_by(uid: str = UID) -> list[dict[str, Any]]:
    """The reference to a MantaCluster."""
    return [
        {
            "apiVersion": "manta.compute/v1alpha1",
            "kind": "MantaCluster",
            "name": CLUSTER,
            "uid": uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]


def container(name: str = "raylet", *, ready: bool = True, restarts: int = 0, **states: Any) -> dict[str, Any]:
    """The status of a container; `state` and `last` are dicts such as {"waiting": {"reason": ...}}."""
    state = states.get("state") or {"running": {"startedAt": at(NOW - 3600)}}
    last = states.get("last")
    return {
        "name": name,
        "image": "manta:1",
        "ready": ready,
        "restartCount": restarts,
        "state": state,
        **({"lastState": last} if last else {}),
    }


def pod(
    name: str = "demo-w-0",
    *,
    ready: bool = True,
    host: str = "node-1",
    phase: str = "Running",
    revision: str = "r1",
    uid: str = "",
    going: bool = False,
    owner: str | None = UID,
    created: float = NOW - 3600,
    since: float = NOW - 3600,
    containers: list[dict[str, Any]] | None = None,
    **status: Any,
) -> dict[str, Any]:
    """A pod of a cluster; `since` is when its readiness changed last."""
    default = [container(ready=ready)] if host and phase == "Running" else []
    return {
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": uid or f"{name}-uid",
            "resourceVersion": "7",
            "creationTimestamp": at(created),
            "labels": {"manta.compute/revision": revision, "manta.compute/cluster": CLUSTER},
            **({"ownerReferences": owned_by(owner)} if owner else {}),
            **({"deletionTimestamp": at(NOW)} if going else {}),
        },
        "spec": {
            "terminationGracePeriodSeconds": 30,
            **({"nodeName": host} if host else {}),
            "containers": [
                {
                    "name": "raylet",
                    "resources": {"limits": {"cpu": "2", "memory": "4Gi"}},
                    "env": [{"name": "MANTA_OBJECT_STORE_BYTES", "value": str(1 << 30)}],
                }
            ],
        },
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": str(ready), "lastTransitionTime": at(since)}],
            "containerStatuses": default if containers is None else containers,
            **status,
        },
    }


def node(name: str = "node-1", *, ready: str = "True", since: float = NOW - 3600, out: bool = False) -> dict[str, Any]:
    """A node of Kubernetes."""
    taints = [{"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}]
    return {
        "metadata": {"name": name},
        "spec": {"taints": taints} if out else {},
        "status": {"conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": at(since)}]},
    }
