"""What the operator tells a container by its environment. `manta.pod` reads it, and gives each process its flags."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from manta_operator.api.cluster import MantaCluster
from manta_operator.builders import labels
from manta_operator.builders.build import Build
from manta_operator.builders.sizes import Size, plain

#: By Kubernetes' own word for it, what only the node knows.
_FROM_THE_NODE: Mapping[str, str] = {
    "MANTA_POD_NAME": "metadata.name",
    "MANTA_POD_UID": "metadata.uid",
    "MANTA_POD_IP": "status.podIP",
    "MANTA_POD_NAMESPACE": "metadata.namespace",
    "MANTA_NODE_HOST": "spec.nodeName",
}
#: What templates may not say: a container that believed them would be another than the cluster counts on.
OWNED = frozenset(
    {
        *_FROM_THE_NODE,
        "MANTA_CLUSTER_NAME",
        "MANTA_GROUP",
        "MANTA_CONTROL",
        "MANTA_NODE_CPUS",
        "MANTA_NODE_GPUS",
        "MANTA_NODE_MEMORY",
        "MANTA_OBJECT_STORE_BYTES",
        "MANTA_NODE_RESOURCES",
        "MANTA_NODE_LABELS",
        "MANTA_DRAIN_GRACE",
        "MANTA_AUTH",
        "MANTA_TLS",
        "MANTA_EXTRA_NAMES",
        "MANTA_TMPDIR",
    }
)

#: Of the time that a pod has to end, what is not for the drain: objects that move last, farewells, the process itself.
_FAREWELL_S = 15

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


def drain_grace_s(termination_s: int) -> int:
    """How long what runs on a node may take to end, of the time that its pod has."""
    return termination_s - min(_FAREWELL_S, termination_s // 4)


def common(cluster: MantaCluster, group: str, termination_s: int) -> list[dict[str, Any]]:
    """For every container of a pod.

    Args:
        cluster: Whose.
        group: The pod's; `head` for the head's.
        termination_s: How long the pod has to end.
    """
    metadata, port = cluster.metadata, labels.PORTS["control"]
    # Control is another container of the head's pod; its Service would lead there too, but only once there are endpoints.
    control = "127.0.0.1" if group == labels.HEAD else f"{labels.join_name(metadata.name)}.{metadata.namespace}.svc"
    said = {
        "MANTA_CLUSTER_NAME": metadata.name,
        "MANTA_GROUP": group,
        "MANTA_CONTROL": f"{control}:{port}",
        "MANTA_DRAIN_GRACE": str(drain_grace_s(termination_s)),
        "MANTA_AUTH": str(cluster.spec.auth.mode),
        "MANTA_TLS": "1" if cluster.spec.tls.enabled else "0",
    }
    asked = [
        {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
        for name, path in _FROM_THE_NODE.items()
    ]
    # The root file system is read-only, and the image's user has no home: libraries that keep something there may do so here.
    return [*asked, *_values(said), {"name": "HOME", "value": "/tmp"}]  # noqa: S108 - the container's own volume


def of_node(size: Size, resources: Mapping[str, float], node_labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """For a raylet: what its node is.

    Args:
        size: How large.
        resources: Custom ones.
        node_labels: For the scheduler.
    """
    return _values(
        {
            "MANTA_NODE_CPUS": plain(size.cpus),
            "MANTA_NODE_GPUS": str(size.gpus),
            "MANTA_NODE_MEMORY": str(size.memory_bytes),
            "MANTA_OBJECT_STORE_BYTES": str(size.store_bytes),
            "MANTA_NODE_RESOURCES": json.dumps(dict(resources), sort_keys=True),
            "MANTA_NODE_LABELS": json.dumps(dict(node_labels), sort_keys=True),
        }
    )


def of_dashboard(cluster: MantaCluster, build: Build) -> list[dict[str, Any]]:
    """For the dashboard: under which names it may be asked, beside addresses and localhost."""
    name, namespace = labels.dashboard_name(cluster.metadata.name), cluster.metadata.namespace
    names = [*service_names(name, namespace, build), *filter(_is_host, cluster.spec.tls.extra_sans)]
    return _values({"MANTA_EXTRA_NAMES": ",".join(names)})


def service_names(service: str, namespace: str, build: Build) -> list[str]:
    """Every name by which pods may know a Service; first the one that is right in every namespace of any Kubernetes."""
    ends = (f".{namespace}.svc", f".{namespace}.svc.{build.cluster_domain}", f".{namespace}", "")
    return [f"{service}{end}" for end in ends]


def _is_host(name: str) -> bool:
    """Whether a browser can ask for it: addresses are known anyway, and nobody is called `*`."""
    return _HOST.fullmatch(name) is not None


def _values(said: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in said.items()]
