"""The text that Prometheus reads, and its bounds."""

from prometheus_client.parser import text_string_to_metric_families

from manta.metrics import text
from manta.metrics.histogram import Histogram


def _samples(*families):
    shown = text.render(lambda: families).decode()
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(shown)
        for sample in family.samples
    }


def test_each_kind_is_told_under_its_name():
    histogram = Histogram((1.0,))
    histogram.observe(0.5)

    assert {
        ("manta_a", "used", "x"): 1.0,
        ("manta_b_total", "y"): 2.0,
        ("manta_c_bucket", "1.0"): 1.0,
        ("manta_c_bucket", "+Inf"): 1.0,
        ("manta_c_count",): 1.0,
        ("manta_c_sum",): 0.5,
    } == _samples(
        text.gauge("manta_a", "A.", ("what", "state"), {("x", "used"): 1}),
        text.counter("manta_b", "B.", ("what",), {"y": 2}),
        text.histogram("manta_c", "C.", (), {(): histogram}),
    )


def test_labels_do_not_explode():
    """A hundred thousand resources are a hundred series and one for all others; nothing is lost from the sum."""
    values = {(f"resource {number}", "used"): 1.0 for number in range(100_000)}

    kept = text.bounded(values)

    assert text.MOST_VALUES + 1 == len(kept)
    assert 100_000 == sum(kept.values())
    assert 100_000 - text.MOST_VALUES == kept[text.OTHER, "used"]


def test_a_label_that_is_hostile_is_one_short_value():
    hostile = 'a"b\\c\n{}' + "x" * 100_000

    [(name, label)] = _samples(text.gauge("manta_a", "A.", ("what",), {hostile: 1}))

    assert ("manta_a", hostile[: text.MOST_CHARACTERS]) == (name, label)
