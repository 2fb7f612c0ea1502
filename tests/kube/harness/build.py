"""Builds the control plane's binary from Go modules, once: `python -m tests.kube.harness.build`, or `./dev kube`.

It needs Go and a few hundred MB of modules; on two quiet cores it takes about five minutes. The result is kept in a cache outside
of the checkout, under a name made of all that decides what it is: another version or another source is another file.
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
from collections.abc import Callable, Iterator
from pathlib import Path

#: The program and the versions of everything in it; `go.sum` pins their contents.
SOURCE = Path(__file__).resolve().parent / "binary"

#: Flags that change the program. CGO off: it runs wherever the kernel does.
BUILD_FLAGS = ("-trimpath", "-buildvcs=false")


class CannotBuildError(Exception):
    """There is no binary and none can be made here; the text says what is missing or what failed."""


def cache_folder() -> Path:
    """Where things that take long to make are kept: $MANTA_CACHE, else ~/.cache/manta."""
    said = os.environ.get("MANTA_CACHE")
    return Path(said).expanduser().resolve() if said else Path.home() / ".cache" / "manta"


def version() -> str:
    """The version of Kubernetes that go.mod names, such as 1.34.4."""
    found = re.search(r"^\s*(?:require )?k8s\.io/kubernetes v([\d.]+)", (SOURCE / "go.mod").read_text(), re.MULTILINE)
    assert found, "binary/go.mod requires k8s.io/kubernetes"
    return found[1]


def binary() -> Path:
    """Where the binary is, or will be: named by version, sources and flags."""
    total = hashlib.sha256(" ".join(BUILD_FLAGS).encode())
    for name in ("go.mod", "go.sum", "main.go"):
        total.update((SOURCE / name).read_bytes())
    return cache_folder() / f"kube-{version()}-{total.hexdigest()[:12]}"


def what_is_missing() -> str:
    """Why there is no binary here and none can be built; empty if there is or can be."""
    if binary().exists() or shutil.which("go") is not None:
        return ""
    return f"{binary()} has not been built, and Go is not installed (Debian, Ubuntu: apt install golang)"


def build(say: Callable[[str], None] = lambda text: None) -> Path:
    """Have the binary, and return its path. Two at the same time build it once.

    Args:
        say: Is told how it goes, a line at a time.

    Raises:
        CannotBuildError: Go is not there, or it failed.
    """
    wanted = binary()
    if wanted.exists():
        return wanted
    if missing := what_is_missing():
        raise CannotBuildError(missing)
    wanted.parent.mkdir(parents=True, exist_ok=True)
    with _only_one(wanted.with_suffix(".lock"), say):
        if wanted.exists():
            return wanted
        with tempfile.TemporaryDirectory(prefix="building-", dir=wanted.parent) as folder:
            _build_in(Path(folder), wanted, say)
    return wanted


def _build_in(folder: Path, wanted: Path, say: Callable[[str], None]) -> None:
    for file in SOURCE.iterdir():
        shutil.copy(file, folder / file.name)
    began = time.monotonic()
    say(f"downloading the modules of Kubernetes {version()}")
    _go(folder, "mod", "download")
    say(f"compiling etcd and Kubernetes {version()}, about five minutes on two quiet cores")
    names = "k8s.io/component-base/version"
    major, minor, _ = version().split(".")
    flags = f"-s -w -X {names}.gitVersion=v{version()} -X {names}.gitMajor={major} -X {names}.gitMinor={minor}"
    made = folder / "kube"
    _go(folder, "build", *BUILD_FLAGS, "-ldflags", flags, "-o", str(made), ".")
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
def _only_one(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock that ends with this process, however it ends."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("somebody else is building it: waiting for them")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Build, with progress on standard error and the path on standard output."""
    try:
        print(build(lambda text: print(f"--- {text}", file=sys.stderr, flush=True)))
    except CannotBuildError as error:
        print(f"cannot build Kubernetes' control plane: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
