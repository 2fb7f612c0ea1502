"""A placement group as a frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NewType

from manta.control.model import NO_NODE, Amounts, JobId, NodeId, WorkerId
from manta.core.strategy import Term

GroupId = NewType("GroupId", bytes)


class Layout(IntEnum):
    """How bundles are laid out; numbers equal the wire's PlacementStrategy."""

    PACK = 1
    SPREAD = 2
    STRICT_PACK = 3
    STRICT_SPREAD = 4


class GroupState(IntEnum):
    """Numbers equal the wire's."""

    PENDING = 1
    PREPARED = 2
    CREATED = 3
    REMOVED = 4
    RESCHEDULING = 5


@dataclass(frozen=True, slots=True)
class Group:
    """A placement group.

    Attributes:
        nodes: Where each bundle is held; empty while it is nowhere.
        selectors: Labels that each bundle's node must have: none, or one selector per bundle.
        attempt: Number of the last try to hold bundles; answers to older ones mean nothing.
    """

    group_id: GroupId
    job_id: JobId
    owner: WorkerId
    layout: Layout
    bundles: tuple[Amounts, ...]
    name: str = ""
    namespace: str = ""
    detached: bool = False
    selectors: tuple[tuple[Term, ...], ...] = ()
    state: GroupState = GroupState.PENDING
    nodes: tuple[NodeId, ...] = ()
    waiting_reason: str = ""
    created_unix_ms: int = 0
    ended_unix_ms: int = 0

    @property
    def missing(self) -> list[int]:
        """Bundles that are nowhere."""
        return [index for index, node_id in enumerate(self.nodes) if node_id == NO_NODE]

    def on(self, node_id: NodeId) -> list[int]:
        """Bundles that are held there."""
        return [index for index, at in enumerate(self.nodes) if at == node_id]
