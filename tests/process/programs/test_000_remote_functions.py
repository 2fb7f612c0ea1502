"""Program 000: remote functions, the order of their ends, failures, pipelines and nested refs."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.process import implementation
from tests.process.programs.harness import OBJECT_REF, TIME_SCALE, Program, Run


@pytest.fixture(scope="module")
def run(program: Program) -> Run:
    return program("p000_remote_functions")


def test_cell_3_a_get_of_a_list_keeps_the_order_of_submission(run: Run):
    assert [f" Completed {value}" for value in range(19, -1, -1)] == run.ok("3").lines


def test_cell_4_wait_hands_out_one_at_a_time_until_none_is_left(run: Run):
    lines = run.ok("4").lines
    assert [f"Ready 1 rest {rest}" for rest in range(19, -1, -1)] == lines[::2]
    results = [re.fullmatch(rf"completed value {OBJECT_REF}, result (\d+)", line) for line in lines[1::2]]
    assert set(range(20)) == {int(match[1]) for match in results if match}


def test_cell_4_with_ten_slots_the_first_ten_submitted_run_first(run: Run, request: pytest.FixtureRequest):
    """Same-shape tasks start in the order of submission: 19…10 start, and the shortest of them, 10, ends first."""
    if request.node.callspec.params["program"] != "as it is":
        pytest.skip("a slot on another node is there later than one here, so starts are in order per node alone")
    results = [int(line.rpartition(" ")[2]) for line in run.ok("4").lines[1::2]]
    assert results[:3] == [10, 11, 12]


def test_cell_5_a_failed_task_is_ready_and_its_error_is_also_the_users_own_type(run: Run):
    cell = run["5"]
    assert cell.error is not None
    assert cell.error["type"] == "RayTaskError(OSError)"
    assert {"RayTaskError", "OSError"} <= set(cell.error["bases"])


def test_cell_5_the_text_holds_the_remote_call_the_users_frame_and_the_message(run: Run):
    error = run["5"].error
    assert error is not None
    text = re.sub(r"\x1b\[\d+m", "", error["text"])
    assert re.match(r"ray::remote_task\(\) \(pid=\d+, ip=[\d.]+\)\n", text)
    assert re.search(r'File ".*program.py", line \d+, in remote_task\n    time.sleep\(x\)', text)
    assert text.endswith("OSError: [Errno 22] Invalid argument")


def test_cell_5_caught_either_name_catches_it(run: Run):
    assert run.ok("5 caught").shows == "[('OSError', True, True), ('RayTaskError', True, True)]"


def test_cell_5_variant_a_task_that_never_ends_times_out_and_is_cancelled(run: Run):
    lines = run.ok("5 variant").lines
    assert len(lines) == 2
    assert re.fullmatch(rf"completed value {OBJECT_REF}, result 1", lines[0])
    assert re.fullmatch(rf"Timed out on \[{OBJECT_REF}\]", lines[1])


def test_cell_6_a_call_shows_its_ref(run: Run):
    assert re.fullmatch(OBJECT_REF, run.ok("6").shows or "")


@pytest.mark.parametrize("cell", ["7", "8 repaired"])
def test_cells_7_and_8_repaired_refs_as_arguments_and_refs_in_a_list(run: Run, cell: str):
    assert run.ok(cell).lines == ["31"]


def test_cell_8_refs_inside_a_list_are_not_resolved(run: Run):
    error = run["8"].error
    assert error is not None
    assert error["type"] == "RayTaskError(TypeError)"
    assert re.search(r"unsupported operand type\(s\) for \+: 'int' and '[\w.]*ObjectRef'", error["text"])


def test_cell_9_refs_made_inside_a_task_outlive_it(run: Run):
    first, *rest = run.ok("9").lines
    assert first == "[0, 1, 0, 3]"
    assert Counter(f"completed result {n}" for n in (1, 0, 0, 3)) == Counter(rest)


def test_cell_11_a_lazy_graph_of_four_layers_gives_three_verdicts(run: Run):
    lines = run.ok("11").lines
    assert len(lines) == 3
    assert {"[True]", "[False]"} >= set(lines)


def test_cell_11_models_run_side_by_side(run: Run):
    """One after the other they would sleep 45 units; the slowest alone sleeps 10."""
    assert run.ok("11").seconds < 45 * TIME_SCALE


def test_the_driver_ends_well(run: Run):
    assert run.returncode == 0, run.stderr


@pytest.mark.skipif(implementation.IS_RAY, reason="Ray writes notes of its own to stderr")
def test_nothing_but_the_programs_own_errors_reaches_stderr(run: Run):
    """Tracebacks of cells 5 and 8 and messages of init; no complaint of the runtime."""
    assert "Exception ignored" not in run.stderr
