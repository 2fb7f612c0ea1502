"""Program 001: a tour of tasks."""

from __future__ import annotations

import os
import re

import pytest

from tests.process.programs.harness import HERE, OBJECT_REF, TIME_SCALE, Program, Run


@pytest.fixture(scope="module")
def run(program: Program) -> Run:
    return program("p001_tasks_tour")


def _array(name: str) -> list[list[int]]:
    text = (HERE / "p001_tasks_tour" / "data" / name).read_text()
    return [[int(cell) for cell in line.split(",")] for line in text.splitlines()]


def test_cell_2_shutdown_before_any_init_does_nothing(run: Run):
    run.ok("2")


def test_cell_5_the_context_is_shown_as_a_record(run: Run):
    assert re.match(
        r"RayContext\(dashboard_url='[^']*',\s*python_version='3\.\d+\.\d+[^']*',\s*ray_version=", run.ok("5").text
    )


def test_cell_6_the_context_knows_where_the_dashboard_is(run: Run):
    """Empty when there is none, else host:port without a scheme."""
    assert re.fullmatch(r"dashboard: ([\w.-]+:\d+)?", run.ok("6").text)


def test_cell_6_the_address_info_has_the_known_keys(run: Run):
    """Ray adds a few (redis_address, dashboard_agent_listen_port) that promise nothing."""
    known = {"address", "gcs_address", "metrics_export_port", "node_id", "node_ip_address", "object_store_address"}
    known |= {"raylet_socket_name", "session_dir", "webui_url"}
    assert known <= set(re.findall(r"'(\w+)'", run.ok("6").shows or ""))


@pytest.mark.parametrize("cell", ["8", "13"])
def test_cells_8_and_13_a_call_shows_its_ref(run: Run, cell: str):
    assert re.fullmatch(OBJECT_REF, run.ok(cell).shows or "")


@pytest.mark.parametrize(
    ("cell", "shows"),
    [
        ("9", "1"),
        ("10", "10"),
        ("28", "1"),
        ("29", "[1, 2, 3]"),
        ("30", "[1, [1, 2, 3]]"),
        ("36", "36"),
        ("37", "36"),
        ("38", "36"),
        ("39", "36"),
        ("42", "[1, 1, 1, 1]"),
        ("43", "[1, 1, 1, 1]"),
        ("44", "False"),
    ],
)
def test_a_cell_shows_its_value(run: Run, cell: str, shows: str):
    assert shows == run.ok(cell).shows


def test_cell_15_workers_read_files_relative_to_the_drivers_directory(run: Run):
    numbers = [int(number) for number in re.findall(r"\d+", run.ok("15").text)]
    assert [2 * cell for row in _array("file_1.txt") for cell in row] == numbers


def test_cell_19_sums(run: Run):
    assert run.ok("19").lines == ["Sum of arr1: 5173", "Sum of arr2: 7719"]


def test_cell_25_a_task_calls_a_plain_function_of_the_driver(run: Run):
    assert str([20_000] * (os.cpu_count() or 1)) == run.ok("25").shows == run.ok("23").shows


@pytest.mark.parametrize(("cell", "depth"), [("36", 7), ("37", 7), ("39", 3)])
def test_cells_36_to_39_a_chain_waits_for_each_link_and_a_tree_for_each_level(run: Run, cell: str, depth: int):
    """No addition starts before its arguments exist. A lower bound: how far above it we are is for the benchmarks."""
    assert run.ok(cell).seconds >= depth * TIME_SCALE


def test_cells_37_and_39_the_tree_is_shorter_than_the_chain(run: Run):
    assert run.ok("39").seconds < run.ok("37").seconds


def test_cell_42_a_task_returns_refs_that_the_driver_can_use(run: Run):
    assert re.fullmatch(rf"\[({OBJECT_REF}(, )?){{4}}\]", run.ok("42").text)


def test_the_driver_ends_well_and_quietly(run: Run):
    assert (run.returncode, run.stderr) == (0, "")
