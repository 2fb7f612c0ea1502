"""Stop processes and let them go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.waiting import wait_until


def pause(*pids: int) -> None:
    """Stop processes, and return when each of their threads stands still.

    `kill` returns before that: on a busy machine a thread on another CPU goes on for some time.
    """
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        wait_until(lambda pid=pid: _stands_still(pid), what=f"{pid} stands still")  # type: ignore[misc]


def go_on(*pids: int) -> None:
    """Let stopped processes go on; those that are gone are passed over."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@contextmanager
def paused(*pids: int) -> Iterator[None]:
    """Processes that stand still meanwhile."""
    try:
        pause(*pids)
        yield
    finally:
        go_on(*pids)


def _stands_still(pid: int) -> bool:
    """Also of a process that has ended."""
    states = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                states.append((task / "stat").read_text().rpartition(")")[2].split()[0])
    return set(states) <= set("TtZX")
