"""What the object table remembers: objects, ranges being written, who waits, who has what. Plain records, all with slots."""

from collections.abc import Hashable

from manta.raylet.objects.commands import Client
from manta.raylet.objects.lending import Lent


class Object:
    """A sealed object."""

    __slots__ = ("creator", "doomed", "object_id", "offset", "owner", "pins", "secondary", "size")

    def __init__(
        self, object_id: bytes, offset: int, size: int, creator: Client, owner: Hashable, secondary: bool
    ) -> None:
        self.object_id, self.offset, self.size = object_id, offset, size
        #: Who sealed it, or was the last to hear that it is there when it was to make it: whoever tells its owner.
        self.creator = creator
        self.owner = owner
        #: A copy of one that lives elsewhere: may be evicted.
        self.secondary = secondary
        #: Its owner has no references any more; freed with the last pin.
        self.doomed = False
        #: How often each client has it pinned.
        self.pins: dict[Client, int] = {}


class Unsealed:
    """A range one client is writing one object into."""

    __slots__ = ("object_id", "offset", "owner", "secondary", "size")

    def __init__(self, object_id: bytes, offset: int, size: int, owner: Hashable, secondary: bool) -> None:
        self.object_id, self.offset, self.size, self.owner, self.secondary = object_id, offset, size, owner, secondary


class Create:
    """A creator that waits."""

    __slots__ = ("cause", "client", "deadline", "object_id", "owner", "secondary", "since", "size")

    def __init__(
        self,
        client: Client,
        object_id: bytes,
        size: int,
        owner: Hashable,
        secondary: bool,
        since: float,
        deadline: float,
        cause: Hashable,
    ) -> None:
        self.client, self.object_id, self.size, self.owner, self.secondary = client, object_id, size, owner, secondary
        self.since, self.deadline, self.cause = since, deadline, cause


class Get:
    """A reader that waits."""

    __slots__ = ("cause", "client", "found", "ids", "missing", "request_id")

    def __init__(
        self,
        client: Client,
        request_id: Hashable,
        ids: tuple[bytes, ...],
        missing: set[bytes],
        found: dict[bytes, Object],
        cause: Hashable,
    ) -> None:
        self.client, self.request_id, self.ids, self.cause = client, request_id, ids, cause
        #: Not sealed yet.
        self.missing = missing
        #: All others, pinned for the client once per entry.
        self.found = found


class Process:
    """What one client has."""

    __slots__ = ("awaited", "blocks", "gets", "pinned_bytes", "pins", "recalled", "unsealed", "waiting")

    def __init__(self) -> None:
        self.unsealed: dict[bytes, Unsealed] = {}
        self.pins: dict[bytes, Object] = {}
        #: Bytes of the objects in `pins`, each once.
        self.pinned_bytes = 0
        self.blocks: dict[int, Lent] = {}
        #: It was asked to return its blocks and has not yet.
        self.recalled = False
        self.gets: dict[Hashable, Get] = {}
        #: Entries of all its gets.
        self.awaited = 0
        self.waiting: dict[bytes, Create] = {}
