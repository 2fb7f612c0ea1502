"""What the node's histograms count."""

from manta.raylet import events as ev
from manta.raylet import timings as module
from manta.raylet.timings import Timings


def _demand(owner: bytes, wanted: int) -> ev.DemandSet:
    return ev.DemandSet(owner=owner, job=b"j", key=1, amounts={}, wanted=wanted)


def _grant(lease_id: int, owner: bytes = b"o") -> ev.Grant:
    return ev.Grant(lease_id, owner, 1, b"w", {}, (), "")


def _seen(histogram) -> tuple[int, float]:
    return sum(histogram.counts), histogram.total


def test_waiting_for_a_worker_is_from_the_wish_to_the_grant_and_a_lease_is_from_then_to_its_return():
    timings = Timings()

    timings.seen(_demand(b"o", 2), [], 10.0)
    timings.seen(ev.Tick(), [_grant(1)], 11.0)
    timings.seen(ev.Tick(), [_grant(2)], 13.0)
    timings.seen(ev.LeaseBack(b"o", 1), [], 16.0)

    assert (2, 4.0) == _seen(timings.scheduling)
    assert (1, 5.0) == _seen(timings.lease)


def test_repeating_a_wish_does_not_begin_the_wait_anew_and_wanting_more_does():
    timings = Timings()

    timings.seen(_demand(b"o", 2), [], 10.0)
    timings.seen(_demand(b"o", 2), [_grant(1)], 12.0)
    timings.seen(_demand(b"o", 3), [_grant(2)], 13.0)

    assert (2, 2.0) == _seen(timings.scheduling)


def test_a_worker_start_is_from_the_decision_to_its_first_word():
    timings = Timings()

    timings.seen(ev.Tick(), [ev.StartWorker(b"a", (b"j", b""), ""), ev.StartWorker(b"b", (b"j", b""), "")], 1.0)
    timings.seen(ev.WorkerReady(b"a"), [], 1.5)
    timings.seen(ev.WorkerDied(b"b", 1, "died"), [], 2.0)
    timings.seen(ev.WorkerReady(b"b"), [], 9.0)

    assert (1, 0.5) == _seen(timings.worker_start)


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "MOST", 3)
    timings = Timings()

    for number in range(10):
        timings.seen(_demand(b"%d" % number, 1), [_grant(number, b"%d" % number)], float(number))
        timings.seen(ev.Tick(), [ev.StartWorker(b"%d" % number, (b"j", b""), "")], float(number))

    assert [3, 3, 3] == [len(timings._asked), len(timings._lent), len(timings._starting)]
