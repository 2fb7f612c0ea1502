"""A virtual clock and an in-memory network: everything that happens is a function called at a time."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable

#: Things that may happen at one time.
MOST_AT_ONCE = 20_000


class Clock:
    """Runs what was scheduled, in the order of its times; no second passes."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (max(when, self.now), next(self._numbers), action))

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        self.at(self.now + seconds, action)

    def run(self, *, until: Callable[[], bool], limit_s: float) -> None:
        """Let time pass until the condition holds.

        Raises:
            AssertionError: Nothing is left to happen, or the limit has passed, or time stands still, and it still does not hold.
        """
        at_once = 0
        while not until():
            assert self._queue, f"at {self.now:.3f} s nothing is left to happen"
            when, _, action = heapq.heappop(self._queue)
            assert when <= limit_s, f"after {limit_s} s it still does not hold"
            at_once = at_once + 1 if when == self.now else 0
            assert at_once < MOST_AT_ONCE, f"at {when:.3f} s something happens again and again"
            self.now = when
            action()


class Network:
    """Messages on one wire keep their order; wires overtake each other by up to `slowest` seconds."""

    def __init__(self, clock: Clock, *, slowest: float = 0.02, duplicates: float = 0.0) -> None:
        self._clock = clock
        self._slowest = slowest
        self._duplicates = duplicates
        self._last: dict[object, float] = {}

    def send(self, wire: object, deliver: Callable[[], None], *, repeatable: bool = False) -> None:
        """Deliver later. A repeatable message may come twice."""
        chance = self._clock.chance
        delay = chance.random() ** 3 * self._slowest
        when = self._last[wire] = max(self._last.get(wire, 0.0), self._clock.now + delay)
        self._clock.at(when, deliver)
        if repeatable and chance.random() < self._duplicates:
            self._clock.at(when + chance.random(), deliver)
