"""How much memory the machine and this pod's limit still have.

Asked before the arena grows: where memory is short the kernel answers a growing memfd by killing somebody, not by an error.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Headroom(NamedTuple):
    """The tightest limit.

    Attributes:
        available_bytes: What can still be taken.
        limit: What limits it, for people.
    """

    available_bytes: int
    limit: str


def headroom(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> Headroom | None:
    """Memory that can be taken before something else must give way; None when nothing says.

    Page cache that the kernel would drop by itself counts as available. Costs some 100 us.
    """
    found = [*_machine(proc), *_limits(proc, cgroups)]
    return min(found, default=None)


def _machine(proc: Path) -> Iterator[Headroom]:
    for line in _text(proc / "meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            yield Headroom(int(line.split()[1]) * 1024, "the machine's memory")


def _limits(proc: Path, cgroups: Path) -> Iterator[Headroom]:
    """Limits of this process's control group and those above it, version 2 and version 1."""
    for line in _text(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, files = cgroups, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            root, files = cgroups / "memory", names
        else:
            continue
        # Inside a container the path may name a group of the host that is not mounted here: the root is the pod's own then.
        group = root / path.strip("/")
        for folder in [group, *group.parents]:
            if folder != root and root not in folder.parents:
                break
            limit, current = _number(folder / files[0]), _number(folder / files[1])
            if limit is not None and current is not None:
                yield Headroom(max(0, limit - current + _cache(folder, files[2])), f"the memory limit of {folder}")


def _cache(folder: Path, name: str) -> int:
    for line in _text(folder / "memory.stat").splitlines():
        if line.startswith(name + " "):
            return int(line.split()[1])
    return 0


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
