"""What /proc knows: who belongs to a cell, how much CPU and memory they took. Linux only."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Process:
    """One line of the process table. `cpu_s` counts children it has already buried, to 10 ms."""

    pid: int
    parent: int
    cpu_s: float
    command: str


@dataclass(frozen=True)
class Memory:
    """Proportional set size in bytes: what a process owns plus its share of what it shares.

    Attributes:
        own: Without object stores.
        store: Mappings of /dev/shm and memfds, where Ray and Manta keep objects.
    """

    own: int
    store: int


def adopt_orphans() -> None:
    """Make this process the parent of every grandchild whose parent dies, so that no daemon of a peer escapes `descendants`."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def table() -> dict[int, Process]:
    """All processes of the machine; those that end meanwhile are left out."""
    found: dict[int, Process] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                head, _, tail = Path("/proc", entry, "stat").read_text(errors="replace").rpartition(") ")
            except OSError:
                continue
            fields = tail.split()
            if fields and fields[0] != "Z":
                ticks = sum(int(number) for number in fields[11:15])
                found[int(entry)] = Process(int(entry), int(fields[1]), ticks / TICKS_PER_S, head.partition("(")[2])
    return found


def descendants(root: int, without: Collection[int] = (), among: dict[int, Process] | None = None) -> list[Process]:
    """Children of `root`, their children and so on, parents first; subtrees under a pid of `without` are cut off."""
    among = table() if among is None else among
    by_parent: dict[int, list[Process]] = {}
    for process in among.values():
        by_parent.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    queue = [root]
    for pid in queue:
        for process in by_parent.get(pid, []):
            if process.pid not in without:
                found.append(process)
                queue.append(process.pid)
    return found


def command_line(pid: int) -> str:
    """The full command line, or "" when the process is gone or hides it."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def memory(pid: int) -> Memory:
    """Proportional set size of one process; zeros when it is gone."""
    own = store = 0
    in_store = False
    try:
        with open(f"/proc/{pid}/smaps", errors="replace") as smaps:
            for line in smaps:
                if line.startswith("Pss:"):
                    size = int(line.split()[1]) * 1024
                    if in_store:
                        store += size
                    else:
                        own += size
                elif line[0] in "0123456789abcdef":
                    parts = line.split(maxsplit=5)
                    in_store = len(parts) == 6 and parts[5].startswith(("/dev/shm/", "/memfd:"))
    except OSError:
        pass
    return Memory(own, store)


def end_all(root: int, without: Collection[int] = (), grace_s: float = 0.0) -> list[str]:
    """SIGKILL whatever still descends from `root` after `grace_s` and reap it.

    Returns:
        Their command lines. An orderly system leaves none; the grace is for helpers that end when their pipe closes.
    """
    left: list[str] = []
    until = monotonic() + grace_s
    while monotonic() < until and descendants(root, without):
        sleep(0.02)
    while found := descendants(root, without):
        for process in found:
            left.append(command_line(process.pid) or process.command)
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for process in found:
            try:
                os.waitpid(process.pid, 0)
            except ChildProcessError:
                pass  # not ours yet: it becomes ours once its parent, killed with it, is gone
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass  # orphans that ended by themselves
    except ChildProcessError:
        pass  # no children at all
    return left
