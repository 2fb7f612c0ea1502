"""How many of a node's processes have been ended because memory was full: by its raylet, or by the kernel.

In a container the kernel's killer takes one process on cgroup v1 and nobody else is told: neither the one who waits for it nor
Kubernetes. The control group counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from manta.core.capacity import groups, text

#: The file of a memory control group that has a line `oom_kill N`, by version.
_FILES = {1: "memory.oom_control", 2: "memory.events"}


def kernels_count(proc: str = "/proc", cgroups: str = "/sys/fs/cgroup") -> int:
    """How many processes of our own control group the kernel's killer has ended; 0 where nobody counts."""
    for version, folder in groups("memory", proc, cgroups):
        for line in text(f"{folder}/{_FILES[version]}").splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill" and count.isdecimal():
                return int(count)
    return 0


class MemoryKills:
    """The count since the raylet began, and when it grew last.

    Args:
        kernels: The kernel's count.
        clock: Seconds since 1970.
    """

    def __init__(self, kernels: Callable[[], int] = kernels_count, clock: Callable[[], float] = time.time) -> None:
        self._kernels, self._clock = kernels, clock
        self._before = self._seen = kernels()
        self._own = self._at_ms = 0

    def buried(self, out_of_memory: bool) -> None:
        """A worker has ended; whether the raylet did it to save memory."""
        if not out_of_memory:
            return
        self._own += 1
        self._at_ms = int(self._clock() * 1000)

    def gauges(self) -> Mapping[str, int]:
        """For control; looks at the kernel's count."""
        seen = self._kernels()
        if seen > self._seen:
            self._at_ms = int(self._clock() * 1000)
        self._seen = seen
        return {"oom_kills": self._own + max(0, seen - self._before), "oom_unix_ms": self._at_ms}
