"""Mixed work with random kills, for minutes: `python -m benchmarks.soak [--seconds 600] [--seed 0]`.

A driver keeps tasks, nested tasks, actors with restarts, objects and generators under way while a thread kills workers at
random. Every value is compared; every run of a task is written to an append-only ledger, so that runs are counted whatever died.
At the end: what was done, slopes of memory, descriptors, threads and processes of driver, raylet and control, and exit status 1
if anything was lost, run too often, or grows.
"""

from __future__ import annotations

import argparse
import collections
import gc
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import manta
from manta.exceptions import RayError

#: Kills per second, on average.
KILLS_PER_S = 1.0
#: Rounds of work end after this, seconds: a wait that takes longer is a hang.
PATIENCE_S = 120.0
#: Growth over the last two thirds that counts as a leak: more than what comes and goes. Warming up is no leak, and control
#: keeps a bounded number of dead actors for people to ask about.
LIMITS = {"memory": 16.0, "fds": 16.0, "threads": 2.0, "processes": 6.0}
UNITS = {"memory": "MiB", "fds": "fds", "threads": "threads", "processes": "processes"}
RETRIES = 20


@dataclass
class Tally:
    """What was done, and what was wrong."""

    done: collections.Counter[str] = field(default_factory=collections.Counter)
    wrong: list[str] = field(default_factory=list)

    def check(self, what: str, seen: object, expected: object) -> None:
        """Count one more of `what`, or note that it is wrong."""
        self.done[what] += 1
        if seen != expected:
            self.wrong.append(f"{what}: {seen!r} instead of {expected!r}"[:300])


