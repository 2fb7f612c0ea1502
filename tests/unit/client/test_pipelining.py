"""How deep a worker's queue is filled, and how many workers would help: facts about the estimates behind it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.client.lease import FLOOR_US, PIPELINE_US, UNKNOWN_US, Alone, Estimate, Lease, wanted_leases


class NoTokens:
    def put(self, count: int) -> None:
        pass

    def take(self, most: int) -> int:
        return most


def lease() -> Lease:
    return Lease(1, None, b"w", 1, NoTokens())


def fill(expected_us: int, limit: int = 10_000) -> int:
    """How many tasks of that length one lease takes."""
    one = lease()
    count = 0
    while count < limit and one.fits(expected_us):
        one.push((b"%d" % count, 0, b""), expected_us)
        count += 1
    one.validate()
    return count


def measured(*micros: int) -> Estimate:
    estimate = Estimate()
    for one in micros:
        estimate.add(one)
    return estimate


def test_a_task_of_unknown_length_gets_a_worker_of_its_own():
    assert fill(Estimate().us) == 1


def test_a_task_that_may_end_its_worker_has_it_alone_however_short_it_is():
    estimate = Alone()
    estimate.add(5)
    assert fill(estimate.us) == 1


def test_long_tasks_go_one_at_a_time_and_short_ones_fill_three_milliseconds():
    assert fill(1_000_000) == 1
    assert fill(PIPELINE_US + 1) == 1
    assert fill(PIPELINE_US // 2) == 2
    assert fill(100) == PIPELINE_US // 100


def test_the_queue_is_bounded_however_short_the_tasks():
    assert fill(measured(*[0] * 100).us) == PIPELINE_US // FLOOR_US


def test_a_long_task_in_front_leaves_no_room_for_a_short_one():
    """Head of line: nothing queues behind it, whatever it costs itself."""
    one = lease()
    one.push((b"long", 0, b""), 1_000_000)

    assert not one.fits(1)


def test_room_comes_back_as_results_come():
    one = lease()
    for name in (b"a", b"b"):
        one.push((name, 0, b""), PIPELINE_US // 2)
    assert not one.fits(100)

    assert one.done(b"a") == (b"a", 0, b"")

    assert one.fits(100)
    assert one.done(b"a") is None, "a result counts once"
    assert one.queued_us == PIPELINE_US // 2


def test_the_first_run_replaces_not_knowing():
    assert measured(50).us == 50


def test_one_long_run_stops_the_queueing_at_once():
    assert measured(*[50] * 100, 900_000).us == 900_000


def test_one_short_run_among_long_ones_proves_little():
    estimate = measured(80_000, 0)

    assert estimate.us == 70_000
    assert fill(estimate.us) == 1


def test_tasks_that_became_short_are_pipelined_again_after_a_while():
    """An eighth less each time: from a second to a filled pipe in about sixty runs."""
    estimate = measured(999_999)
    runs = 0
    while fill(estimate.us) < 10:
        estimate.add(100)
        runs += 1

    assert runs < 70


@given(st.lists(st.integers(0, 1 << 32), min_size=1))
def test_an_estimate_lies_within_what_was_measured(micros):
    """Or at the floor; and never below the last run, so that a task never counts as shorter than the last one was."""
    estimate = measured(*micros)

    assert max(min(micros), FLOOR_US) <= max(estimate.us, FLOOR_US) <= max(max(micros), FLOOR_US)
    assert estimate.us >= micros[-1] or UNKNOWN_US in micros


@pytest.mark.parametrize(
    ("tasks", "expected_us", "leases"),
    [
        (0, UNKNOWN_US, 0),
        (1, UNKNOWN_US, 1),
        (10, UNKNOWN_US, 10),
        (1, 10, 1),
        (100, 10, 1),
        (1000, 10, 4),
        (10, PIPELINE_US, 10),
    ],
)
def test_as_many_leases_are_wanted_as_would_help(tasks, expected_us, leases):
    """One per task when they are long, one per pipe's worth of work when they are short."""
    assert leases == wanted_leases(tasks, expected_us)


@given(st.integers(1, 1 << 20), st.integers(FLOOR_US, 1 << 32))
def test_never_more_leases_than_tasks_and_never_none(tasks, expected_us):
    wanted = wanted_leases(tasks, expected_us)

    assert 1 <= wanted <= tasks
    assert wanted <= wanted_leases(tasks + 1, expected_us)
