"""Sizes every party of the arena agrees on. All are bytes."""

from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20

#: Every object starts at a multiple of this and occupies a multiple of it: a cache line, and what numpy and Arrow ask
#: for.
ALIGNMENT: Final = 64

#: The kernel's unit. Everything that reserves, warms or gives back memory is a multiple of it.
PAGE_BYTES: Final = 4096

#: The step in which an arena grows and shrinks. Large enough that bookkeeping is small, small enough that reserving one
#: (30 ms for pages the machine has used before, ten times that for others) does not stall a creator for long.
EXTENT_BYTES: Final = 64 * MIB

#: What a process is lent at most to create objects in by itself.
MAX_BLOCK_BYTES: Final = 32 * MIB

#: Less than this is not worth a message.
MIN_BLOCK_BYTES: Final = MIB


def aligned(size_bytes: int) -> int:
    """Bytes an object of `size_bytes` occupies in the arena; an empty one still has a place of its own."""
    return (size_bytes + 63) & -64 or 64


def extent_bytes(capacity_bytes: int) -> int:
    """The growth step of an arena of that capacity: smaller for small ones, so that they too can shrink.

    Args:
        capacity_bytes: At least one MiB.

    Returns:
        A power of two from 1 MiB to `EXTENT_BYTES`, at most an eighth of the capacity where that is possible.
    """
    step = EXTENT_BYTES
    while step > MIB and step * 8 > capacity_bytes:
        step //= 2
    return step
