"""Who leads, and until when this instance may be sure that it does. Pure: records and monotonic time in, moves out.

A Lease says who leads and for how long after its last renewal. Clocks of machines are never compared: whoever wants to follow
counts the time since *it* saw the record change last. Whoever leads counts from when it *sent* its last renewal that arrived: the
record may be as old as that. Between the two lie the writes that may still be under way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Terms:
    """How long things last, in seconds.

    Attributes:
        lease_s: After its last renewal a leader is taken for gone.
        renew_s: Between two renewals.
        sure_s: How long after sending its last renewal a leader may begin writes.
        write_s: The most that one write may take. `sure_s` and this together end before the lease does.
        look_s: Between two looks of an instance that follows.
        ask_s: The most that a look or a renewal may take: short, so that one that hangs leaves time for others.
    """

    lease_s: int = 15
    renew_s: float = 2.0
    sure_s: float = 9.0
    write_s: float = 5.0
    look_s: float = 1.0
    ask_s: float = 2.0

    def __post_init__(self) -> None:
        if not (self.renew_s > 0 and self.look_s > 0 and self.ask_s > 0 and self.write_s > 0):
            raise ValueError(f"no time can be zero or less, got {self}")
        if not (self.renew_s + self.ask_s < self.sure_s and self.sure_s + self.write_s < self.lease_s):
            raise ValueError(f"need renew_s + ask_s < sure_s and sure_s + write_s < lease_s, got {self}")

    @classmethod
    def of(cls, lease_s: int) -> Terms:
        """Terms in the proportions of the usual ones."""
        share = lease_s / 15
        return cls(lease_s, 2.0 * share, 9.0 * share, 5.0 * share, share, 2.0 * share)


@dataclass(frozen=True, slots=True)
class Record:
    """What a Lease says.

    Attributes:
        version: Its resourceVersion: a write of another version is refused.
        holder: Who leads; empty for nobody.
        lease_s: For how long after a renewal.
        renewed: When, by the holder's clock; only ever compared with itself.
        transitions: How often the holder changed.
    """

    version: str
    holder: str
    lease_s: float
    renewed: str
    transitions: int


@dataclass(frozen=True, slots=True)
class Create:
    """There is no Lease: make one that is ours."""


@dataclass(frozen=True, slots=True)
class Take:
    """Write ourselves into the Lease of this version: to renew it, or to follow one who is gone."""

    record: Record
    transitions: int


@dataclass(frozen=True, slots=True)
class Look:
    """Somebody else leads: look again after so many seconds."""

    after_s: float


Move = Create | Take | Look


class Tenure:
    """What one instance knows of who leads.

    Args:
        identity: Of this instance; no two are the same, ever.
        terms: How long things last.
    """

    def __init__(self, identity: str, terms: Terms) -> None:
        self.identity, self.terms = identity, terms
        #: Until when writes may begin; monotonic. In the past: this instance does not lead.
        self.sure_until = float("-inf")
        self._seen: Record | None = None
        self._seen_at = float("-inf")

    def sure(self, now: float) -> bool:
        """Whether this instance leads, and nobody else can."""
        return now < self.sure_until

    def saw(self, record: Record | None, now: float) -> Move:
        """What to do about what the Lease says; None for there is none."""
        if record is None:
            self._seen = None
            return Create()
        before = self._seen
        if before is None or (before.holder, before.renewed, before.transitions) != (
            record.holder,
            record.renewed,
            record.transitions,
        ):
            self._seen_at = now
        self._seen = record
        if record.holder == self.identity:
            # Also after a renewal whose answer was lost, and after a pause so long that we are not sure any more: nobody took it.
            return Take(record, record.transitions)
        self.sure_until = float("-inf")  # whoever is in it, it is not us
        left_s = self._seen_at + record.lease_s - now
        if not record.holder or left_s <= 0:
            return Take(record, record.transitions + 1)
        return Look(min(self.terms.look_s, left_s))

    def wrote(self, record: Record, sent: float) -> None:
        """A Create or Take arrived.

        Args:
            record: What the Lease says now.
            sent: When it was sent.
        """
        self._seen, self._seen_at = record, sent
        self.sure_until = sent + self.terms.sure_s

    def refused(self) -> None:
        """A Create or Take came too late: somebody else wrote. What they wrote has to be read."""
        self.sure_until = float("-inf")

    def resigned(self) -> None:
        """This instance begins no writes any more."""
        self.sure_until = float("-inf")


def read_record(lease: dict[str, Any], fallback_s: float) -> Record:
    """What a Lease object says; whatever is missing or senseless in it is taken for as little as possible.

    Args:
        lease: The object.
        fallback_s: Its duration, where it says none.
    """
    spec = lease.get("spec") or {}
    duration = spec.get("leaseDurationSeconds")
    transitions = spec.get("leaseTransitions")
    return Record(
        version=str(lease["metadata"].get("resourceVersion", "")),
        holder=str(spec.get("holderIdentity") or ""),
        lease_s=float(duration) if isinstance(duration, int) and duration > 0 else fallback_s,
        renewed=str(spec.get("renewTime") or ""),
        transitions=transitions if isinstance(transitions, int) else 0,
    )
