"""What the pulls tell their shell to do, and what they are told of needs and troubles. Plain tuples, as in `commands`."""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import Final, NamedTuple

#: The name under which `moving` asks for objects, which is no process.
MOVES: Final = "moves"


class Trouble(Enum):
    """Why a fetch came to nothing."""

    #: The connection or what came over it was broken: refused, reset, stalled, garbage, a wrong size.
    BROKEN = "broken"
    #: The node sends to too many.
    BUSY = "busy"
    #: The node does not have it.
    ABSENT = "absent"
    #: The node has had it, and its owner has freed it.
    FREED = "freed"
    #: Nobody knows that node (yet).
    UNKNOWN = "unknown"
    #: The node is dead.
    DEAD = "dead"


class Need(NamedTuple):
    """An object that lives elsewhere: its bytes, and the nodes that its owner knows to have it."""

    object_id: bytes
    size: int
    sources: tuple[bytes, ...]


class Begin(NamedTuple):
    """Let the ask wait in the table: it pins what is here."""

    client: Hashable
    request_id: Hashable


class Reserve(NamedTuple):
    """Have room made for a copy. Answer with `created`, `exists` or `full`."""

    object_id: bytes
    size: int


class Fetch(NamedTuple):
    """Fetch into the range that was made. Answer with `done`, `failed` or `redirected`, naming the attempt.

    Attributes:
        node_id: From whom.
        direct: It must send by itself, or refuse: it is a detour, or others have failed.
        avoid: Where it must not point to.
    """

    object_id: bytes
    size: int
    node_id: bytes
    attempt: int
    direct: bool
    avoid: tuple[bytes, ...]


class Stop(NamedTuple):
    """End this attempt; its answer is not awaited."""

    object_id: bytes
    attempt: int


class Seal(NamedTuple):
    """The copy is complete."""

    object_id: bytes


class Drop(NamedTuple):
    """The copy will not be made: its range, or the wait for one, is over."""

    object_id: bytes


class Fail(NamedTuple):
    """The ask ends: this object cannot be had. `trouble` is FREED, or what the last source said; `reason` is for people.

    `trouble` is None when the store has no room; the reason then is whatever `full` was given.
    """

    client: Hashable
    request_id: Hashable
    object_id: bytes
    trouble: Trouble | None
    reason: object


Command = Begin | Reserve | Fetch | Stop | Seal | Drop | Fail
