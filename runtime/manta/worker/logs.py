"""A worker's own output: lines go to files, and say whose they are."""

from __future__ import annotations

import errno
import sys

from manta.client.running import running
from manta.core.log_marks import source_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


#: A full disk loses lines. The task that printed them has not failed, and should not because of a log.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class SourceStream:
    """A text stream that writes, before the first line of another task, whose lines follow.

    Nothing is written for tasks that print nothing, and a task that prints pays one comparison per write.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._source = ""
        self._at_line_start = True

    def write(self, text: str) -> int:
        """Write text, after a mark when the source changed at a line's start."""
        if not text:
            return 0
        now = running.get()
        source = actor_name or (now.name if now is not None else "")
        try:
            if source != self._source and source:
                self._source = source
                # What the one before left unfinished is a line of its own: nobody else's name stands before it.
                self._stream.write(source_line(source) if self._at_line_start else "\n" + source_line(source))
            self._at_line_start = text.endswith("\n")
            if not self._at_line_start:
                unfinished.add(self)
            written: int = self._stream.write(text)
        except OSError as full:
            if full.errno not in _NO_ROOM:
                raise
            return len(text)
        return written

    def flush(self) -> None:
        """Flush, if there is room."""
        try:
            self._stream.flush()
        except OSError as full:
            if full.errno not in _NO_ROOM:
                raise

    def writelines(self, lines: Any) -> None:
        """Write several."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Any:
        return iter(self._stream)


#: Streams whose last line had no end when something was written last.
unfinished: set[SourceStream] = set()


def settle() -> None:
    """The worker has a pause: what was begun of a line is written to its file, rather than kept for its end."""
    while unfinished:
        try:
            unfinished.pop().flush()
        except (OSError, ValueError):
            pass  # user code has closed it


#: Of an actor's worker: what its lines are called.
actor_name = ""


def wrap_output() -> None:
    """Mark the lines of this process from now on."""
    sys.stdout = SourceStream(sys.stdout)
    sys.stderr = SourceStream(sys.stderr)
