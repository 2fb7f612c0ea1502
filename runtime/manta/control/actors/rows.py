"""The actors' rows and their indexes: reading them, and the one place where they change."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from manta.control.actors.rosters import Rosters
from manta.control.commands import Command, Publish, Table, Write
from manta.control.errors import ActorNotFoundError
from manta.control.model import Actor, ActorId, ActorSpec, ActorState, NodeId


class ActorRows:
    """Actors by id, living and dead.

    Args:
        dead_kept: Dead ones remembered.
    """

    def __init__(self, dead_kept: int) -> None:
        self._dead_kept = dead_kept
        self.by_id: dict[ActorId, Actor] = {}
        self.rosters = Rosters()
        #: Dead ones, the longest dead first.
        # An OrderedDict where the oldest goes first: a plain dict looks past every hole that was left before it.
        self._dead: OrderedDict[ActorId, None] = OrderedDict()

    # ---- reading

    def get(self, actor_id: ActorId) -> Actor:
        """The actor.

        Raises:
            ActorNotFoundError: None such is remembered.
        """
        row = self.by_id.get(actor_id)
        if row is None:
            raise ActorNotFoundError(f"actor {actor_id.hex()} is not known")
        return row

    def named(self, name: str, namespace: str) -> Actor:
        """The living actor of a name.

        Raises:
            ActorNotFoundError: There is none.
        """
        actor_id = self.rosters.named(name, namespace)
        if actor_id is None:
            raise ActorNotFoundError(f"no living actor is named {name!r} in namespace {namespace!r}")
        return self.by_id[actor_id]

    def names(self, namespace: str | None) -> list[Actor]:
        """Living named actors of a namespace, or of all (None), by name."""
        return self._rows(self.rosters.names(namespace))

    def on_node(self, node_id: NodeId) -> list[Actor]:
        """Living ones whose latest start was placed there, by id."""
        return self._rows(self.rosters.on_node(node_id))

    def _rows(self, actor_ids: Iterable[ActorId]) -> list[Actor]:
        return [self.by_id[actor_id] for actor_id in actor_ids]

    def wanted_there(self, node_id: NodeId, actor_id: ActorId, incarnation: int) -> bool:
        """Whether this very incarnation should be on that node."""
        row = self.by_id.get(actor_id)
        return (
            row is not None
            and row.state is not ActorState.DEAD
            and row.incarnation == incarnation
            and row.node_id == node_id
        )

    def outlives_job(self, spec: ActorSpec) -> bool:
        """Whether it is detached or owned, directly or not, by a living actor that is."""
        seen: set[ActorId] = set()
        while not spec.detached:
            owner = self.rosters.in_worker(spec.owner.worker_id)
            if owner is None or owner in seen:
                return False
            seen.add(owner)
            spec = self.by_id[owner].spec
        return True

    # ---- changing

    def commit(self, row: Actor, out: list[Command], cause: str, *, publish: bool = True) -> None:
        """A living actor is new or has changed."""
        old = self.by_id.get(row.actor_id)
        self.by_id[row.actor_id] = row
        self.rosters.follow(old, row)
        if row.spec.durable:
            out.append(Write(Table.ACTORS, row.actor_id, row))
        if publish:
            out.append(Publish(row, cause))

    def bury(self, row: Actor, out: list[Command], cause: str) -> None:
        """It is dead; of the dead, the oldest are forgotten."""
        self.commit(row, out, cause)
        self._dead[row.actor_id] = None
        while len(self._dead) > self._dead_kept:
            oldest = next(iter(self._dead))
            del self._dead[oldest]
            if self.by_id.pop(oldest).spec.durable:
                out.append(Write(Table.ACTORS, oldest, None))

    def exhume(self, row: Actor, out: list[Command], cause: str) -> None:
        """It was buried too early; nobody hears of it before it is decided what it is instead."""
        del self._dead[row.actor_id]
        self.commit(row, out, cause, publish=False)

    def restore(self, row: Actor) -> None:
        """Take a row from the store."""
        self.by_id[row.actor_id] = row
        self.rosters.follow(None, row)
        if row.state is ActorState.DEAD:
            self._dead[row.actor_id] = None

    # ---- about themselves

    def living(self) -> dict[ActorId, Actor]:
        """Those that are not dead."""
        return {actor_id: row for actor_id, row in self.by_id.items() if row.state is not ActorState.DEAD}

    def validate(self) -> None:
        """Check every invariant.

        Raises:
            AssertionError: One is broken.
        """
        living = self.living()
        assert set(self._dead) == set(self.by_id) - set(living)
        assert len(self._dead) <= self._dead_kept
        self.rosters.validate(living.values())

    def statistics(self) -> dict[str, int]:
        """Counts for people and tests."""
        counts = {f"actors_{state.name.lower()}": 0 for state in ActorState}
        for row in self.by_id.values():
            counts[f"actors_{row.state.name.lower()}"] += 1
        return counts
