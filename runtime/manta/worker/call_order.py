"""Which calls an actor takes: each caller's in the order it numbered them, once, and only those meant for this life."""

from __future__ import annotations

from enum import Enum

TYPE_CHECKING = False
if TYPE_CHECKING:
    #: A caller: its worker id, and which of its handles.
    Caller = tuple[bytes, int]


class Admission(Enum):
    """What becomes of calls that arrive."""

    #: They are the caller's next: they run.
    NEXT = 1
    #: They came before, wholly or in part: dropped.
    REPEATED = 2
    #: Calls before them are missing: dropped, since the missing ones would come too late.
    GAP = 3
    #: They are meant for another life, or another actor that this process never was.
    OTHER_LIFE = 4


class CallOrder:
    """The next number of every caller. Frames in, verdicts out."""

    __slots__ = ("_actor_id", "_incarnation", "_next")

    def __init__(self, actor_id: bytes, incarnation: int) -> None:
        self._actor_id = actor_id
        self._incarnation = incarnation
        self._next: dict[Caller, int] = {}

    def admit(self, actor_id: bytes, incarnation: int, caller: Caller, first: int, count: int) -> Admission:
        """`count` calls of a caller arrive, numbered from `first`."""
        if incarnation != self._incarnation or actor_id != self._actor_id:
            return Admission.OTHER_LIFE
        expected = self._next.get(caller, 0)
        if first != expected:
            return Admission.GAP if first > expected else Admission.REPEATED
        self._next[caller] = expected + count
        return Admission.NEXT

    def next_of(self, caller: Caller) -> int:
        """The number that caller's next call must have."""
        return self._next.get(caller, 0)

    def forget(self, worker_id: bytes) -> None:
        """A process is dead: it will not call again, and an actor that outlives its callers must not remember them all."""
        for caller in [caller for caller in self._next if caller[0] == worker_id]:
            del self._next[caller]
