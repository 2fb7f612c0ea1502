"""CPU time and memory of processes, as the kernel counts them, added up by what they are for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """One process, or several together.

    Attributes:
        cpu_s: CPU seconds it has used, in user mode and in the kernel.
        resident_bytes: Memory it has in use, shared pages included.
        started: When it started, in the kernel's ticks: with it a process id names one process for ever.
    """

    cpu_s: float
    resident_bytes: int
    started: int = 0


def read(pid: int, proc: Path = Path("/proc")) -> Usage | None:
    """What the kernel says of a process; None when there is none (any more)."""
    try:
        # The name in brackets may hold anything; fields are counted from the last bracket on, which is the second.
        fields = (proc / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return Usage((int(fields[11]) + int(fields[12])) / _TICKS, int(fields[21]) * _PAGE, int(fields[19]))
    except (OSError, ValueError, IndexError):
        return None


class Components:
    """CPU seconds by component that never go down, although processes end.

    A process's share is what was last seen of it: what it used between that and its end is not counted.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        #: (pid, start) to component and CPU seconds, of those seen by the last look.
        self._seen: dict[tuple[int, int], tuple[str, float]] = {}
        #: CPU seconds of processes that are gone.
        self._gone: dict[str, float] = {}

    def look(self, processes: Mapping[str, Iterable[int]]) -> dict[str, tuple[int, Usage]]:
        """How many there are and what they use, by component.

        Args:
            processes: Process ids by component, as they are now.
        """
        seen: dict[tuple[int, int], tuple[str, float]] = {}
        found: dict[str, tuple[int, Usage]] = {}
        for component, pids in processes.items():
            count, cpu_s, resident = 0, 0.0, 0
            for pid in pids:
                usage = read(pid, self._proc)
                if usage is None:
                    continue
                count += 1
                cpu_s += usage.cpu_s
                resident += usage.resident_bytes
                seen[pid, usage.started] = (component, usage.cpu_s)
            found[component] = (count, Usage(cpu_s, resident))
        for key, (component, cpu_s) in self._seen.items():
            # A worker without a job becomes one of a job's: it has not gone, and takes its seconds along.
            if key not in seen:
                self._gone[component] = self._gone.get(component, 0.0) + cpu_s
        self._seen = seen
        for component, gone_s in self._gone.items():
            count, usage = found.get(component, (0, Usage(0.0, 0)))
            found[component] = (count, Usage(usage.cpu_s + gone_s, usage.resident_bytes))
        return found
