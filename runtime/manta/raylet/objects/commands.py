"""What the object table tells its shell to do, and the allocator tells the table.

Tuples with names: one is made for nearly every message, and a tuple costs a fifth of a frozen dataclass.

`cause` is what the event that led here carried: the id of the request that this answers, or that set it off.
"""

from collections.abc import Hashable
from typing import NamedTuple

#: A process that joined the store: anything hashable, the same for its whole life and never used again.
Client = Hashable


class ReserveExtent(NamedTuple):
    """Allocate the pages of a range. Answer with `extent_reserved` or `extent_refused`, after every command before
    it.
    """

    start: int
    size: int
    cause: Hashable


class PunchHole(NamedTuple):
    """Give the pages of a range back to the machine. Answer with `hole_punched`."""

    start: int
    size: int
    cause: Hashable


class Warm(NamedTuple):
    """Touch the pages of a reserved range without changing a byte; somebody may be writing there. Answer with
    `warmed`.
    """

    start: int
    size: int
    cause: Hashable


class Created(NamedTuple):
    """Answer to `create`: the range is the client's to write, until it seals, aborts or dies."""

    client: Client
    object_id: bytes
    offset: int
    size: int
    cause: Hashable


class AlreadyExists(NamedTuple):
    """Answer to `create`: the object is there, sealed; there is nothing to write."""

    client: Client
    object_id: bytes
    cause: Hashable


class Holder(NamedTuple):
    """Who keeps how much: bytes of objects it owns, of objects it has pinned, and of blocks lent to it."""

    who: Hashable
    owned_bytes: int
    owned_objects: int
    pinned_bytes: int
    block_bytes: int


class StoreFull(NamedTuple):
    """Answer to `create`: there is no room, and there was none for `waited_s`.

    Attributes:
        size: Bytes asked for.
        capacity: Bytes the store may ever hold.
        used: Bytes taken.
        largest: Bytes of the largest free range; less than `capacity - used` when objects lie between.
        holders: The largest first.
        reason: One sentence: larger than the store, waited in vain, the machine has no memory, too many waiting.
    """

    client: Client
    object_id: bytes
    size: int
    capacity: int
    used: int
    largest: int
    holders: tuple[Holder, ...]
    waited_s: float
    reason: str
    cause: Hashable

    def text(self) -> str:
        """For the user: what was asked for, what there is, who holds it."""
        mib = 1 << 20
        lines = [
            (
                f"{self.size / mib:.1f} MiB for object {self.object_id.hex()} do not fit: {self.reason}. "
                f"{self.used / mib:.1f} of {self.capacity / mib:.1f} MiB are in use, "
                f"{self.largest / mib:.1f} are free in one piece."
            )
        ]
        for holder in self.holders:
            who = holder.who.hex() if isinstance(holder.who, bytes) else holder.who
            lines.append(
                f"  {who}: owns {holder.owned_bytes / mib:.1f} MiB in {holder.owned_objects} objects, reads "
                f"{holder.pinned_bytes / mib:.1f} MiB, has {holder.block_bytes / mib:.1f} MiB lent"
            )
        return "\n".join(lines)


class Ready(NamedTuple):
    """Answer to `get`: where each object is, in the order asked; each entry is pinned once for the client."""

    client: Client
    request_id: Hashable
    places: tuple[tuple[bytes, int, int], ...]
    cause: Hashable


class Gone(NamedTuple):
    """Answer to `get`: its owner has freed this object. Nothing stays pinned for the request."""

    client: Client
    request_id: Hashable
    object_id: bytes
    cause: Hashable


class BlockLent(NamedTuple):
    """Answer to `lend`."""

    client: Client
    block_id: int
    offset: int
    size: int
    cause: Hashable


class BlockRefused(NamedTuple):
    """Answer to `lend`: the store is too full to lend; create objects one by one."""

    client: Client
    cause: Hashable


class RecallBlocks(NamedTuple):
    """Ask a client to return its blocks as soon as nobody writes in them."""

    client: Client
    cause: Hashable


class Evicted(NamedTuple):
    """A secondary copy is gone from this node; whoever keeps locations wants to know."""

    object_id: bytes
    size: int
    cause: Hashable


class Left(NamedTuple):
    """Tell a client that a process died which had made these objects for it: it may have been told of them or not."""

    owner: Client
    creator: Client
    ids: tuple[bytes, ...]
    cause: Hashable


class Rejected(NamedTuple):
    """The client said something that cannot be: a bug in it, or an unfortunate crossing. Nothing was changed."""

    client: Client
    object_id: bytes
    reason: str
    cause: Hashable


Command = (
    ReserveExtent
    | PunchHole
    | Warm
    | Created
    | AlreadyExists
    | StoreFull
    | Ready
    | Gone
    | BlockLent
    | BlockRefused
    | RecallBlocks
    | Evicted
    | Left
    | Rejected
)

ArenaCommand = ReserveExtent | PunchHole | Warm


class ExtentReserved(NamedTuple):
    """The pages of these extents are there."""

    start: int
    size: int
    cause: Hashable


class ExtentRefused(NamedTuple):
    """The machine has no memory for these extents; `reason` is for people."""

    start: int
    size: int
    reason: str
    cause: Hashable


class HolePunched(NamedTuple):
    """These pages were given back."""

    start: int
    size: int
    cause: Hashable


class RangeWarmed(NamedTuple):
    """A Warm command is over, whether or not it touched everything."""

    start: int
    size: int
    cause: Hashable


#: What became of an ArenaCommand.
ArenaEvent = ExtentReserved | ExtentRefused | HolePunched | RangeWarmed
