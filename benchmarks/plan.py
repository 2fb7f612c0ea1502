"""Who runs when. Pure: rows, systems and rounds in, an ordered list of cells out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.rows import Row


@dataclass(frozen=True)
class Cell:
    """One fresh process: the rows of one group on one system in one round."""

    round: int
    group: str
    system: str
    rows: tuple[str, ...]


def plan(rows: Sequence[Row], systems: Sequence[str], rounds: int) -> list[Cell]:
    """Lay out all cells so that systems meet the same weather.

    Within a group the systems follow each other at once, so what a row is compared with was measured a minute ago. Each
    round starts with another system: nobody always runs first after a pause. A row whose figures come from another row
    travels with that one.
    """
    cells: list[Cell] = []
    groups = list(dict.fromkeys(row.group for row in rows))
    for number in range(rounds):
        turn = number % len(systems) if systems else 0
        for group in groups:
            for system in [*systems[turn:], *systems[:turn]]:
                names = tuple(
                    row.name
                    for row in rows
                    if row.group == group
                    and row.from_row is None
                    and (system == "manta" or system in row.peers)
                    and (row.rounds is None or number < row.rounds)
                )
                if names:
                    cells.append(Cell(number, group, system, names))
    return cells
