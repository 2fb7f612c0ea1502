"""Start a cell, keep time for it, end it, and leave nothing of it behind."""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import IO, Any

from benchmarks import procs
from benchmarks.noise import Barometer, Disturbance, Weather, between
from benchmarks.plan import Cell
from benchmarks.rows import Row
from benchmarks.timing import Budget

ROOT = Path(__file__).resolve().parent.parent
_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 60.0
_GRACE_S = 1.0
_LIFECYCLE_SCRIPTS = {
    "manta": "start_ray_api.py",
    "ray": "start_ray_api.py",
    "dask": "start_dask.py",
    "pool": "start_pool.py",
}
_LIFECYCLE_MODULES = {"dask": "distributed", "pool": "concurrent.futures"}


@dataclass(frozen=True)
class Result:
    """One row, one system, one round: a value or an error, never both, and the weather it was taken in."""

    row: str
    system: str
    round: int
    value: float | None = None
    error: str | None = None
    parts: tuple[float, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    disturbance: Disturbance | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Setting:
    """What all cells of a run have in common.

    Attributes:
        python: Interpreter the cells run in; the same one for every system.
        watch: Called with ("begin" | "end", row) around each measurement; `where.py` counts CPU there.
        profile: File for a CPU profile of the driver; None takes none.
    """

    python: str
    cpus: int
    budget: Budget
    quick: bool = False
    watch: Callable[[str, str], None] = lambda when, row: None
    profile: str | None = None


class _Ended(Exception):
    """The cell can't go on; the message says why."""


def run_cell(cell: Cell, rows: Mapping[str, Row], setting: Setting, barometer: Barometer) -> list[Result]:
    """Run one cell to its end.

    Never raises for what a system does: a crash or a hang is that row's error, and the rows after it get a fresh process.
    """
    if cell.group == "lifecycle":
        return _lifecycle(cell, setting, barometer)
    results: list[Result] = []
    waiting = list(cell.rows)
    while waiting:
        done = _attempt(cell, waiting, rows, setting, barometer)
        results += done
        measured = {result.row for result in done}
        waiting = [name for name in waiting if name not in measured]
    return results


def environment() -> dict[str, str]:
    """For cells: this repository importable there and in their workers, bytecode cached, no calls home, no colours."""
    unwanted = {
        "PYTHONDONTWRITEBYTECODE",
        "RAY_ADDRESS",
        "MANTA_ADDRESS",
    }  # a cluster of somebody else is not the subject
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    path = os.pathsep.join(part for part in (str(ROOT), kept.get("PYTHONPATH", "")) if part)
    return {**kept, "PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0", "RAY_COLOR_PREFIX": "0"}


def _attempt(
    cell: Cell, names: Sequence[str], rows: Mapping[str, Row], setting: Setting, barometer: Barometer
) -> list[Result]:
    """One process for `names`. Returns at least one result, so that `run_cell` gets on."""
    try:
        return _measure(cell, names, rows, setting, barometer)
    finally:
        _sweep(cell.system, barometer)


def _measure(
    cell: Cell, names: Sequence[str], rows: Mapping[str, Row], setting: Setting, barometer: Barometer
) -> list[Result]:
    results: list[Result] = []
    current = names[0]
    with tempfile.TemporaryFile() as output, _Child(cell.system, setting, output) as child:
        try:
            child.say(_order(cell.system, names, rows, setting, barometer))
            child.hear("started", _START_TIMEOUT_S)
        except _Ended as ended:  # the next row would fare no better: do not try for each
            error = f"did not start: {ended}{_tail(output)}"
            return [Result(name, cell.system, cell.round, error=error) for name in names]
        try:
            for current in names:
                child.hear("ready", 30.0)
                before = barometer.read()
                setting.watch("begin", current)
                child.say({})
                try:
                    message = child.hear("result", rows[current].timeout_s)
                finally:
                    setting.watch("end", current)
                results += _results(cell, current, message, rows, before, barometer.read())
                child.say({})
            current = ""
            child.hear("stopped", _STOP_TIMEOUT_S)
        except _Ended as ended:
            if current:
                results.append(Result(current, cell.system, cell.round, error=f"{ended}{_tail(output)}"))
            elif results:  # measured, but would not stop: worth a word, not worth the figures
                print(f"    {cell.system} did not stop: {ended}", flush=True)
    return results


def _order(
    system: str, names: Sequence[str], rows: Mapping[str, Row], setting: Setting, barometer: Barometer
) -> dict[str, Any]:
    return {
        "system": system,
        "group": rows[names[0]].group,
        "cpus": setting.cpus,
        "rows": [{"name": name, "params": rows[name].params_for(system, quick=setting.quick)} for name in names],
        "budget": asdict(setting.budget),
        "root": os.getpid(),
        "without": [barometer.echo_pid],
        "profile": setting.profile,
    }


def _results(
    cell: Cell, name: str, message: Mapping[str, Any], rows: Mapping[str, Row], before: Weather, after: Weather
) -> list[Result]:
    weather = between(before, after)
    derived = [row.name for row in rows.values() if row.from_row == name]
    if message["event"] == "error":
        return [
            Result(row, cell.system, cell.round, error=message["error"], disturbance=weather)
            for row in [name, *derived]
        ]
    parts, extra = tuple(message["parts"]), message["extra"]
    found = [Result(name, cell.system, cell.round, message["value"], None, parts, extra, weather)]
    found += [
        Result(row, cell.system, cell.round, message["also"][row], None, (), {}, weather)
        for row in derived
        if row in message["also"]
    ]
    return found


def _lifecycle(cell: Cell, setting: Setting, barometer: Barometer) -> list[Result]:
    """import, init, first task and shutdown of one process that does nothing else."""
    script = ROOT / "benchmarks" / "lifecycle" / _LIFECYCLE_SCRIPTS[cell.system]
    module = _LIFECYCLE_MODULES.get(cell.system, cell.system)
    # Once unmeasured, so that bytecode is compiled and files are in the page cache for everybody alike.
    subprocess.run([setting.python, "-c", f"import {module}"], env=environment(), capture_output=True, check=False)
    before = barometer.read()
    mine, theirs = os.pipe()
    with tempfile.TemporaryFile() as output:
        command = [setting.python, str(script), module, str(setting.cpus), repr(monotonic()), str(theirs)]
        process = subprocess.Popen(
            command, env=environment(), pass_fds=[theirs], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        os.close(theirs)
        try:
            with os.fdopen(mine) as answers:
                ready, _, _ = select.select([answers], [], [], _START_TIMEOUT_S)
                line = answers.readline() if ready else ""
            try:
                process.wait(_STOP_TIMEOUT_S if line else 1.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            error = None if line else f"no answer; exit code {process.returncode}{_tail(output)}"
        finally:
            _sweep(cell.system, barometer)
    weather = between(before, barometer.read())
    answer: dict[str, float] = json.loads(line) if line else {}
    return [Result(name, cell.system, cell.round, answer.get(name), error, (), {}, weather) for name in cell.rows]


def _sweep(system: str, barometer: Barometer) -> None:
    """Idle peers cost CPU: nothing of a cell outlives it. What had to be killed is said aloud, it is a fault of the system."""
    left = procs.end_all(os.getpid(), [barometer.echo_pid], _GRACE_S)
    if left:
        print(
            f"    {system} left {len(left)} processes behind: {', '.join(sorted({line[:60] for line in left}))}",
            flush=True,
        )


def _tail(output: IO[bytes]) -> str:
    output.seek(0)
    text = output.read().decode(errors="replace").strip()
    return f"; its last output: {text[-1000:]}" if text else ""


class _Child:
    """The process of a cell and the two pipes to it. Leaving the `with` block ends it."""

    def __init__(self, system: str, setting: Setting, output: IO[bytes]) -> None:
        orders_read, self._orders = os.pipe()
        self._answers, answers_write = os.pipe()
        self._buffer = b""
        self._process = subprocess.Popen(
            [setting.python, "-m", "benchmarks.cell", str(orders_read), str(answers_write)],
            cwd=ROOT,
            env=environment(),
            pass_fds=[orders_read, answers_write],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        os.close(orders_read)
        os.close(answers_write)

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._orders)
        os.close(self._answers)
        try:
            self._process.wait(0.0 if exc[0] is not None else 5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def say(self, message: Mapping[str, Any]) -> None:
        try:
            os.write(self._orders, json.dumps(message).encode() + b"\n")
        except BrokenPipeError as error:
            raise _Ended(self._death()) from error

    def hear(self, event: str, timeout_s: float) -> dict[str, Any]:
        """The next message, which has to be `event` (or "error" where a result is due).

        Raises:
            _Ended: The cell died, or said nothing for `timeout_s`.
        """
        until = monotonic() + timeout_s
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, until - monotonic()))
            if not ready:
                self._process.kill()
                raise _Ended(f"no {event} within {timeout_s:g} s")
            data = os.read(self._answers, 65536)
            if not data:
                raise _Ended(self._death())
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        if message["event"] != event and (event, message["event"]) != ("result", "error"):
            raise _Ended(f"said {message['event']} where {event} was due")
        return message

    def _death(self) -> str:
        try:
            code = self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            return "closed its pipe but lives"
        return f"the process ended with code {code}"
