"""The sorted set answers as a sorted list does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.raylet.objects import ordered
from manta.raylet.objects.ordered import Ordered


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60))), st.integers(-1, 61))
def test_members_and_neighbours_are_those_of_a_sorted_list(steps, bound):
    """Chunks of four members are enough to split and vanish."""
    kept, ordered._CHUNK = ordered._CHUNK, 4
    try:
        found, twin = Ordered[int](), set[int]()
        for adding, member in steps:
            if adding and member not in twin:
                found.add(member)
                twin.add(member)
            elif not adding and member in twin:
                found.remove(member)
                twin.remove(member)
            elif not adding:
                with pytest.raises(KeyError):
                    found.remove(member)
        assert list(found) == sorted(twin)
        assert len(found) == len(twin)
        assert found.at_least(bound) == min((x for x in twin if x >= bound), default=None)
        assert found.at_most(bound) == max((x for x in twin if x <= bound), default=None)
        for member in sorted(twin)[::3]:
            if member + 1 not in twin:
                found.replace(member, member + 1)
                twin ^= {member, member + 1}
        assert list(found) == sorted(twin)
        for count in (1, 3, 100):
            assert found.first_at_least(bound, count) == sorted(x for x in twin if x >= bound)[:count]
    finally:
        ordered._CHUNK = kept
