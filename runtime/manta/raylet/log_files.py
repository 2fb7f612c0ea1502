"""The node's folder of logs, read for people elsewhere. Nothing outside of it is ever read, and a piece at a time."""

from __future__ import annotations

import fnmatch
import os
import stat
from pathlib import Path
from typing import ClassVar, Final

from manta.core.errors import MantaError
from manta.rpc.v1 import state_pb2 as pb

#: Files listed at a time.
MOST_FILES: Final = 10_000
#: Bytes looked through for the last lines of a file.
MOST_TAIL_BYTES: Final = 4 << 20
#: What a file's row takes beside its name, bytes.
_ROW_BYTES: Final = 40


class LogNotFoundError(MantaError):
    """There is no such log file, or it is none that may be read. Says which there are."""

    code: ClassVar[str] = "LOG_NOT_FOUND"


def listed(folder: Path, glob: str, room: int) -> pb.LogListAnswer:
    """The plain files of the folder whose names match, by name."""
    answer = pb.LogListAnswer()
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False))
    except OSError:
        return answer
    for name in names:
        if glob and not fnmatch.fnmatchcase(name, glob):
            continue
        room -= len(name) + _ROW_BYTES
        if room < 0 or len(answer.files) >= MOST_FILES:
            answer.untold += 1
            continue
        try:
            found = os.stat(folder / name, follow_symlinks=False)
        except OSError:
            continue
        shown = name.encode("utf-8", "replace").decode()
        answer.files.add(name=shown, size=found.st_size, changed_ms=found.st_mtime_ns // 1_000_000)
    return answer


def read(folder: Path, name: str, *, offset: int, lines: int, room: int) -> pb.LogAnswer:
    """Part of a file: from an offset, or its last lines.

    Args:
        folder: The folder of logs.
        name: The file's name there; anything that could lead elsewhere is refused.
        offset: Where to begin.
        lines: If not 0, begin so many lines before the end instead.
        room: Bytes at most.

    Raises:
        LogNotFoundError: There is no such plain file there.
    """
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise LogNotFoundError(f"a log file is named by its name in the folder of logs, not by a path: {name[:100]!r}")
    try:
        # Not through a link, and not waiting for the other end of a pipe that somebody put there.
        fd = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, ValueError):
        raise LogNotFoundError(f"there is no log file {name[:100]!r} on this node") from None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise LogNotFoundError(f"{name[:100]!r} is no plain file")
        begin = _begin_of_last(fd, found.st_size, lines) if lines else offset
        data = os.pread(fd, max(0, min(room, found.st_size - begin)), begin) if begin < found.st_size else b""
        return pb.LogAnswer(file=name, data=data, offset=begin, size=found.st_size)
    finally:
        os.close(fd)


def _begin_of_last(fd: int, size: int, lines: int) -> int:
    """Where the last `lines` lines begin."""
    begin = max(0, size - MOST_TAIL_BYTES)
    data = os.pread(fd, size - begin, begin)
    at = len(data) - 1 if data.endswith(b"\n") else len(data)
    for _ in range(lines):
        at = data.rfind(b"\n", 0, at)
        if at < 0:
            return begin
    return begin + at + 1
