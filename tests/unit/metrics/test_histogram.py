"""Histograms count as Prometheus's do."""

from manta.metrics.histogram import Histogram


def test_a_bound_belongs_to_the_class_below_it_and_counts_are_cumulative():
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 7.0):
        histogram.observe(value)

    assert [("1.0", 2.0), ("2.0", 4.0), ("+Inf", 5.0)] == histogram.cumulative()
    assert 12.0 == histogram.total


def test_what_others_counted_is_added_unless_their_bounds_differ():
    histogram = Histogram((1.0,))

    assert histogram.merge([2, 1], 4.5)
    assert not histogram.merge([1, 1, 1], 9.0)

    assert [("1.0", 2.0), ("+Inf", 3.0)] == histogram.cumulative()
    assert 4.5 == histogram.total
