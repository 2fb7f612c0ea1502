"""`nodes`, `cluster_resources`, `available_resources`: what the cluster is made of."""

from __future__ import annotations

from manta.client import current
from manta.core.errors import NotConnectedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manta.client.session import Session


def _session() -> Session:
    # These do not start a cluster: to ask what is there of what is not there is a mistake worth telling.
    if current.session is None:
        raise NotConnectedError
    return current.session


def _resources() -> Any:
    from manta.rpc.v1 import control_pb2 as ctl

    return _session().control("ClusterResources", ctl.ClusterResourcesRequest(), ctl.ClusterResourcesResponse)


def cluster_resources() -> dict[str, float]:
    """What all living nodes have. May lag behind by a heartbeat."""
    from manta.core.resources import to_floats

    return to_floats(dict(_resources().total.amounts))


def available_resources() -> dict[str, float]:
    """What is free of it; resources with nothing free are left out. May lag behind by a heartbeat."""
    from manta.core.resources import to_floats

    return to_floats(dict(_resources().available.amounts))


def nodes() -> list[dict[str, Any]]:
    """All nodes of the cluster, dead ones included, with Ray's keys."""
    from manta.core.resources import to_floats
    from manta.rpc.v1 import control_pb2 as ctl

    answer = _session().control("ListNodes", ctl.ListNodesRequest(), ctl.ListNodesResponse)
    rows = []
    for node in answer.nodes:
        alive = node.state == ctl.NODE_STATE_ALIVE
        rows.append(
            {
                "NodeID": node.node_id.hex(),
                "Alive": alive,
                "alive": alive,
                "NodeManagerAddress": node.host,
                "NodeManagerHostname": node.host,
                "NodeManagerPort": 0,
                "ObjectManagerPort": 0,
                "ObjectStoreSocketName": node.channel_endpoint,
                "RayletSocketName": node.channel_endpoint,
                "MetricsExportPort": 0,
                "NodeName": node.name or node.host,
                "RuntimeEnvAgentPort": 0,
                "DeathReason": 0 if alive else 1,
                "DeathReasonMessage": node.death_reason,
                "Resources": to_floats(dict(node.total.amounts)) if alive else {},
                "Labels": {**node.labels, "ray.io/node-id": node.node_id.hex()},
            }
        )
    return rows
