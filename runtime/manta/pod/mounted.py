"""A mounted Secret, copied for this container alone, and copied anew when it changes.

The kubelet's files can be read by the pod's group, which those who read tokens and keys refuse with reason; and it swaps them all
at once, by a link, which whoever opens one file after the other may see happen in between. The copies are private, and swapped by
a link too, so that readers who look at a file's time see each change, and find old files next to old ones.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Final

from manta.core.errors import CertificateError
from manta.transport.auth import write_private

#: What the kubelet calls the link that it swaps.
_DATA: Final = "..data"
#: Of a Secret, as the API server has it; and files that are looked at.
_MOST_BYTES: Final = 1 << 20
_MOST_FILES: Final = 64
#: A Secret that is swapped while it is read is read again, so often.
_ATTEMPTS: Final = 5

Stamp = tuple[object, ...]


def stamp(folder: str) -> Stamp:
    """Differs from the last time when the mounted files do; empty when nothing is mounted."""
    with suppress(OSError):
        return (os.readlink(os.path.join(folder, _DATA)),)
    try:
        # Not the kubelet's: a folder that somebody has filled.
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.stat().st_mtime_ns, entry.stat().st_ino) for entry in entries]
    except OSError:
        return ()
    return tuple(sorted(found))


def read(folder: str, needed: Collection[str]) -> tuple[Stamp, dict[str, bytes]]:
    """All files of one moment, and that moment's stamp.

    Raises:
        CertificateError: The folder cannot be read, or lacks something.
    """
    for _ in range(_ATTEMPTS):
        before = stamp(folder)
        files = _files(folder)
        if stamp(folder) == before:
            break
    else:
        raise CertificateError(f"The Secret at {folder} changes all the time")
    missing = sorted(name for name in needed if not files.get(name))
    if missing:
        what = f"lacks {', '.join(missing)}" if files else "is empty or not mounted"
        raise CertificateError(f"The Secret at {folder} {what}; it has to have {', '.join(sorted(needed))}")
    return before, files


def _files(folder: str) -> dict[str, bytes]:
    try:
        names = [name for name in os.listdir(folder) if not name.startswith("..")][:_MOST_FILES]
    except OSError as wrong:
        raise CertificateError(f"The Secret at {folder} cannot be read: {wrong.strerror}") from wrong
    found: dict[str, bytes] = {}
    for name in names:
        with suppress(FileNotFoundError, IsADirectoryError):
            descriptor = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with open(descriptor, "rb") as file:
                if stat.S_ISREG(os.fstat(descriptor).st_mode):
                    found[name] = file.read(_MOST_BYTES)
    return found


class Mounted:
    """The Secret of a container, and the copies.

    Args:
        folder: Where it is mounted.
        link: Will lead to the copies that are valid now; its folder is this container's alone.
        needed: Files that it has to have.

    Raises:
        CertificateError: It lacks something, or cannot be copied.
    """

    def __init__(self, folder: str, link: str, needed: Collection[str]) -> None:
        self._folder, self._link, self._needed = folder, link, needed
        self._number = 0
        self._older: list[str] = []
        #: Why the last change was not taken; empty when it was.
        self.failure = ""
        self._sweep()
        self._stamp, files = read(folder, needed)
        self._lay_out(files)

    def look(self) -> bool:
        """Copy it again if it has changed; whether it was. One that lacks something leaves the copies as they are."""
        if stamp(self._folder) == self._stamp:
            return False
        try:
            found, files = read(self._folder, self._needed)
            self._lay_out(files)
        except (CertificateError, OSError) as wrong:
            self.failure = str(wrong)
            return False
        self._stamp, self.failure = found, ""
        return True

    def _sweep(self) -> None:
        """What this container left before it was started again."""
        folder, name = os.path.split(self._link)
        for entry in os.listdir(folder):
            if entry.startswith(f"{name}-"):
                _remove(os.path.join(folder, entry))

    def _lay_out(self, files: Mapping[str, bytes]) -> None:
        self._number += 1
        into = f"{self._link}-{self._number}"
        _remove(into)
        os.mkdir(into, 0o700)
        for name, content in files.items():
            write_private(os.path.join(into, name), content)
        beside = f"{self._link}-new"
        with suppress(FileNotFoundError):
            os.unlink(beside)
        os.symlink(os.path.basename(into), beside)
        os.replace(beside, self._link)
        # Who opens one file after the other by the old folder's name may be at it: it goes when the next but one comes.
        self._older.append(into)
        while len(self._older) > 2:
            _remove(self._older.pop(0))


def _remove(folder: str) -> None:
    """A folder of files; a link that was left under such a name, too."""
    with suppress(OSError):
        if os.path.islink(folder):
            os.unlink(folder)
            return
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
        os.rmdir(folder)
