"""Spread, ratios and verdicts. Pure: results in, judgement out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.rows import Goal, Row, Summary

#: Values of one row on one system, by round.
Rounds = Mapping[int, float]


@dataclass(frozen=True)
class Spread:
    """Median with the lowest and highest value seen."""

    median: float
    low: float
    high: float

    def overlaps(self, other: Spread) -> bool:
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True)
class GoalVerdict:
    """One goal of one row.

    Attributes:
        goal: What was asked.
        reached: The figure held against it: a ratio or a value; None when it was not measured.
        met: Whether it holds; None when it can't be told because ours or the peer's figure is missing.
        close: The spread reaches to the other side of the goal, so another run may say otherwise.
    """

    goal: Goal
    reached: float | None
    met: bool | None
    close: bool


@dataclass(frozen=True)
class Verdict:
    """All about one row.

    Attributes:
        spreads: By system; a system without a figure is absent.
        ratios: How many times better Manta is than each peer, paired by round; above 1 is better.
        goals: One verdict per goal.
        unclear: Peers whose spread overlaps ours: the difference is smaller than the noise.
    """

    row: Row
    spreads: Mapping[str, Spread]
    ratios: Mapping[str, Spread]
    goals: tuple[GoalVerdict, ...]
    unclear: tuple[str, ...]

    @property
    def met(self) -> bool | None:
        """True when every goal holds, False when one does not, None when one can't be told and none fails."""
        marks = [goal.met for goal in self.goals]
        return False if False in marks else None if None in marks else True


@dataclass(frozen=True)
class Total:
    """The throughput rows together: their geometric mean and the lowest, as times better than the peer."""

    peer: str
    rows: int
    missing: tuple[str, ...]
    geometric_mean: float | None
    lowest: tuple[str, float] | None
    met: bool | None


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def times_better(row: Row, ours: float, theirs: float) -> float:
    """Above 1 when ours is better, in the row's direction. A zero on the losing side is infinitely worse."""
    over, under = (ours, theirs) if row.better == "higher" else (theirs, ours)
    return over / under if under else math.inf


def judge(row: Row, values: Mapping[str, Rounds]) -> Verdict:
    """Judge one row from the values of all rounds.

    A ratio is taken within each round and the median of those is reported: what shook one round shook both sides of its
    ratio. Rounds that only one side has are left out; without any common round the medians are divided.
    """
    spreads = {system: spread(list(rounds.values())) for system, rounds in values.items() if rounds}
    ratios: dict[str, Spread] = {}
    ours = values.get("manta", {})
    for peer in row.peers:
        theirs = values.get(peer, {})
        if ours and theirs:
            paired = [times_better(row, ours[number], theirs[number]) for number in sorted(ours.keys() & theirs.keys())]
            ratios[peer] = spread(paired or [times_better(row, spreads["manta"].median, spreads[peer].median)])
    goals = tuple(_judge_goal(goal, spreads.get("manta"), ratios) for goal in row.goals)
    unclear = tuple(peer for peer in ratios if spreads["manta"].overlaps(spreads[peer]))
    return Verdict(row, spreads, ratios, goals, unclear)


def total(summary: Summary, verdicts: Sequence[Verdict]) -> Total:
    """Hold the rows of the summary's kind against its two limits.

    Rows without a ratio are named, and keep `met` from being True.
    """
    among = [verdict for verdict in verdicts if verdict.row.kind == summary.kind and not verdict.row.apart]
    rows = [verdict for verdict in among if summary.peer in verdict.row.peers]
    ratios = {v.row.name: v.ratios[summary.peer].median for v in rows if summary.peer in v.ratios}
    missing = tuple(v.row.name for v in rows if v.row.name not in ratios)
    if not ratios:
        return Total(summary.peer, 0, missing, None, None, None)
    mean = geometric_mean(list(ratios.values()))
    name = min(ratios, key=ratios.__getitem__)
    good = mean >= summary.geometric_mean and ratios[name] >= summary.lowest
    return Total(summary.peer, len(ratios), missing, mean, (name, ratios[name]), None if good and missing else good)


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(math.log(value) for value in values))


def _judge_goal(goal: Goal, ours: Spread | None, ratios: Mapping[str, Spread]) -> GoalVerdict:
    reached = ratios.get(goal.peer) if goal.peer is not None else ours
    if reached is None:
        return GoalVerdict(goal, None, None, False)
    if goal.max is not None:
        met, close = reached.median <= goal.max, reached.low <= goal.max < reached.high
    else:
        floor = goal.ratio if goal.ratio is not None else goal.min
        assert floor is not None
        met, close = reached.median >= floor, reached.low < floor <= reached.high
    return GoalVerdict(goal, reached.median, met, close)
