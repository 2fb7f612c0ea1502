"""Control's log: one JSON object per line, in a file that is turned over before it grows without bound."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any


class EventLog:
    """Events with constant names and keys. A log that can't be written (a full disk) is counted, not fatal.

    Args:
        path: The file; None writes nothing. The one before is `<path>.1`.
        limit_bytes: A file is turned over at this size, so there are at most two of it.
        also: A descriptor that gets each line too; -1 for none.
    """

    def __init__(self, path: Path | None, limit_bytes: int = 16 << 20, also: int = -1) -> None:
        self._path, self._limit, self._also = path, limit_bytes, also
        self._descriptor = -1
        self._size = 0
        #: Lines that could not be written.
        self.lost = 0
        self._open()

    def _open(self) -> None:
        if self._path is None:
            return
        try:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._size = os.fstat(self._descriptor).st_size
        except OSError:
            self._descriptor = -1

    def event(self, what: str, **facts: Any) -> None:
        """Write one event."""
        if self._path is None:
            return
        shown = {key: value.hex() if isinstance(value, bytes) else value for key, value in facts.items()}
        line = json.dumps({"at": round(time.time(), 6), "event": what, **shown}, default=str).encode() + b"\n"
        if self._also >= 0:
            with suppress(OSError):
                os.write(self._also, line)
        try:
            if self._size + len(line) > self._limit:
                self.close()
                os.replace(self._path, f"{self._path}.1")
                self._open()
            self._size += os.write(self._descriptor, line)
        except OSError:
            self.lost += 1

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
