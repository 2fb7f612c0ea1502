"""Reading a job's log, where the job itself may have put something else: no link is followed, no pipe's other end waited for."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple


class Part(NamedTuple):
    """Part of a log.

    Attributes:
        data: Its bytes; none when there is no plain file.
        at: Their place in it.
        size: Bytes that it had when it was read.
    """

    data: bytes
    at: int
    size: int

    @property
    def more(self) -> bool:
        """There is more after it."""
        return self.at + len(self.data) < self.size


def tail(path: Path, most: int) -> str:
    """The end of a log, as text; empty when there is no plain file.

    Args:
        path: The file.
        most: Bytes at most.
    """
    return read(path, -most, most).data.decode(errors="replace")


def read(path: Path, at: int, most: int) -> Part:
    """Bytes of a log.

    Args:
        path: The file.
        at: From where on; negative counts from the end, and begins at the beginning of a shorter one.
        most: Bytes at most.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return Part(b"", max(0, at), 0)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return Part(b"", max(0, at), 0)
        begin = at if at >= 0 else max(0, found.st_size + at)
        return Part(os.pread(fd, most, begin), begin, found.st_size)
    except OSError:
        return Part(b"", max(0, at), 0)
    finally:
        os.close(fd)
