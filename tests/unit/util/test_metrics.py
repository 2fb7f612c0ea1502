"""`manta.util.metrics` says what Ray's says."""

import pickle
import re
from typing import Any

import pytest

from manta.util import metrics
from manta.util.metrics import Counter, Gauge, Histogram

#: Of types that no checker would let pass.
K: Any = "k"
TEXT: Any = "1"
NUMBERS: Any = (1,)
TAGS: Any = {"k": 1}


@pytest.fixture(autouse=True)
def nothing_gathered(monkeypatch):
    monkeypatch.setattr(metrics, "_gathered", {})
    monkeypatch.setattr(metrics, "_dropped", {"series": 0, "metrics": 0})


def test_what_was_measured_is_gathered_by_tags():
    counter = Counter("c", "Doc.", ("k",)).set_default_tags({"k": "x"})
    counter.inc()
    counter.inc(2, tags={"k": "y"})
    counter.inc(3)
    Gauge("g").set(5)
    histogram = Histogram("h", boundaries=[1, 10])
    histogram.observe(1)
    histogram.observe(11)

    batch = {one.name: one for one in metrics._take().metrics}
    assert {("x",): 4, ("y",): 2} == {tuple(one.tags): one.value for one in batch["c"].series}
    assert [5] == [one.value for one in batch["g"].series]
    assert [(12, [1, 0, 1])] == [(one.value, list(one.counts)) for one in batch["h"].series]
    assert metrics._take() is None


def test_what_waits_is_bounded_and_what_is_dropped_is_counted(monkeypatch):
    monkeypatch.setattr(metrics, "MOST_SERIES", 10)
    monkeypatch.setattr(metrics, "MOST_METRICS", 3)
    counter = Counter("c", tag_keys=("k",))
    for number in range(100):
        counter.inc(tags={"k": str(number)})
    for number in range(7):
        Gauge(f"g{number}").set(1)

    batch = metrics._take()
    assert [10, 1, 1] == [len(one.series) for one in batch.metrics]
    assert (90, 5) == (batch.dropped_series, batch.dropped_metrics)
    counter.inc(tags={"k": "0"})
    batch = metrics._take()
    assert (0, 0) == (batch.dropped_series, batch.dropped_metrics)


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        (lambda: Counter(""), ValueError, "Empty name is not allowed. Please provide a metric name."),
        (lambda: Counter("a", tag_keys=K), TypeError, "tag_keys should be a tuple type, got: <class 'str'>"),
        (lambda: Counter("a", tag_keys=NUMBERS), TypeError, "Tag keys must be str, got <class 'int'>."),
        (lambda: Counter("a").inc(0), ValueError, "value must be >0, got 0"),
        (lambda: Counter("a").inc(TEXT), TypeError, "value must be int or float, got <class 'str'>."),
        (lambda: Gauge("a").set(TEXT), TypeError, "value must be int or float, got <class 'str'>."),
        (lambda: Counter("a").inc(tags={"k": "v"}), ValueError, "Unrecognized tag key k."),
        (lambda: Counter("a", tag_keys=("k", "l")).inc(), ValueError, "Missing value for tag key(s): k,l."),
        (
            lambda: Counter("a", tag_keys=("k",)).inc(tags=TAGS),
            TypeError,
            "Tag values must be str, got <class 'int'>.",
        ),
        (lambda: Histogram("a"), ValueError, "boundaries argument should be provided when using the Histogram class."),
        (lambda: Histogram("a", boundaries=[0, 1]), ValueError, "Invalid `boundaries` argument at index 0, [0, 1]."),
    ],
)
def test_mistakes_are_named(wrong, error, text):
    with pytest.raises(error, match=re.escape(text)):
        wrong()


def test_a_metric_travels_into_a_task_with_its_default_tags():
    histogram = Histogram("a", "Doc.", boundaries=[1, 2], tag_keys=("k",)).set_default_tags({"k": "v"})

    assert histogram.info == pickle.loads(pickle.dumps(histogram)).info
