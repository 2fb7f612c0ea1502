"""Keeps what takes long to make, in a cache outside of the checkout, under names made of all that decides what it is."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.support.gotools import cache_folder, only_one
from tests.support.gotools import say_aloud as say

__all__ = ["CannotMakeError", "fingerprint", "have", "only_one", "path_of", "say"]


class CannotMakeError(Exception):
    """Something that is needed is not there and cannot be made here; the text says what failed or is missing."""


def fingerprint(*inputs: str | bytes | Path) -> str:
    """A short name for inputs: texts as they are, files by content, folders by all files in them with names and modes."""
    total = hashlib.sha256()
    for one in inputs:
        for part in _parts(one):
            total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()[:12]


def _parts(one: str | bytes | Path) -> Iterable[bytes]:
    if isinstance(one, Path):
        for path in sorted(one.rglob("*")) if one.is_dir() else [one]:
            if path.is_file() and "__pycache__" not in path.parts:
                yield str(path.relative_to(one.parent)).encode()
                yield b"x" if path.stat().st_mode & 0o100 else b"-"
                yield path.read_bytes()
    else:
        yield one.encode() if isinstance(one, str) else one


def path_of(name: str, key: str) -> Path:
    """Where a thing is kept, or will be."""
    return cache_folder() / f"{name}-{key}"


def have(name: str, key: str, make: Callable[[Path, Path], None]) -> Path:
    """Have a file or folder, made if it is not there; two at the same time make it once.

    Args:
        name: What it is, for people.
        key: What decides what it is, such as `fingerprint`'s result: another key is another thing.
        make: Given the path to make and an empty folder to work in, on the same file system.

    Raises:
        CannotMakeError: `make` says so.
    """
    wanted = path_of(name, key)
    if wanted.exists():
        return wanted
    wanted.parent.mkdir(parents=True, exist_ok=True)
    with only_one(wanted.with_name(f"{name}.lock"), say):
        if wanted.exists():
            return wanted
        work = Path(tempfile.mkdtemp(prefix=f"making-{name}-", dir=wanted.parent))
        try:
            began = time.monotonic()
            made = work / "made"
            room = work / "room"
            room.mkdir()
            make(made, room)
            made.rename(wanted)  # whole or not at all
            say(f"{name}: made in {time.monotonic() - began:.0f} s")
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return wanted
