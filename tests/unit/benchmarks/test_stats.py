"""Ratios, spreads and verdicts."""

import math

import pytest

from benchmarks.rows import Goal, Row, Summary
from benchmarks.stats import GoalVerdict, Spread, Total, judge, total

SUMMARY = Summary("ray", "throughput", geometric_mean=10.0, lowest=2.0)


def throughput(name: str = "r", *goals: Goal, peers: tuple[str, ...] = ("ray",)) -> Row:
    return Row(name, name, "g", "throughput", "1/s", "higher", goals or (Goal(peer="ray", ratio=10.0),), peers)


def test_ratios_are_taken_within_a_round():
    """Round 1 was slow for both; the ratio does not notice."""
    verdict = judge(throughput(), {"manta": {0: 1000.0, 1: 500.0, 2: 1200.0}, "ray": {0: 100.0, 1: 50.0, 2: 100.0}})

    assert verdict.ratios == {"ray": Spread(10.0, 10.0, 12.0)}
    assert verdict.spreads["manta"] == Spread(1000.0, 500.0, 1200.0)
    assert verdict.met is True
    assert verdict.unclear == ()


def test_less_is_better_turns_the_ratio_round():
    row = Row("r", "r", "g", "timed", "s", "lower", (Goal(max=1.0),), ("ray",))
    verdict = judge(row, {"manta": {0: 0.5}, "ray": {0: 8.0}})

    assert verdict.ratios == {"ray": Spread(16.0, 16.0, 16.0)}
    assert verdict.goals == (GoalVerdict(row.goals[0], 0.5, True, False),)


def test_without_a_common_round_the_medians_are_divided():
    verdict = judge(throughput(), {"manta": {0: 100.0}, "ray": {1: 50.0}})

    assert verdict.ratios == {"ray": Spread(2.0, 2.0, 2.0)}
    assert verdict.met is False


def test_a_missing_peer_leaves_the_goal_open():
    """Not met and not missed: nobody looked."""
    verdict = judge(throughput(), {"manta": {0: 100.0}})

    assert verdict.goals == (GoalVerdict(Goal(peer="ray", ratio=10.0), None, None, False),)
    assert verdict.met is None


def test_one_missed_goal_of_two_is_a_miss_even_when_the_other_is_open():
    row = throughput("r", Goal(peer="ray", ratio=10.0), Goal(peer="pool", ratio=1.0), peers=("ray", "pool"))

    assert judge(row, {"manta": {0: 100.0}, "ray": {0: 50.0}}).met is False


def test_differences_smaller_than_the_spread_are_said_to_be_unclear():
    verdict = judge(throughput(), {"manta": {0: 90.0, 1: 130.0}, "ray": {0: 100.0, 1: 80.0}})

    assert verdict.unclear == ("ray",)


def test_a_goal_inside_the_spread_is_close():
    below = judge(throughput(), {"manta": {0: 80.0, 1: 90.0, 2: 110.0}, "ray": {0: 10.0, 1: 10.0, 2: 10.0}})
    above = judge(throughput("r", Goal(min=9.0)), {"manta": {0: 8.0, 1: 10.0, 2: 11.0}})

    assert [(v.met, v.goals[0].close) for v in (below, above)] == [(False, True), (True, True)]


def test_nothing_measured_against_zero_divides_by_zero():
    assert judge(throughput(), {"manta": {0: 5.0}, "ray": {0: 0.0}}).ratios["ray"].median == math.inf


def test_the_total_is_the_geometric_mean_and_the_weakest_row():
    rows = [throughput("a"), throughput("b")]
    values = [{"manta": {0: 50.0}, "ray": {0: 10.0}}, {"manta": {0: 800.0}, "ray": {0: 10.0}}]
    reached = total(SUMMARY, [judge(row, value) for row, value in zip(rows, values, strict=True)])

    assert reached == Total("ray", 2, (), reached.geometric_mean, ("a", 5.0), True)
    assert reached.geometric_mean == pytest.approx(20.0)


def test_a_weak_row_or_a_missing_one_spoils_the_total():
    strong = judge(throughput("strong"), {"manta": {0: 900.0}, "ray": {0: 1.0}})
    weak = judge(throughput("weak"), {"manta": {0: 1.9}, "ray": {0: 1.0}})
    absent = judge(throughput("absent"), {"manta": {0: 1.9}})

    assert total(SUMMARY, [strong, weak]).met is False
    assert total(SUMMARY, [strong, absent]).met is None
    assert total(SUMMARY, [strong, absent]).missing == ("absent",)
    assert total(SUMMARY, [absent]) == Total("ray", 0, ("absent",), None, None, None)


def test_only_throughput_rows_count_towards_the_total():
    timed = Row("t", "t", "g", "timed", "s", "lower", (Goal(max=1.0),), ("ray",))

    assert total(SUMMARY, [judge(timed, {"manta": {0: 1.0}, "ray": {0: 1.0}})]).rows == 0
