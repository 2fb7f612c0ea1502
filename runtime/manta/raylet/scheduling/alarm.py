"""When time alone will change something."""

from __future__ import annotations


class Alarm:
    """The earliest moment at which something is due. Set anew by each event."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        #: When it rings; None for never.
        self.at: float | None = None

    def reset(self) -> None:
        """Nothing is due."""
        self.at = None

    def by(self, at: float) -> None:
        """Ring at `at` or sooner.

        A reason is compared with `now` as the sum it was given here: what is due at `since + wait_s` waits while
        `now < since + wait_s`. The difference `now - since < wait_s` is rounded in another way, and may hold still at the
        very moment of the alarm: it would ring again and again, and nothing would come of it.
        """
        if self.at is None or at < self.at:
            self.at = at
