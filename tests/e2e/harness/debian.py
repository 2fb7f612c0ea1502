"""File systems of Debian packages, by mmdebstrap, as tars."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.harness import kept
from tests.e2e.harness.kept import CannotMakeError

#: What no container reads.
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")


def what_is_missing() -> str:
    """Why none can be made here; empty if one can."""
    if shutil.which("mmdebstrap") is None:
        return "mmdebstrap is not installed (Debian, Ubuntu: apt install mmdebstrap)"
    return ""


def have(name: str, suite: str, packages: Sequence[str]) -> Path:
    """The tar of a minimal system with some packages; kept until the list changes, security updates or not."""

    def make(made: Path, room: Path) -> None:
        if missing := what_is_missing():
            raise CannotMakeError(missing)
        kept.say(f"putting {name} together from packages of Debian {suite}")
        tar = room / "root.tar"
        options = [f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT]
        command = [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            *options,
            f"--include={','.join(packages)}",
            suite,
            str(tar),
        ]
        done = subprocess.run(command, stdout=sys.stderr, check=False)
        if done.returncode:
            raise CannotMakeError(f"mmdebstrap ended with status {done.returncode}; its words are above")
        tar.rename(made)

    return kept.have(name, kept.fingerprint(suite, *packages, *LEFT_OUT), make)
