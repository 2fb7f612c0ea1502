"""Which range of the arena an allocation gets, when the arena grows, and what it gives back.

Pure: no memory is touched. The arena's addresses (`span`) are cut into extents; an extent is absent, on its way, or
present, and only present ones hold allocations. At most `capacity` bytes are present. The span may be larger than the
capacity: then free extents here can be given up for new ones there, and a large object finds a contiguous place in a
fragmented store.

Where an allocation goes, first match:

1. **Where its client last freed** a range of that size or more: those pages are warm for the machine, and mapped by
   that very process. It is what makes the second put of an 800 MB array run at the speed of memory.
2. **Best fit, warm**: the smallest free range that has room, unless its pages were never touched and another of
   similar size has touched ones.
3. **Best fit.** Ties go to the lower offset.

Next door: which ranges are free (`ranges`), and which of them are warm (`warmth`).
"""

from collections.abc import Hashable
from enum import IntEnum

from manta.raylet.objects.commands import PunchHole, ReserveExtent, Warm
from manta.raylet.objects.ranges import FreeRanges
from manta.raylet.objects.warmth import Cold, Recent
from manta.shm.layout import MIB, PAGE_BYTES, aligned, extent_bytes

#: Candidates looked at for a warm one before the best fit is taken as it is.
_CANDIDATES = 4

#: One reservation command is at most this long, so that creators who wait see progress.
_MAX_RESERVE_BYTES = 256 * MIB

#: After the machine refused memory, growth is not tried again for this long.
_REFUSED_PAUSE_S = 1.0


class Extent(IntEnum):
    """What an extent is now."""

    ABSENT = 0
    RESERVING = 1
    PRESENT = 2
    PUNCHING = 3


