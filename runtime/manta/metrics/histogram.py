"""How often a duration fell between which bounds. Plain numbers; what is shown of them is made when somebody asks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

#: Bounds of durations, seconds: from a tenth of a millisecond to five minutes, each about three times the one before.
SECONDS: Final = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


class Histogram:
    """Counts by upper bound.

    Args:
        bounds: Ascending; one more class takes what is above the last.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        #: Sum of everything observed.
        self.total = 0.0

    def observe(self, value: float) -> None:
        """One more. A bound itself belongs to the class below it, as in Prometheus."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def merge(self, counts: Sequence[int], total: float) -> bool:
        """Add what another one with the same bounds has counted; False, and nothing happens, if it has others."""
        if len(counts) != len(self.counts):
            return False
        for at, count in enumerate(counts):
            self.counts[at] += count
        self.total += total
        return True

    def cumulative(self) -> list[tuple[str, float]]:
        """As Prometheus wants it: (upper bound, how many at most that large), the last one "+Inf"."""
        shown: list[tuple[str, float]] = []
        below = 0
        for bound, count in zip((*map(repr, self.bounds), "+Inf"), self.counts, strict=True):
            below += count
            shown.append((bound, float(below)))
        return shown
