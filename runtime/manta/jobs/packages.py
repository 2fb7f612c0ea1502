"""Uploads: zip archives under their names in one folder, and what is unpacked of them.

An archive is a stranger's: each entry is looked at before anything is written, and what would leave the folder, be a link, be
written twice or be larger than it says is refused by name.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import stat
import struct
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Final

from manta.jobs.errors import PackageError, PackageUnknownError

MOST_UPLOAD: Final = 500 << 20
#: Bytes of all uploads of a cluster: they lie on the head's disk.
MOST_TOGETHER: Final = 20 << 30
MOST_UNPACKED: Final = 2 << 30
MOST_ENTRIES: Final = 100_000
#: An archive's directory, which is read into memory before any entry can be looked at.
MOST_DIRECTORY: Final = 32 << 20
#: How an upload is named until all of it is there.
_PARTIAL: Final = re.compile(r"\.[0-9a-f]{16}")


def find(folder: Path, name: str) -> Path:
    """An upload.

    Raises:
        PackageUnknownError: There is none of that name.
    """
    path = folder / name
    if not path.is_file():
        raise PackageUnknownError(f"there is no upload {name!r:.200}")
    return path


def mark(folder: Path) -> Path:
    """The file beside an unpacked folder of a job that says which upload it is."""
    return folder.with_name(f"{folder.name}.sha256")


def size_of(folder: Path) -> int:
    """Bytes of everything in the folder of uploads, those on their way too."""
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                total += entry.stat(follow_symlinks=False).st_size
    return total


def sweep(folder: Path) -> None:
    """Remove what uploads left that were under way when their server ended."""
    with suppress(OSError):
        for name in filter(_PARTIAL.fullmatch, os.listdir(folder)):
            (folder / name).unlink(missing_ok=True)


class _Bounded(io.BufferedReader):
    """A file of which nothing is read that is larger than an honest directory: `zipfile` reads that in one piece."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            size = os.fstat(self.fileno()).st_size - self.tell()
        if size > MOST_DIRECTORY:
            raise PackageError(f"the archive's directory has {size} bytes, at most {MOST_DIRECTORY} are taken")
        return super().read(max(0, size))


def check(archive: zipfile.ZipFile) -> None:
    """Look at every entry.

    Raises:
        PackageError: One is not fit to be unpacked; says which and why.
    """
    entries = archive.infolist()
    if len(entries) > MOST_ENTRIES:
        raise PackageError(f"the archive has {len(entries)} entries, at most {MOST_ENTRIES} are taken")
    total, seen = 0, set()
    for entry in entries:
        name = entry.filename
        parts = name.rstrip("/").split("/")
        if name.startswith("/") or "\\" in name or "\0" in name or any(part in ("", ".", "..") for part in parts):
            raise PackageError(f"the entry {name!r:.200} would leave the folder, or has no plain path")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise PackageError(f"the entry {name!r:.200} is a link or a special file; only files and folders are taken")
        if entry.flag_bits & 1:
            raise PackageError(f"the entry {name!r:.200} is encrypted")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise PackageError(
                f"the entry {name!r:.200} is compressed by method {entry.compress_type}; deflate is taken"
            )
        if name in seen:
            raise PackageError(f"the entry {name!r:.200} is there twice")
        seen.add(name)
        total += entry.file_size
        if total > MOST_UNPACKED:
            raise PackageError(f"with {name!r:.200} it would be more than {MOST_UNPACKED} bytes unpacked")


def unpack(path: Path, into: Path) -> None:
    """Unpack an upload into a new folder, which is whole or not there.

    Raises:
        PackageError: The file is no archive, or one that is not fit to be unpacked.
    """
    beside = into.with_name(f"{into.name}.{os.getpid()}.new")
    beside.mkdir(mode=0o700, parents=True)
    try:
        with _Bounded(io.FileIO(path)) as file, zipfile.ZipFile(file) as archive:
            check(archive)
            for entry in archive.infolist():
                # zipfile reads no more than the entry says it has, and compares its checksum.
                place = archive.extract(entry, beside)
                mode = (entry.external_attr >> 16) & 0o777
                if mode and not entry.is_dir():
                    os.chmod(place, mode | 0o600)
        beside.rename(into)
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        EOFError,
        ValueError,
        OSError,  # names that are too long, a file where a folder should be, a full disk
        zlib.error,
        struct.error,
    ) as wrong:
        raise PackageError(f"the upload {path.name} is no zip archive that can be unpacked here: {wrong}") from wrong
    finally:
        shutil.rmtree(beside, ignore_errors=True)
