"""`manta status`: what it says is so, in text and in JSON, and it says what is wrong when nobody answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from manta.cli import main
from tests.process.cli.conftest import Start, sessions_folder
from tests.support.pausing import paused
from tests.support.waiting import wait_until

BUSY = """
@manta.remote
def hold(path):
    while os.path.exists(path):
        time.sleep(0.01)

@manta.remote(num_cpus=64)
def huge():
    pass

@manta.remote
class Counter:
    def add(self):
        return 1

counter = Counter.options(name="it", namespace="here").remote()
manta.get(counter.add.remote())
block = manta.put(bytes(4 << 20))
held = hold.remote(__file__)
never = huge.remote()
ready()
manta.get(held)
"""


def status(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(["status", *arguments]) == 0
    return capsys.readouterr().out


def facts(capsys: pytest.CaptureFixture[str]) -> dict:
    found = json.loads(status(capsys, "-o", "json"))
    assert isinstance(found, dict)
    return found


def test_json_holds_nodes_resources_store_demands_jobs_and_actors(start: Start, capsys: pytest.CaptureFixture[str]):
    driver = start(BUSY)
    found = once_busy(capsys)

    (node,) = found["nodes"]
    (job,) = found["jobs"]
    (actor,) = found["actors"]
    (infeasible,) = [demand for demand in node["demands"] if not demand["feasible"]]
    assert [] == found["problems"]
    assert (driver.pid, driver.pid) == (found["driver_pid"], job["driver_pid"])
    assert ("ALIVE", True) == (node["state"], node["head"])
    assert {"total": 2.0, "used": 1.0} == found["resources"]["CPU"]
    assert {"total": 1.0, "used": 0.0} == found["resources"]["disk"]
    assert node["store"]["sealed_bytes"] >= 4 << 20
    assert node["workers"]["busy"] >= 1
    assert {"name": "huge", "resources": {"CPU": 64.0}, "waiting": 1, "feasible": False} == infeasible
    assert "RUNNING" == job["state"]
    assert ("Counter", "it", "here", "ALIVE") == (
        actor["class_name"],
        actor["name"],
        actor["namespace"],
        actor["state"],
    )


def once_busy(capsys: pytest.CaptureFixture[str]) -> dict:
    """The task holds its CPU, and it is known that nobody can run the other one."""

    def busy() -> dict:
        found = facts(capsys)
        impossible = [demand for demand in found["nodes"][0]["demands"] if not demand["feasible"]]
        return found if found["resources"]["CPU"]["used"] == 1 and impossible else {}

    return wait_until(busy, what="the task to hold its CPU, and the other one to be asked for")


def test_text_says_the_same_without_colour_when_piped(start: Start, capsys: pytest.CaptureFixture[str]):
    driver = start(BUSY)
    once_busy(capsys)

    ran = subprocess.run(
        [sys.executable, "-m", "manta.cli", "status"], capture_output=True, text=True, check=False, timeout=30
    )

    assert (0, "") == (ran.returncode, ran.stderr)
    assert "\x1b" not in ran.stdout
    for fact in (
        f"driver {driver.pid}",
        "1 alive",
        "of 2 ",
        "of 96.0 MiB",
        "huge",
        "no node can ever give",
        "'it'",
    ):
        assert fact in ran.stdout


def test_wide_shows_full_ids_and_every_resource(start: Start, capsys: pytest.CaptureFixture[str]):
    start(BUSY)
    actor = facts(capsys)["actors"][0]["actor_id"]

    assert actor not in status(capsys)
    wide = status(capsys, "-o", "wide")
    assert actor in wide
    assert "node:__internal_head__" in wide


def test_an_address_names_the_cluster(start: Start, capsys: pytest.CaptureFixture[str]):
    first, _second = start("ready()\ntime.sleep(1000)"), start("ready()\ntime.sleep(1000)")
    notes = [json.loads(path.read_text()) for path in sessions_folder().glob("*/address.json")]
    clusters = {note["pid"]: note["raylet"] for note in notes}

    found = json.loads(status(capsys, "-o", "json", "--address", f"unix:{clusters[first.pid]}"))

    assert first.pid == found["driver_pid"]
    assert f"driver_pid: {first.pid}\n" in status(capsys, "-o", "yaml", "--address", f"unix:{clusters[first.pid]}")


def test_without_a_cluster_it_says_how_there_would_be_one(capsys: pytest.CaptureFixture[str]):
    assert main(["status"]) == 3
    said = capsys.readouterr()
    assert "" == said.out
    assert "No cluster of yours runs" in said.err
    assert "manta.init()" in said.err


def test_an_address_that_leads_nowhere_is_no_cluster(capsys: pytest.CaptureFixture[str]):
    assert main(["status", "--address", "unix:/nowhere/raylet.sock"]) == 3
    assert "Nothing is at /nowhere/raylet.sock" in capsys.readouterr().err


def test_a_raylet_that_hangs_is_named_with_its_state(
    start: Start, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    start("ready()\ntime.sleep(1000)")
    raylet = facts(capsys)["nodes"][0]["pid"]
    monkeypatch.setattr("manta.cli.tool.ANSWER_S", 0.2)
    with paused(raylet):
        assert main(["status"]) == 1
    said = capsys.readouterr().err
    assert f"pid {raylet}" in said
    assert "stopped by a signal" in said


def test_a_silent_control_is_a_problem_and_the_node_is_shown_all_the_same(
    start: Start, capsys: pytest.CaptureFixture[str]
):
    driver = start("ready()\ntime.sleep(1000)")
    (control,) = [pid for pid in children_of(driver.pid) if "manta.control" in arguments_of(pid)]
    with paused(control):
        found = facts(capsys)
    (problem,) = found["problems"]
    assert "control did not answer ListNodes" in problem
    assert {"total": 2.0, "used": 0.0} == found["resources"]["CPU"]


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["status", "-o", "xml"]])
def test_wrong_arguments_are_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert 2 == leaving.value.code
    assert "usage: manta" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "stack", "stop"])
def test_help_shows_examples(command: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as leaving:
        main([command, "--help"])
    assert 0 == leaving.value.code
    assert f"examples:\n  manta {command}" in capsys.readouterr().out


def test_a_reader_who_has_seen_enough_is_no_error(start: Start):
    """`manta status | head -1`."""
    start(BUSY)
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        ran = subprocess.run(
            [sys.executable, "-m", "manta.cli", "status"],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=30,
        )
    assert (0, "") == (ran.returncode, ran.stderr)


def children_of(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def arguments_of(pid: int) -> list[str]:
    with open(f"/proc/{pid}/cmdline") as file:
        return file.read().split("\0")
