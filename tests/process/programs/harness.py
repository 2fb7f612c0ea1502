"""Run a program through `notebook.py` in a driver process and read back what each cell did.

Of the standard library alone, as pods run it too: `elsewhere.py`.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.process import implementation
from tests.process.programs.notebook import RECORD

HERE = Path(__file__).parent
ANSI = re.compile(r"\x1b\[[0-9;]*m")
#: A line that a worker printed and the driver forwarded. Manta and Ray both write `(name pid=1, ip=...) text`.
FORWARDED = re.compile(r"^\((?P<name>.+?) pid=(?P<pid>\d+)(?:, ip=(?P<ip>[\d.]+))?\) ?(?P<text>.*)$")
#: `print` writes its text and the end of the line one after the other: a worker's line, which is coloured, may come in between.
BETWEEN = re.compile(r"(?<=.)(?=\x1b\[\d+m\(.+? pid=\d+)")
OBJECT_REF = r"ObjectRef\([0-9a-f]{56}\)"

#: Factor on every sleep of the programs. At 1 they take the recorded minutes; below 0.05 the order of events would
#: hang on how busy the machine is.
TIME_SCALE = 0.1
#: Of programs whose cells are shown to wait or not to wait: what tells them apart is longer than what a busy machine takes.
TIME_SCALES = {"p002_tasks": 0.2, "p003_actors": 0.4}

#: A program that takes longer has failed, seconds.
PATIENCE_S = 180


@dataclass(slots=True)
class Cell:
    """What one cell did."""

    name: str
    #: Lines the driver itself printed while the cell ran; forwarded lines are in `Run.forwarded`.
    lines: list[str] = field(default_factory=list)
    #: repr of the value of the closing expression; None if there was none.
    shows: str | None = None
    html: str | None = None
    #: None, or {"type", "bases", "text"} of the exception that ended the cell.
    error: dict[str, Any] | None = None
    #: Wall time of the cell.
    seconds: float = 0.0

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True, slots=True)
class Ended:
    """A driver process that has ended."""

    stdout: str
    stderr: str
    returncode: int
    pid: int


def no_process_here(pid: int) -> bool:
    """Whether this machine has none of that number."""
    return not Path(f"/proc/{pid}").exists()


@dataclass(slots=True)
class Run:
    """What one driver process did."""

    cells: dict[str, Cell]
    #: Lines of workers on the driver's stdout, as (task name or class, pid, text). They may arrive late.
    forwarded: list[tuple[str, int, str]]
    stderr: str
    returncode: int
    #: 0 where the driver's processes and its workers' are not numbered together.
    pid: int
    #: Of a cluster that was there before; None where `init` said how many.
    cpus: float | None = None
    #: Whether the process of an actor, by its number, is gone.
    gone: Callable[[int], bool] = no_process_here

    def __getitem__(self, name: str) -> Cell:
        return self.cells[name]

    def ok(self, name: str) -> Cell:
        """The cell, which must have ended without an exception."""
        cell = self.cells[name]
        assert cell.error is None, f"cell {name} raised {cell.error}"
        return cell


#: Runs the program of a folder, once.
Program = Callable[[str], Run]


def parse(stdout: str) -> tuple[dict[str, Cell], list[tuple[str, int, str]]]:
    """Split a driver's stdout into cells and forwarded lines."""
    cells: dict[str, Cell] = {}
    forwarded: list[tuple[str, int, str]] = []
    current = Cell("before the first cell")
    whole = stdout.split("\n")  # splitlines() would split at RECORD too
    for raw in (part for line in whole for part in BETWEEN.split(line, maxsplit=1)):
        line = ANSI.sub("", raw)
        if line.startswith(RECORD):
            fields = json.loads(line.removeprefix(RECORD))
            if "cell" in fields:
                current = cells[fields["cell"]] = Cell(fields["cell"])
            else:
                current.shows, current.html = fields["shows"], fields["html"]
                current.error, current.seconds = fields["error"], fields["seconds"]
        elif (match := FORWARDED.match(line)) is not None:
            forwarded.append((match["name"], int(match["pid"]), match["text"]))
        elif line:
            current.lines.append(line)
    return cells, forwarded


def run_program(folder: str, starter: str = "", /, **environment: str) -> Run:
    """Run `folder/program.py` with its own folder as working directory, by `python -m starter` if one is named."""
    return read(execute(folder, starter, **environment))


def read(ended: Ended) -> Run:
    """What it did, by its own account."""
    cells, forwarded = parse(ended.stdout)
    return Run(cells, forwarded, ANSI.sub("", ended.stderr), ended.returncode, ended.pid)


def execute(folder: str, starter: str = "", /, **environment: str) -> Ended:
    """Run one to its end."""
    program = HERE / folder / "program.py"
    driver = subprocess.Popen(
        implementation.driver_command(str(HERE / "notebook.py"), str(program), starter=starter),
        cwd=program.parent,
        env=implementation.driver_environment(
            PROGRAM_TIME_SCALE=str(TIME_SCALES.get(folder, TIME_SCALE)), **environment
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        stdout, stderr = driver.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        driver.send_signal(signal.SIGTERM)
        stdout, stderr = driver.communicate(timeout=30)
        raise AssertionError(
            f"{folder} was not done after {PATIENCE_S} s\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
        ) from None
    finally:
        driver.kill()  # also when this test itself is being ended
    return Ended(stdout, stderr, driver.returncode, driver.pid)
