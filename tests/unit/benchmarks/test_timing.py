"""How a figure is taken, on a clock that only moves when work is done."""

import pytest

from benchmarks import timing
from benchmarks.timing import Budget, growth, rate, timed


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timing, "perf_counter", clock)
    return clock


def test_a_rate_counts_units_not_steps(clock: Clock):
    def step() -> None:
        clock.now += 0.25

    sample = rate(step, Budget(1.0, 1.0, 2), units=1000)

    assert (sample.value, sample.parts) == (4000.0, (4000.0, 4000.0))
    assert sample.extra == {"units": 12_000}  # 4 steps to warm up, 4 in each slice


def test_a_step_longer_than_the_budget_still_runs_once_per_slice(clock: Clock):
    def step() -> None:
        clock.now += 10.0

    assert rate(step, Budget(0.1, 0.1, 3)).parts == (0.1, 0.1, 0.1)


def test_a_slow_slice_does_not_decide(clock: Clock):
    costs = iter([1.0, 1.0, 5.0, 1.0])

    def step() -> None:
        clock.now += next(costs)

    assert rate(step, Budget(1.0, 1.0, 3)).value == 1.0


def test_a_timed_row_of_another_size_is_scaled_and_says_so():
    seconds = iter([1.0, 3.0, 2.0])
    sample = timed(lambda: next(seconds), 3, scale=50.0)

    assert (sample.value, sample.parts, sample.extra) == (100.0, (50.0, 150.0, 100.0), {"scaled_by": 50.0})


def test_growth_compares_the_largest_with_half_of_it():
    quadratic = growth(lambda size: size**2 / 100.0, [10, 20, 40])

    assert (quadratic.value, quadratic.parts) == (4.0, (4.0, 4.0))
    assert quadratic.extra == {"sizes": [10, 20, 40], "seconds": [1.0, 4.0, 16.0]}
