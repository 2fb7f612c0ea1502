"""`manta stack`: where everything stands, also when it does not answer."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from manta.cli import main
from tests.process.cli.conftest import Start
from tests.support.pausing import pause
from tests.support.waiting import wait_until

STUCK = """
@manta.remote
def slow(path):
    while os.path.exists(path):
        time.sleep(0.01)  # here it hangs

@manta.remote
def outer(path):
    return manta.get(slow.remote(path))

@manta.remote
class Quiet:
    def wait(self, path):
        while os.path.exists(path):
            time.sleep(0.01)  # the actor hangs

@manta.remote
class Loop:
    async def sleep(self):
        import asyncio
        await asyncio.sleep(1000)  # a coroutine hangs

quiet, loop = Quiet.remote(), Loop.remote()
calls = [quiet.wait.remote(__file__), loop.sleep.remote()]
ref = outer.remote(__file__)
ready()
manta.get(ref)  # the driver waits
"""

GIL = """
@manta.remote
def compute(path):
    open(path, "w").close()
    # One call into C that never lets go of the interpreter's lock.
    return sum(range(10**15))

ref = compute.remote(sys.argv[0] + ".begun")
while not os.path.exists(sys.argv[0] + ".begun"):
    time.sleep(0.01)
ready()
manta.get(ref)
"""


def stacks(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main(["stack", "-o", "json", *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, list)
    return found


def lines(process: dict[str, Any]) -> list[str]:
    return [line for stack in process["stacks"] for frame in stack["frames"] for line in frame["code"]]


def everywhere(found: list[dict[str, Any]]) -> str:
    return "\n".join(line for process in found for line in lines(process))


HANGS = ("# here it hangs", "# the actor hangs", "# a coroutine hangs", "# the driver waits")


def wait_until_stuck(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    def look() -> list[dict[str, Any]]:
        found = stacks(capsys)
        return found if all(mark in everywhere(found) for mark in HANGS) else []

    return wait_until(look, what="everything to hang")


def the_silent(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The one that does not answer; others may not be given the CPU for two seconds."""

    def alone() -> list[dict[str, Any]]:
        found = [process for process in stacks(capsys) if process["kind"] == "silent"]
        return found if len(found) == 1 else []

    return wait_until(alone, what="one process to be silent")[0]


def test_every_process_says_where_it_stands_the_driver_first(start: Start, capsys: pytest.CaptureFixture[str]):
    driver = start(STUCK)

    found = wait_until_stuck(capsys)

    assert (driver.pid, "driver") == (found[0]["pid"], found[0]["kind"])
    kinds = [process["kind"] for process in found]
    assert kinds == sorted(kinds, key=["driver", "silent", "actor", "worker", "idle"].index)
    assert {"actor Quiet", "actor Loop", "worker outer", "worker slow"} <= {process["title"] for process in found}


def test_a_waiting_get_says_for_what_and_where_that_is(start: Start, capsys: pytest.CaptureFixture[str]):
    start(STUCK)
    by_title = {process["title"]: process for process in wait_until_stuck(capsys)}

    (driver,) = [stack["waits_for"] for stack in by_title["driver"]["stacks"] if stack["waits_for"]]
    (outer,) = [stack["waits_for"] for stack in by_title["worker outer"]["stacks"] if stack["waits_for"]]

    assert f"task outer, with the worker of pid {by_title['worker outer']['pid']}" in driver
    assert f"task slow, with the worker of pid {by_title['worker slow']['pid']}" in outer


def test_text_shows_the_users_frames_and_hides_ours(start: Start, capsys: pytest.CaptureFixture[str]):
    start(STUCK)
    wait_until_stuck(capsys)

    def shown() -> str:
        main(["stack"])
        text = capsys.readouterr().out
        # A process that is not given the CPU for two seconds is shown without its stacks.
        return text if all(mark in text for mark in HANGS) else ""

    text = wait_until(shown, what="everything that hangs to be shown")
    assert "executor.py" not in text
    assert "\x1b" not in text
    main(["stack", "--all"])
    assert "executor.py" in capsys.readouterr().out
    main(["stack", "--color", "always"])
    coloured = capsys.readouterr().out
    assert any("\x1b[1m" in line and "# here it hangs" in line for line in coloured.splitlines()), "innermost is bold"


def test_pids_choose_processes(start: Start, capsys: pytest.CaptureFixture[str]):
    driver = start(STUCK)
    wait_until_stuck(capsys)

    assert [driver.pid] == [process["pid"] for process in stacks(capsys, str(driver.pid))]
    assert main(["stack", "1"]) == 1
    assert "no process of this cluster has pid 1" in capsys.readouterr().err


def test_c_code_that_holds_the_lock_is_listed_with_what_the_kernel_knows(
    start: Start, capsys: pytest.CaptureFixture[str]
):
    start(GIL)

    silent = the_silent(capsys)

    assert [] == silent["stacks"]
    assert silent["silent"].startswith("running")
    assert "computes in C code that holds the interpreter's lock" in silent["silent"]
    # It would not hear the cluster's end either.
    os.kill(silent["pid"], signal.SIGKILL)


def test_a_stopped_process_is_listed_as_stopped(start: Start, capsys: pytest.CaptureFixture[str]):
    driver = start("ready()\ntime.sleep(1000)")
    pause(driver.pid)

    silent = the_silent(capsys)

    assert driver.pid == silent["pid"]
    assert f"`kill -CONT {driver.pid}` lets it go on" in silent["silent"]
