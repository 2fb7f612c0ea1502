"""The head's pod and a worker's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from manta.core.labels import wrong_key, wrong_value
from manta_operator.api.cluster import MantaCluster
from manta_operator.api.head import Head
from manta_operator.api.parse import Problem
from manta_operator.api.workers import WorkerGroup
from manta_operator.builders import containers, labels, overlay, variables, volumes
from manta_operator.builders.build import Build
from manta_operator.builders.labels import Manifest
from manta_operator.builders.revision import revision
from manta_operator.builders.sizes import size_of

#: Containers of ours, in the order in which the kubelet starts them.
HEAD_CONTAINERS = ("control", "raylet", "gateway", "dashboard")
WORKER_CONTAINERS = ("raylet",)

#: How long a pod has to end, unless its template says otherwise.
TERMINATION_S = 75
#: What every node has of its own.
_NOT_CUSTOM = ("CPU", "GPU", "memory", "object_store_memory")
#: Of the image: nobody in particular.
_USER = 65532


def head_pod(cluster: MantaCluster, build: Build) -> Manifest:
    """The pod with the cluster's memory and its doors.

    Raises:
        InvalidTemplateError: The template says what it must not; every such field is named.
    """
    head = cluster.spec.head
    template = overlay.read(head.template, "spec.head.template", "spec.head.resources")
    termination_s = template.termination_s or TERMINATION_S
    env = variables.common(cluster, labels.HEAD, termination_s)
    size = size_of(head.resources)
    if not head.raylet.enabled:
        # It still runs: gateway's sessions, and with them drivers' objects, join the cluster through it. It gets no tasks.
        size = replace(size, cpus=Decimal(0), gpus=0)
    more = {
        "raylet": variables.of_node(size, {}, {}),
        "dashboard": variables.of_dashboard(cluster, build),
    }
    resources: dict[str, Mapping[str, Any]] = {**containers.DOORS, "raylet": containers.raylets(head.resources)}
    ours = [
        containers.container(role, cluster.spec.image, [*env, *more.get(role, ())], resources[role])
        for role in HEAD_CONTAINERS
    ]
    metadata = _metadata(
        cluster, labels.head_name(cluster), head, {labels.COMPONENT: "head", labels.GROUP: labels.HEAD}
    )
    return template.over(_pod(cluster, metadata, ours, termination_s))


class WorkerPods:
    """The pods of a group, which differ in name and slot alone: most of one is made once, and is the others' as well.

    So what comes out of it is never to be changed.

    Args:
        cluster: Whose.
        group: One of its groups.
        build: The operator's surroundings.
    """

    def __init__(self, cluster: MantaCluster, group: WorkerGroup, build: Build) -> None:
        self._cluster, self._group, self._build = cluster, group, build
        self._made: Manifest | None = None

    def __call__(self, slot: int) -> Manifest:
        """The pod of a slot.

        Raises:
            InvalidTemplateError: The template says what it must not; every such field is named.
        """
        if self._made is None:
            self._made = worker_pod(self._cluster, self._group, slot, self._build)
        metadata = self._made["metadata"]
        return {
            **self._made,
            "metadata": {
                **metadata,
                "name": labels.pod_name(self._cluster, self._group.name, slot),
                "labels": {**metadata["labels"], labels.SLOT: str(slot)},
            },
        }


def worker_pod(cluster: MantaCluster, group: WorkerGroup, slot: int, build: Build) -> Manifest:
    """A worker's pod.

    Args:
        cluster: Whose.
        group: One of its groups.
        slot: Its number.
        build: The operator's surroundings.

    Raises:
        InvalidTemplateError: The template says what it must not; every such field is named.
    """
    at = f"spec.workerGroups[{[one.name for one in cluster.spec.worker_groups].index(group.name)}]"
    template = overlay.read(group.template, f"{at}.template", f"{at}.resources")
    termination_s = template.termination_s or TERMINATION_S
    _check_node(group, at)
    size = size_of(group.resources, group.object_store.memory)
    env = [
        *variables.common(cluster, group.name, termination_s),
        *variables.of_node(size, group.custom_resources, group.labels),
    ]
    ours = [containers.container("raylet", cluster.spec.image, env, containers.raylets(group.resources))]
    about = {labels.COMPONENT: "worker", labels.GROUP: group.name, labels.SLOT: str(slot)}
    metadata = _metadata(cluster, labels.pod_name(cluster, group.name, slot), group, about)
    return template.over(_pod(cluster, metadata, ours, termination_s))


def _check_node(group: WorkerGroup, at: str) -> None:
    """What Manta knows the node by: it would not start with other names, where nobody looks."""
    problems = []
    for key, value in group.labels.items():
        wrong = wrong_key(key) or wrong_value(value)
        if wrong:
            problems.append(Problem(f"{at}.labels[{key}]", wrong))
    problems += [
        Problem(f"{at}.customResources[{name}]", f"is not yours to define: it follows from {at}.resources")
        for name in group.custom_resources
        if name in _NOT_CUSTOM or name.startswith("node:")
    ]
    if problems:
        raise overlay.InvalidTemplateError(tuple(problems))


def _metadata(cluster: MantaCluster, name: str, part: Head | WorkerGroup, about: Mapping[str, str]) -> dict[str, Any]:
    hashed = revision(cluster, part)
    return labels.metadata(
        cluster,
        name,
        labels={**about, labels.REVISION: hashed},
        annotations={
            labels.REVISION: hashed,
            # In the head's too: `kubectl exec demo-head -- manta status` finds the cluster there.
            labels.DEFAULT_CONTAINER: "raylet",
        },
    )


def _pod(
    cluster: MantaCluster, metadata: dict[str, Any], ours: list[dict[str, Any]], termination_s: int
) -> dict[str, Any]:
    spec = cluster.spec
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            "restartPolicy": "Always",
            "serviceAccountName": cluster.metadata.name,
            "automountServiceAccountToken": False,
            # Hundreds of variables about Services, in namespaces that have hundreds; nobody reads them.
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": termination_s,
            **(
                {"imagePullSecrets": [{"name": one.name} for one in spec.image_pull_secrets]}
                if spec.image_pull_secrets
                else {}
            ),
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER,
                "runAsGroup": _USER,
                "fsGroup": _USER,
                # A volume that is ours already need not be walked through, file by file, at every start.
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": ours,
            "volumes": volumes.volumes(cluster, tuple(one["name"] for one in ours)),
        },
    }
