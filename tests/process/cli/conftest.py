"""A driver of its own for each test, in the test's private folder: commands find no other cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.leaks import Sandbox
from tests.support.waiting import wait_until

Start = Callable[..., "Driver"]

HEAD = """
import os, sys, time
import manta

manta.init(num_cpus=2, object_store_memory=100 << 20, log_to_driver=False, resources={"disk": 1})


def ready():
    print("ready", flush=True)

"""


class Driver:
    """A running driver script."""

    def __init__(self, script: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "ready\n":
            raise AssertionError(self.process.communicate()[1])

    @property
    def pid(self) -> int:
        return self.process.pid

    def end(self) -> tuple[int, str]:
        """End it as `kill` would; its status and what it said on stderr."""
        for number in (signal.SIGCONT, signal.SIGTERM):
            with suppress(ProcessLookupError):
                self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors


@pytest.fixture(autouse=True)
def only_ours(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    """A command must never reach a cluster that its test did not start: only the sandbox's are looked at."""
    for name in ("MANTA_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    assert os.environ["MANTA_TMPDIR"] == str(sandbox.path)


@pytest.fixture
def start(tmp_path: Path, only_ours: None) -> Iterator[Start]:
    """Run a driver script that calls `ready()`; all of them end with the test."""
    drivers: list[Driver] = []

    def run(body: str) -> Driver:
        script = tmp_path / f"driver{len(drivers)}.py"
        script.write_text(HEAD + body)
        drivers.append(Driver(script))
        return drivers[-1]

    yield run
    for driver in drivers:
        driver.end()


def gone(pid: int) -> bool:
    """The process has ended; a zombie that nobody has collected yet counts as ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def wait_until_gone(*pids: int) -> None:
    """Wait until none of them is there."""
    wait_until(lambda: all(map(gone, pids)), what=f"the end of {pids}")


def sessions() -> list[str]:
    """Names of the session folders there are."""
    root = sessions_folder()
    return sorted(path.name for path in root.iterdir() if path.name.startswith("session_")) if root.exists() else []


def sessions_folder() -> Path:
    """Where clusters of this test have their folders."""
    return Path(os.environ["MANTA_TMPDIR"]) / f"manta-{os.getuid()}"
