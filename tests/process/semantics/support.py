"""Words shared by the tests of semantics: gates, polling with a deadline, drivers in processes of their own."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.process import implementation

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

#: How long a test waits for what must happen. Generous: it is reached only when something is broken.
DEADLINE_S = 50.0
ANSI = re.compile(r"\x1b\[[0-9;]*m")
OBJECT_REF = r"ObjectRef\([0-9a-f]{56}\)"

IS_RAY = implementation.IS_RAY


def manta_does_better(reason: str) -> pytest.MarkDecorator:
    """Expected to fail on Ray, strictly; must pass on Manta."""
    return pytest.mark.xfail(IS_RAY, reason=reason, strict=True)


def manta_only(reason: str) -> pytest.MarkDecorator:
    """Not run on Ray: it would hang there, take minutes, or has no counterpart."""
    return pytest.mark.skipif(IS_RAY, reason=reason)


def until(condition: Callable[[], T], *, what: str = "", deadline_s: float = DEADLINE_S) -> T:
    """Poll `condition` until it is true and return its value.

    Raises:
        AssertionError: The deadline passed; names `what` was waited for and the last value.
    """
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"{what or 'the condition'} did not come true in {deadline_s} s; last: {value!r}"
        time.sleep(0.01)
    return value


class Gate:
    """A door between processes: a file that appears. Travels into tasks; the test decides when it opens."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def open(self) -> None:
        Path(self.path).touch()

    def is_open(self) -> bool:
        return Path(self.path).exists()

    def wait(self, deadline_s: float = DEADLINE_S) -> None:
        """Block until somebody opens the gate; short sleeps, so that an interrupt gets in."""
        until(self.is_open, what=f"gate {self.path}", deadline_s=deadline_s)


class Ledger:
    """An append-only file of words: how often something ran, told by the thing itself, whatever died since."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def write(self, word: object) -> None:
        with open(self.path, "a") as file:
            file.write(f"{word}\n")

    def read(self) -> list[str]:
        try:
            return Path(self.path).read_text().split()
        except FileNotFoundError:
            return []


@dataclass(slots=True)
class Ended:
    """A driver process that has ended."""

    stdout: str
    stderr: str
    returncode: int

    @property
    def lines(self) -> list[str]:
        return ANSI.sub("", self.stdout).splitlines()


#: Drivers started by the running test; whatever still runs when it ends is killed (see conftest.py).
started_drivers: list[subprocess.Popen[str]] = []


def start_driver(code: str, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    """Start `code` as a script of its own in `cwd`."""
    script = cwd / "driver.py"
    script.write_text(textwrap.dedent(code))
    driver = subprocess.Popen(
        implementation.driver_command(str(script)),
        cwd=cwd,
        env=implementation.driver_environment(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    started_drivers.append(driver)
    return driver


def run_driver(code: str, cwd: Path, **environment: str) -> Ended:
    """Run `code` as a script of its own in `cwd` and wait for its end."""
    driver = start_driver(code, cwd, **environment)
    try:
        stdout, stderr = driver.communicate(timeout=100)
    except subprocess.TimeoutExpired:
        driver.kill()
        stdout, stderr = driver.communicate()
        sys.stderr.write(stdout + stderr)
        raise
    return Ended(stdout, stderr, driver.returncode)


def says(code: str, cwd: Path, *words: str) -> Ended:
    """Run a driver that is told something while it runs, for as long as it is promised to take.

    On a busy machine it may come when the driver has ended: one of three has to hear all of it.
    """
    for _ in range(3):
        ended = run_driver(code, cwd)
        if all(word in ended.stdout + ended.stderr for word in words):
            return ended
    raise AssertionError(f"not all of {words} were said: {ended.stdout}{ended.stderr}")


def plain(error: BaseException) -> str:
    """The text of an error without colours."""
    return ANSI.sub("", str(error))


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
