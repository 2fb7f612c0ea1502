"""What is kept of objects that are many: a pod as the API server has it takes 10 KB, and nobody reads of a node's images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from manta_operator.kube.store import without_management

_POD_SPEC = ("nodeName", "priority", "terminationGracePeriodSeconds")
_POD_STATUS = (
    "phase", "reason", "message", "podIP", "startTime", "conditions", "containerStatuses", "initContainerStatuses"
)  # fmt: skip
_CONTAINER_STATUS = ("name", "ready", "started", "restartCount", "state", "lastState")


def pod(obj: dict[str, Any]) -> dict[str, Any]:
    """A pod's metadata, and of the rest what says how it is."""
    trimmed = _managed(obj)
    trimmed["spec"] = _only(obj.get("spec"), _POD_SPEC)
    status = _only(obj.get("status"), _POD_STATUS)
    for name in ("containerStatuses", "initContainerStatuses"):
        if name in status:
            status[name] = [_only(one, _CONTAINER_STATUS) for one in status[name]]
    trimmed["status"] = status
    return trimmed


def node(obj: dict[str, Any]) -> dict[str, Any]:
    """A node's name, taints and conditions: whether pods on it live."""
    metadata = _only(obj.get("metadata"), ("name", "uid", "resourceVersion", "deletionTimestamp"))
    spec = _only(obj.get("spec"), ("taints", "unschedulable"))
    conditions = [
        _only(one, ("type", "status", "reason", "lastTransitionTime"))
        for one in (obj.get("status") or {}).get("conditions") or []
    ]
    return {"metadata": metadata, "spec": spec, "status": {"conditions": conditions}}


def _managed(obj: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": without_management(obj)["metadata"]}


def _only(value: Mapping[str, Any] | None, names: Iterable[str]) -> dict[str, Any]:
    return {name: value[name] for name in names if name in value} if value else {}
