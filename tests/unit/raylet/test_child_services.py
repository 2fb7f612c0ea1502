"""How long a process that ended is left alone before it is started again."""

from __future__ import annotations

from manta.raylet.child_services import FIRST_PAUSE_S, Pauses


def test_a_process_that_was_well_is_started_again_at_once():
    pauses = Pauses(longest_s=2.0, well_s=1.0)

    assert [pauses.ended(lived_s=60.0) for _ in range(3)] == [FIRST_PAUSE_S] * 3


def test_one_that_never_gets_well_is_tried_less_and_less_often_and_for_ever():
    pauses = Pauses(longest_s=0.3, well_s=1.0)

    assert [pauses.ended(lived_s=0.01) for _ in range(5)] == [0.05, 0.1, 0.2, 0.3, 0.3]
    assert pauses.ended(lived_s=5.0) == FIRST_PAUSE_S
