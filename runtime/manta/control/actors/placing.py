"""Actors that wait for a place, and the placing.

Each is in exactly one queue, by shape (what it needs), first come first served; shapes don't block each other. Every start has
its own incarnation.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from manta.control.actors.rows import ActorRows
from manta.control.commands import Command, StartOnNode
from manta.control.model import NO_NODE, Actor, ActorId, ActorSpec, DeathCause, DeathKind, Instant
from manta.control.nodes import NodeTable
from manta.control.placement import choose
from manta.control.stories import Stories
from manta.core.strategy import Strategy

Shape: TypeAlias = tuple[tuple[tuple[str, int], ...], tuple[tuple[str, int], ...], Strategy]


class Placing:
    """Places actors on `nodes`, whose account it keeps."""

    def __init__(self, rows: ActorRows, nodes: NodeTable, stories: Stories) -> None:
        self._rows = rows
        self._nodes = nodes
        self._stories = stories
        #: Queues of those that wait for a place; why the head of one got none.
        self._waiting: dict[Shape, OrderedDict[ActorId, None]] = {}
        self._reasons: dict[Shape, str] = {}
        #: Ends an actor that can have no place: it wants one node only, which is not there or too small.
        self.on_never: Callable[[Actor, DeathCause, Instant, list[Command], str], None] = lambda *_: None

    @property
    def wanting(self) -> bool:
        """Whether any waits for room."""
        return bool(self._waiting)

    def wait(self, row: Actor, now: Instant, out: list[Command], cause: str) -> None:
        """Queue for a place, and try at once."""
        shape = _shape(row.spec)
        queue = self._waiting.setdefault(shape, OrderedDict())
        row = replace(row, waiting_reason=self._reasons.get(shape, ""), node_id=NO_NODE, address=None, pid=0)
        self._rows.commit(row, out, cause)
        queue[row.actor_id] = None
        if len(queue) == 1:
            self._place_shape(shape, now, out, cause)

    def place_waiting(self, now: Instant, out: list[Command], cause: str) -> None:
        """Room may have appeared: try the head of every queue, and on while it works."""
        for shape in list(self._waiting):
            self._place_shape(shape, now, out, cause)

    def _place_shape(self, shape: Shape, now: Instant, out: list[Command], cause: str) -> None:
        if self._nodes.recovering:
            return
        queue = self._waiting[shape]
        while queue:
            actor_id = next(iter(queue))
            row = self._rows.by_id[actor_id]
            spec = row.spec
            choice = choose(
                spec.place,
                spec.hold,
                self._nodes.views(),
                prefer=spec.owner.node_id,
                strategy=spec.strategy,
            )
            if choice.never:
                del queue[actor_id]
                self.on_never(row, DeathCause(DeathKind.UNSCHEDULABLE, choice.reason), now, out, cause)
                continue
            if not choice.node_id:
                if self._reasons.get(shape) != choice.reason:
                    self._reasons[shape] = choice.reason
                    for each in queue:
                        waiting = replace(self._rows.by_id[each], waiting_reason=choice.reason)
                        self._rows.commit(waiting, out, cause)
                return
            del queue[actor_id]
            # Only who asks for the state sees the place; watchers hear when it runs.
            told = bool(row.waiting_reason)
            row = replace(row, incarnation=row.incarnation + 1, node_id=choice.node_id, waiting_reason="")
            self._rows.commit(row, out, cause, publish=told)
            self._nodes.placed(choice.node_id, actor_id, spec.place, spec.hold)
            out.append(StartOnNode(choice.node_id, row, self._rows.outlives_job(spec), cause))
            self._stories.tell(
                now.s, cause, f"start {row.incarnation} placed on {choice.node_id.hex()[:8]}", actor_id, choice.node_id
            )
        self._waiting.pop(shape, None)
        self._reasons.pop(shape, None)

    def drop(self, row: Actor) -> None:
        """It waits no longer, if it did."""
        shape = _shape(row.spec)
        queue = self._waiting.get(shape)
        if queue is not None:
            queue.pop(row.actor_id, None)
            if not queue:
                del self._waiting[shape]
                self._reasons.pop(shape, None)

    # ---- about itself

    def queued(self) -> list[ActorId]:
        """Everybody who waits, for checks."""
        return [actor_id for queue in self._waiting.values() for actor_id in queue]

    def validate(self) -> None:
        """Check every invariant.

        Raises:
            AssertionError: One is broken.
        """
        queued = self.queued()
        assert len(queued) == len(set(queued))
        assert set(self._reasons) <= set(self._waiting)

    def statistics(self) -> dict[str, int]:
        """Counts for people and tests."""
        return {"actors_waiting": sum(map(len, self._waiting.values())), "actors_shapes_waiting": len(self._waiting)}


def _shape(spec: ActorSpec) -> Shape:
    return tuple(sorted(spec.place.items())), tuple(sorted(spec.hold.items())), spec.strategy
