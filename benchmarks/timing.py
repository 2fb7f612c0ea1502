"""How a figure is taken. One shape of result for every row."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any


@dataclass(frozen=True)
class Budget:
    """How long to measure: warm up, then `slices` stretches of `slice_s` seconds each."""

    warmup_s: float = 1.0
    slice_s: float = 1.0
    slices: int = 3


@dataclass(frozen=True)
class Sample:
    """One row's figure in one cell.

    Attributes:
        value: The figure, in the row's unit; the median of `parts`.
        parts: Slices or repeats it was made of.
        extra: Anything worth keeping in the JSON: curves, sizes, `units` = work done in all, warm-up included.
        also: Figures this measurement yields for rows that name it in `from_row`.
    """

    value: float
    parts: tuple[float, ...]
    extra: dict[str, Any] = field(default_factory=dict)
    also: dict[str, float] = field(default_factory=dict)


def rate(step: Callable[[], object], budget: Budget, units: float = 1.0) -> Sample:
    """Repeat `step` and say how many `units` of work per second it does.

    The clock is read once per stretch of about a tenth of a slice, as Ray's microbenchmark does, so that it costs a fast
    step nothing.
    """
    start, steps = perf_counter(), 0
    while True:
        step()
        steps += 1
        warm_s = perf_counter() - start
        if warm_s >= budget.warmup_s:
            break
    stretch = max(1, int(steps / warm_s * budget.slice_s / 10))
    parts: list[float] = []
    for _ in range(budget.slices):
        start, count, spent_s = perf_counter(), 0, 0.0
        while spent_s < budget.slice_s:
            for _ in range(stretch):
                step()
            count += stretch
            spent_s = perf_counter() - start
        parts.append(units * count / spent_s)
        steps += count
    return Sample(statistics.median(parts), tuple(parts), {"units": units * steps})


def timed(once: Callable[[], float], repeats: int, scale: float = 1.0) -> Sample:
    """Call `once` `repeats` times; it answers seconds, because only it knows what is preparation.

    `scale` is how much larger the row's own size is than the one measured.
    """
    parts = tuple(once() * scale for _ in range(repeats))
    return Sample(statistics.median(parts), parts, {} if scale == 1.0 else {"scaled_by": scale})


def growth(cost: Callable[[int], float], sizes: list[int]) -> Sample:
    """Do the work at each size (each twice the one before): the value is the last cost over the one before it."""
    cost(sizes[0])  # warm: the first time pays for processes and imports that no size is to blame for
    seconds = [cost(size) for size in sizes]
    parts = tuple(after / before for before, after in zip(seconds, seconds[1:], strict=False))
    return Sample(parts[-1], parts, {"sizes": sizes, "seconds": seconds})
