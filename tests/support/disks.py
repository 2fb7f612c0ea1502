"""Small disks, full disks and read-only ones: real mounts, which take root."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="a disk of a test's own is a mount, which takes root")


@contextlib.contextmanager
def disk(folder: Path, options: str) -> Iterator[None]:
    """A disk of its own there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=0700,{options}", "manta-test", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@contextlib.contextmanager
def second_view(folder: Path, of: Path) -> Iterator[None]:
    """The same disk there once more, which can be remounted by itself with `bind,ro` and `bind,rw`."""
    folder.mkdir()
    subprocess.run(["mount", "--bind", of, folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def remount(folder: Path, options: str) -> None:
    """Make it read-only (`ro`), which no file that is open for writing allows, or writable (`rw`)."""
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def fill(path: Path) -> None:
    """Write that file until nothing fits any more."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass
