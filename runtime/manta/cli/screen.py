"""Text for people: colours, tables, sizes, durations, bars. Pure, but for looking at where standard output goes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Final

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
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


def harmless(text: str, most: int = 200) -> str:
    """A text somebody else chose, fit for a terminal: one line, no control characters, not too long."""
    clean = "".join(letter if letter.isprintable() else "?" for letter in text)
    return clean if len(clean) <= most else clean[: most - 1] + "…"


def size(count: float) -> str:
    """Bytes: `0 B`, `9.5 MiB`."""
    for unit in _UNITS:
        if abs(count) < 1024 or unit == _UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError


def duration(seconds: float) -> str:
    """`12 s`, `5 min 3 s`, `2 h 5 min`, `3 d 4 h`."""
    whole = int(seconds)
    for unit, length, smaller, small in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= length:
            rest = whole % length // small
            return f"{whole // length} {unit} {rest} {smaller}" if rest else f"{whole // length} {unit}"
    return f"{whole} s"


def amount(number: float) -> str:
    """An amount of a resource: `2`, `0.5`, `1000`."""
    return f"{number:.4f}".rstrip("0").rstrip(".")


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
