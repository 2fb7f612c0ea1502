"""How something new takes the place of something old that many know: roots, tokens.

At any time pods may have the Secrets of now, or those of two minutes ago. So the new comes in two phases:

1. It is known beside the old, and nobody shows it yet: certificates are signed by the old, the old tokens are shown.
2. It is shown, and the old is still taken.

Then the old goes. A phase's time begins when the Secrets that pods mount are seen to be as the phase wants them: an operator that
was away between two writes loses time, and nobody's trust.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long the phases take. Each must be longer than a kubelet needs to bring a changed Secret into its pods: two minutes.

    Attributes:
        asked_s: Of each phase of a rotation that somebody asked for, by annotation or by another Secret of theirs.
        planned_s: Of each phase of one that is due by time: slow, so that drivers with a copy of the authority notice.
    """

    asked_s: float = 3600.0
    planned_s: float = 30 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn(Generic[T]):
    """What is valid, and how far its rotation is.

    Attributes:
        now: What is shown.
        coming: In the first phase: what is taken, and will be shown.
        going: In the second phase: what is taken, and was shown.
        until: When the phase ends, in seconds since 1970; 0 if that is not known yet, or none is under way.
        pace_s: How long each phase takes.
        answered: The last word by which a rotation was asked for.
        given: Whether the newest is the user's own.
    """

    now: T
    coming: T | None = None
    going: T | None = None
    until: float = 0.0
    pace_s: float = 0.0
    answered: str = ""
    given: bool = False

    @property
    def resting(self) -> bool:
        """Whether nothing is under way."""
        return self.coming is None and self.going is None

    @property
    def newest(self) -> T:
        """What will be shown when nothing is under way any more."""
        return self.now if self.coming is None else self.coming

    @property
    def taken(self) -> tuple[T, ...]:
        """All that is valid: first what is shown."""
        return tuple(one for one in (self.now, self.coming, self.going) if one is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish(Generic[T]):
    """What is wanted of a turn.

    Attributes:
        asked: The word by which a rotation is asked for; another than the last begins one.
        given: The user's own; None if the user brings none.
        keep: Whether nothing new may begin: the user means to bring something, and has not (yet) done so rightly.
        due: Whether what is shown gets too old.
    """

    asked: str = ""
    given: T | None = None
    keep: bool = False
    due: bool = False


def step(
    turn: Turn[T], wish: Wish[T], *, published: bool, now: float, make: Callable[[], T], schedule: Schedule
) -> Turn[T]:
    """The turn after this moment; the same if nothing is to be done.

    Args:
        turn: As it is.
        wish: What is wanted of it.
        published: Whether the Secrets that pods mount are as the turn wants them.
        now: Seconds since 1970.
        make: Makes a new one.
        schedule: How long phases take.
    """
    wanted = _wanted(turn, wish)
    if turn.resting:
        return _begun(turn, wish, wanted, make, schedule)
    if wanted == "now":
        # The next one is for somebody who is in a hurry: this one ends as soon as it may.
        turn = replace(turn, pace_s=min(turn.pace_s, schedule.asked_s))
        if turn.until:
            turn = replace(turn, until=min(turn.until, now + turn.pace_s))
    if not published:
        return turn
    if not turn.until:
        return replace(turn, until=now + turn.pace_s)
    if now < turn.until:
        return turn
    if turn.coming is not None:
        return replace(turn, now=turn.coming, coming=None, going=turn.now, until=0.0)
    return replace(turn, going=None, until=0.0, pace_s=0.0)


def _wanted(turn: Turn[T], wish: Wish[T]) -> str:
    """Whether another one than the newest is wanted: `now`, `sometime`, or not."""
    if wish.keep:
        return ""
    if wish.given is not None:
        return "now" if wish.given != turn.newest else ""
    if turn.given or (wish.asked and wish.asked != turn.answered):
        return "now"
    return "sometime" if wish.due else ""


def _begun(turn: Turn[T], wish: Wish[T], wanted: str, make: Callable[[], T], schedule: Schedule) -> Turn[T]:
    # What the user brings is changed there. A word that was said meanwhile is not remembered for later.
    answered = turn.answered if wish.keep else wish.asked or turn.answered
    if not wanted:
        return replace(turn, answered=answered) if wish.given is not None else turn
    return Turn(
        now=turn.now,
        coming=wish.given if wish.given is not None else make(),
        pace_s=schedule.asked_s if wanted == "now" else schedule.planned_s,
        answered=answered,
        given=wish.given is not None,
    )
