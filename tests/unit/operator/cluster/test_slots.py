"""Numbers of pods: the smallest that nobody has, and what a name says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta_operator.cluster.slots import free_slots, place_of


@given(st.frozensets(st.integers(0, 30)), st.integers(0, 20))
def test_slots_are_the_smallest_that_are_free(taken, count):
    """As many as are asked for, in order, and nothing smaller is left out."""
    slots = free_slots(taken, count)
    assert len(slots) == count
    assert slots == [slot for slot in range(100) if slot not in taken][:count]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("demo-w-0", ("w", 0)),
        ("demo-big-gpu-12", ("big-gpu", 12)),
        ("demo-head", None),
        ("demo-w-01", None),
        ("demo-w-", None),
        ("demo--1", None),
        ("demo-1", None),
        ("demo-w-²", None),
        ("other-w-0", None),
    ],
)
def test_a_name_says_group_and_slot(name, place):
    """And one that the operator would never give says nothing."""
    assert place_of(name, "demo") == place
