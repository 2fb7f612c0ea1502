"""How many bytes of objects came from other nodes and went to them, those of transfers under way included.

Each transfer has a count of its own, which its thread alone raises; here they are added up when somebody asks.
"""

from __future__ import annotations

from typing import Final, Protocol

IN: Final = "in"
OUT: Final = "out"


class Moved(Protocol):
    """A transfer, as far as it counts here."""

    #: Bytes so far; never fewer than before.
    have: int


class Sent:
    """What has been sent of an object."""

    __slots__ = ("have",)

    def __init__(self) -> None:
        self.have = 0


class Traffic:
    """One node's."""

    def __init__(self) -> None:
        self._over = {IN: 0, OUT: 0}
        self._moving: dict[Moved, str] = {}

    def begun(self, direction: str, moved: Moved) -> None:
        """A transfer goes that way."""
        self._moving[moved] = direction

    def ended(self, moved: Moved) -> None:
        """Its count rises no more; one that had not begun moved nothing."""
        direction = self._moving.pop(moved, None)
        if direction is not None:
            self._over[direction] += moved.have

    def totals(self) -> dict[str, int]:
        """Bytes by direction; never fewer than before."""
        found = dict(self._over)
        for moved, direction in self._moving.items():
            found[direction] += moved.have
        return found
