"""The Services of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manta_operator.api.cluster import MantaCluster
from manta_operator.builders import labels
from manta_operator.builders.labels import Manifest


def services(cluster: MantaCluster) -> tuple[Manifest, ...]:
    """Where workers find control, and where drivers and browsers find their doors."""
    name, service = cluster.metadata.name, cluster.spec.head.service
    # Without an address of its own: names lead to the pod. And before it is ready, which it becomes with its own raylet.
    join = {"clusterIP": "None", "publishNotReadyAddresses": True}
    return (
        _service(cluster, labels.join_name(name), "control", join),
        _service(cluster, labels.gateway_name(name), "gateway", {"type": str(service.type)}, service.annotations),
        _service(cluster, labels.dashboard_name(name), "dashboard", {"type": "ClusterIP"}),
    )


def _service(
    cluster: MantaCluster, name: str, port: str, spec: Mapping[str, Any], annotations: Mapping[str, str] | None = None
) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": labels.metadata(cluster, name, labels={labels.COMPONENT: "head"}, annotations=annotations),
        "spec": {
            **spec,
            "selector": labels.selector(cluster, "head"),
            "ports": [{"name": port, "port": labels.PORTS[port], "targetPort": port, "protocol": "TCP"}],
        },
    }
