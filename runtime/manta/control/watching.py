"""Subscriptions: who wants to hear of what, and what each has not read yet. No I/O; the service waits and writes.

Every published state gets the next number of this epoch and stays in a bounded log, from which a watcher that comes back takes
what it missed. If that is gone, or a watcher was too slow, it is told to forget and gets the present state instead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from manta.control.model import Actor, ActorId, Job, Node

Row: TypeAlias = Node | Job | Actor


@dataclass(frozen=True, slots=True)
class Resync:
    """Forget everything; the present state follows."""

    reason: str


@dataclass(frozen=True, slots=True)
class UnknownActor:
    """A subscribed actor that is not known."""

    actor_id: ActorId


@dataclass(frozen=True, slots=True)
class Ready:
    """Everything asked for so far was sent at least once."""


News: TypeAlias = Row | Resync | UnknownActor | Ready


class Watcher:
    """One subscription's interests and unread news.

    Attributes:
        unread: (number, what), oldest first. Bounded: see `Watchers`.
        wake: Called when something unread appears.
        previous: Number of the last news taken.
    """

    __slots__ = ("actors", "all_actors", "jobs", "nodes", "previous", "unread", "wake")

    def __init__(self, wake: Callable[[], None], *, nodes: bool, jobs: bool, all_actors: bool) -> None:
        self.nodes, self.jobs, self.all_actors = nodes, jobs, all_actors
        self.actors: set[ActorId] = set()
        self.unread: list[tuple[int, News]] = []
        self.wake = wake
        self.previous = 0

    def wants(self, row: Row) -> bool:
        """Whether this row's changes interest it."""
        if isinstance(row, Actor):
            return self.all_actors or row.actor_id in self.actors
        return self.nodes if isinstance(row, Node) else self.jobs


class Watchers:
    """All subscriptions.

    Args:
        present: Reads the present state of what a watcher asks for: (nodes, jobs, all actors, these actors) to rows.
        log_length: Published states that stay available.
        unread_limit: A watcher that has more unread gets a resync instead.
    """

    def __init__(
        self,
        present: Callable[[bool, bool, bool, Iterable[ActorId]], list[News]],
        *,
        log_length: int = 20_000,
        unread_limit: int = 20_000,
    ) -> None:
        self._present = present
        self._unread_limit = unread_limit
        self._log: deque[tuple[int, Row]] = deque(maxlen=log_length)
        self.number = 0
        self._broad: set[Watcher] = set()
        self._by_actor: dict[ActorId, set[Watcher]] = {}
        self._resyncs = 0

    def publish(self, row: Row) -> None:
        """A new state, for everybody whom it interests."""
        self.number += 1
        self._log.append((self.number, row))
        listeners: Iterable[Watcher] = [watcher for watcher in self._broad if watcher.wants(row)]
        if isinstance(row, Actor):
            listeners = {*listeners, *self._by_actor.get(row.actor_id, ())}
        for watcher in listeners:
            self._give(watcher, (self.number, row))

    def _give(self, watcher: Watcher, *news: tuple[int, News]) -> None:
        watcher.unread.extend(news)
        if len(watcher.unread) > self._unread_limit:
            self._resync(watcher, "too much was unread")
        watcher.wake()

    def _resync(self, watcher: Watcher, reason: str) -> None:
        self._resyncs += 1
        watcher.unread.clear()
        watcher.unread.append((0, Resync(reason)))
        watcher.unread.extend(self._everything(watcher))

    def _everything(self, watcher: Watcher) -> list[tuple[int, News]]:
        """The present state of all it wants. Only the end of it is a position to come back to: half of it is nothing."""
        rows = self._present(watcher.nodes, watcher.jobs, watcher.all_actors, watcher.actors)
        return [*((0, row) for row in rows), (self.number, Ready())]

    def join(self, watcher: Watcher, actors: Iterable[ActorId], after: int | None, lost: str) -> None:
        """Begin a subscription.

        Args:
            watcher: New.
            actors: The first ones it wants to hear of.
            after: Go on behind this number; None or 0 starts with the present state.
            lost: Why going on is impossible whatever the log holds (another epoch); empty if it isn't.
        """
        watcher.actors.update(actors)
        for actor_id in watcher.actors:
            self._by_actor.setdefault(actor_id, set()).add(watcher)
        if watcher.nodes or watcher.jobs or watcher.all_actors:
            self._broad.add(watcher)
        oldest = self._log[0][0] if self._log else self.number + 1
        if lost or (after and not oldest <= after + 1 <= self.number + 1):
            self._resync(watcher, lost or "what was missed is no longer in the log")
            watcher.wake()
        elif after:
            missed = [(number, row) for number, row in self._log if number > after and watcher.wants(row)]
            # It may have asked for an actor and gone before it heard of it: the state once more does no harm.
            rows = self._present(False, False, False, watcher.actors)
            self._give(watcher, *missed, *((self.number, row) for row in rows), (self.number, Ready()))
        else:
            self._give(watcher, *self._everything(watcher))

    def add(self, watcher: Watcher, actors: Iterable[ActorId]) -> None:
        """It wants to hear of these too: their present state comes first."""
        new = [actor_id for actor_id in actors if actor_id not in watcher.actors]
        watcher.actors.update(new)
        for actor_id in new:
            self._by_actor.setdefault(actor_id, set()).add(watcher)
        rows = self._present(False, False, False, new)
        self._give(watcher, *((self.number, row) for row in rows), (self.number, Ready()))

    def remove(self, watcher: Watcher, actors: Iterable[ActorId]) -> None:
        """It no longer wants to hear of these."""
        for actor_id in actors:
            watcher.actors.discard(actor_id)
            self._drop(actor_id, watcher)

    def leave(self, watcher: Watcher) -> None:
        """The subscription is over."""
        self._broad.discard(watcher)
        for actor_id in watcher.actors:
            self._drop(actor_id, watcher)
        watcher.unread.clear()

    def _drop(self, actor_id: ActorId, watcher: Watcher) -> None:
        watchers = self._by_actor.get(actor_id)
        if watchers is not None:
            watchers.discard(watcher)
            if not watchers:
                del self._by_actor[actor_id]

    def statistics(self) -> dict[str, int]:
        """Counts for people and tests."""
        everyone = {*self._broad, *(watcher for watchers in self._by_actor.values() for watcher in watchers)}
        return {
            "watchers": len(everyone),
            "watched_actors": len(self._by_actor),
            "watch_unread": sum(len(watcher.unread) for watcher in everyone),
            "watch_published": self.number,
            "watch_resyncs": self._resyncs,
        }
