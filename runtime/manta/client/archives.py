"""A folder of a program as one zip archive, to travel to where its tasks run."""

from __future__ import annotations

import fnmatch
import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from typing import Final

#: Left out of archives.
LEFT_OUT: Final = frozenset({".git", ".venv", "venv", "__pycache__"})
#: Of an archive: so much is taken as one upload.
MOST_BYTES: Final = 500 << 20


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
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as made:
        for name in sorted(_files(path)):
            if left_out(name, excludes):
                continue
            _add(made, os.path.join(path, name), "/".join(filter(None, (prefix, name))))
            if data.tell() > MOST_BYTES:
                raise ValueError(
                    f"the folder {path!r:.200} makes an archive of more than {MOST_BYTES} bytes: leave out what its tasks do not "
                    "need with `excludes`, and hand large data over as arguments or with put()"
                )
    return data.getvalue()


def _add(made: zipfile.ZipFile, path: str, name: str) -> None:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (os.stat(path).st_mode & 0xFFFF) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    with open(path, "rb") as file:
        made.writestr(entry, file.read())


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
        if os.path.getsize(path) > MOST_BYTES:
            raise ValueError(f"the archive {path!r:.200} has more than {MOST_BYTES} bytes")
        with open(path, "rb") as file:
            return file.read()
    if named and path.endswith(".py") and os.path.isfile(path):
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as made:
            _add(made, path, os.path.basename(path))
        return data.getvalue()
    if not os.path.isdir(path):
        raise ValueError(
            f"runtime_env names {path!r:.200}, which is neither a folder here nor a .zip file; a working_dir and each of "
            "py_modules is one of the two"
        )
    return archive(path, os.path.basename(path) if named else "", excludes)