def note(path: str, word: str) -> None:
    """One line in the ledger: a single append is atomic."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, f"{word}\n".encode())
    finally:
        os.close(descriptor)


@manta.remote(max_retries=RETRIES)
def square(ledger: str, number: int) -> int:
    note(ledger, f"task-{number}")
    return number * number


@manta.remote(max_retries=0)
def once(ledger: str, number: int) -> int:
    note(ledger, f"once-{number}")
    return -number


@manta.remote(max_retries=RETRIES)
def nested(depth: int) -> int:
    return 1 if not depth else 1 + sum(manta.get([nested.remote(depth - 1) for _ in range(2)]))


@manta.remote(max_retries=RETRIES)
def large(number: int) -> bytes:
    return bytes([number % 256]) * 500_000


@manta.remote(max_retries=RETRIES)
def measure(data: bytes) -> tuple[int, int]:
    return len(data), data[0]


@manta.remote(max_retries=RETRIES)
def count(length: int) -> Any:
    yield from range(length)


@manta.remote(max_restarts=-1, max_task_retries=-1)
class Keeper:
    """Answers with what it was given: right in every life."""

    def double(self, number: int) -> int:
        return 2 * number


class Load:
    """Rounds of work, each checked."""

    def __init__(self, ledger: str, luck: random.Random, tally: Tally) -> None:
        self._ledger = ledger
        self._luck = luck
        self._tally = tally
        self._number = 0
        self._keepers = [Keeper.remote() for _ in range(2)]

    def round(self) -> None:
        """One round of a random kind."""
        kinds: list[Callable[[], None]] = [
            self.tasks, self.tasks, self.at_most_once, self.nests, self.objects, self.streams, self.calls, self.young,
        ]  # fmt: skip
        self._luck.choice(kinds)()

    def _numbers(self, count: int) -> range:
        self._number += count
        return range(self._number - count, self._number)

    def tasks(self) -> None:
        numbers = self._numbers(self._luck.randrange(1, 300))
        values = manta.get([square.remote(self._ledger, number) for number in numbers], timeout=PATIENCE_S)
        for number, value in zip(numbers, values, strict=True):
            self._tally.check("tasks", value, number * number)

    def at_most_once(self) -> None:
        numbers = self._numbers(50)
        for number, ref in zip(numbers, [once.remote(self._ledger, number) for number in numbers], strict=True):
            try:
                self._tally.check("tasks without retries", manta.get(ref, timeout=PATIENCE_S), -number)
            except manta.exceptions.WorkerCrashedError:
                self._tally.done["tasks without retries that were lost and said so"] += 1

    def nests(self) -> None:
        self._tally.check("nested tasks", manta.get(nested.remote(3), timeout=PATIENCE_S), 15)

    def objects(self) -> None:
        numbers = self._numbers(10)
        made = [large.remote(number) for number in numbers]
        seen = manta.get([measure.remote(ref) for ref in made], timeout=PATIENCE_S)
        for number, one in zip(numbers, seen, strict=True):
            self._tally.check("objects", one, (500_000, number % 256))
        data = os.urandom(300_000)
        self._tally.check("puts", bytes(manta.get(manta.put(data), timeout=PATIENCE_S)), data)

    def streams(self) -> None:
        length = self._luck.randrange(1, 60)
        values = [manta.get(ref, timeout=PATIENCE_S) for ref in count.remote(length)]
        self._tally.check("streams", values, list(range(length)))

    def calls(self) -> None:
        keeper = self._luck.choice(self._keepers)
        numbers = self._numbers(self._luck.randrange(1, 200))
        values = manta.get([keeper.double.remote(number) for number in numbers], timeout=PATIENCE_S)
        for number, value in zip(numbers, values, strict=True):
            self._tally.check("calls", value, 2 * number)

    def young(self) -> None:
        self._tally.check("new actors", manta.get(Keeper.remote().double.remote(21), timeout=PATIENCE_S), 42)


class Processes:
    """Driver, control, raylet and its workers, by what /proc says."""

    def __init__(self, session_dir: str) -> None:
        self._session_dir = session_dir
        self.pids = {
            "driver": os.getpid(),
            "control": self._find("manta.control"),
            "raylet": self._find("manta.raylet"),
        }
        self.samples: dict[tuple[str, str], list[tuple[float, float]]] = collections.defaultdict(list)

    def _find(self, module: str) -> int:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                except OSError:
                    continue
                if module in words and self._session_dir in words:
                    return int(entry.name)
        raise RuntimeError(f"{module} does not run")

    def workers(self) -> list[int]:
        """Every process that a factory forked: the raylet has a guard, the guard has the factories."""
        guards = [pid for pid in _children(self.pids["raylet"]) if pid != self.pids["control"]]
        factories = [pid for guard in guards for pid in _children(guard)]
        return [pid for factory in factories for pid in _children(factory)]

    def sample(self, now: float) -> None:
        """Look once."""
        for role, pid in self.pids.items():
            self.samples[role, "memory"].append((now, _private_bytes(pid) / (1 << 20)))
            self.samples[role, "fds"].append((now, len(os.listdir(f"/proc/{pid}/fd"))))
            self.samples[role, "threads"].append((now, len(os.listdir(f"/proc/{pid}/task"))))
        self.samples["workers", "processes"].append((now, len(self.workers())))


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += [int(word) for word in (thread / "children").read_text().split()]
    except OSError:
        pass
    return found


def _private_bytes(pid: int) -> int:
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


class Killer(threading.Thread):
    """Kills a random worker now and then."""

    def __init__(self, processes: Processes, luck: random.Random) -> None:
        super().__init__(name="killer", daemon=True)
        self._processes = processes
        self._luck = luck
        self.stopped = threading.Event()
        self.kills = 0

    def run(self) -> None:
        while not self.stopped.wait(self._luck.expovariate(KILLS_PER_S)):
            workers = self._processes.workers()
            if workers:
                try:
                    os.kill(self._luck.choice(workers), signal.SIGKILL)
                    self.kills += 1
                except ProcessLookupError:
                    pass


def soak(seconds: float, seed: int, cpus: int) -> list[str]:
    """Run, print, and return what was wrong."""
    luck = random.Random(seed)
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="manta-soak-") as folder:
        ledger = os.path.join(folder, "ledger")
        context = manta.init(address="local", num_cpus=cpus, object_store_memory=256 << 20, log_to_driver=False)
        processes = Processes(context.address_info["session_dir"])
        killer = Killer(processes, random.Random(seed + 1))
        load = Load(ledger, luck, tally)
        killer.start()
        began = sampled = said = time.monotonic()
        rounds = 0
        while (now := time.monotonic()) - began < seconds:
            try:
                load.round()
            except RayError as error:
                tally.wrong.append(f"round {rounds}: {type(error).__name__}: {error}"[:300])
            rounds += 1
            if now - sampled >= min(2.0, seconds / 60):
                gc.collect()
                processes.sample(now - began)
                sampled = now
            if now - said >= 30:
                print(
                    f"{now - began:5.0f} s  {rounds} rounds, {killer.kills} kills, {len(tally.wrong)} wrong", flush=True
                )
                said = now
        killer.stopped.set()
        killer.join()
        del load
        runs = (
            collections.Counter(Path(ledger).read_text().split()) if os.path.exists(ledger) else collections.Counter()
        )
        manta.shutdown()
    for word, times in runs.items():
        most = 1 if word.startswith("once-") else RETRIES + 1
        if times > most:
            tally.wrong.append(f"{word} ran {times} times, {most} are allowed")
    print(f"\n{rounds} rounds, {killer.kills} workers killed, {sum(runs.values())} runs of {len(runs)} counted tasks")
    for what, number in sorted(tally.done.items()):
        print(f"  {number:>8} {what}")
    tally.wrong += report(processes, seconds)
    return tally.wrong


def report(processes: Processes, seconds: float) -> list[str]:
    """Print how everything grew, and return what grew too much."""
    leaks = []
    print("\ngrowth per minute, first third left out")
    for (role, what), samples in sorted(processes.samples.items()):
        late = [(at, value) for at, value in samples if at > seconds / 3]
        if len(late) < 3:
            continue
        growth = statistics.linear_regression(*zip(*late, strict=True)).slope * 60
        leak = growth * (late[-1][0] - late[0][0]) / 60 > LIMITS[what]
        change = f"{late[0][1]:8.1f} -> {late[-1][1]:8.1f}  {growth:+7.2f} {UNITS[what]}/min"
        print(f"  {role:<8} {what:<10} {change}{'  LEAK' if leak else ''}")
        if leak:
            leaks.append(f"{role} grows by {growth:.2f} {UNITS[what]} per minute")
    return leaks


def main() -> int:
    """Read the command line, run, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Mixed work with random kills.")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cpus", type=int, default=2)
    options = parser.parse_args()
    print(f"soak: {options.seconds:g} s, seed {options.seed}, {options.cpus} CPUs", flush=True)
    wrong = soak(options.seconds, options.seed, options.cpus)
    for text in wrong[:50]:
        print(f"WRONG: {text}")
    print("lost or leaked: " + (f"{len(wrong)} findings" if wrong else "nothing"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
