"""Whether a disk takes what control has to write, and how it is told from a disk that is broken."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from manta.control.storage import Shortage
from manta.core.errors import StorageUnwritableError

#: With less than this free nothing new is begun. What ends or changes what there is may use it up, so that a full disk
#: is no reason to lose what was decided.
RESERVE_BYTES = 1 << 20
#: With this much free all is well again; more than the reserve, as it should not come and go.
ENOUGH_BYTES = 2 * RESERVE_BYTES
#: Looks at the disk are so far apart at least, seconds.
PERIOD_S = 0.2

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
#: SQLite's codes of errors whose cause only the disk can say.
_UNCLEAR = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)


class Disk:
    """The disk of a store, looked at now and then, by one thread.

    Args:
        path: The store's file.

    Attributes:
        free_bytes: What was free at the last look; 0 before the first.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.free_bytes = 0
        self._next = 0.0

    def look(self, before: Shortage | None, now: float) -> Shortage | None:
        """What to think of it after a look; `before` itself where nothing is new, also as it is too early for a look.

        Args:
            before: What was thought of it. That writing failed (`stuck`) is over when this is called: writing succeeded.
            now: Monotonic seconds.
        """
        stuck = before is not None and before.stuck
        if now < self._next and not stuck:
            return before
        self._next = now + PERIOD_S
        reason = self.reason(ENOUGH_BYTES if before is not None else RESERVE_BYTES)
        if not reason:
            return None
        if before is not None and not stuck:
            return before
        return Shortage(StorageUnwritableError(str(self._path), reason, self.free_bytes), stuck=False)

    def reason(self, least_bytes: int) -> str:
        """Why nothing new should be written; empty if there is room for so much."""
        try:
            seen = os.statvfs(self._path)
        except OSError:
            # Whether it can be written shows when it is.
            return ""
        free = seen.f_bfree if os.geteuid() == 0 else seen.f_bavail
        self.free_bytes = free * seen.f_frsize
        if seen.f_flag & os.ST_RDONLY:
            return "its file system is read-only"
        # A file system without bounds says that it has no blocks at all.
        return "its disk is full" if seen.f_blocks and self.free_bytes < least_bytes else ""


def unwritable(path: Path, error: BaseException, disk: Disk) -> StorageUnwritableError | None:
    """What a failed write means; None if it is not about room or permission to write.

    Args:
        path: The store's file.
        error: SQLite's or the system's.
        disk: Where it is.
    """
    reason = _reason(path, error)
    if not reason:
        return None
    disk.reason(0)
    return StorageUnwritableError(str(path), reason, disk.free_bytes)


def _reason(path: Path, error: BaseException) -> str:
    if isinstance(error, OSError):
        return _words(error)
    # The lower byte is the kind, the others say where it was met.
    kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if kind == sqlite3.SQLITE_FULL:
        return "its disk is full"
    if kind == sqlite3.SQLITE_READONLY:
        return "it is read-only"
    return _tried(path) if kind in _UNCLEAR else ""


def _tried(path: Path) -> str:
    """What the system says to a small file beside the store: SQLite does not hand on its reasons."""
    beside = f"{path}.room"
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, bytes(1 << 16))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            with suppress(OSError):
                os.unlink(beside)
    except OSError as error:
        return _words(error)
    return ""


def _words(error: OSError) -> str:
    if error.errno not in _NO_ROOM:
        return ""
    return {errno.ENOSPC: "its disk is full", errno.EDQUOT: "its disk quota is used up"}.get(
        error.errno, "its file system is read-only"
    )
