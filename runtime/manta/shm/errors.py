"""What can go wrong with a node's memory, named after whose doing it is.

The errors users see (`ObjectStoreFullError`) are made from these where a call ends; see `manta.core.errors`.
"""


class ArenaError(Exception):
    """Root of this module's errors."""

    #: Stable name for wires and logs.
    code = "ARENA"


class ReservationError(ArenaError):
    """The machine or the pod's memory limit has no room for a part of the arena.

    Attributes:
        size_bytes: What was asked for.
        available_bytes: What could be had, as far as that is known; else None.
        reason: One sentence.
    """

    code = "ARENA_RESERVATION"

    def __init__(self, size_bytes: int, available_bytes: int | None, reason: str) -> None:
        self.size_bytes, self.available_bytes, self.reason = size_bytes, available_bytes, reason
        super().__init__(size_bytes, available_bytes, reason)

    def __str__(self) -> str:
        known = "" if self.available_bytes is None else f" ({self.available_bytes} bytes are available)"
        return f"cannot reserve {self.size_bytes} bytes of shared memory: {self.reason}{known}"


class MappingError(ArenaError):
    """A process cannot map the arena.

    Attributes:
        size_bytes: What it tried to map.
        reason: One sentence, with what would be right.
    """

    code = "ARENA_MAPPING"

    def __init__(self, size_bytes: int, reason: str) -> None:
        self.size_bytes, self.reason = size_bytes, reason
        super().__init__(size_bytes, reason)

    def __str__(self) -> str:
        return f"cannot map an arena of {self.size_bytes} bytes: {self.reason}"


class ArenaClosedError(ArenaError):
    """A view was asked of an arena this process has closed, or has only inherited by fork.

    Attributes:
        reason: One sentence, with what would be right.
    """

    code = "ARENA_CLOSED"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
