"""Sizes, durations and strangers' texts for people. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def harmless(text: str, most: int = 200) -> str:
    """A text somebody else chose, fit for showing: one line, no control characters, not too long."""
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
