"""What the kernel says of a process: for those that do not answer, and to end some."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

_STATES: Final = {
    "R": "running",
    "S": "sleeping",
    "D": "waiting in the kernel, uninterruptibly",
    "T": "stopped by a signal",
    "t": "stopped by a debugger",
    "Z": "ended, not yet collected by its parent",
    "X": "ended, being collected by its parent",
    "I": "idle",
}


#: How long one that was killed may still be there: a busy machine takes its time to end it, as does a device that it waits for.
_GONE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Glimpse:
    """One look at a process."""

    pid: int
    #: The kernel's letter; "" when there is no such process (any more).
    state: str
    #: Where in the kernel it waits; "" if nowhere, or hidden from us.
    waits_in: str
    threads: int
    #: CPU time it has used, seconds.
    cpu_s: float
    command: str

    def told(self, cpu_share: float | None = None) -> str:
        """A sentence for people, with what could be done.

        Args:
            cpu_share: CPUs it used while it was watched; None if it was not.
        """
        if not self.state:
            return "it has ended"
        text = _STATES.get(self.state, f"in state {self.state}")
        if self.waits_in:
            text += f" in {self.waits_in}"
        if cpu_share is not None:
            text += f", {100 * cpu_share:.0f} % of a CPU"
        text += f", {self.threads} thread{'s' if self.threads != 1 else ''}"
        if self.state == "T":
            text += f"; `kill -CONT {self.pid}` lets it go on"
        elif cpu_share is not None and (self.state == "R" or cpu_share > 0.1):
            # Its share may be small on a busy machine.
            text += "; it computes in C code that holds the interpreter's lock"
        elif self.state == "S":
            text += "; C code that holds the interpreter's lock waits for something"
        return text


def glimpse(pid: int) -> Glimpse:
    """Look at a process of this machine."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            # The name may hold spaces and parentheses; nothing after it does.
            fields = file.read().rpartition(")")[2].split()
        ticks = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return Glimpse(pid, fields[0], _wchan(pid), int(fields[17]), ticks, command(pid))
    except (OSError, ValueError, IndexError):
        return Glimpse(pid, "", "", 0, 0.0, "")


def cpu_shares(pids: Iterable[int], over_s: float = 0.2) -> dict[int, float]:
    """How many CPUs each process uses, measured now."""
    before = {pid: glimpse(pid).cpu_s for pid in pids}
    began = time.monotonic()
    if before:
        time.sleep(over_s)
    passed = max(time.monotonic() - began, 1e-3)
    return {pid: max(0.0, glimpse(pid).cpu_s - cpu_s) / passed for pid, cpu_s in before.items()}


def command(pid: int) -> str:
    """The command line of a process, in one line; "" when it is gone or not ours to see."""
    return " ".join(arguments(pid))


def arguments(pid: int) -> list[str]:
    """The arguments of a process."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return [part.decode(errors="replace") for part in file.read().split(b"\0") if part]
    except OSError:
        return []


def mine_with(argument: str) -> list[int]:
    """This user's processes that have exactly this argument."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with suppress(OSError):
                if os.stat(f"/proc/{name}").st_uid == os.getuid() and argument in arguments(int(name)):
                    found.append(int(name))
    return sorted(found)


def alive(pid: int) -> bool:
    """Whether the process is there, and more than a zombie, also one that its parent collects at this moment."""
    return glimpse(pid).state not in ("", "Z", "X", "x")


def end(pids: Sequence[int], *, grace_s: float, by: signal.Signals = signal.SIGTERM) -> list[int]:
    """Ask processes to end, and kill those that have not after a while. Returns once they are gone.

    Returns:
        Those that had to be killed.
    Raises:
        PermissionError: One of them is somebody else's.
    """
    watched: dict[int, int] = {}
    try:
        for pid in pids:
            with suppress(ProcessLookupError):
                watched[pid] = os.pidfd_open(pid)
        for fd in watched.values():
            _signal(fd, by)
        killed = _left(watched, grace_s)
        for pid in killed:
            _signal(watched[pid], signal.SIGKILL)
        _left(watched, _GONE_S)
        return killed
    finally:
        for fd in watched.values():
            os.close(fd)


def _signal(fd: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(fd, number)


def _left(watched: dict[int, int], timeout_s: float) -> list[int]:
    """Processes still there after so long, or none as soon as all have ended."""
    poll = select.poll()
    running = dict(watched)
    for fd in running.values():
        poll.register(fd, select.POLLIN)
    deadline = time.monotonic() + timeout_s
    while running:
        ended = {fd for fd, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1000)}
        if not ended:
            break
        for pid, fd in list(running.items()):
            if fd in ended:
                poll.unregister(fd)
                del running[pid]
    return list(running)


def _wchan(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/wchan") as file:
            name = file.read().strip()
    except OSError:
        return ""
    return "" if name == "0" else name
