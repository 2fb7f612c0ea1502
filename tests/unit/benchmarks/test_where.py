"""Dividing what processes used by the work they did."""

from benchmarks.where import Share, Usage, role_of, shares, syscalls


def test_usage_is_divided_by_the_work_and_summed_by_role():
    before = {1: Usage("driver", 1_000_000, 0, 10, 1), 2: Usage("worker", 0, 0, 0, 0)}
    after = {
        1: Usage("driver", 3_000_000, 500_000, 30, 2),
        2: Usage("worker", 4_000_000, 0, 10, 0),
        3: Usage("worker", 2_000_000, 0, 10, 0),  # started meanwhile: all of it counts
    }

    assert shares(before, after, units=100.0) == [
        Share("worker", 2, 60.0, 0.0, 0.2, 0.0),
        Share("driver", 1, 20.0, 5.0, 0.2, 0.01),
    ]


def test_a_process_is_named_by_what_it_says_it_is():
    assert role_of("python -m benchmarks.cell 3 4", "python", None) == "driver"
    assert role_of("python -m manta.control --dir x", "python", "driver") == "control"
    assert role_of("python -m manta.raylet --dir x", "python", "driver") == "raylet"
    assert role_of("ray::IDLE", "ray::IDLE", "raylet") == "worker"
    assert role_of("sh", "sh", None) == "other"


def test_a_fork_that_kept_its_parents_command_line_is_a_worker():
    assert role_of("python -m manta.factory", "python", "factory") == "worker"
    assert role_of("python -m manta.worker", "python", "worker") == "worker"


def test_the_table_of_strace_is_read_by_name():
    text = """% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000600           1       600           read
 40.00    0.000400           1       400        12 futex
------ ----------- ----------- --------- --------- ----------------
100.00    0.001000           1      1000        12 total
"""
    assert syscalls(text) == {"read": 600, "futex": 400}
