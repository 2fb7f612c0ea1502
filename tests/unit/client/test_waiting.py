"""`wait` without a cluster: which refs are ready, which are left, and what it refuses to wait for."""

from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.api.objects import wait
from manta.client import current
from manta.client.objects import Objects
from manta.client.ownership import Ownership
from manta.client.refs import ObjectRef, make_ref
from manta.client.values import Values


@pytest.fixture(scope="module")
def known():
    """What the session knows of objects; whatever is in it is ready."""
    session = SimpleNamespace(values=Values(), ownership=Ownership(), ref_made=lambda oid: None)
    session.fetching = SimpleNamespace(any_far=False)
    session.wait = Objects(session).wait
    before, current.session = current.session, session
    yield session.values.known
    current.session = before


def refs(count: int) -> list[ObjectRef]:
    return [make_ref(bytes([number]) * 28) for number in range(count)]


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(1, 12))
def test_the_first_ready_ones_are_split_off_and_order_is_kept(known, is_ready: list[bool], most: int):
    """Against the obvious way; as many are ready as are waited for, so that nothing blocks."""
    given_refs = refs(len(is_ready))
    known.clear()
    known.update({ref._id: b"" for ref, ready in zip(given_refs, is_ready, strict=True) if ready})
    most = min(most, sum(is_ready))
    if not most:
        return
    ready, rest = [], []
    for ref, there in zip(given_refs, is_ready, strict=True):
        (ready if there and len(ready) < most else rest).append(ref)

    got = wait(given_refs, num_returns=most)

    assert [[id(ref) for ref in part] for part in got] == [[id(ref) for ref in part] for part in (ready, rest)]


def test_the_lists_that_come_back_are_not_the_one_that_was_given(known):
    given_refs = refs(3)
    known.update({ref._id: b"" for ref in given_refs})

    ready, rest = wait(given_refs, num_returns=3)
    ready.clear()
    rest.append(None)

    assert len(given_refs) == 3


class HasAnId:
    _id = b"x" * 28


@pytest.mark.parametrize("foreign", [5, None, "a" * 28, Mock(), HasAnId(), object(), ObjectRef])
def test_something_else_among_many_refs_is_refused_by_its_type(known, foreign):
    """Also what has every attribute, or an id of its own."""
    many = refs(20)
    known.update({ref._id: b"" for ref in many})

    with pytest.raises(TypeError, match="got list containing"):
        wait([*many, foreign])


def test_two_refs_of_one_object_are_a_duplicate(known):
    with pytest.raises(ValueError, match="unique"):
        wait([*refs(3), make_ref(bytes([1]) * 28)])


def test_a_ref_of_a_subclass_is_a_ref(known):
    class Mine(ObjectRef):
        pass

    mine = Mine(b"m" * 28)
    known[mine._id] = b""

    ready, rest = wait([mine, make_ref(b"n" * 28)])

    assert ready[0] is mine
    assert len(rest) == 1
