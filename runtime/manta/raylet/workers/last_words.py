"""What a process wrote before it died, for the text of its death."""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: The end of a traceback, or of what the interpreter says when it cannot even begin.
_LINES: Final = 12
_BYTES: Final = 2000


#: Where a process stood that was ended by SIGABRT: a traceback with the innermost frame first.
STACK_LINES: Final = 40


def last_words(path: Path, since: int = 0, *, lines: int = _LINES) -> str:
    """The last lines of a file, as the end of a sentence; "" when there are none.

    Args:
        path: What the process wrote to.
        since: Bytes that were in it before.
        lines: So many at most.
    """
    most = _BYTES * lines // _LINES
    try:
        with path.open("rb") as file:
            file.seek(max(since, path.stat().st_size - most))
            text = file.read(most).decode(errors="replace")
    except OSError:
        return ""
    said = [line for line in text.splitlines() if line.strip()]
    return "; it wrote:\n" + "\n".join(said[-lines:]) if said else ""
