"""Which free pages are warm: touched already, for the machine; mapped already, for one process.

A page that nobody touched has to be zeroed by the kernel first, and one that a process has not mapped costs it a fault.
"""

from bisect import bisect_right
from collections.abc import Hashable, Iterator

from manta.raylet.objects.ranges import FreeRanges

#: Ranges remembered per client as recently freed.
_RECENT = 6


class Cold:
    """Free ranges that nobody touched since their pages came. An allocation is touched by its creator.

    Attributes:
        total_bytes: Bytes of all of them.
    """

    __slots__ = ("_end_of", "_starts", "total_bytes")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._end_of: dict[int, int] = {}
        self.total_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(start, end) of each, in order."""
        return ((start, self._end_of[start]) for start in self._starts)

    def first(self) -> tuple[int, int]:
        """(start, end) of the lowest; there is one."""
        start = self._starts[0]
        return start, self._end_of[start]

    def touches(self, start: int, size: int) -> bool:
        """Whether anything of [start, start + size) is cold."""
        at = bisect_right(self._starts, start) - 1
        if at >= 0 and self._end_of[self._starts[at]] > start:
            return True
        return at + 1 < len(self._starts) and self._starts[at + 1] < start + size

    def add(self, start: int, end: int) -> None:
        """[start, end) has just become present: nobody touched it yet."""
        at = bisect_right(self._starts, start)
        self.total_bytes += end - start
        if at and self._end_of[self._starts[at - 1]] == start:
            self._end_of[self._starts[at - 1]] = end
        else:
            self._starts.insert(at, start)
            self._end_of[start] = end

    def remove(self, start: int, end: int) -> None:
        """[start, end) is not cold any more: touched, or not present. It need not have been."""
        at = max(bisect_right(self._starts, start) - 1, 0)
        while at < len(self._starts) and (low := self._starts[at]) < end:
            high = self._end_of[low]
            if high <= start:
                at += 1
                continue
            del self._starts[at], self._end_of[low]
            self.total_bytes -= high - low
            for part_low, part_high in ((low, min(high, start)), (max(low, end), high)):
                if part_low < part_high:
                    self._starts.insert(at, part_low)
                    self._end_of[part_low] = part_high
                    self.total_bytes += part_high - part_low
                    at += 1

    def validate(self, ranges: FreeRanges) -> None:
        """Check every invariant. Raises AssertionError. O(n): for tests."""
        assert self._starts == sorted(self._end_of), "cold ranges are in order"
        assert sum(end - start for start, end in self) == self.total_bytes, "cold bytes are counted"
        before = -1
        for low, high in self:
            assert low >= before, "cold ranges do not overlap"
            before = high
            start = ranges.starts.at_most(low) or 0
            assert start <= low < high <= start + ranges.size_at.get(start, 0), "cold bytes are free"


class Recent:
    """Ranges that each client freed last: the machine has touched them, and this very process has mapped them."""

    __slots__ = ("_of",)

    def __init__(self) -> None:
        self._of: dict[Hashable, list[tuple[int, int]]] = {}

    def freed(self, client: Hashable, start: int, end: int) -> None:
        """A range of this client's is free again."""
        recent = self._of.get(client)
        if recent is None:
            self._of[client] = [(start, end)]
            return
        # Objects of one block are freed one after the other; together they are the range that is lent again.
        for at in range(len(recent) - 1, -1, -1):
            low, high = recent[at]
            if low <= end and start <= high:
                del recent[at]
                start, end = min(start, low), max(end, high)
        recent.append((start, end))
        if len(recent) > _RECENT:
            del recent[0]

    def forget(self, client: Hashable) -> None:
        """The client is gone; what it freed is like any free range."""
        self._of.pop(client, None)

    def take(self, need: int, client: Hashable, ranges: FreeRanges) -> tuple[int, int] | None:
        """Where the client last freed `need` bytes or more that are still free: the offset, and the free range's start."""
        recent = self._of.get(client)
        if not recent:
            return None
        starts, size_at = ranges.starts, ranges.size_at
        best: tuple[int, int, int, tuple[int, int]] | None = None
        for entry in list(recent):
            start, end = entry
            if end - start < need:
                continue
            at = start if start in size_at else starts.at_most(start)
            if at is None or at + size_at[at] <= start:
                # Its beginning was taken by someone else; the free rest may still be worth having.
                at = starts.at_least(start)
            if at is None or at >= end:
                recent.remove(entry)
                continue
            usable = max(at, start)
            room = min(end, at + size_at[at]) - usable
            if room >= need and (best is None or room < best[0]):
                best = (room, usable, at, entry)
        if best is None:
            return None
        _, offset, at, entry = best
        recent.remove(entry)
        if offset + need < entry[1]:
            recent.append((offset + need, entry[1]))
        return offset, at

    def validate(self) -> None:
        """Check every invariant. Raises AssertionError. For tests."""
        assert all(len(recent) <= _RECENT for recent in self._of.values()), "few ranges are remembered"
