"""Who runs when."""

from benchmarks.plan import Cell, plan
from benchmarks.rows import Goal, Row


def row(name: str, group: str, *peers: str, rounds: int | None = None, from_row: str | None = None) -> Row:
    return Row(name, name, group, "timed", "s", "lower", (Goal(max=1.0),), peers, rounds=rounds, from_row=from_row)


def test_systems_follow_each_other_within_a_group_and_take_turns_at_going_first():
    """A figure and what it is compared with are neighbours in time; nobody always starts after the pause."""
    rows = [row("a", "g", "ray"), row("b", "h", "ray", "pool")]

    assert plan(rows, ["manta", "ray", "pool"], 2) == [
        Cell(0, "g", "manta", ("a",)),
        Cell(0, "g", "ray", ("a",)),
        Cell(0, "h", "manta", ("b",)),
        Cell(0, "h", "ray", ("b",)),
        Cell(0, "h", "pool", ("b",)),
        Cell(1, "g", "ray", ("a",)),
        Cell(1, "g", "manta", ("a",)),
        Cell(1, "h", "ray", ("b",)),
        Cell(1, "h", "pool", ("b",)),
        Cell(1, "h", "manta", ("b",)),
    ]


def test_rows_of_a_group_share_a_process_and_derived_rows_need_none():
    rows = [row("a", "g"), row("b", "g"), row("c", "g", from_row="a")]

    assert plan(rows, ["manta"], 1) == [Cell(0, "g", "manta", ("a", "b"))]


def test_a_row_with_a_cap_sits_out_later_rounds():
    rows = [row("a", "g", rounds=1), row("b", "g")]

    assert [cell.rows for cell in plan(rows, ["manta"], 2)] == [("a", "b"), ("b",)]


def test_no_systems_is_no_work():
    assert plan([row("a", "g")], [], 3) == []
