"""Text for people: colours, tables, sizes, durations, bars. Pure, but for looking at where standard output goes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Final

from manta.core.readable import amount, duration, harmless, size

__all__ = ["Screen", "amount", "bar", "duration", "harmless", "size", "visible", "wants_color"]

_CODES: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


class Screen:
    """Collects lines, in colour or without.

    Args:
        color: Whether to use colours; see `wants_color`.
    """

    def __init__(self, *, color: bool) -> None:
        self._color = color
        self.lines: list[str] = []

    def paint(self, style: str, text: str) -> str:
        """The text in a style: bold, dim, red, green, yellow, cyan."""
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self._color and text else text

    def line(self, text: str = "") -> None:
        """One more line."""
        self.lines.append(text.rstrip())

    def heading(self, text: str, after: str = "") -> None:
        """A section's title, with an empty line before it unless it is the first."""
        if self.lines:
            self.line()
        self.line(self.paint("bold", text) + after)

    def table(self, rows: Iterable[Sequence[str]], *, indent: str = "  ") -> None:
        """Rows in columns as wide as they need to be; the last column is left as it is."""
        texts = [list(row) for row in rows]
        if not texts:
            return
        widths = [max(visible(row[at]) for row in texts) for at in range(len(texts[0]) - 1)]
        for row in texts:
            cells = [cell + " " * (width - visible(cell)) for cell, width in zip(row, widths, strict=False)]
            self.line(indent + "  ".join([*cells, row[-1]]))

    def text(self) -> str:
        """All lines."""
        return "".join(f"{line}\n" for line in self.lines)


def wants_color(choice: str) -> bool:
    """Whether to use colours: "always", "never", or "auto", which means a terminal whose user has not set NO_COLOR."""
    if choice != "auto":
        return choice == "always"
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def visible(text: str) -> int:
    """Characters that take room on the screen."""
    count = len(text)
    at = text.find("\x1b[")
    while at >= 0:
        end = text.find("m", at)
        count -= end - at + 1
        at = text.find("\x1b[", end)
    return count


def bar(parts: Sequence[tuple[str, float]], whole: float, width: int = 30) -> str:
    """A bar of `width` characters: each part in its letter, as long as its share; the rest are dots.

    A part that is not nothing is never invisible, and the bar never grows longer.
    """
    letters = ""
    before = 0.0
    for letter, part in parts:
        if part > 0 and whole > 0:
            before += part
            end = min(width, round(before / whole * width))
            letters += letter * max(end - len(letters), 1 if len(letters) < width else 0)
    return letters.ljust(width, ".")
