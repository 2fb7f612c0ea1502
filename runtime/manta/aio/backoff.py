"""How long to wait before trying again: a pure function of the attempt and of injected randomness."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that grow by a factor up to a cap, spread so that many callers don't come back at once.

    Attributes:
        first_s: Delay before the second attempt, seconds.
        factor: Growth per attempt, at least 1.
        cap_s: No delay is longer than this.
        jitter: Share of each delay that is random, 0 (none) to 1 (anything from 0 to the delay).
    """

    first_s: float = 0.05
    factor: float = 2.0
    cap_s: float = 5.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        if not (self.first_s >= 0 and self.factor >= 1 and self.cap_s >= self.first_s and 0 <= self.jitter <= 1):
            raise ValueError(f"need 0 <= first_s <= cap_s, factor >= 1 and 0 <= jitter <= 1, got {self}")

    def delay_s(self, attempt: int, unit: float) -> float:
        """Seconds to wait after a failed attempt.

        Args:
            attempt: Failures so far minus one: 0 after the first.
            unit: Randomness in [0, 1), drawn by the caller; 0 gives the longest delay.
        """
        # Beyond 64 doublings the cap has long been reached; the power itself would overflow.
        full = min(self.cap_s, self.first_s * self.factor ** min(attempt, 64))
        return full * (1.0 - self.jitter * unit)
