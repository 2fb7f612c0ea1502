"""Programs that few machines have, built from Go modules once and kept in a cache outside of the checkout.

A program comes from a folder with `go.mod`, which names versions, and `go.sum`, which pins their contents. Its file's name in the
cache is made of all that decides what it is: another version or another source is another file. Two that want the same one at the
same time build it once.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: Folders of programs that others publish: nothing but `go.mod` and `go.sum`.
SOURCES = Path(__file__).resolve().parent / "go"

#: Flags that change the program. CGO off: it runs wherever the kernel does.
BUILD_FLAGS = ("-trimpath", "-buildvcs=false")


class CannotBuildError(Exception):
    """There is no program and none can be made here; the text says what is missing or what failed."""


def cache_folder() -> Path:
    """Where things that take long to make are kept: $MANTA_CACHE, else ~/.cache/manta."""
    said = os.environ.get("MANTA_CACHE")
    return Path(said).expanduser().resolve() if said else Path.home() / ".cache" / "manta"


def say_nothing(text: str) -> None:
    """For those who do not want to know how it goes."""


def say_aloud(text: str) -> None:
    """A line on standard error."""
    print(f"--- {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class GoProgram:
    """One program, and how it is built.

    Attributes:
        name: Of the program, and the beginning of its file's name.
        source: The folder with `go.mod`, `go.sum` and, if it is a program of our own, its sources.
        module: The module in `go.mod` whose version is the program's; empty for a program of our own.
        package: What is built; "." for the folder itself.
        about: For people: what it is and about how long it takes.
        settings: Makes the program's texts that the linker sets (`-X`), from the versions in `go.mod`.
    """

    name: str
    source: Path
    module: str
    package: str
    about: str
    settings: Callable[[GoProgram], Mapping[str, str]] = field(default=lambda program: {})

    @property
    def version(self) -> str:
        """Such as 1.34.4."""
        return self.version_of(self.module) if self.module else "ours"

    def version_of(self, module: str) -> str:
        """The version of a module that go.mod requires, without its v."""
        pattern = rf"^\s*(?:require )?{re.escape(module)} v(\S+)"
        found = re.search(pattern, (self.source / "go.mod").read_text(), re.MULTILINE)
        assert found, f"{self.source}/go.mod requires {module}"
        return found[1]

    @property
    def path(self) -> Path:
        """Where it is, or will be."""
        total = hashlib.sha256(" ".join(BUILD_FLAGS).encode())
        for file in sorted(self.source.iterdir()):
            total.update(file.read_bytes())
        return cache_folder() / f"{self.name}-{self.version}-{total.hexdigest()[:12]}"

    def what_is_missing(self) -> str:
        """Why it is not here and cannot be built; empty if it is or can be."""
        if self.path.exists() or shutil.which("go") is not None:
            return ""
        return f"{self.path} has not been built, and Go is not installed (Debian, Ubuntu: apt install golang)"

    def build(self, say: Callable[[str], None] = say_nothing) -> Path:
        """Have it, and return its path.

        Args:
            say: Is told how it goes, a line at a time.

        Raises:
            CannotBuildError: Go is not there, or it failed.
        """
        wanted = self.path
        if wanted.exists():
            return wanted
        if missing := self.what_is_missing():
            raise CannotBuildError(missing)
        wanted.parent.mkdir(parents=True, exist_ok=True)
        with only_one(wanted.with_name(f"{wanted.name}.lock"), say):
            if not wanted.exists():
                with tempfile.TemporaryDirectory(prefix="building-", dir=wanted.parent) as folder:
                    self._build_in(Path(folder), wanted, say)
        return wanted

    def _build_in(self, folder: Path, wanted: Path, say: Callable[[str], None]) -> None:
        for file in self.source.iterdir():
            shutil.copy(file, folder / file.name)
        began = time.monotonic()
        say(f"downloading the modules of {self.name} {self.version}")
        _go(folder, "mod", "download")
        say(f"compiling {self.about}")
        texts = " ".join(f"-X {name}={text}" for name, text in self.settings(self).items())
        made = folder / "program"
        _go(folder, "build", *BUILD_FLAGS, "-ldflags", f"-s -w {texts}".strip(), "-o", str(made), self.package)
        made.rename(wanted)  # whole or not at all: the same file system
        say(f"made {wanted} ({wanted.stat().st_size / 1e6:.0f} MB) in {time.monotonic() - began:.0f} s")


def _go(folder: Path, *arguments: str) -> None:
    """Run Go; what it prints goes to the terminal as it comes, so that a long build is seen to move."""
    # Of the caller's settings for Go, those that change the program are ours; where it keeps modules stays theirs.
    settings = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
    done = subprocess.run(["go", *arguments], cwd=folder, env=settings, stdout=sys.stderr, check=False)
    if done.returncode:
        raise CannotBuildError(f"`go {' '.join(arguments)}` ended with status {done.returncode}; its words are above")


@contextlib.contextmanager
def only_one(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock that ends with this process, however it ends."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("somebody else is building it: waiting for them")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
