"""Which object is looked after next. Pure: `now` is passed in, nobody waits here.

An object that changed ten times waits once. It is looked after by one worker at a time; a change meanwhile brings it back when
that worker is done. Groups (namespaces) take turns, so that one with a thousand objects does not hold up one with a single one.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from manta.aio.backoff import Backoff

K = TypeVar("K", bound=Hashable)

#: Between attempts for one object that fails.
BACKOFF = Backoff(first_s=0.2, factor=2.0, cap_s=120.0, jitter=0.3)


class Keys(Generic[K]):
    """Objects that want to be looked after.

    Args:
        group: Whose turn a key's is.
    """

    def __init__(self, group: Callable[[K], Hashable]) -> None:
        self._group = group
        #: Due keys of each group, oldest first; the groups in the order of their turns.
        self._due: OrderedDict[Hashable, deque[K]] = OrderedDict()
        self._waiting: set[K] = set()
        #: Since when keys are due; of those with a worker, were.
        self._since: dict[K, float] = {}
        #: Keys with a worker; True if they came back meanwhile.
        self._held: dict[K, bool] = {}
        #: When a key is due; entries in the heap that differ from this are void.
        self._at: dict[K, float] = {}
        self._later: list[tuple[float, int, K]] = []
        self._count = 0
        self._failures: dict[K, int] = {}

    def __len__(self) -> int:
        """How many are due; what is due later, or with a worker, is not counted."""
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Whether nothing is due, with a worker, or due later."""
        return not (self._waiting or self._held or self._at)

    def due_since(self, key: K) -> float:
        """Since when a key was due that a worker has just taken."""
        return self._since.get(key, 0.0)

    def add(self, key: K, now: float = 0.0) -> None:
        """It is due now."""
        self._at.pop(key, None)
        if key in self._held:
            self._held[key] = True
        elif key not in self._waiting:
            self._since[key] = now
            self._waiting.add(key)
            self._due.setdefault(self._group(key), deque()).append(key)

    def add_at(self, key: K, at: float) -> None:
        """It is due then, if not before."""
        if key in self._waiting or self._at.get(key, at + 1) <= at:
            return
        self._at[key] = at
        self._count += 1
        heapq.heappush(self._later, (at, self._count, key))

    def take(self, now: float) -> K | None:
        """The next one, for a worker, who must call `done`; None if none is due."""
        self._ripen(now)
        if not self._due:
            return None
        group, keys = next(iter(self._due.items()))
        key = keys.popleft()
        if keys:
            self._due.move_to_end(group)
        else:
            del self._due[group]
        self._waiting.discard(key)
        self._held[key] = False
        return key

    def done(self, key: K, *, again_at: float | None = None) -> None:
        """It was looked after, and all is well.

        Args:
            key: Which.
            again_at: When to look again even if nothing happens.
        """
        self._failures.pop(key, None)
        self._give_back(key, again_at)

    def failed(self, key: K, now: float, unit: float) -> float:
        """It was looked after in vain. Returns after how many seconds it is tried again.

        Args:
            key: Which.
            now: Seconds.
            unit: Randomness in [0, 1).
        """
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        delay_s = BACKOFF.delay_s(count, unit)
        # A change meanwhile does not cut the pause short: whatever fails would fail at the rate of its events.
        self._held[key] = False
        self._give_back(key, now + delay_s)
        return delay_s

    def forget(self, key: K) -> None:
        """The object is no more: its failures are nobody's."""
        self._failures.pop(key, None)

    def next_at(self) -> float | None:
        """When the next key that is due later is due; None if there is none."""
        while self._later and self._at.get(self._later[0][2]) != self._later[0][0]:
            heapq.heappop(self._later)
        return self._later[0][0] if self._later else None

    def _give_back(self, key: K, again_at: float | None) -> None:
        if self._held.pop(key):
            self.add(key)
        elif again_at is not None:
            self.add_at(key, again_at)

    def _ripen(self, now: float) -> None:
        while (at := self.next_at()) is not None and at <= now:
            self.add(heapq.heappop(self._later)[2], at)
