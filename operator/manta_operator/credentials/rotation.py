"""How a new authority, or new tokens, take the place of the old ones."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long the phases take. Each must be longer than a kubelet needs to bring a changed Secret into its pods, two minutes at most.

    Attributes:
        asked_s: Of each phase of a rotation that somebody asked for, by annotation or by another Secret of theirs.
        planned_s: Of each phase of one that is due by time: slow, so that drivers with a copy of the authority notice.
    """

    asked_s: float = 3600.0
    planned_s: float = 30 * 86400.0
