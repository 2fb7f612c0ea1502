"""What a wait for one placement group asks for beside it."""

from __future__ import annotations

from types import SimpleNamespace

from manta.core.ids import PlacementGroupID
from manta.util import placement_group as module
from manta.util.placement_group import PlacementGroup

SESSION = object()


def made(number):
    group = PlacementGroup(PlacementGroupID(number.to_bytes(18, "big")))
    module._made_here[group.id.binary()] = group
    return group


def test_it_asks_for_groups_of_its_session_that_nobody_has_waited_for_while_other_threads_make_more():
    class Making:
        @property
        def session(self):
            more.append(made(100 + len(more)))  # as another thread may at any moment
            return SESSION

    more, groups = [], [made(number) for number in range(5)]
    for group in groups[:3]:
        group._making = Making()
    groups[3]._making = SimpleNamespace(session=object())
    try:
        assert groups[0]._others(SESSION) == {group.id.binary(): group for group in groups[1:3]}
    finally:
        module._made_here.clear()
