"""A folder of a program as one zip archive, to travel to where its tasks run."""

from __future__ import annotations

import fnmatch
import io
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

#: Left out of archives.
LEFT_OUT: Final = frozenset({".git", ".venv", "venv", "__pycache__"})
#: Of an archive: so much is taken as one upload.
MOST_BYTES: Final = 500 << 20
_PIECE_BYTES: Final = 1 << 20


def archive(path: str, prefix: str, excludes: Sequence[str] = ()) -> bytes:
    """A folder as a zip archive; the same files give the same bytes.

    Args:
        path: The folder.
        prefix: Folder within the archive; empty for none.
        excludes: Files and folders to leave out: paths from the folder on, or patterns as shells have them.

    Raises:
        ValueError: It is no folder, or too large.
    """
    if not os.path.isdir(path):
        raise ValueError(f"{path!r:.200} is no folder; a working_dir and each of py_modules is one")
    wanted = [name for name in sorted(_files(path)) if not left_out(name, excludes)]
    return _zipped(path, {"/".join(filter(None, (prefix, name))): os.path.join(path, name) for name in wanted})


def _zipped(path: str, files: Mapping[str, str]) -> bytes:
    """An archive of what `path` is, its files by their names in it; read piece by piece, as one may be larger than memory."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as made:
        for name, full in files.items():
            entry = zipfile.ZipInfo(name)
            with open(full, "rb") as file:
                found = os.fstat(file.fileno())
                entry.external_attr = (found.st_mode & 0xFFFF) << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.file_size = found.st_size
                with made.open(entry, "w") as added:
                    while piece := file.read(_PIECE_BYTES):
                        added.write(piece)
                        _check(path, data.tell())
            _check(path, data.tell())
    return data.getvalue()


def _check(path: str, size_bytes: int) -> None:
    if size_bytes > MOST_BYTES:
        raise ValueError(
            f"the archive of {path!r:.200} has more than {MOST_BYTES} bytes: leave out what its tasks do not need with "
            "`excludes`, and hand large data over as arguments or with put()"
        )


def left_out(name: str, excludes: Sequence[str]) -> bool:
    """Whether a file is excluded: itself, a folder that it is in, or by a pattern that fits one of them or its last part."""
    parts = name.split("/")
    inside = ["/".join(parts[: number + 1]) for number in range(len(parts))]
    for exclude in excludes:
        pattern = exclude.removeprefix("./").strip("/")
        if any(fnmatch.fnmatchcase(one, pattern) for one in (*inside, *parts)):
            return True
    return False


def _files(path: str) -> Iterator[str]:
    """Paths within the folder, as archives have them."""
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        for name in names:
            full = os.path.join(folder, name)
            if os.path.isfile(full):
                yield os.path.relpath(full, path).replace(os.sep, "/")


def read(path: str, excludes: Sequence[str] = (), *, named: bool = False) -> bytes:
    """What workers get of a `working_dir` or of one of `py_modules`: a folder as an archive, a .zip file as it is.

    Args:
        path: Of the folder or file.
        excludes: See `archive`.
        named: The folder's own name comes along: it is a module, imported by that name. A module may be one .py file too.

    Raises:
        ValueError: It is neither, or too large.
    """
    if path.endswith(".zip") and os.path.isfile(path):
        _check(path, os.path.getsize(path))
        with open(path, "rb") as file:
            return file.read()
    if named and path.endswith(".py") and os.path.isfile(path):
        return _zipped(path, {os.path.basename(path): path})
    if not os.path.isdir(path):
        raise ValueError(
            f"runtime_env names {path!r:.200}, which is neither a folder here nor a .zip file; a working_dir and each of "
            "py_modules is one of the two"
        )
    return archive(path, os.path.basename(path) if named else "", excludes)
