"""What a result does to the refs inside it."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from manta.client.ownership import Ownership
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.worker.delivery import Delivery
from manta.worker.results import Results

RESULT = bytes(24) + b"\1\0\0\0"
OWN, CALLERS = b"own".ljust(28), b"caller's".ljust(28)


class Link:
    """Of the caller."""

    worker_id, node_id = b"caller", b""

    def address(self) -> common.Address:
        return common.Address(worker_id=self.worker_id)


class Session:
    """What results use of the session. It owns one object, and borrows another from the caller."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.ownership = Ownership()
        self.address = common.Address(worker_id=b"worker")
        self.store = SimpleNamespace(node_id=b"node", create=lambda oid, serialized, owner: None)
        self.ownership.add(OWN)
        self.ownership.receive(CALLERS, Link().address().SerializeToString(), False)
        self.ownership.lent(CALLERS)


@pytest.fixture
def session() -> Any:
    return Session()


@pytest.fixture
def delivery(session: Any) -> Delivery:
    return Delivery(session)


def result(session: Any, delivery: Delivery, link: Any, *, came: tuple[bytes, ...] = ()) -> pb.ReturnValue:
    """Of a call that returns both refs."""
    value = SimpleNamespace(size=1 << 20, refs=[SimpleNamespace(_id=OWN), SimpleNamespace(_id=CALLERS)], handles=[])
    return Results(session, delivery).one(link, RESULT, value, came)


@pytest.mark.parametrize(("came", "held"), [((), 2), ((CALLERS,), 1)])
def test_the_caller_borrows_what_is_the_worker_s_and_its_own_is_held_unless_it_came_with_the_call(
    session: Any, delivery: Delivery, came: tuple[bytes, ...], held: int
):
    link: Any = Link()
    delivery.open(link, 0)

    message = result(session, delivery, link, came=came)

    assert [ref.object_id for ref in message.contained] == [OWN, CALLERS]
    assert session.ownership.borrowers == {OWN: {b"caller": 1}}
    assert session.ownership.counts == {OWN: 1, CALLERS: held}


def test_a_caller_that_is_dead_borrows_nothing(session: Any, delivery: Delivery):
    """Its death has been heard of, and will not be again."""
    link: Any = Link()
    delivery.open(link, 0)
    delivery.close(link)

    result(session, delivery, link)

    assert not session.ownership.borrowers
    assert session.ownership.counts == {OWN: 1, CALLERS: 1}
