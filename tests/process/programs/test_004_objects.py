"""Program 004: put, get, arguments by value and by ref, timeouts, and ten models trained on shared data."""

from __future__ import annotations

import re

import pytest

from tests.process.programs.harness import OBJECT_REF, TIME_SCALE, Program, Run

#: The first test of the module waits for the whole program: ten models are trained twice, 15 s on two idle cores.
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def run(program: Program) -> Run:
    return program("p004_objects")


def _echoed(run: Run) -> list[str]:
    return [text for name, _pid, text in run.forwarded if name == "echo"]


def test_cell_2_a_notebook_shows_versions_and_the_dashboard_as_a_table(run: Run):
    html = run.ok("2").html or ""
    assert "<table" in html
    assert "Python version" in html
    assert re.search(r"(Ray|Manta) version", html)


@pytest.mark.parametrize(
    ("cell", "shows"),
    [
        ("4", "[1, 2, 3, 4, 5]"),
        ("5", "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"),
        ("13 afterwards", "10"),
        ("15", "(20640, 8)"),
        ("16", str(20_640 * 8 * 8)),
        ("21", str(list(range(20, 70, 5)))),
        ("25", str(list(range(20, 70, 5)))),
        ("26", "True"),
        ("exercise 1", "90"),
        ("exercise 2", "[499999500000, 499999500000, 4999950000, 4999950000]"),
        ("27", "False"),
    ],
)
def test_a_cell_shows_its_value(run: Run, cell: str, shows: str):
    assert shows == run.ok(cell).shows


def test_cell_3_put_shows_its_ref(run: Run):
    assert re.fullmatch(OBJECT_REF, run.ok("3").shows or "")


def test_cells_7_to_9_a_worker_prints_the_value_of_a_ref_and_returns_none(run: Run):
    assert _echoed(run).count("current value of argument x: 25") == 3
    assert (run.ok("7").shows, run.ok("8").shows) == (None, None)
    assert run.ok("9").lines == ["None"]


def test_cells_10_and_11_a_worker_prints_a_ref_in_a_container_with_the_drivers_id(run: Run):
    ref = run.ok("10").text
    assert re.fullmatch(OBJECT_REF, ref)
    assert f"current value of argument x: {{'obj': {ref}}}" in _echoed(run)
    assert f"current value of argument x: [{ref}]" in _echoed(run)


def test_cell_13_a_get_that_times_out_ends_at_its_time_and_leaves_the_task_running(run: Run):
    """The bound below is the contract's: a get returns by its timeout and half a second."""
    cell = run.ok("13")
    assert cell.lines == ["GetTimeoutError True"]
    assert 6 * TIME_SCALE <= cell.seconds < 6 * TIME_SCALE + 0.5


def test_cell_22_a_table_in_the_store_is_equal_and_read_only(run: Run):
    assert run.ok("22").shows == "(True, False)"


def test_cell_25_ten_tasks_train_on_read_only_data_and_every_line_of_theirs_is_shown(run: Run):
    """The lines differ in their digits only; none may be folded away."""
    run.ok("25")
    lines = [text for name, _pid, text in run.forwarded if name == "train_and_score_model_task"]
    trained = [re.fullmatch(r"n_estimators=(\d+), mse=\d+\.\d{4}, took: \d+\.\d\d seconds", line) for line in lines]
    assert list(range(20, 70, 5)) == sorted(int(match[1]) for match in trained if match)


def test_cell_26_parallel_and_sequential_find_the_same_best_model(run: Run):
    assert run.ok("26").lines == ["True"]


def test_the_driver_ends_well(run: Run):
    assert run.returncode == 0, run.stderr
