"""What a node keeps of users' measurements, and what it refuses."""

from manta.raylet import user_metrics
from manta.raylet.user_metrics import UserMetricBook
from manta.rpc.v1 import channel_pb2 as pb

COUNTER, GAUGE, HISTOGRAM = pb.UserMetric.KIND_COUNTER, pb.UserMetric.KIND_GAUGE, pb.UserMetric.KIND_HISTOGRAM
JOB = b"\1\0\0\0"


def _batch(name, kind, *series, keys=("k",), bounds=()):
    return pb.UserMetrics(
        metrics=[
            pb.UserMetric(
                name=name, kind=kind, tag_keys=keys, bounds=bounds, series=[pb.UserSeries(**one) for one in series]
            )
        ]
    )


def _shown(book):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in book.families()
        for sample in family.samples
        if not sample.name.startswith("manta_user_metrics_dropped")
    }


def test_counters_add_up_over_processes_and_gauges_are_each_process_s():
    book = UserMetricBook()
    for pid in (1, 2):
        book.add(_batch("a", COUNTER, {"tags": ["x"], "value": 2}), JOB, pid)
        book.add(_batch("b", GAUGE, {"tags": ["x"], "value": pid}), JOB, pid)
    book.keep([2])

    assert {("manta_user_a_total", "01000000", "x"): 4, ("manta_user_b", "2", "01000000", "x"): 2} == _shown(book)


def test_what_contradicts_or_lies_is_counted_and_changes_nothing():
    book = UserMetricBook()
    book.add(_batch("a", COUNTER, {"tags": ["x"], "value": 2}), JOB, 1)
    book.add(_batch("a", GAUGE, {"tags": ["x"], "value": 9}), JOB, 1)
    book.add(_batch("a", COUNTER, {"tags": ["x", "y"], "value": 9}), JOB, 1)
    book.add(_batch("a", COUNTER, {"tags": ["x"], "value": -9}), JOB, 1)
    book.add(_batch("h", HISTOGRAM, {"tags": ["x"], "value": 1, "counts": [1]}, bounds=[2, 1]), JOB, 1)
    book.add(_batch("", COUNTER, {"tags": ["x"], "value": 1}), JOB, 1)

    assert {("manta_user_a_total", "01000000", "x"): 2} == _shown(book)
    assert {"metrics": 0, "series": 0, "conflict": 1, "malformed": 4} == book.dropped


def test_series_metrics_and_lines_are_bounded(monkeypatch):
    monkeypatch.setattr(user_metrics, "MOST_SERIES", 10)
    monkeypatch.setattr(user_metrics, "MOST_METRICS", 3)
    monkeypatch.setattr(user_metrics, "MOST_LINES", 25)
    book = UserMetricBook()
    for name in ("a", "b", "c", "d"):
        for number in range(20):
            book.add(_batch(name, COUNTER, {"tags": [str(number)], "value": 1}), JOB, 1)

    assert 25 == len(_shown(book))
    assert {"metrics": 20, "series": 35, "conflict": 0, "malformed": 0} == book.dropped
    book.add(pb.UserMetrics(dropped_series=90, dropped_metrics=5), JOB, 1)  # by the process itself
    assert {"metrics": 25, "series": 125, "conflict": 0, "malformed": 0} == book.dropped


def test_names_that_prometheus_does_not_know_are_made_fit():
    book = UserMetricBook()
    book.add(_batch("a.b-c/é", COUNTER, {"tags": ["x", "y"], "value": 1}, keys=("k-1", "job_id")), JOB, 1)

    assert {("manta_user_a_b_c___total", "01000000", "x", "y"): 1} == _shown(book)
