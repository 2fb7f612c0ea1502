"""Rows: what is measured, in which unit, and what would be good enough. Read from rows.toml; nonsense is refused by name."""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SYSTEMS = ("manta", "ray", "dask", "pool")
KINDS = ("throughput", "timed", "lifecycle", "memory", "growth")
ROWS_FILE = Path(__file__).with_name("rows.toml")


class RowsError(ValueError):
    """rows.toml says something that cannot be meant.

    Attributes:
        row: Name of the row, or "summary".
        problem: What is wrong and what would be right.
    """

    def __init__(self, row: str, problem: str) -> None:
        self.row, self.problem = row, problem
        super().__init__(row, problem)

    def __str__(self) -> str:
        return f"rows.toml, {self.row}: {self.problem}"


@dataclass(frozen=True)
class Goal:
    """One thing a row has to reach: `ratio` times better than `peer`, or a value of at least `min`, or of at most `max`."""

    peer: str | None = None
    ratio: float | None = None
    min: float | None = None
    max: float | None = None

    def __str__(self) -> str:
        if self.ratio is not None:
            return f">= {self.ratio:g}x {self.peer}"
        return f">= {self.min:g}" if self.min is not None else f"<= {self.max:g}"


@dataclass(frozen=True)
class Row:
    """One line of the table. Field meanings are in the head of rows.toml."""

    name: str
    title: str
    group: str
    kind: str
    unit: str
    better: str
    goals: tuple[Goal, ...]
    peers: tuple[str, ...]
    decides: bool = False
    params: Mapping[str, Any] = field(default_factory=dict)
    quick: Mapping[str, Any] = field(default_factory=dict)
    peer_params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    timeout_s: float = 60.0
    rounds: int | None = None
    from_row: str | None = None
    apart: bool = False

    def params_for(self, system: str, *, quick: bool) -> dict[str, Any]:
        """Sizes for one system. `quick` wins over the peer's own, which win over the row's."""
        return {**self.params, **self.peer_params.get(system, {}), **(self.quick if quick else {})}


@dataclass(frozen=True)
class Summary:
    """What the throughput rows have to reach together."""

    peer: str
    kind: str
    geometric_mean: float
    lowest: float


def load(path: Path = ROWS_FILE) -> tuple[Summary, tuple[Row, ...]]:
    """Read all rows, in the file's order.

    Raises:
        RowsError: A key is unknown, a goal is not one of the three shapes, a name repeats, a peer is unknown.
    """
    with path.open("rb") as file:
        document = tomllib.load(file)
    try:
        summary = Summary(**document.get("summary", {}))
    except TypeError as error:
        raise RowsError("summary", str(error)) from error
    rows = tuple(_row(entry) for entry in document.get("row", []))
    names = [row.name for row in rows]
    for row in rows:
        if names.count(row.name) > 1:
            raise RowsError(row.name, "the name is used twice; names are what --rows and the JSON go by")
        if row.from_row is not None and row.from_row not in names:
            raise RowsError(row.name, f"from_row names {row.from_row!r}, which is not a row")
    return summary, rows


def select(rows: Sequence[Row], patterns: Sequence[str]) -> list[Row]:
    """Rows whose name, group or kind matches one of the shell patterns, with the rows their figures come from.

    Raises:
        RowsError: A pattern matches nothing.
    """
    if not patterns:
        return list(rows)
    wanted: set[str] = set()
    for pattern in patterns:
        hit = {r.name for r in rows if any(fnmatch.fnmatch(text, pattern) for text in (r.name, r.group, r.kind))}
        if not hit:
            raise RowsError(pattern, f"no row has this name, group or kind; rows: {', '.join(r.name for r in rows)}")
        wanted |= hit
    wanted |= {row.from_row for row in rows if row.name in wanted and row.from_row is not None}
    return [row for row in rows if row.name in wanted]


def _row(entry: Mapping[str, Any]) -> Row:
    name = str(entry.get("name", "(a row without a name)"))
    try:
        goals = tuple(Goal(**goal) for goal in entry.get("goals", []))
        row = Row(**{**entry, "goals": goals, "peers": tuple(entry.get("peers", ()))})
    except TypeError as error:
        raise RowsError(name, str(error)) from error
    if row.kind not in KINDS:
        raise RowsError(name, f"kind {row.kind!r} is not one of {', '.join(KINDS)}")
    if row.better not in ("higher", "lower"):
        raise RowsError(name, f"better {row.better!r} is neither higher nor lower")
    for peer in row.peers:
        if peer not in SYSTEMS[1:]:
            raise RowsError(name, f"peer {peer!r} is not one of {', '.join(SYSTEMS[1:])}")
    if not goals:
        raise RowsError(name, "a row needs a goal: {peer, ratio}, {min} or {max}")
    for goal in goals:
        shapes = [goal.peer is not None and goal.ratio is not None, goal.min is not None, goal.max is not None]
        if sum(shapes) != 1 or (goal.peer is None) != (goal.ratio is None):
            raise RowsError(name, f"goal {goal!r} is not one of {{peer, ratio}}, {{min}}, {{max}}")
        if goal.peer is not None and goal.peer not in row.peers:
            raise RowsError(name, f"the goal is against {goal.peer}, which is not among the row's peers")
    return row
