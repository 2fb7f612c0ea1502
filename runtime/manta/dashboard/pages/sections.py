"""What sections have in common: a title with counts, a bound on rows, times. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from manta.core.readable import duration
from manta.dashboard.pages.html import Html, tag

#: Rows of each table.
MOST_ROWS: Final = 50
#: Letters of an id that tell it from others.
SHORT: Final = 8


def section(name: str, title: str, counts: str, *inside: str | None) -> Html:
    """One section with its title."""
    heading = tag("h2", title, " ", tag("span", counts, class_="counts") if counts else None, id=f"{name}-title")
    return tag("section", heading, *inside, id=name, aria_labelledby=f"{name}-title")


def counted(*counts: tuple[int, str]) -> str:
    """`3 alive, 1 dead`; `none` without any."""
    return ", ".join(f"{count} {name}" for count, name in counts if count) or "none"


def clipped(rows: Sequence[Any]) -> Sequence[Any]:
    """As many as a table shows."""
    return rows[:MOST_ROWS]


def ago(unix_ms: int | None, now: float, after: str = "") -> str:
    """How long ago a moment was; nothing for none."""
    return f"{duration(max(0.0, now - unix_ms / 1000))}{after}" if unix_ms else ""
