"""Creating objects inside a borrowed range, without asking the raylet for each.

A process that puts 1 MB objects thousands of times a second cannot wait for an answer each time. It borrows a
*block*, places objects in it one after the other by itself and reports each when it is sealed, in one-way messages.
What is left goes back with the block.

Pure: no memory is touched here and no message sent. Not thread-safe: the caller's lock covers it, as it covers the
order of the reports.
"""

from manta.shm.layout import MAX_BLOCK_BYTES, MIN_BLOCK_BYTES, aligned

#: At most this share of a block goes to one object: a larger one would leave too much of the block unused.
_LARGEST_SHARE = 4


class Block:
    """One lent range, filled from its start.

    Attributes:
        block_id: What the raylet calls it.
        offset: Where it starts in the arena.
        size: Its bytes.
        unsealed: Objects placed and neither sealed nor aborted. While there are any, the block cannot be returned.
        retired: Nothing more is placed here.
    """

    __slots__ = ("_end", "_next", "block_id", "offset", "retired", "size", "unsealed")

    def __init__(self, block_id: int, offset: int, size: int) -> None:
        self.block_id, self.offset, self.size = block_id, offset, size
        self._next, self._end = offset, offset + size
        self.unsealed = 0
        self.retired = False

    @property
    def left(self) -> int:
        """Bytes that can still be placed."""
        return 0 if self.retired else self._end - self._next

    def place(self, size: int) -> int | None:
        """The offset of room for an object of `size` bytes, or None when this block has none."""
        start = self._next
        after = start + ((size + 63) & -64 or 64)  # `aligned`, written out: this runs for every put
        if after > self._end or self.retired:
            return None
        self._next = after
        self.unsealed += 1
        return start

    def sealed(self) -> None:
        """An object placed here was sealed; the caller reports it."""
        self.unsealed -= 1

    def aborted(self, offset: int, size: int) -> None:
        """An object placed here will not be written. The last one's room is used again, another's goes back at the end."""
        self.unsealed -= 1
        if offset + aligned(size) == self._next:
            self._next = offset

    @property
    def returnable(self) -> bool:
        """Retired, and nobody writes in it any more."""
        return self.retired and not self.unsealed


class Blocks:
    """The blocks one process holds: the one it fills, the next one, and those whose last objects are being written.

    The caller asks `place`; when that is None it asks the raylet for the one object, and when `wanted` says so it
    also asks for a block, whose answer goes to `lent` or `refused`. After `place`, `sealed`, `aborted` and `recall`
    it returns what `to_return` lists.
    """

    __slots__ = ("_by_id", "_current", "_next", "_refused_at", "_want", "asked")

    #: After a refusal the store is not asked again for this long: it was tight.
    RETRY_S = 0.2

    def __init__(self) -> None:
        self._by_id: dict[int, Block] = {}
        self._current: Block | None = None
        self._next: Block | None = None
        #: A block was asked for, and the answer has not been heard.
        self.asked = False
        self._refused_at: float | None = None
        #: What to ask for: doubled with every block that was used up, as far as the raylet lends.
        self._want = 8 * MIN_BLOCK_BYTES

    def place(self, size: int) -> tuple[int, int] | None:
        """Room for an object of `size` bytes.

        Returns:
            The block's id and the object's offset; None when it belongs elsewhere: too large, or no block has room.
        """
        block = self._current
        if block is None or size * _LARGEST_SHARE > block.size:
            return None
        offset = block.place(size)
        if offset is None:
            block.retired = True
            self._current, self._next = self._next, None
            block = self._current
            if block is None or size * _LARGEST_SHARE > block.size:
                return None
            offset = block.place(size)
            if offset is None:  # pragma: no cover - a fresh block has room for a quarter of it
                return None
        return block.block_id, offset

    def wanted(self, size: int, now: float) -> int:
        """Bytes of a block to ask for now, before or after placing an object of `size` bytes; 0 for none.

        One request is out at a time. The next block is asked for when the current one is half used, so that its
        answer is there before it is needed.
        """
        if self.asked or self._next is not None or size * _LARGEST_SHARE > MAX_BLOCK_BYTES:
            return 0
        if self._refused_at is not None and now - self._refused_at < self.RETRY_S:
            return 0
        current = self._current
        if current is not None and current.left * 2 > current.size and size * _LARGEST_SHARE <= current.size:
            return 0
        self.asked = True
        while self._want < size * _LARGEST_SHARE:
            self._want *= 2
        want = self._want
        self._want = min(self._want * 2, MAX_BLOCK_BYTES)
        return want

    def lent(self, block_id: int, offset: int, size: int) -> None:
        """The raylet answered with a block."""
        self.asked, self._refused_at = False, None
        block = self._by_id[block_id] = Block(block_id, offset, size)
        if self._current is None:
            self._current = block
        else:
            self._next = block

    def refused(self, now: float) -> None:
        """The raylet lends none: the store is tight, or it is gone."""
        self.asked, self._refused_at = False, now
        self._want = 8 * MIN_BLOCK_BYTES

    def sealed(self, block_id: int) -> None:
        """An object in that block was sealed; the caller reports it."""
        self._by_id[block_id].sealed()

    def aborted(self, block_id: int, offset: int, size: int) -> None:
        """An object in that block will not be written."""
        self._by_id[block_id].aborted(offset, size)

    def recall(self, now: float) -> None:
        """The store is tight: place nothing more in any block, and ask for none for a while."""
        for block in self._by_id.values():
            block.retired = True
        self._current = self._next = None
        self._refused_at = now
        self._want = 8 * MIN_BLOCK_BYTES

    def to_return(self) -> list[int]:
        """Ids of blocks to return now; each is named once."""
        done = [block_id for block_id, block in self._by_id.items() if block.returnable]
        for block_id in done:
            del self._by_id[block_id]
        return done
