"""Program 003: tasks side by side, and an actor that counts its callers."""

from __future__ import annotations

import ast
import re

import pytest

from tests.process.programs.harness import TIME_SCALES, Program, Run

TIME_SCALE = TIME_SCALES["p003_actors"]


@pytest.fixture(scope="module")
def run(program: Program) -> Run:
    return program("p003_actors")


def test_cells_4_and_10_five_slots_take_the_time_of_one_sleep(run: Run):
    serial, parallel = run.ok("4"), run.ok("10")
    assert "[0, 1, 2, 3, 4]" == serial.shows == parallel.shows
    assert parallel.seconds < 5 * TIME_SCALE <= serial.seconds


def test_cells_15_and_19_arrays(run: Run):
    assert run.ok("15").shows in ("True", "np.True_")
    assert run.ok("19").lines == ["Sum of arr1: 5173", "Sum of arr2: 7719"]


def test_cell_32_a_handle_says_class_and_id(run: Run):
    assert re.fullmatch(r"Actor\(MethodStateCounter, ?[0-9a-f]{32}\)", run.ok("32").text)


def test_cell_33_a_question_is_answered_after_the_ten_calls_before_it(run: Run):
    counts = ast.literal_eval(run.ok("33").shows or "")
    assert {"A", "B", "C"} == set(counts)
    assert sum(counts.values()) == 10


def test_cell_34_each_answer_is_the_running_count_of_its_name(run: Run):
    counts = ast.literal_eval(run.ok("33").shows or "")
    for line in run.ok("34").lines:
        name, count = line.split()
        counts[name] += 1
        assert counts[name] == int(count)
    assert counts == ast.literal_eval(run.ok("34").shows or "")


def test_without_shutdown_the_actor_ends_with_its_driver(run: Run):
    assert run.returncode == 0, run.stderr
    pid = int(run.ok("35").text)
    assert pid != run.pid
    assert run.gone(pid)
