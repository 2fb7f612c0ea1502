"""Who is where, whose, and called what: the indexes over the living actors, all changed in one place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from manta.control.model import NO_NODE, Actor, ActorId, ActorState, JobId, NodeId, WorkerId

Key = TypeVar("Key", bound=bytes)


class Rosters:
    """Living actors by node, job, owner, process and name. Follows the table's rows; decides nothing."""

    __slots__ = ("_in_worker", "_names", "_of_job", "_of_owner", "_on_node")

    def __init__(self) -> None:
        #: Who may be found by name: living, not released.
        self._names: dict[tuple[str, str], ActorId] = {}
        #: By the node their latest start was placed on, by job, and non-detached ones by owner.
        self._on_node: dict[NodeId, set[ActorId]] = {}
        self._of_job: dict[JobId, set[ActorId]] = {}
        self._of_owner: dict[WorkerId, set[ActorId]] = {}
        #: Which actor lives in a process.
        self._in_worker: dict[WorkerId, ActorId] = {}

    def named(self, name: str, namespace: str) -> ActorId | None:
        """Who has the name."""
        return self._names.get((namespace, name))

    def names(self, namespace: str | None) -> list[ActorId]:
        """Who has a name in a namespace, or in any (None); sorted by namespace and name."""
        return [actor_id for (space, _), actor_id in sorted(self._names.items()) if namespace in (None, space)]

    def on_node(self, node_id: NodeId) -> list[ActorId]:
        """Who was placed there, sorted."""
        return sorted(self._on_node.get(node_id, ()))

    def of_job(self, job_id: JobId) -> list[ActorId]:
        """Who belongs to the job, sorted."""
        return sorted(self._of_job.get(job_id, ()))

    def of_owner(self, worker_id: WorkerId) -> list[ActorId]:
        """Which non-detached ones a process owns, sorted."""
        return sorted(self._of_owner.get(worker_id, ()))

    def owned(self) -> list[ActorId]:
        """Every non-detached one, sorted."""
        return sorted(actor_id for owned in self._of_owner.values() for actor_id in owned)

    def in_worker(self, worker_id: WorkerId) -> ActorId | None:
        """Who lives in a process."""
        return self._in_worker.get(worker_id)

    def follow(self, old: Actor | None, row: Actor) -> None:
        """A row of the table has changed, or is new."""
        actor_id, spec = row.actor_id, row.spec
        lived = old is not None and old.state is not ActorState.DEAD
        lives = row.state is not ActorState.DEAD
        before = old.node_id if old is not None and lived else NO_NODE
        after = row.node_id if lives else NO_NODE
        if before != after:
            if before:
                _drop(self._on_node, before, actor_id)
            if after:
                self._on_node.setdefault(after, set()).add(actor_id)
        if old is not None and lived and (not lives or old.spec is not spec):
            # Another spec of the same actor: an announcement says more than a raylet had.
            _drop(self._of_job, old.spec.job_id, actor_id)
            _drop(self._of_owner, old.spec.owner.worker_id, actor_id)
        if lives:
            self._of_job.setdefault(spec.job_id, set()).add(actor_id)
            if not spec.detached:
                self._of_owner.setdefault(spec.owner.worker_id, set()).add(actor_id)
        if lives and spec.name and not row.released:
            self._names[spec.namespace, spec.name] = actor_id
        elif self._names.get((spec.namespace, spec.name)) == actor_id:
            del self._names[spec.namespace, spec.name]
        was_in = old.address.worker_id if old is not None and old.address is not None else None
        is_in = row.address.worker_id if row.address is not None else None
        if was_in != is_in:
            if was_in is not None and self._in_worker.get(was_in) == actor_id:
                del self._in_worker[was_in]
            if is_in is not None:
                self._in_worker[is_in] = actor_id

    def validate(self, living: Iterable[Actor]) -> None:
        """Compare with what the rows say, the slow way.

        Raises:
            AssertionError: They differ.
        """
        names: dict[tuple[str, str], ActorId] = {}
        on_node: dict[bytes, set[ActorId]] = {}
        of_job: dict[bytes, set[ActorId]] = {}
        of_owner: dict[bytes, set[ActorId]] = {}
        homes: dict[WorkerId, set[ActorId]] = {}
        for row in living:
            spec, actor_id = row.spec, row.actor_id
            if spec.name and not row.released:
                assert (spec.namespace, spec.name) not in names, "one name, two actors"
                names[spec.namespace, spec.name] = actor_id
            if row.node_id:
                on_node.setdefault(row.node_id, set()).add(actor_id)
            of_job.setdefault(spec.job_id, set()).add(actor_id)
            if not spec.detached:
                of_owner.setdefault(spec.owner.worker_id, set()).add(actor_id)
            if row.address is not None:
                homes.setdefault(row.address.worker_id, set()).add(actor_id)
        assert self._names == names
        assert (self._on_node, self._of_job, self._of_owner) == (on_node, of_job, of_owner)
        # A process that claims to be two actors counts as the last one it said.
        assert all(actor_id in homes.get(worker_id, ()) for worker_id, actor_id in self._in_worker.items())


def _drop(index: dict[Key, set[ActorId]], key: Key, actor_id: ActorId) -> None:
    """Take an actor out of an index; empty entries go too."""
    members = index.get(key)
    if members is not None:
        members.discard(actor_id)
        if not members:
            del index[key]
