"""When a result leaves, and what it says of the refs that came with its call."""

from __future__ import annotations

from typing import Any

import pytest

from manta.client.ownership import REGISTERED, UNREGISTERED, Ownership
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.worker.delivery import Delivery

CALLER, OTHER = b"caller".ljust(28), b"other".ljust(28)


def oid(number: int) -> bytes:
    return number.to_bytes(28, "big")


def address(worker_id: bytes) -> bytes:
    return common.Address(worker_id=worker_id).SerializeToString(deterministic=True)


class Link:
    """Of the caller."""

    worker_id = CALLER


class Session:
    """What a delivery uses of the session; owners answer when the test says so."""

    def __init__(self) -> None:
        self.ownership = Ownership()
        self.sent: list[tuple[object, pb.TaskResults]] = []
        self.asked: list[tuple[list[bytes], object]] = []
        self.unread: list[object] = []
        self.send = lambda link, message: self.sent.append((link, message))

    def drain_released(self) -> None:
        pass

    def register_borrows(self, oids, then) -> None:
        unknown = self.ownership.unregistered(oids)
        if unknown:
            self.asked.append((unknown, then))
        else:
            then()

    def when_read(self, link, then) -> None:
        self.unread.append(then)


@pytest.fixture
def session() -> Session:
    return Session()


@pytest.fixture
def link() -> Link:
    return Link()


@pytest.fixture
def delivery(session: Any, link: Any) -> Delivery:
    delivery = Delivery(session)
    delivery.open(link, 7)
    return delivery


def test_a_plain_result_gathers_until_it_is_flushed(session, delivery, link):
    delivery.finish(link, oid(1), b"a", 5)
    delivery.finish(link, oid(2), b"b", 5)
    assert not session.sent

    delivery.flush_all()
    delivery.flush_all()

    ((to, frame),) = session.sent
    assert to is link
    assert (frame.lease_id, frame.ids, list(frame.values)) == (7, oid(1) + oid(2), [b"a", b"b"])


def test_refs_the_caller_owns_are_told_in_the_result_itself(session, delivery, link):
    """One is held on, one was dropped before the call ended."""
    session.ownership.receive(oid(10), address(CALLER), False)

    delivery.finish_with_refs(link, oid(1), b"a", 5, [oid(10), oid(11)])

    ((_, frame),) = session.sent
    (extra,) = frame.extras
    assert list(extra.borrowed) == [oid(10)]
    assert extra.returns[0].value == b"a"
    assert session.ownership.borrows[oid(10)].state == REGISTERED
    assert not session.asked


def test_a_result_waits_until_the_owners_of_refs_that_are_held_on_know(session, delivery, link):
    session.ownership.receive(oid(10), address(OTHER), False)

    delivery.finish_with_refs(link, oid(1), b"a", 5, [oid(10)])

    delivery.flush_all()
    assert not session.sent
    ((asked, then),) = session.asked
    assert asked == [oid(10)]
    then()
    ((_, frame),) = session.sent
    assert frame.ids == oid(1)
    assert not frame.extras


def test_a_call_says_nothing_of_another_call_s_refs(session, delivery, link):
    """Both run at once. The first ends while the second has its ref still: that one is the second's to report."""
    session.ownership.receive(oid(10), address(CALLER), False)
    session.ownership.receive(oid(20), address(OTHER), False)

    session.ownership.drop(oid(10))
    delivery.finish_with_refs(link, oid(1), b"a", 5, [oid(10)])
    delivery.flush_all()

    ((_, frame),) = session.sent
    assert frame.ids == oid(1)
    assert not frame.extras
    assert not session.asked
    assert session.ownership.borrows[oid(20)].state == UNREGISTERED


def test_what_goes_home_is_held_until_its_owner_has_read_the_result(session, delivery, link):
    session.ownership.receive(oid(10), address(CALLER), False)
    delivery.going_home(oid(1), oid(10))
    session.ownership.drop(oid(10))

    delivery.finish(link, oid(1), pb.ResultExtra(), 5)

    assert len(session.sent) == 1, "at once"
    assert session.ownership.counts == {oid(10): 1}
    (then,) = session.unread
    then()
    assert not session.ownership.counts


def test_a_caller_that_is_gone_leaves_nothing_held(session, delivery, link):
    session.ownership.receive(oid(10), address(CALLER), False)
    delivery.going_home(oid(1), oid(10))
    session.ownership.drop(oid(10))
    delivery.close(link)

    delivery.finish(link, oid(1), pb.ResultExtra(), 5)
    delivery.flush_all()

    assert not session.sent
    assert not session.ownership.counts


def test_who_is_back_on_another_connection_gets_its_results_there_though_the_first_one_still_looks_open(session: Any):
    """And what comes on the first one afterwards was said on the other again."""
    delivery = Delivery(session)
    first: Any = Link()
    second: Any = Link()
    delivery.open(first, 0)
    delivery.finish_now(first, oid(1), b"one", 1)
    delivery.finish(first, oid(2), b"two", 1)
    delivery.rejoin(second)
    assert (delivery.left(first), delivery.left(second)) == (True, False)
    delivery.finish_now(first, oid(3), b"three", 1)
    delivery.broken(first)
    delivery.finish_now(first, oid(4), b"four", 1)
    assert [(link is second, message.values) for link, message in session.sent] == [
        (False, [b"one"]),
        (True, [b"one"]),
        (True, [b"two"]),
        (True, [b"three"]),
        (True, [b"four"]),
    ]
