"""`manta stop` leaves nothing of a cluster, whatever its driver and its processes do, and touches no other."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from manta.cli import main
from tests.process.cli.conftest import Start, gone, sessions, sessions_folder, wait_until_gone
from tests.support.pausing import pause

WAITS = """
@manta.remote
def hold(path):
    while os.path.exists(path):
        time.sleep(0.01)

ref = hold.remote(__file__)
ready()
manta.get(ref)
"""


def processes_of(capsys: pytest.CaptureFixture[str], address: str | None = None) -> list[int]:
    """Raylet and workers of the newest cluster."""
    capsys.readouterr()
    assert main(["status", "-o", "json", *(["--address", address] if address else [])]) == 0
    raylet = json.loads(capsys.readouterr().out)["nodes"][0]["pid"]
    return [raylet, *descendants(raylet)]


def descendants(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        children = [int(child) for child in file.read().split()]
    return [*children, *(one for child in children for one in descendants(child))]


def test_the_cluster_goes_and_its_driver_hears_of_it(start: Start, capsys: pytest.CaptureFixture[str]):
    driver = start(WAITS)
    pids = processes_of(capsys)

    assert main(["stop"]) == 0

    said = capsys.readouterr().out
    assert "2 processes ended" in said
    assert f"driver goes on: pid {driver.pid}" in said
    assert [] == sessions()
    wait_until_gone(*pids)
    _, errors = driver.process.communicate(timeout=20)
    assert "LocalRayletDiedError" in errors


def test_a_driver_that_hangs_does_not_matter(start: Start, capsys: pytest.CaptureFixture[str]):
    driver = start(WAITS)
    pids = processes_of(capsys)
    pause(driver.pid)

    assert main(["stop", str(driver.pid), "-o", "json"]) == 0

    (ended,) = json.loads(capsys.readouterr().out)
    assert pids[0] in ended["ended"], "the raylet, beside control"
    assert "" == ended["left"]
    assert [] == sessions()
    wait_until_gone(*pids)
    assert not gone(driver.pid)


@pytest.mark.parametrize("grace", ["0", "0.2"])
def test_processes_that_hang_are_killed(start: Start, capsys: pytest.CaptureFixture[str], grace: str):
    """However short the time to end in peace is, those that were killed are gone when that is said."""
    start(WAITS)
    pids = processes_of(capsys)
    pause(pids[0])

    assert main(["stop", "--grace", grace]) == 0

    # Control, which is told at the same time, may need longer than that.
    assert re.search(r"[12] of them killed", capsys.readouterr().out)
    assert [] == sessions()
    wait_until_gone(*pids)


def test_of_several_none_is_ended_unless_one_is_named(start: Start, capsys: pytest.CaptureFixture[str]):
    first, second = start(WAITS), start(WAITS)

    assert main(["stop"]) == 2
    said = capsys.readouterr()
    assert "" == said.out
    assert f"manta stop {first.pid} " in said.err
    assert f"manta stop {second.pid} " in said.err
    assert 2 == len(sessions())

    assert main(["stop", str(first.pid)]) == 0
    assert [str(second.pid)] == [name.rpartition("_")[2] for name in sessions()]
    assert second.process.poll() is None


def test_all_ends_all(start: Start, capsys: pytest.CaptureFixture[str]):
    start(WAITS)
    start(WAITS)

    assert main(["stop", "--all"]) == 0

    assert 2 == capsys.readouterr().out.count("Stopped session_")
    assert [] == sessions()


def test_all_removes_what_dead_clusters_left(capsys: pytest.CaptureFixture[str]):
    folder = sessions_folder()
    folder.mkdir(mode=0o700)
    # No process has so large an id.
    (folder / "session_2026-01-01_00-00-00_abcdef_99999999").mkdir()
    starting = folder / f"session_2026-01-01_00-00-01_abcdef_{os.getpid()}"
    starting.mkdir()
    (folder / "session_not_ours").mkdir()

    assert main(["stop", "--all"]) == 0

    assert [starting.name, "session_not_ours"] == sessions()


def test_a_folder_that_is_no_clusters_is_never_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Stopping removes a folder; the folder of any socket is not one to remove."""
    (tmp_path / "raylet.sock").touch()

    assert main(["stop", "--address", f"unix:{tmp_path}/raylet.sock"]) == 3

    assert "is no embedded cluster of yours" in capsys.readouterr().err
    assert (tmp_path / "raylet.sock").exists()


def test_a_process_that_is_no_driver_is_not_stopped(start: Start, capsys: pytest.CaptureFixture[str]):
    driver = start(WAITS)

    assert main(["stop", str(os.getpid())]) == 3

    assert f"drivers are: {driver.pid}" in capsys.readouterr().err
    assert 1 == len(sessions())


def test_nothing_to_stop_is_no_failure(capsys: pytest.CaptureFixture[str]):
    assert main(["stop"]) == 0
    assert "nothing to stop" in capsys.readouterr().out


@pytest.mark.parametrize("grace", ["-1", "nan", "soon", "1e9"])
def test_a_grace_that_is_no_time_is_refused(grace: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as leaving:
        main(["stop", "--grace", grace])
    assert 2 == leaving.value.code
