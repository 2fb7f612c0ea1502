"""What a node remembers of tasks, and what it takes for a report."""

import pytest

from manta.raylet.tasks import TaskBook, ended_only, is_sound
from manta.rpc.v1 import channel_pb2 as pb

FINISHED, RUNNING, FAILED = pb.TASK_STATE_FINISHED, pb.TASK_STATE_RUNNING, pb.TASK_STATE_FAILED


def _report(count: int, *, running: int = 0, **more) -> pb.TaskReport:
    both = count + running
    return pb.TaskReport(
        ids=bytes(24 * both),
        names=["f"],
        name=[0] * both,
        state=[FINISHED] * count + [RUNNING] * running,
        attempt=[0] * both,
        started_us=[5] * count + [0] * running,
        ended_us=[9] * count + [0] * running,
        **more,
    )


def test_the_last_ones_are_remembered_and_all_are_counted():
    book = TaskBook(most=10)
    for _ in range(5):
        book.add(_report(4, execution=[0] * 3 + [4] + [0] * 13, execution_us=100, failed=1))

    assert 8 == sum(len(report.state) for report in book.reports())
    assert 12 == book.untold
    assert (15, 5) == (book.finished, book.failed)
    assert 20 == sum(book.execution.counts)


def test_a_task_that_never_ran_counts_as_failed():
    """Its owner tells of it, without a start."""
    book = TaskBook()
    book.add(
        pb.TaskReport(ids=bytes(24), names=["f"], name=[0], state=[FAILED], attempt=[0], started_us=[0], ended_us=[9])
    )

    assert (0, 1) == (book.finished, book.failed)


def test_tasks_under_way_are_not_remembered():
    kept = ended_only(_report(2, running=3))

    assert [FINISHED] * 2 == list(kept.state)
    assert is_sound(kept)


@pytest.mark.parametrize(
    "lie",
    [
        {"ids": bytes(23)},
        {"name": [1]},
        {"name": [0, 0]},
        {"started_us": []},
        {"troubles": [pb.TaskTrouble(index=1)]},
    ],
)
def test_a_report_that_contradicts_itself_is_not_sound(lie):
    right = {"ids": bytes(24), "names": ["f"], "name": [0], "state": [FINISHED], "attempt": [0]}
    right |= {"started_us": [5], "ended_us": [9]}

    assert is_sound(pb.TaskReport(**right))
    assert not is_sound(pb.TaskReport(**{**right, **lie}))
