"""What a process wrote before it died, for the text of its death."""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: The end of a traceback, or of what the interpreter says when it cannot even begin.
_LINES: Final = 12
_BYTES: Final = 2000


def last_words(path: Path, since: int = 0) -> str:
    """The last lines of a file, as the end of a sentence; "" when there are none.

    Args:
        path: What the process wrote to.
        since: Bytes that were in it before.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(since, path.stat().st_size - _BYTES))
            text = file.read(_BYTES).decode(errors="replace")
    except OSError:
        return ""
    lines = [line for line in text.splitlines() if line.strip()]
    return "; it wrote:\n" + "\n".join(lines[-_LINES:]) if lines else ""
