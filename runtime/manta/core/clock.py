"""Clocks. Decisions take `now` as an argument; whoever calls them holds one of these."""

from __future__ import annotations

import time


class Clock:
    """What tells the time."""

    __slots__ = ()

    def now(self) -> float:
        """Seconds since some moment, never going back. For deadlines, leases and durations."""
        raise NotImplementedError

    def wall(self) -> float:
        """Seconds since 1970, which may jump. For people only."""
        raise NotImplementedError


class SystemClock(Clock):
    """The machine's clocks."""

    __slots__ = ()

    def now(self) -> float:
        """See `Clock.now`. Stands still while the machine sleeps."""
        return time.monotonic()

    def wall(self) -> float:
        """See `Clock.wall`."""
        return time.time()


class ManualClock(Clock):
    """A clock that a test or a simulation turns.

    Args:
        now: What `now()` says at first.
        wall: What `wall()` says at first.
    """

    __slots__ = ("_now", "_wall")

    def __init__(self, now: float = 0.0, wall: float = 1_700_000_000.0) -> None:
        self._now = now
        self._wall = wall

    def now(self) -> float:
        """See `Clock.now`."""
        return self._now

    def wall(self) -> float:
        """See `Clock.wall`."""
        return self._wall

    def advance(self, seconds: float) -> float:
        """Let time pass, on both clocks. Returns `now()`.

        Raises:
            ValueError: `seconds` is negative: `now` never goes back.
        """
        if seconds < 0:
            raise ValueError(f"time does not go back: advance({seconds})")
        self._now += seconds
        self._wall += seconds
        return self._now

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an administrator or a time server does."""
        self._wall += seconds
