"""Free ranges of addresses, by where they lie and by how large they are. Neighbours are always one range.

Finding, splitting and joining cost O(log n) in the number of ranges.
"""

from collections.abc import Iterator

from manta.raylet.objects.ordered import Ordered


class FreeRanges:
    """See the module.

    Attributes:
        size_at: Bytes of each range, by its start. Changed by the methods only.
        starts: Their starts, in order. Changed by the methods only.
    """

    __slots__ = ("_by_size", "size_at", "starts")

    def __init__(self) -> None:
        self.size_at: dict[int, int] = {}
        self.starts: Ordered[int] = Ordered()
        self._by_size: Ordered[tuple[int, int]] = Ordered()

    def __len__(self) -> int:
        return len(self.size_at)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(start, size) of each, in order of their starts."""
        return ((start, self.size_at[start]) for start in self.starts)

    # --- finding ----------------------------------------------------------------------------------------------------------

    def best_fit(self, size: int) -> tuple[int, int] | None:
        """(size, start) of the smallest range of at least `size` bytes, the lowest of those."""
        return self._by_size.at_least((size, 0))

    def fits(self, size: int, count: int) -> list[tuple[int, int]]:
        """(size, start) of up to `count` ranges of at least `size` bytes, the smallest first."""
        return self._by_size.first_at_least((size, 0), count)

    def largest(self) -> int:
        """Bytes of the largest range; 0 when there is none."""
        # Sorts behind every range there can be.
        found = self._by_size.at_most((1 << 63, 0))
        return found[0] if found else 0

    # --- changing ---------------------------------------------------------------------------------------------------------

    def insert(self, start: int, size: int, before: int | None, after: int | None) -> None:
        """Make [start, start + size) free.

        Args:
            start: Where it begins.
            size: Its bytes; none of them is free.
            before: `starts.at_most(start)`.
            after: `starts.at_least(start)`.
        """
        size_at, by_size = self.size_at, self._by_size
        if after != start + size:
            after = None
        if after is not None:
            more = size_at.pop(after)
            by_size.remove((more, after))
            size += more
        if before is not None and before + size_at[before] == start:
            if after is not None:
                self.starts.remove(after)
            more = size_at[before]
            by_size.remove((more, before))
            size_at[before] = size + more
            by_size.add((size + more, before))
        elif after is not None:
            size_at[start] = size
            self.starts.replace(after, start)
            by_size.add((size, start))
        else:
            self._put(start, size)

    def take(self, offset: int, size: int, start: int) -> None:
        """Take [offset, offset + size) out of the range at `start`, which holds all of it."""
        whole = self.size_at.pop(start)
        self._by_size.remove((whole, start))
        end = offset + size
        rest = start + whole - end
        if offset > start:
            self.size_at[start] = offset - start
            self._by_size.add((offset - start, start))
            if rest:
                self._put(end, rest)
        elif rest:
            self.size_at[end] = rest
            self.starts.replace(start, end)
            self._by_size.add((rest, end))
        else:
            self.starts.remove(start)

    def _put(self, start: int, size: int) -> None:
        self.size_at[start] = size
        self.starts.add(start)
        self._by_size.add((size, start))

    def validate(self) -> None:
        """Check every invariant. Raises AssertionError. O(n): for tests."""
        assert sorted((size, start) for start, size in self) == list(self._by_size), "both orders hold the same ranges"
        end = -1
        for start, size in self:
            assert start % 64 == 0, "free ranges are aligned"
            assert size % 64 == 0, "free ranges are aligned"
            assert size > 0, "no free range is empty"
            assert start > end, "free ranges neither overlap nor touch"
            end = start + size
