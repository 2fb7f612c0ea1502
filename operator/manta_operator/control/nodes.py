"""A cluster's nodes as its control knows them: plain values, as far as decisions need them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from manta.rpc.v1 import common_pb2 as common
from manta.rpc.v1 import control_pb2 as pb

#: Labels that a raylet in a pod registers with.
POD_UID, POD_NAME, GROUP = "manta.compute/pod-uid", "manta.compute/pod-name", "manta.compute/group"


class NodeState(Enum):
    """Whether a node may be given work."""

    ALIVE = "alive"
    #: Known from before a restart of control, not heard of since.
    EXPECTED = "expected"
    DEAD = "dead"


class Draining(Enum):
    """How far a node's drain is."""

    NO = "no"
    #: It takes nothing new; what it holds ends or goes.
    DRAINING = "draining"
    #: It is gone, and so its pod may go.
    DRAINED = "drained"


@dataclass(frozen=True, slots=True)
class Node:
    """One node.

    Attributes:
        node_id: Of the raylet that runs now, or ran last; another one at each start.
        pod_uid: In which pod; empty for none.
        pod_name: Its name.
        state: Whether it lives.
        draining: How far its drain is.
        head: Whether it is the head's.
        reason: Why it is dead, or drained.
        deadline: Until when its drain may take, in seconds since 1970; 0 without one.
        resources: What it registered with, by name.
        oom_kills: How many of its processes were ended because memory was full.
        oom_at: When there was last one more, in seconds since 1970; 0 for never.
    """

    node_id: bytes
    pod_uid: str
    pod_name: str
    state: NodeState
    draining: Draining = Draining.NO
    head: bool = False
    reason: str = ""
    deadline: float = 0.0
    resources: Mapping[str, float] = field(default_factory=dict)
    oom_kills: int = 0
    oom_at: float = 0.0


_STATES: Mapping[int, NodeState] = {
    pb.NODE_STATE_ALIVE: NodeState.ALIVE,
    pb.NODE_STATE_EXPECTED: NodeState.EXPECTED,
}
_DRAINS: Mapping[int, Draining] = {
    pb.DRAIN_STATE_DRAINING: Draining.DRAINING,
    pb.DRAIN_STATE_DRAINED: Draining.DRAINED,
}


def amounts(resources: common.Resources) -> dict[str, float]:
    """Amounts in their units: the wire has ten-thousandths."""
    return {name: amount / 10_000 for name, amount in resources.amounts.items()}


def node_of(info: pb.NodeInfo) -> Node:
    """A node from the wire."""
    state = _STATES.get(info.state, NodeState.DEAD)
    draining = _DRAINS.get(info.drain.state, Draining.NO)
    return Node(
        node_id=info.node_id,
        pod_uid=info.labels.get(POD_UID, ""),
        pod_name=info.labels.get(POD_NAME, ""),
        state=state,
        draining=draining,
        head=info.head,
        reason=(info.death_reason or info.drain.reason)[:256],
        deadline=info.drain.deadline_unix_ms / 1000,
        resources=amounts(info.total),
        oom_kills=info.oom_kills,
        oom_at=info.oom_unix_ms / 1000,
    )
