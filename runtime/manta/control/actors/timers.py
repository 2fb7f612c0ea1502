"""What is put off until a moment, for actors. Entries whose moment has passed otherwise are for the caller to skip."""

from __future__ import annotations

import heapq
from enum import IntEnum
from typing import NamedTuple

from manta.control.model import Actor, ActorId


class Purpose(IntEnum):
    """What is due."""

    #: Wait for a place again, unless it has one.
    PLACE = 1
    #: Its owner must have announced it by now.
    ANNOUNCE = 2


class Timer(NamedTuple):
    """One moment; sorted by it, then by order of arrival."""

    when: float
    tie: int
    purpose: Purpose
    actor_id: ActorId
    incarnation: int


class Timers:
    """Moments to come, the next one first."""

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._tie = 0

    def put_off(self, when: float, purpose: Purpose, row: Actor) -> None:
        """Let `row`'s present incarnation be looked at then."""
        self._tie += 1
        heapq.heappush(self._heap, Timer(when, self._tie, purpose, row.actor_id, row.incarnation))

    def next_due(self) -> float | None:
        """The next moment; None if there is none."""
        return self._heap[0].when if self._heap else None

    def pop_due(self, now_s: float) -> Timer | None:
        """Take the next one, if its moment has come."""
        return heapq.heappop(self._heap) if self._heap and self._heap[0].when <= now_s else None

    def waiting_for(self, purpose: Purpose) -> set[tuple[ActorId, int]]:
        """Whose incarnations will be looked at for this, for checks."""
        return {(timer.actor_id, timer.incarnation) for timer in self._heap if timer.purpose is purpose}

    def __len__(self) -> int:
        return len(self._heap)
