"""Who has to go when too many connections have not said whose they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.transport.strangers import Strangers, address_of


def test_the_oldest_of_the_address_that_has_most_makes_room():
    strangers = Strangers[int](most=4, of_one=10)
    for key, address in enumerate(["honest", "flood", "flood", "flood"]):
        assert strangers.enter(key, address) is None
    assert strangers.enter(4, "flood") == 1
    assert strangers.enter(5, "another") == 2
    assert 0 in strangers


def test_an_address_has_a_bound_of_its_own():
    strangers = Strangers[int](most=100, of_one=2)
    assert [strangers.enter(key, "one") for key in range(4)] == [None, None, 0, 1]
    assert strangers.enter(4, "other") is None


def test_who_has_said_who_it_is_counts_no_longer():
    strangers = Strangers[int](most=2, of_one=2)
    for key in range(100):
        assert strangers.enter(key, "one") is None
        strangers.leave(key)
        strangers.leave(key)
    assert len(strangers) == 0
    assert strangers.dismiss() is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.sampled_from("abc"))))
def test_as_the_slow_and_obvious_count_says(steps):
    strangers, slow = Strangers[int](most=6, of_one=3), {}
    for comes, key, address in steps:
        if not comes:
            strangers.leave(key)
            slow.pop(key, None)
        elif key not in slow:
            gone = strangers.enter(key, address)
            slow[key] = address
            counts = {one: list(slow.values()).count(one) for one in slow.values()}
            if counts[address] > 3:
                assert gone == next(each for each, of in slow.items() if of == address)
            elif len(slow) > 6:
                assert counts[slow[gone]] == max(counts.values())
                assert gone == next(each for each, of in slow.items() if of == slow[gone])
            else:
                assert gone is None
            slow.pop(gone, None)
        assert len(strangers) == len(slow) <= 6
        assert all(each in strangers for each in slow)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (("10.0.0.1", 4711), "10.0.0.1"),
        (("::ffff:10.0.0.1", 4711, 0, 0), "10.0.0.1"),
        (("2001:db8::1:2:3:4", 4711, 0, 0), "2001:db8::/64"),
        (("2001:db8::5", 4712, 0, 0), "2001:db8::/64"),
        (("fe80::1%eth0", 4712, 0, 2), "fe80::/64"),
        ("", ""),
        (None, ""),
    ],
)
def test_an_address_stands_for_one_party(peer, address):
    assert address_of(peer) == address
