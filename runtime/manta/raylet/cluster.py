"""Control's news of other nodes, as the scheduler hears them."""

from __future__ import annotations

from manta.raylet.events import ClusterSeen, NodeSeen
from manta.rpc.v1 import control_pb2 as cpb


def cluster_seen(news: cpb.ClusterNews) -> ClusterSeen:
    """One piece of news."""
    return ClusterSeen(
        tuple(
            NodeSeen(
                node.node_id,
                dict(node.available.amounts),
                dict(node.facts.total.amounts) if node.HasField("facts") else None,
                dict(node.facts.labels),
                node.facts.raylet,
                node.facts.draining,
            )
            for node in news.nodes
        ),
        tuple(news.gone),
        news.anew,
    )
