"""What happened in the store, for people: totals since the start, and the latest events by object."""

from collections import deque
from collections.abc import Hashable
from typing import Final

from manta.raylet.objects.commands import Client, Rejected

#: Events kept.
_EVENTS: Final = 4096

#: What is counted.
_TOTALS: Final = ("created", "sealed", "freed", "evicted", "full", "rejected", "waited", "lent")


class Journal:
    """See the module.

    Attributes:
        totals: How often each thing happened; whoever does it counts it.
    """

    __slots__ = ("_events", "totals")

    def __init__(self) -> None:
        self.totals = dict.fromkeys(_TOTALS, 0)
        self._events: deque[tuple[float, str, bytes, Hashable, Hashable]] = deque(maxlen=_EVENTS)

    def note(self, now: float, what: str, object_id: bytes, client: Hashable, cause: Hashable) -> None:
        """Something happened to an object, or to a client when the id is empty."""
        self._events.append((now, what, object_id, client, cause))

    def rejected(self, client: Client, object_id: bytes, reason: str, now: float, cause: Hashable) -> Rejected:
        """The answer to what a client may not ask for, noted and counted."""
        self.totals["rejected"] += 1
        self.note(now, "rejected", object_id, client, cause)
        return Rejected(client, object_id, reason, cause)

    def story(self, object_id: bytes) -> list[tuple[float, str, Hashable, Hashable]]:
        """What happened to an object, as far as it is remembered: (time, what, client, cause), oldest first."""
        return [(when, what, client, cause) for when, what, about, client, cause in self._events if about == object_id]
