"""How many CPUs and how much memory this process may use: the tightest of its control groups, else the machine's.

A container, a pod or a systemd unit is a control group, perhaps inside of others; each may have a limit, and the least counts.
Both versions of control groups are read, and a mix of them, as some machines have it.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

#: Version 1 writes a number near 2^63 for "no limit".
_NO_LIMIT: Final = 1 << 60

#: Share of the memory that tasks may ask for, and that an object store may grow to, unless told otherwise.
TASKS_SHARE: Final = 0.7
STORE_SHARE: Final = 0.3
MAX_STORE_BYTES: Final = 200 << 30

_MIB: Final = 1 << 20


class Capacity:
    """What may be used.

    Attributes:
        cpus: Whole CPUs, at least 1: of a limit of 2.5 two tasks can run at full speed.
        memory_bytes: Memory, the machine's or the limit.
    """

    __slots__ = ("cpus", "memory_bytes")

    def __init__(self, cpus: int, memory_bytes: int) -> None:
        self.cpus, self.memory_bytes = cpus, memory_bytes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Capacity) and (self.cpus, self.memory_bytes) == (other.cpus, other.memory_bytes)

    def __hash__(self) -> int:
        return hash((self.cpus, self.memory_bytes))

    def __repr__(self) -> str:
        return f"Capacity(cpus={self.cpus}, memory_bytes={self.memory_bytes})"

    @property
    def tasks_bytes(self) -> int:
        """Memory that tasks may ask for."""
        return int(self.memory_bytes * TASKS_SHARE)

    @property
    def store_bytes(self) -> int:
        """What an object store may grow to; whole MiB."""
        return max(_MIB, min(int(self.memory_bytes * STORE_SHARE), MAX_STORE_BYTES) // _MIB * _MIB)


def capacity(proc: str = "/proc", cgroups: str = "/sys/fs/cgroup", usable: int | None = None) -> Capacity:
    """What this process may use.

    Args:
        proc: Where proc is mounted.
        cgroups: Where the control groups are.
        usable: CPUs it may run on; None asks the kernel.
    """
    cpus: float = len(os.sched_getaffinity(0)) if usable is None else usable
    cpus = min([cpus, *_cpu_limits(proc, cgroups)])
    memory = min([_machine_bytes(proc), *(limit for _, _, limit in memory_limits(proc, cgroups))])
    return Capacity(max(1, int(cpus)), memory)


def memory_limits(proc: str, cgroups: str) -> Iterator[tuple[int, str, int]]:
    """Control groups that limit this process's memory, from its own upwards: (version, folder, bytes)."""
    for version, folder in groups("memory", proc, cgroups):
        limit = number(f"{folder}/{'memory.max' if version == 2 else 'memory.limit_in_bytes'}")
        if limit is not None and 0 < limit < _NO_LIMIT:
            yield version, folder, limit


def _cpu_limits(proc: str, cgroups: str) -> Iterator[float]:
    for version, folder in groups("cpu", proc, cgroups):
        if version == 2:
            quota, _, period = text(f"{folder}/cpu.max").partition(" ")
        else:
            quota, period = text(f"{folder}/cpu.cfs_quota_us"), text(f"{folder}/cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(quota) and int(period):
            yield int(quota) / int(period)


def groups(controller: str, proc: str, cgroups: str) -> Iterator[tuple[int, str]]:
    """Folders of this process's control groups, from its own up to the mounted root: (version, folder).

    In a container the path may be one of the host's, of which nothing is mounted: then the root is our own group.
    """
    for line in text(f"{proc}/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            version, root = 2, cgroups
        elif controller in controllers.split(","):
            version = 1
            # Where several are mounted as one, each has a link of its own name; not everywhere, though.
            root = next(
                (each for each in (f"{cgroups}/{controller}", f"{cgroups}/{controllers}") if os.path.isdir(each)), ""
            )
            if not root:
                continue
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for count in range(len(parts), -1, -1):
            yield version, "/".join((root, *parts[:count]))


def _machine_bytes(proc: str) -> int:
    for line in text(f"{proc}/meminfo").splitlines():
        name, _, rest = line.partition(":")
        if name == "MemTotal":
            return int(rest.split()[0]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def text(path: str) -> str:
    """What is in a file of the kernel's; nothing if it cannot be read."""
    try:
        with open(path, errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def number(path: str) -> int | None:
    """A number in a file of the kernel's."""
    found = text(path)
    return int(found) if found.isdecimal() else None
