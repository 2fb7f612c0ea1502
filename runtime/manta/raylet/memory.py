"""When memory runs out: who goes first. A pure choice, a reader of what the kernel says, and a loop around them.

Without it the kernel chooses, and it may choose the raylet or, on cgroup v2, the whole pod.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from manta.core.capacity import memory_limits, number

log = logging.getLogger(__name__)

_PAGE: Final = 4096
#: Processes named in the message.
_TOP: Final = 10
_GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Usage:
    """Memory taken of a limit."""

    used_bytes: int
    limit_bytes: int
    #: What has the limit: "the node", "the memory limit of its control group".
    of: str = "the node"

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.used_bytes / self.limit_bytes if self.limit_bytes else 0.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A worker that could be ended.

    Attributes:
        private_bytes: What its end would free at least.
        since: When it got its present work, monotonic seconds.
    """

    worker_id: bytes
    pid: int
    private_bytes: int
    idle: bool
    is_actor: bool
    since: float
    name: str = ""


def victims(usage: Usage, threshold: float, candidates: Iterable[Candidate]) -> list[Candidate]:
    """Whom to end to get below the threshold: as many as that takes, none when memory is below it.

    Idle workers first, the largest of them first: nobody loses work. Then tasks, then actors, each the newest first: the least
    work is lost, and what runs longest is what finishes next.
    """
    excess = usage.used_bytes - int(threshold * usage.limit_bytes)
    if excess <= 0:
        return []
    order = sorted(
        candidates,
        key=lambda one: (not one.idle, one.is_actor, -one.private_bytes if one.idle else -one.since),
    )
    chosen: list[Candidate] = []
    for candidate in order:
        if excess <= 0:
            break
        chosen.append(candidate)
        excess -= candidate.private_bytes
    return chosen


def message(
    victim: Candidate, usage: Usage, threshold: float, largest: Iterable[tuple[int, int, str]], node_ip: str
) -> str:
    """Why a worker was ended, for its owner.

    Args:
        victim: Who.
        usage: As it was then.
        threshold: The line that was crossed.
        largest: (pid, bytes, command) of the largest processes, largest first.
        node_ip: Address of the node.
    """
    what = "an idle worker" if victim.idle else f"{'actor' if victim.is_actor else 'task'} {victim.name!r}"
    rows = "; ".join(f"pid={pid} {size / _GIB:.2f} GiB {command}" for pid, size, command in largest)
    return (
        f"killed because memory ran low on node {node_ip}: {usage.used_bytes / _GIB:.2f} of "
        f"{usage.limit_bytes / _GIB:.2f} GiB of {usage.of} ({usage.share:.1%}) were in use, above the threshold of "
        f"{threshold:.1%} (MANTA_memory_usage_threshold). The worker ran {what} (pid={victim.pid}, "
        f"{victim.private_bytes / _GIB:.2f} GiB), "
        + ("idle ones go first" if victim.idle else "the newest goes first")
        + f". Largest processes: {rows or 'unknown'}. Ask for more memory per task (memory=..., num_cpus=...) so that fewer "
        "run at a time, or use nodes with more."
    )


# ---- reading


class MemoryReader:
    """What the kernel says about memory.

    Args:
        proc: Where proc is mounted.
        cgroups: Where the control groups are.
    """

    def __init__(self, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> None:
        self._proc = proc
        self._cgroups = cgroups

    def usage(self) -> Usage | None:
        """The tightest limit; None when nothing can be read."""
        return max([*self._node(), *self._groups()], key=lambda usage: usage.share, default=None)

    def private_bytes(self, pid: int) -> int:
        """Memory that is the process's own: what it shares with its factory or the arena stays when it goes."""
        fields = _text(self._proc / str(pid) / "statm").split()
        return (int(fields[1]) - int(fields[2])) * _PAGE if len(fields) > 2 else 0

    def largest(self, count: int = _TOP) -> list[tuple[int, int, str]]:
        """(pid, bytes, command) of the largest processes that can be seen, largest first."""
        found = []
        for entry in self._proc.iterdir():
            if entry.name.isdigit():
                size = self.private_bytes(int(entry.name))
                if size:
                    found.append((size, int(entry.name)))
        found.sort(reverse=True)
        return [(pid, size, self._command(pid)) for size, pid in found[:count]]

    def _command(self, pid: int) -> str:
        text = _text(self._proc / str(pid) / "cmdline").replace("\0", " ").strip()
        return text[:80] or _text(self._proc / str(pid) / "comm").strip()

    def _node(self) -> Iterator[Usage]:
        values: dict[str, int] = {}
        for line in _text(self._proc / "meminfo").splitlines():
            name, _, rest = line.partition(":")
            if name in ("MemTotal", "MemAvailable"):
                values[name] = int(rest.split()[0]) * 1024
        if len(values) == 2:
            yield Usage(values["MemTotal"] - values["MemAvailable"], values["MemTotal"])

    def _groups(self) -> Iterator[Usage]:
        for version, folder, limit in memory_limits(str(self._proc), str(self._cgroups)):
            used = number(f"{folder}/{'memory.current' if version == 2 else 'memory.usage_in_bytes'}")
            if used is not None:
                # Page cache that nobody uses gives way by itself.
                idle = _stat(Path(folder) / "memory.stat", "inactive_file" if version == 2 else "total_inactive_file")
                yield Usage(max(0, used - idle), limit, "its control group")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _stat(path: Path, name: str) -> int:
    for line in _text(path).splitlines():
        if line.startswith(name + " "):
            return int(line.split()[1])
    return 0


# ---- acting


class MemoryWatch:
    """Looks at memory and ends workers when there is too little.

    Args:
        threshold: Share above which workers are ended; 1 never.
        period_s: Seconds between two looks.
        node_ip: For messages.
        candidates: Workers that could be ended: called only when memory is short.
        kill: Ends a worker: (id, text).
        reader: What the kernel says.
    """

    def __init__(
        self,
        *,
        threshold: float,
        period_s: float,
        node_ip: str,
        candidates: Callable[[], list[Candidate]],
        kill: Callable[[bytes, str], None],
        reader: MemoryReader,
    ) -> None:
        self._threshold = threshold
        self._period_s = period_s
        self._node_ip = node_ip
        self._candidates = candidates
        self._kill = kill
        self._reader = reader
        #: Chosen, and perhaps not dead yet: their memory still counts as used.
        self._doomed: set[bytes] = set()

    def look(self) -> list[Candidate]:
        """Look once, end whom it takes; returns them."""
        usage = self._reader.usage()
        if usage is None or usage.share <= self._threshold:
            self._doomed.clear()
            return []
        candidates = self._candidates()
        alive = {candidate.worker_id for candidate in candidates}
        self._doomed &= alive
        if self._doomed:
            # First see what their end brings.
            return []
        chosen = victims(usage, self._threshold, candidates)
        largest = self._reader.largest() if chosen else []
        for victim in chosen:
            text = message(victim, usage, self._threshold, largest, self._node_ip)
            log.warning("memory is low, a worker is ended: pid=%d %s", victim.pid, text)
            self._doomed.add(victim.worker_id)
            self._kill(victim.worker_id, text)
        return chosen

    async def run(self) -> None:
        """Look again and again; ends at once when it is turned off."""
        if not self._period_s or self._threshold >= 1:
            return
        while True:
            await asyncio.sleep(self._period_s)
            with suppress(OSError, ValueError):
                self.look()
