"""What the raylet asks the kernel about processes: their ends, their children, their groups."""

from __future__ import annotations

import ctypes
import os
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from manta.core.process_marks import WORKER_VARIABLE

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

_PR_SET_CHILD_SUBREAPER: Final = 36

#: How long a process may take to say where it stands, seconds.
_LAST_LOOK_S: Final = 1.0

_MARKED_LIMIT: Final = re.compile(r"^Max realtime timeout +(\d+) ", re.MULTILINE)


def become_subreaper() -> None:
    """From now on orphans among our descendants become our children, so none of them escapes."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def exit_text(status: int | None) -> str:
    """How a process ended, for people.

    Args:
        status: Exit code, or minus the signal; None when nobody could tell.
    """
    if status is None:
        return "the process ended, nobody saw how"
    if status >= 0:
        return f"exit code {status}"
    try:
        return f"killed by signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"killed by signal {-status}"


def kill_group(pid: int, number: int = signal.SIGKILL) -> None:
    """Signal a process group; no matter if it is gone."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Signal a process; no matter if it is gone."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def children() -> list[int]:
    """Process ids of our own children, dead ones that nobody has waited for included."""
    try:
        # The kernel lists children by thread. Ours are the main thread's: it starts factories, and gets the orphans.
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    except FileNotFoundError:
        # A kernel without that file: look at everybody.
        me = os.getpid()
        return [pid for pid in _processes() if _parent_of(pid) == me]
    return [int(pid) for pid in text.split()]


def marks_of(pid: int) -> set[str]:
    """What process `pid` shows of the worker that it descends from: the worker's id in hex, its number, or nothing."""
    marks: set[str] = set()
    with suppress(OSError):
        mark = f"{WORKER_VARIABLE}=".encode()
        for word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if word.startswith(mark):
                marks.add(word[len(mark) :].decode(errors="replace"))
    with suppress(OSError):
        found = _MARKED_LIMIT.search(Path(f"/proc/{pid}/limits").read_text())
        if found is not None:
            marks.add(found[1])
    return marks


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _parent_of(pid: int) -> int:
    try:
        # The name in brackets may hold anything; what follows the last bracket is "state ppid ...".
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


class Watch:
    """Calls back once when a process has ended, however it was started.

    A pidfd becomes readable at that very moment: *measured* within 1 ms, where a closed socket is not seen at all while a
    forked child holds the other end.
    """

    __slots__ = ("_fd", "_loop", "_on_end", "pid")

    def __init__(self, loop: AbstractEventLoop, pid: int, on_end: Callable[[int], None], fd: int = -1) -> None:
        """Watch a process of this PID namespace by its number, or any by its descriptor, which is the watch's from now on."""
        self.pid = pid
        self._loop = loop
        self._on_end = on_end
        self._fd = -1
        try:
            self._fd = fd if fd >= 0 else os.pidfd_open(pid)
        except ProcessLookupError:
            loop.call_soon(on_end, pid)
            return
        loop.add_reader(self._fd, self._ended)

    @property
    def ended(self) -> bool:
        """It has called back, or will in a moment, or was closed."""
        return self._fd < 0

    def _ended(self) -> None:
        self.close()
        self._on_end(self.pid)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Signal exactly this process, never another that got its number later."""
        if self._fd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._fd, number)

    def abort(self) -> None:
        """End it, and have it write down where it stands: `faulthandler` does that on SIGABRT."""
        self.kill(signal.SIGABRT)
        self._loop.call_later(_LAST_LOOK_S, self.kill)

    def close(self) -> None:
        """Stop watching. May be called twice."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
