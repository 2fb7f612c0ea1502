"""Two small decisions: whether this worker's CPU is lent out, and whom an interrupt is for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.client.running import Running
from manta.worker.blocked import Blocked
from manta.worker.cancels import Interrupt, Verdict, verdict


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3), st.booleans()), max_size=40))
def test_the_cpu_is_lent_exactly_while_a_thread_waits_that_counts(events):
    """Threads wait and stop waiting; waits that begin while nothing runs here do not count (third field), nor do their ends."""
    blocked, counted, waiting, lent = Blocked(), set(), set(), False
    for begins, thread, counts in events:
        if begins and thread not in waiting:
            waiting.add(thread)
            if counts:
                counted.add(thread)
                if blocked.begins(thread):
                    assert not lent
                    lent = True
        elif not begins and thread in waiting:
            waiting.remove(thread)
            counted.discard(thread)
            if blocked.ends(thread):
                assert lent
                lent = False
        assert lent == bool(counted)


def test_a_thread_that_outlives_its_task_does_not_count_for_the_next():
    blocked = Blocked()
    assert blocked.begins(1)

    blocked.task_over()

    assert blocked.begins(2), "the next task's own wait is the first"
    assert not blocked.ends(1)
    assert blocked.ends(2)


@pytest.mark.parametrize(
    ("queued", "leased", "runs", "expected"),
    [
        (True, True, False, Verdict.LEAVE),
        (True, False, False, Verdict.DROP),
        (False, True, True, Verdict.STOP),
        (False, False, True, Verdict.STOP),
        (False, True, False, Verdict.LATE),
        (False, False, False, Verdict.LATE),
    ],
)
def test_what_becomes_of_a_request_to_cancel(queued, leased, runs, expected):
    assert verdict(queued=queued, leased=leased, runs=runs) is expected


def test_an_interrupt_is_for_its_task_and_for_no_other():
    interrupt = Interrupt()
    first, second = (Running(letter * 24 + b"\1\0\0\0", "f", 0, None) for letter in (b"a", b"b"))
    assert not interrupt.wanted(first)

    interrupt.ask(first)

    assert first.cancelled
    assert interrupt.wanted(first)
    assert not interrupt.wanted(second)
    assert not interrupt.wanted(None)
