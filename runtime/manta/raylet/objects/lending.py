"""Blocks lent to clients: how large they may be, and which parts of one are objects."""

from bisect import bisect_right
from typing import Final

from manta.shm.layout import MAX_BLOCK_BYTES, MIN_BLOCK_BYTES, PAGE_BYTES, aligned

#: No block is lent when more than this part of the store is used: what is left is for those who ask for each object.
_TIGHT: Final = 0.8

#: All blocks together, as far as nothing is sealed in them yet, may be this part of the store; one block a smaller one.
_ALL_SHARE: Final = 4
_ONE_SHARE: Final = 16


def block_bytes(wanted: int, capacity: int, used: int, lent: int) -> int:
    """How much to lend to a client.

    Args:
        wanted: What it asks for.
        capacity: Bytes of the store.
        used: Bytes taken, blocks included.
        lent: Bytes of blocks in which nothing is sealed yet.

    Returns:
        Whole pages, at least `MIN_BLOCK_BYTES`; 0 for none.
    """
    if used > capacity * _TIGHT:
        return 0
    room = min(wanted, MAX_BLOCK_BYTES, capacity // _ONE_SHARE, capacity // _ALL_SHARE - lent)
    room -= room % PAGE_BYTES
    return room if room >= MIN_BLOCK_BYTES else 0


class Lent:
    """One block, as the table knows it.

    Attributes:
        offset: Where it starts.
        size: Its bytes.
        free_bytes: Bytes in which nothing was sealed; they go back with the block.
    """

    __slots__ = ("_ends", "_starts", "free_bytes", "offset", "size")

    def __init__(self, offset: int, size: int) -> None:
        self.offset, self.size, self.free_bytes = offset, size, size
        #: Parts that were ever sealed, in order; neighbours are one part. A sealed object that was freed again is not the
        #: block's any more. Filled from its start, a block mostly has one.
        self._starts: list[int] = []
        self._ends: list[int] = []

    def take(self, offset: int, size: int) -> bool:
        """An object of `size` bytes was sealed at `offset`; False when that is not a free part of this block."""
        end = offset + aligned(size)
        if size < 0 or offset % 64 or offset < self.offset or end > self.offset + self.size:
            return False
        at = bisect_right(self._starts, offset)
        if (at and self._ends[at - 1] > offset) or (at < len(self._starts) and self._starts[at] < end):
            return False
        self.free_bytes -= end - offset
        joins_next = at < len(self._starts) and self._starts[at] == end
        if at and self._ends[at - 1] == offset:
            self._ends[at - 1] = self._ends.pop(at) if joins_next else end
            if joins_next:
                del self._starts[at]
        elif joins_next:
            self._starts[at] = offset
        else:
            self._starts.insert(at, offset)
            self._ends.insert(at, end)
        return True

    def free_parts(self) -> list[tuple[int, int]]:
        """(offset, size) of the parts in which nothing was sealed, in order."""
        edges = [self.offset, *(edge for part in zip(self._starts, self._ends, strict=True) for edge in part)]
        edges.append(self.offset + self.size)
        return [(low, high - low) for low, high in zip(edges[::2], edges[1::2], strict=True) if low < high]
