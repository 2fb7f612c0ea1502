"""Where do a call's microseconds go? `python -m benchmarks.where task_sync [--strace] [--profile]`

Runs one row on one system and divides what every process used by the work it did: CPU microseconds, context switches and
(with --strace) system calls per unit, by role. --profile samples the driver on its CPU clock and prints the lines it stood
on. Warm-up counts on both sides of the division, starting processes on neither.

strace slows everything down, so read its counts and not the rate beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from benchmarks import procs, report
from benchmarks.drive import Setting, run_cell
from benchmarks.noise import barometer
from benchmarks.plan import Cell
from benchmarks.rows import SYSTEMS, RowsError, load, select
from benchmarks.run import default_python
from benchmarks.timing import Budget

#: First match names a process. A command line is matched before the short name, which threads and forks inherit.
_ROLES = (
    ("driver", re.compile(r"benchmarks\.cell")),
    ("session", re.compile(r"manta\.gateway\.owner|util\.client\.server.*specific-server")),
    ("gateway", re.compile(r"manta\.gateway|util\.client\.server")),
    ("control", re.compile(r"\bcontrol\b|gcs_server|GcsServer|distributed\.scheduler")),
    ("raylet", re.compile(r"\braylet\b(?!.*worker)|distributed\.nanny")),
    ("factory", re.compile(r"\bfactory\b")),
    ("worker", re.compile(r"\bworker\b|ray::|spawn_main|default_worker")),
)


@dataclass(frozen=True)
class Usage:
    """What one process has used since it began. CPU from schedstat, in nanoseconds; switches of all its threads."""

    role: str
    cpu_ns: int
    waited_ns: int
    voluntary: int
    involuntary: int


@dataclass(frozen=True)
class Share:
    """What one role used per unit of work."""

    role: str
    processes: int
    cpu_us: float
    waited_us: float
    voluntary: float
    involuntary: float


def role_of(command_line: str, command: str, parent_role: str | None) -> str:
    """Name a process by what it says it is; a fork that says nothing new has its parent's command line and is its worker."""
    for text in (command_line, command):
        for role, pattern in _ROLES:
            if pattern.search(text):
                # Forked, not executed: the command line is the parent's.
                return "worker" if role == parent_role and role != "worker" else role
    return "other"


def usage(root: int, without: Sequence[int]) -> dict[int, Usage]:
    """Every process below `root`. Threads that have ended are not in it: per-call work has no business in short threads."""
    found: dict[int, Usage] = {}
    for process in procs.descendants(root, without):
        parent = found.get(process.parent)
        role = role_of(procs.command_line(process.pid), process.command, parent.role if parent else None)
        cpu = waited = voluntary = involuntary = 0
        try:
            for thread in Path(f"/proc/{process.pid}/task").iterdir():
                ran, queued, _ = (thread / "schedstat").read_text().split()
                status = (thread / "status").read_text()
                cpu, waited = cpu + int(ran), waited + int(queued)
                voluntary += _field(status, "voluntary_ctxt_switches")
                involuntary += _field(status, "nonvoluntary_ctxt_switches")
        except OSError:
            pass  # it ended while we looked
        found[process.pid] = Usage(role, cpu, waited, voluntary, involuntary)
    return found


def shares(before: Mapping[int, Usage], after: Mapping[int, Usage], units: float) -> list[Share]:
    """Per role, what was used between two moments, per unit of work; the hungriest role first."""
    zero = Usage("", 0, 0, 0, 0)
    by_role: dict[str, list[tuple[Usage, Usage]]] = {}
    for pid, end in after.items():
        by_role.setdefault(end.role, []).append((before.get(pid, zero), end))
    found = [
        Share(
            role,
            len(pairs),
            sum(end.cpu_ns - begin.cpu_ns for begin, end in pairs) / 1e3 / units,
            sum(end.waited_ns - begin.waited_ns for begin, end in pairs) / 1e3 / units,
            max(0, sum(end.voluntary - begin.voluntary for begin, end in pairs))
            / units,  # a thread that ended took its count along
            max(0, sum(end.involuntary - begin.involuntary for begin, end in pairs)) / units,
        )
        for role, pairs in by_role.items()
    ]
    return sorted(found, key=lambda share: -share.cpu_us)


