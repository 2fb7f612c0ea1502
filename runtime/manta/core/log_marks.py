"""How a worker tells, within its own output, whose lines follow: one line that only the reader of the log files sees."""

from __future__ import annotations

from typing import Final

#: Begins a mark. The byte 0x01 does not occur in what people print; a line that holds it elsewhere is an ordinary line.
SOURCE_MARK: Final = "\x01manta:source:"


def source_line(name: str) -> str:
    """The mark that says "from here on, this is `name`": written to stdout and stderr at a line's start before the first output.

    Args:
        name: Function, class or an actor's own text; control characters in it are replaced, and it is cut at 200 characters.
    """
    clean = "".join(char if char.isprintable() else "?" for char in name[:200])
    return f"{SOURCE_MARK}{clean}\n"


def source_of(line: str) -> str | None:
    """The name in a mark, without its end of line; None for an ordinary line."""
    return line[len(SOURCE_MARK) :] if line.startswith(SOURCE_MARK) else None
