"""Program 002: init twice, resources, redefinition, submission that does not wait."""

from __future__ import annotations

import re

import pytest

from tests.process.programs.harness import OBJECT_REF, TIME_SCALES, Program, Run

TIME_SCALE = TIME_SCALES["p002_tasks"]


@pytest.fixture(scope="module")
def run(program: Program) -> Run:
    return program("p002_tasks")


def test_cell_19_init_twice_is_fine_when_said_so(run: Run):
    assert run.ok("19").lines == ["True"]


def test_cell_19_the_cluster_says_what_it_has(run: Run):
    cell = run.ok("19 resources")
    assert cell.shows == str(run.cpus or 4.0)
    assert {"CPU", "memory", "object_store_memory"} <= set(re.findall(r"'([\w:]+)'", cell.text))
    assert "node:" in cell.text


def test_cells_20_to_24_a_name_may_be_redefined_as_a_remote_function(run: Run):
    assert run.ok("20").shows == "41"
    assert re.fullmatch(OBJECT_REF, run.ok("22").shows or "")
    assert run.ok("23").shows == "42"
    assert run.ok("24").lines == ["42"]


def test_cell_26_submission_does_not_wait(run: Run):
    cell = run.ok("26")
    assert cell.lines[:4] == ["0", "1", "2", "3"]
    assert re.fullmatch(rf"\[({OBJECT_REF}(, )?){{4}}\]", cell.lines[4])
    assert cell.seconds < 5 * TIME_SCALE


def test_cell_27_four_results(run: Run):
    lines = run.ok("27").lines
    assert len(lines) == 4
    assert all(re.fullmatch(r"\d", line) for line in lines)


def test_cell_28_a_comprehension_does_not_wait_either(run: Run):
    assert run.ok("28").seconds < 5 * TIME_SCALE


@pytest.mark.parametrize("cell", ["29", "30", "31"])
def test_cells_29_to_31_four_slots_take_the_time_of_one_sleep(run: Run, cell: str):
    seen = run.ok(cell)
    assert re.fullmatch(r"\[\d, \d, \d, \d\]", seen.shows or "")
    assert seen.seconds < 4 * 5 * TIME_SCALE


def test_cell_34_shutdown(run: Run):
    assert run.ok("34").shows == "False"
    assert (run.returncode, run.stderr) == (0, "")