class Allocator:
    """Free ranges, extents and warmth of one arena.

    Attributes:
        capacity: Bytes that may be present at once; a multiple of `extent`.
        span: Bytes of addresses; a multiple of `extent`.
        extent: Bytes of one extent.
        margin: Free bytes kept present and warm, as long as the capacity allows.
        idle_s: An extent unused for this long is given back, the margin aside.
        used_bytes: Bytes allocated.
        free_bytes: Bytes present and not allocated.
    """

    __slots__ = (
        "_cold",
        "_empty",
        "_extents",
        "_idle_since",
        "_present",
        "_ranges",
        "_recent",
        "_refused_until",
        "_reserving",
        "_used_in",
        "_warming",
        "capacity",
        "extent",
        "free_bytes",
        "idle_s",
        "margin",
        "span",
        "used_bytes",
    )

    def __init__(
        self,
        capacity: int,
        *,
        span: int | None = None,
        extent: int | None = None,
        margin: int = 0,
        idle_s: float = 30.0,
    ) -> None:
        """Start with nothing present.

        Args:
            capacity: Bytes; rounded down to whole extents.
            span: Bytes; by default the capacity. Rounded down to whole extents.
            extent: Bytes, a multiple of the page size; by default what `layout.extent_bytes` says.
            margin: Bytes.
            idle_s: Seconds.

        Raises:
            ValueError: The capacity is less than one extent, or the span less than the capacity.
        """
        self.extent = extent or extent_bytes(capacity)
        self.capacity = capacity // self.extent * self.extent
        self.span = self.capacity if span is None else span // self.extent * self.extent
        if not 0 < self.capacity <= self.span or self.extent % PAGE_BYTES:
            raise ValueError(f"a store of {capacity} bytes is too small: it takes at least {self.extent}")
        self.margin, self.idle_s = margin, idle_s
        count = self.span // self.extent
        self._extents = bytearray(count)
        self._used_in = [0] * count
        self._idle_since = [0.0] * count
        #: Extents of these states; `_empty` are present with nothing allocated.
        self._present = self._reserving = self._empty = 0
        self.used_bytes = self.free_bytes = 0
        self._ranges = FreeRanges()
        self._cold = Cold()
        self._recent = Recent()
        #: The range a Warm command is out for; it must not be given back meanwhile, or warming would bring it back.
        self._warming: tuple[int, int] | None = None
        #: Growth is not tried before; None when the machine did not refuse since it was tried last.
        self._refused_until: float | None = None

    # --- allocating -------------------------------------------------------------------------------------------------------

    def allocate(self, size: int, client: Hashable) -> int | None:
        """Take room for `size` bytes.

        Args:
            size: Bytes, 0 included; rounded up to whole cache lines.
            client: Whose recently freed ranges to prefer.

        Returns:
            Its offset, a multiple of 64; None when no present range has room.
        """
        need = aligned(size)
        if need > self.free_bytes:
            return None
        place = self._recent.take(need, client, self._ranges)
        if place is None:
            place = self._best_fit(need)
        if place is None:
            return None
        offset, start = place
        self._ranges.take(offset, need, start)
        end = offset + need
        for index in range(offset // self.extent, (end - 1) // self.extent + 1):
            if not self._used_in[index]:
                self._empty -= 1
            low = index * self.extent
            self._used_in[index] += min(end, low + self.extent) - max(offset, low)
        self.used_bytes += need
        self.free_bytes -= need
        if self._cold:
            self._cold.remove(offset, end)
        return offset

    def free(self, offset: int, size: int, client: Hashable, now: float) -> None:
        """Give back a range, or a part of one that `allocate` returned.

        Args:
            offset: A multiple of 64.
            size: Bytes; rounded up as in `allocate`.
            client: Who created what was there, and has its pages mapped.
            now: For how long its extents lie idle is counted from here.

        Raises:
            ValueError: Some of it is free already, or outside of the present extents.
        """
        size = aligned(size)
        end = offset + size
        ranges = self._ranges
        before = ranges.starts.at_most(offset)
        after = ranges.starts.at_least(offset)
        if (before is not None and before + ranges.size_at[before] > offset) or (after is not None and after < end):
            raise ValueError(f"bytes {offset} to {end} are free already, at least in part")
        for index in range(offset // self.extent, (end - 1) // self.extent + 1):
            self._release_in(index, offset, end, now)
        self.used_bytes -= size
        self.free_bytes += size
        ranges.insert(offset, size, before, after)
        self._recent.freed(client, offset, end)

    def forget(self, client: Hashable) -> None:
        """The client is gone; what it freed is like any free range."""
        self._recent.forget(client)

    def _best_fit(self, need: int) -> tuple[int, int] | None:
        fit = self._ranges.best_fit(need)
        if fit is None:
            return None
        if self._cold and self._cold.touches(fit[1], need):
            for size, start in self._ranges.fits(need, _CANDIDATES):
                if size <= fit[0] * 2 and not self._cold.touches(start, need):
                    return start, start
        return fit[1], fit[1]

    def _release_in(self, index: int, offset: int, end: int, now: float) -> None:
        low = index * self.extent
        left = self._used_in[index] - (min(end, low + self.extent) - max(offset, low))
        if self._extents[index] != Extent.PRESENT or left < 0:
            raise ValueError(f"bytes {offset} to {end} are not all allocated")
        self._used_in[index] = left
        if not left:
            self._empty += 1
            self._idle_since[index] = now

    # --- growing ----------------------------------------------------------------------------------------------------------

    @property
    def growing(self) -> bool:
        """Reserved extents are on their way."""
        return self._reserving > 0

    @property
    def room_bytes(self) -> int:
        """Upper bound of what can be had by allocating and growing, in one piece or not."""
        return self.capacity - self.used_bytes

    @property
    def largest_bytes(self) -> int:
        """What can be allocated in one piece without growing."""
        return self._ranges.largest()

    def grow(self, size: int, now: float, cause: Hashable) -> list[PunchHole | ReserveExtent] | None:
        """Make a contiguous place for `size` bytes by adding extents; what is on its way already counts.

        Returns:
            What to do, in this order; empty when enough is on its way. None when it cannot be: not enough capacity is
            left, no place is contiguous, or the machine refused memory a moment ago.
        """
        self._end_pause(now)
        need = aligned(size)
        budget = self.capacity // self.extent - self._present - self._reserving
        if need > self.room_bytes or (not budget and not self._empty and not self._reserving):
            return None
        window = self._cheapest_window(need)
        if window is None:
            return None
        first, after = window
        missing = [index for index in range(first, after) if self._extents[index] == Extent.ABSENT]
        if not missing:
            return []
        if self._refused_until is not None:
            return None
        commands: list[PunchHole | ReserveExtent] = []
        if len(missing) > budget:
            spare = [
                index for index in range(len(self._extents)) if not first <= index < after and self._is_spare(index)
            ]
            if len(missing) - budget > len(spare):
                return None
            spare.sort(key=lambda index: (self._idle_since[index], -index))
            commands += self._punch(spare[: len(missing) - budget], cause)
        for start, length in _runs(missing, self.extent, _MAX_RESERVE_BYTES):
            commands.append(ReserveExtent(start, length, cause))
        for index in missing:
            self._extents[index] = Extent.RESERVING
        self._reserving += len(missing)
        return commands

    def _cheapest_window(self, need: int) -> tuple[int, int] | None:
        """The extents that make a contiguous place of `need` bytes: the fewest absent ones, the lowest of those."""
        extent, states, used = self.extent, self._extents, self._used_in
        count = len(states)
        best: tuple[int, int, int] | None = None
        index = 0
        while index < count:
            if states[index] == Extent.PUNCHING or used[index]:
                index += 1
                continue
            first = index
            absent = [0]
            while index < count and states[index] != Extent.PUNCHING and not used[index]:
                absent.append(absent[-1] + (states[index] == Extent.ABSENT))
                index += 1
            tail = self._free_before(first * extent)
            head = self._free_after(index * extent)
            length = index - first
            whole = -(-need // extent)
            windows = [(low, low + whole) for low in range(length - whole + 1)]
            if (joined := max(0, -(-(need - tail) // extent))) <= length:
                windows.append((0, joined))
            if (joined := max(0, -(-(need - head) // extent))) <= length:
                windows.append((length - joined, length))
            if need <= tail + length * extent + head:
                windows.append((0, length))
            for low, high in windows:
                found = (absent[high] - absent[low], first + low, first + high)
                if best is None or found < best:
                    best = found
        return best[1:] if best else None

    def _free_before(self, boundary: int) -> int:
        """Free bytes that end at `boundary`, within the extent before it."""
        start = self._ranges.starts.at_most(boundary - 1)
        if start is None or start + self._ranges.size_at[start] < boundary:
            return 0
        return min(boundary - start, self.extent)

    def _free_after(self, boundary: int) -> int:
        """Free bytes that begin at `boundary`, within the extent after it."""
        start = self._ranges.starts.at_most(boundary)
        if start is None:
            return 0
        return max(0, min(start + self._ranges.size_at[start] - boundary, self.extent))

    def reserved(self, start: int, size: int, now: float) -> None:
        """The pages of a ReserveExtent command, or of a part of it, are there."""
        for index in range(start // self.extent, (start + size) // self.extent):
            if self._extents[index] != Extent.RESERVING:
                raise ValueError(f"extent {index} was not on its way")
            self._extents[index] = Extent.PRESENT
            self._idle_since[index] = now
        count = size // self.extent
        self._reserving -= count
        self._present += count
        self._empty += count
        self.free_bytes += size
        self._cold.add(start, start + size)
        ranges = self._ranges
        ranges.insert(start, size, ranges.starts.at_most(start), ranges.starts.at_least(start))

    def refused(self, start: int, size: int, now: float) -> None:
        """The machine has no memory for a ReserveExtent command, or for the part of it that is named here."""
        for index in range(start // self.extent, (start + size) // self.extent):
            if self._extents[index] != Extent.RESERVING:
                raise ValueError(f"extent {index} was not on its way")
            self._extents[index] = Extent.ABSENT
        self._reserving -= size // self.extent
        self._refused_until = now + _REFUSED_PAUSE_S

    # --- the margin, and giving back --------------------------------------------------------------------------------------

    def prepare(self, now: float, cause: Hashable) -> list[ReserveExtent | Warm]:
        """Keep `margin` bytes free and warm: touch what is cold, or grow by an extent. One step at a time."""
        if self.free_bytes - self._cold.total_bytes >= self.margin or self._warming is not None:
            return []
        if self._cold:
            # By whole pages inside of the cold range: its edges share a page with something touched.
            low, high = self._cold.first()
            start = -(-low // PAGE_BYTES) * PAGE_BYTES
            end = min(high, (start // self.extent + 1) * self.extent) // PAGE_BYTES * PAGE_BYTES
            if start >= end:
                self._cold.remove(low, high)
                return []
            self._warming = (start, end)
            return [Warm(start, end - start, cause)]
        self._end_pause(now)
        if self._reserving or self._refused_until is not None or self._present * self.extent >= self.capacity:
            return []
        index = self._extents.find(Extent.ABSENT)
        if index < 0:
            return []
        self._extents[index] = Extent.RESERVING
        self._reserving += 1
        return [ReserveExtent(index * self.extent, self.extent, cause)]

    def warmed(self, start: int, size: int) -> None:
        """A Warm command is done, or was given up; either way it is not repeated."""
        self._warming = None
        self._cold.remove(start, start + size)

    def give_back(self, now: float, cause: Hashable) -> list[PunchHole]:
        """Extents that were unused for `idle_s`, beyond the margin; the highest go first."""
        spare = (self.free_bytes - max(self.margin, 0)) // self.extent
        due: list[int] = []
        if self._empty and spare > 0:
            for index in range(len(self._extents) - 1, -1, -1):
                if len(due) < spare and self._is_spare(index) and self._idle_since[index] + self.idle_s <= now:
                    due.append(index)
        return self._punch(due, cause)

    def give_back_at(self) -> float | None:
        """When `give_back` has something next; None while only another event can change that it has nothing."""
        if not self._empty or self.free_bytes - self.margin < self.extent:
            return None
        spare = [self._idle_since[index] for index in range(len(self._extents)) if self._is_spare(index)]
        # The same sum as in `give_back`: with another one, rounding could make it due here and not there.
        return min(spare) + self.idle_s if spare else None

    def punched(self, start: int, size: int) -> None:
        """A PunchHole command is done."""
        for index in range(start // self.extent, (start + size) // self.extent):
            if self._extents[index] != Extent.PUNCHING:
                raise ValueError(f"extent {index} was not being given back")
            self._extents[index] = Extent.ABSENT

    def retry_at(self) -> float | None:
        """When growth may be tried again after the machine refused memory; None when it was tried since, or may be now."""
        return self._refused_until

    def _end_pause(self, now: float) -> None:
        if self._refused_until is not None and now >= self._refused_until:
            self._refused_until = None

    def _is_spare(self, index: int) -> bool:
        """Nothing is allocated in it, and nobody is warming it: warming would bring back what was given up."""
        if self._extents[index] != Extent.PRESENT or self._used_in[index]:
            return False
        low = index * self.extent
        return self._warming is None or not (low <= self._warming[0] < low + self.extent)

    def _punch(self, indices: list[int], cause: Hashable) -> list[PunchHole]:
        """Take these present, unused extents out of what is free."""
        runs = _runs(sorted(indices), self.extent, self.span)
        for start, size in runs:
            at = self._ranges.starts.at_most(start)
            assert at is not None, "an unused extent is free"
            self._ranges.take(start, size, at)
            self._cold.remove(start, start + size)
            self.free_bytes -= size
        for index in indices:
            self._extents[index] = Extent.PUNCHING
        self._present -= len(indices)
        self._empty -= len(indices)
        return [PunchHole(start, size, cause) for start, size in runs]

    # --- looking ----------------------------------------------------------------------------------------------------------

    def statistics(self) -> dict[str, int]:
        """Bytes by state, and how fragmented the free ones are."""
        return {
            "capacity_bytes": self.capacity,
            "used_bytes": self.used_bytes,
            "free_bytes": self.free_bytes,
            "cold_bytes": self._cold.total_bytes,
            "reserving_bytes": self._reserving * self.extent,
            "free_ranges": len(self._ranges),
            "largest_free_bytes": self.largest_bytes,
        }

    def free_ranges(self) -> list[tuple[int, int]]:
        """(offset, size) of every free range, in order."""
        return list(self._ranges)

    def validate(self) -> None:
        """Check every invariant. Raises AssertionError. O(n): for tests."""
        self._ranges.validate()
        self._cold.validate(self._ranges)
        self._recent.validate()
        used = [self.extent if state == Extent.PRESENT else 0 for state in self._extents]
        for start, size in self._ranges:
            end = start + size
            for index in range(start // self.extent, (end - 1) // self.extent + 1):
                assert self._extents[index] == Extent.PRESENT, "free bytes are present"
                low = index * self.extent
                used[index] -= min(end, low + self.extent) - max(start, low)
        assert used == self._used_in, "every present byte is either free or used"
        assert sum(size for _, size in self._ranges) == self.free_bytes, "free bytes are counted"
        assert sum(used) == self.used_bytes, "used bytes are counted"
        assert self._present == self._extents.count(Extent.PRESENT), "present extents are counted"
        assert self._reserving == self._extents.count(Extent.RESERVING), "extents on their way are counted"
        assert (self._present + self._reserving) * self.extent <= self.capacity, "no more than the capacity is present"
        empty = sum(state == Extent.PRESENT and not in_use for state, in_use in zip(self._extents, used, strict=True))
        assert self._empty == empty, "empty extents are counted"


def _runs(indices: list[int], extent: int, longest: int) -> list[tuple[int, int]]:
    """Neighbouring extents as (start, size), none longer than `longest` bytes."""
    runs: list[tuple[int, int]] = []
    for index in indices:
        start = index * extent
        if runs and sum(runs[-1]) == start and runs[-1][1] + extent <= max(longest, extent):
            runs[-1] = (runs[-1][0], runs[-1][1] + extent)
        else:
            runs.append((start, extent))
    return runs
