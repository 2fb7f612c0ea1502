"""How many processes the kernel has ended because memory was full, as the control group of this raylet counts them.

Where the kernel ends one process of a container and not all of it (version 1 of control groups), nobody else is ever told. Where
it ends the whole container (version 2, as Kubernetes sets it), this counter ends with it, and the container's last state says so.
"""

from __future__ import annotations

from manta.core.capacity import groups, text

#: The file that counts, by the version of control groups.
_FILES = {1: "memory.oom_control", 2: "memory.events"}


def memory_kills(proc: str = "/proc", cgroups: str = "/sys/fs/cgroup") -> int:
    """How many; 0 where nobody counts.

    Args:
        proc: Where proc is mounted.
        cgroups: Where the control groups are.
    """
    for version, folder in groups("memory", proc, cgroups):
        for line in text(f"{folder}/{_FILES[version]}").splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill" and count.isdecimal():
                return int(count)
    return 0
