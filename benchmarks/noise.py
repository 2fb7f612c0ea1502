"""How steady the machine is: a calibration that never changes, and how much CPU others took."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic, perf_counter, sleep

from benchmarks import procs

#: Share of one core that others may take during a row before its figure is called disturbed.
OTHERS_CORES = 0.25
#: How far a calibration may be from the run's median before the figure beside it is called disturbed. Ping-pong is not judged: it
#: gets *faster* on a busy machine, whose cores do not sleep.
SPIN_DRIFT = 0.20


@dataclass(frozen=True)
class Weather:
    """The machine at one moment.

    Attributes:
        at: Seconds on the monotonic clock.
        busy_s: CPU seconds all cores have spent busy since boot.
        stolen_s: CPU seconds the hypervisor gave to somebody else.
        ours_s: CPU seconds of this benchmark: the runner and everything below it.
        load: One-minute load average.
        spin: Million loop turns of pure Python per second, at best.
        ping_pong: Round trips per second over a Unix socket to a process that only echoes.
    """

    at: float
    busy_s: float
    stolen_s: float
    ours_s: float
    load: float
    spin: float
    ping_pong: float


@dataclass(frozen=True)
class Disturbance:
    """What happened around one row: everything `report.py` needs in order to doubt it."""

    load_before: float
    load_after: float
    others_cores: float
    stolen_cores: float
    spin: tuple[float, float]
    ping_pong: tuple[float, float]

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def between(before: Weather, after: Weather) -> Disturbance:
    """How much CPU others took between two moments, in cores."""
    wall_s = max(after.at - before.at, 1e-9)
    others_s = (after.busy_s - before.busy_s) - (after.ours_s - before.ours_s)
    return Disturbance(
        before.load,
        after.load,
        round(max(0.0, others_s) / wall_s, 3),
        round((after.stolen_s - before.stolen_s) / wall_s, 3),
        (before.spin, after.spin),
        (before.ping_pong, after.ping_pong),
    )


def disturbed(seen: Disturbance, usual_spin: float) -> str | None:
    """Why a figure taken meanwhile deserves doubt; None when nothing speaks against it."""
    if seen.others_cores > OTHERS_CORES:
        return f"others took {seen.others_cores:.2f} cores"
    if seen.stolen_cores > OTHERS_CORES:
        return f"the hypervisor took {seen.stolen_cores:.2f} cores"
    drift = max(abs(spin / usual_spin - 1) for spin in seen.spin)
    return f"pure Python ran {drift:.0%} off its usual speed" if drift > SPIN_DRIFT else None


class Barometer:
    """Reads the weather. Open it with `barometer()`; its echo process is not part of any system."""

    def __init__(self, echo_pid: int, line: socket.socket) -> None:
        self.echo_pid, self._line = echo_pid, line

    def read(self) -> Weather:
        """Calibrate (about 60 ms) and take all counters."""
        spin, ping_pong = _spin(), self._ping_pong()
        busy_s, stolen_s = _machine_cpu()
        all_processes = procs.table()
        me = all_processes[os.getpid()]
        ours = me.cpu_s + sum(p.cpu_s for p in procs.descendants(me.pid, among=all_processes))
        return Weather(monotonic(), busy_s, stolen_s, ours, os.getloadavg()[0], spin, ping_pong)

    def wait_for_quiet(self, at_most_s: float) -> float:
        """Wait until others take less than a tenth of a core over 0.3 s, or until `at_most_s` passed.

        Returns:
            The last reading, in cores.
        """
        until = monotonic() + at_most_s
        while True:
            before, started = _machine_cpu()[0], monotonic()
            own_before = sum(os.times()[:2])
            sleep(0.3)
            wall_s = monotonic() - started
            others = (_machine_cpu()[0] - before - (sum(os.times()[:2]) - own_before)) / wall_s
            if others < 0.1 or monotonic() >= until:
                return max(0.0, round(others, 3))

    def _ping_pong(self) -> float:
        send, receive = self._line.send, self._line.recv
        start = perf_counter()
        for _ in range(200):
            send(b"x")
            receive(1)
        return round(200 / (perf_counter() - start))


@contextmanager
def barometer() -> Iterator[Barometer]:
    """A barometer and its echo process. Open it before any thread is started: it forks."""
    mine, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        mine.close()
        try:
            while data := theirs.recv(64):
                theirs.send(data)
        finally:
            os._exit(0)
    theirs.close()
    try:
        yield Barometer(pid, mine)
    finally:
        mine.close()
        os.waitpid(pid, 0)


def copy_gb_per_s(size_bytes: int = 128 << 20) -> float:
    """Copy warm memory on one thread: the limit that put GB/s is read against."""
    source, target = bytearray(b"\1") * size_bytes, bytearray(size_bytes)
    target[:] = source
    seconds = []
    for _ in range(3):
        start = perf_counter()
        target[:] = source
        seconds.append(perf_counter() - start)
    return round(size_bytes / statistics.median(seconds) / 1e9, 2)


def bare_interpreter_s(python: str) -> float:
    """Seconds from exec to exit of an interpreter that does nothing: the floor under every import."""
    seconds = []
    for _ in range(5):
        start = perf_counter()
        subprocess.run([python, "-c", "pass"], check=True)
        seconds.append(perf_counter() - start)
    return round(statistics.median(seconds), 4)


def usual(values: Sequence[float]) -> float:
    """The median, which is what a calibration is held against."""
    return statistics.median(values) if values else 1.0


def _spin() -> float:
    """The best of five short runs: how fast the core is. How often we were pushed off it, `others_cores` says."""
    turns, best_s = 40_000, 1e9
    for _ in range(5):
        start = perf_counter()
        for _ in range(turns):
            pass
        best_s = min(best_s, perf_counter() - start)
    return round(turns / best_s / 1e6, 2)


def _machine_cpu() -> tuple[float, float]:
    fields = [int(number) for number in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields[:8]
    return (user + nice + system + irq + softirq) / procs.TICKS_PER_S, steal / procs.TICKS_PER_S
