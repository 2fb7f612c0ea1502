"""A point in monotonic time by which something must be over, handed down through calls instead of a timeout per call."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Deadline:
    """A point on the event loop's monotonic clock. Timeouts add up when calls nest; a deadline doesn't.

    Attributes:
        at: Seconds on that clock; infinity for never.
    """

    at: float

    @classmethod
    def after(cls, timeout_s: float | None, now: float) -> Deadline:
        """The deadline `timeout_s` from `now`; None means never."""
        return cls(math.inf if timeout_s is None else now + timeout_s)

    def remaining_s(self, now: float) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - now)

    def expired(self, now: float) -> bool:
        """Whether nothing is left."""
        return now >= self.at

    def earlier(self, other: Deadline) -> Deadline:
        """The one that comes first."""
        return min(self, other)

    def timeout(self) -> asyncio.Timeout:
        """An `async with` block that raises TimeoutError at this deadline."""
        return asyncio.timeout_at(None if math.isinf(self.at) else self.at)


#: No deadline. For waits that a person started and a person ends; never for a remote call.
NEVER = Deadline(math.inf)
