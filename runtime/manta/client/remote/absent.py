"""What drivers outside of the cluster do not have."""

from __future__ import annotations

from typing import Any


class Reporter:
    """Takes the place of `reporting.Reporter`: there is no raylet to tell of a driver's own metrics."""

    #: Never wants to be asked to send.
    dirty = True

    def __init__(self) -> None:
        self.sources: list[Any] = []
