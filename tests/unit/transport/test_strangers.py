"""Who has to go when too many connections have not said whose they are, and who of those that gRPC has accepted already."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.transport.strangers import Crowd, Peer, Strangers, address_of


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


def people(*hosts: str, start: int = 0) -> dict[int, Peer]:
    """A connection for each, in the order in which they came."""
    return {key: Peer(host, 4000 + key) for key, host in enumerate(hosts, start)}


def test_strangers_may_have_half_of_the_room():
    """The other half is for who comes until the next look."""
    crowd = Crowd[int](most=8)
    there = people("honest", "flood", "flood", "flood")
    assert crowd.look(there, files=14) == []
    there |= people("flood", "another", start=4)
    assert crowd.look(there, files=16) == [1, 2]
    assert crowd.dismissed == 2


def test_who_has_shown_a_credential_stays_and_leaves_strangers_less_room():
    crowd = Crowd[int](most=8)
    there = people(*["office"] * 6)
    for key in range(4):
        crowd.show(there[key])
    assert crowd.look(there, files=16) == []
    there |= people("flood", start=6)
    assert crowd.look(there, files=17) == [4], "two may be there, and the office has most of the strangers"
    crowd.show(there[5])
    assert crowd.look({key: there[key] for key in (0, 1, 2, 3, 5, 6)}, files=16) == []


def test_when_all_have_shown_a_credential_there_is_still_room_for_one_to_show_it():
    crowd = Crowd[int](most=4)
    there = people("a", "b", "c", "stranger")
    for key in range(3):
        crowd.show(there[key])
    assert crowd.look(there, files=4) == []
    assert crowd.look(there | people("stranger", start=4), files=5) == [3]


def test_who_was_told_to_go_is_not_told_again():
    """It takes the other side a moment to close."""
    crowd = Crowd[int](most=4)
    there = people(*["flood"] * 4)
    assert crowd.look(there, files=4) == [0, 1]
    assert crowd.look(there, files=4) == []
    del there[0], there[1]
    assert crowd.look(there, files=2) == []
    assert crowd.look(there | people("flood", start=4), files=3) == [2]


def test_a_credential_is_of_a_connection_and_not_of_its_port_for_ever():
    crowd = Crowd[int](most=2)
    there = people("office")
    crowd.show(there[0])
    assert crowd.look(there, files=1) == []
    assert crowd.look({}, files=0) == []
    again = {1: there[0], 2: Peer("other", 1)}
    assert crowd.look(again, files=2) == [1]


def test_a_look_is_due_when_there_may_be_too_many_strangers():
    """The count of files is all that is known without one."""
    crowd = Crowd[int](most=8)
    assert not crowd.is_due(4)
    assert crowd.is_due(5), "four may be strangers; a process has files besides"
    there = people("a", "b")
    for peer in there.values():
        crowd.show(peer)
    assert crowd.look(there, files=12) == []
    assert not crowd.is_due(12 + 3), "neither its own files nor those who are known are looked at again"
    assert crowd.is_due(12 + 4)


def test_a_look_is_due_when_many_have_come_and_gone():
    """Each has shown a credential, and none may be remembered for ever."""
    crowd = Crowd[int](most=8)
    for port in range(8):
        crowd.show(Peer("a", port))
        crowd.show(Peer("a", port))
    assert not crowd.is_due(1)
    crowd.show(Peer("a", 8))
    assert crowd.is_due(1)
    assert crowd.look({}, files=1) == []
    assert not crowd.is_due(1)


@given(st.lists(st.tuples(st.sampled_from(["come", "show", "leave", "look"]), st.integers(0, 40)), max_size=80))
def test_whatever_happens_there_is_room_and_nobody_is_sent_away_who_is_known(steps):
    crowd, there, known, leaving, files = Crowd[int](most=12), {}, set(), set(), 5
    for port, (what, key) in enumerate(steps):
        if what == "come" and len(there) < 12 and key not in there:
            there[key] = Peer(f"10.0.0.{key % 3}", port)
        elif what == "show" and key in there and key not in leaving:
            crowd.show(there[key])
            known.add(key)
        elif what == "leave":
            there.pop(key, None)
            known.discard(key)
            leaving.discard(key)
        elif what == "look" or crowd.is_due(files + len(there)):
            gone = set(crowd.look(there, files + len(there)))
            assert gone <= there.keys() - leaving - known
            leaving |= gone
            assert len(there.keys() - leaving - known) <= max(1, (12 - len(known)) // 2)