def syscalls(text: str) -> dict[str, int]:
    """Calls by name from the table `strace -c` prints."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        parts = line.split()
        if len(parts) >= 5 and parts[0].replace(".", "").isdigit() and parts[-1] != "total":
            found[parts[-1]] = int(parts[3])
    return found


class Watch:
    """Looks at all processes when a row begins and when it ends, and attaches strace in between if asked."""

    def __init__(self, without: Sequence[int], strace: bool) -> None:
        self._without, self._strace = without, strace
        self.before: dict[int, Usage] = {}
        self.after: dict[int, Usage] = {}
        self.wall_s = 0.0
        self.calls: dict[str, dict[str, int]] = {}
        self._tracers: dict[str, tuple[subprocess.Popen[bytes], Path]] = {}
        self._folder = tempfile.TemporaryDirectory()

    def __call__(self, when: str, _row: str) -> None:
        if when == "begin":
            self._attach()
            self.before, self.wall_s = self._look(), monotonic()
        else:
            self.wall_s = monotonic() - self.wall_s
            self.after = self._look()
            self._detach()

    def _look(self) -> dict[int, Usage]:
        return usage(os.getpid(), [*self._without, *(tracer.pid for tracer, _ in self._tracers.values())])

    def _attach(self) -> None:
        if not self._strace:
            return
        by_role: dict[str, list[int]] = {}
        for pid, process in self._look().items():
            by_role.setdefault(process.role, []).append(pid)
        for role, pids in by_role.items():
            path = Path(self._folder.name, role)
            command = ["strace", "-f", "-c", "-qq", "-o", str(path), *(f"-p{pid}" for pid in pids)]
            self._tracers[role] = (
                subprocess.Popen(command),
                path,
            )  # workers started later are caught by -f, in their parent's role
        until = monotonic() + 5
        while monotonic() < until and not all(_traced(pid) for pids in by_role.values() for pid in pids):
            sleep(0.01)

    def _detach(self) -> None:
        for role, (tracer, path) in self._tracers.items():
            tracer.send_signal(signal.SIGINT)
            tracer.wait()
            self.calls[role] = syscalls(path.read_text()) if path.exists() else {}
        self._tracers.clear()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.where", description=__doc__.splitlines()[0])
    parser.add_argument("row", help="a row of rows.toml")
    parser.add_argument("--system", choices=SYSTEMS, default="manta")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long to run it (default 2)")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--python", help="interpreter; as in the benchmark")
    parser.add_argument("--strace", action="store_true", help="count system calls too")
    parser.add_argument("--profile", action="store_true", help="sample the driver's CPU time and print its lines")
    asked = parser.parse_args(argv)
    try:
        rows = {row.name: row for row in select(load()[1], [asked.row])}
    except RowsError as error:
        print(error, file=sys.stderr)
        return 2
    names = tuple(row.name for row in rows.values() if row.from_row is None and row.group != "lifecycle")
    procs.adopt_orphans()
    with barometer() as weather, tempfile.NamedTemporaryFile(suffix=".json") as samples:
        for name in names:
            watch = Watch([weather.echo_pid], asked.strace)
            setting = Setting(
                asked.python or default_python([asked.system]),
                asked.cpus,
                Budget(min(0.5, asked.seconds), asked.seconds, 1),
                watch=watch,
                profile=samples.name if asked.profile else None,
            )
            (result, *_) = run_cell(Cell(0, rows[name].group, asked.system, (name,)), rows, setting, weather)
            if result.error is not None or result.value is None:
                print(f"{name} on {asked.system}: {result.error}", file=sys.stderr)
                return 1
            units = float(result.extra.get("units", 1.0))
            print(f"{name} on {asked.system}: {report.number(result.value)} {rows[name].unit}")
            print("\n".join(describe(watch, units)))
            if asked.profile:
                print("\n".join(profile_lines(json.loads(Path(samples.name).read_text()))))
    return 0


def describe(watch: Watch, units: float) -> Iterable[str]:
    """The table of one row."""
    found = shares(watch.before, watch.after, units)
    yield f"{report.number(units)} units in {watch.wall_s:.2f} s: {watch.wall_s * 1e6 / units:,.1f} us each, of which"
    yield f"  {'role':9}{'processes':>10}{'CPU us':>10}{'ready, not run us':>19}{'sleeps':>9}{'preempted':>11}"
    for share in found:
        yield (
            f"  {share.role:9}{share.processes:>10}{share.cpu_us:>10.1f}{share.waited_us:>19.1f}"
            f"{share.voluntary:>9.2f}{share.involuntary:>11.3f}"
        )
    yield f"  {'together':9}{'':>10}{sum(share.cpu_us for share in found):>10.1f}"
    for role, calls in watch.calls.items():
        most = sorted(calls.items(), key=lambda item: -item[1])[:8]
        if most and most[0][1] / units >= 0.005:
            yield f"  {role} system calls per unit: " + ", ".join(f"{name} {count / units:.2f}" for name, count in most)


def profile_lines(samples: Mapping[str, int], most: int = 25) -> Iterable[str]:
    """Lines the driver's main thread stood on, by share of its CPU time."""
    whole = sum(samples.values())
    yield f"driver, {whole} samples of its CPU clock:"
    for where, count in sorted(samples.items(), key=lambda item: -item[1])[:most]:
        yield f"  {count / whole:6.1%}  {where}"


def _field(status: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE)
    return int(found[1]) if found else 0


def _traced(pid: int) -> bool:
    try:
        return _field(Path(f"/proc/{pid}/status").read_text(), "TracerPid") != 0
    except OSError:
        return True  # gone: nothing to wait for


if __name__ == "__main__":
    raise SystemExit(main())
