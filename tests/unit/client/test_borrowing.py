"""What is told of objects that were freed although somebody refers to them: nobody waits for them for ever."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from manta.client.borrowing import Borrowing
from manta.client.counting import Counting
from manta.client.ownership import Ownership
from manta.client.values import Call, Failure, Values
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common

OID = bytes(27) + b"\1"
OTHER = bytes(27) + b"\2"


class Session:
    """An owner that everybody is linked to."""

    def __init__(self) -> None:
        self.ownership, self.values = Ownership(), Values()
        self.address = common.Address(worker_id=b"owner")
        self.closed = False
        self.worker_id, self.address_bytes = b"owner", self.address.SerializeToString()
        self.sent: list[Any] = []
        self.links = SimpleNamespace(
            send=lambda link, message: self.sent.append(message), peers={}, again=lambda link: None
        )
        self.actors = SimpleNamespace(handle_freed=lambda oid: None)
        session: Any = self
        self.borrowing, counting = Borrowing(session), Counting(session)
        self.perform = counting.perform
        self.told: list[tuple[bytes, Any]] = []
        self.watcher = Call(lambda oid, value: self.told.append((oid, value)))

    def comes(self, *oids: bytes) -> None:
        """Refs of this process come out of one value."""
        self.ownership.receive_many(oids, [self.address_bytes] * len(oids), self.address_bytes)
        self.ownership.validate()

    def drops(self, oid: bytes) -> None:
        self.ownership.drop(oid)
        self.perform()
        self.ownership.validate()


@pytest.fixture
def session() -> Session:
    return Session()


@pytest.fixture
def link() -> Any:
    return SimpleNamespace(worker_id=b"borrower", full=False)


def lost(value: Any) -> bool:
    return isinstance(value, Failure) and value.fields.error.code == "OBJECT_LOST"


@pytest.mark.parametrize("alone", [True, False])
def test_a_ref_that_comes_home_after_its_object_was_freed_is_lost(session, alone):
    """Whoever lent it was not registered, as its own lender died first."""
    if alone:
        session.ownership.receive(OID, session.address_bytes, True)
        session.borrowing.watch(OID, session.watcher)
    else:
        session.comes(OID)
        session.ownership.add(OTHER)
        session.borrowing.watch_all([OTHER, OID], session.watcher)

    ((oid, value),) = session.told
    assert oid == OID
    assert lost(value)

    session.drops(OID)
    assert not session.ownership.lost
    assert not session.values.known


def test_a_ref_to_what_is_lent_comes_home_in_time(session):
    session.ownership.add(OID)
    session.ownership.add_borrower(OID, b"borrower")
    session.drops(OID)

    session.comes(OID)
    session.borrowing.watch(OID, session.watcher)
    assert not session.told
    session.values.set(OID, b"value")
    assert session.told == [(OID, b"value")]


def test_who_is_lent_what_is_lost_is_told(session, link):
    session.comes(OID)
    session.ownership.add_borrower(OID, b"borrower")
    session.borrowing.want_object(link, pb.WantObject(object_ids=[OID]), b"")
    assert session.sent == [pb.ObjectValue(object_id=OID, unknown=True)]

    session.drops(OID)
    assert session.ownership.lost == {OID}, "the borrower refers to it"
    session.borrowing.borrower_died(b"borrower")
    session.ownership.validate()
    assert not session.ownership.lost


def test_a_borrower_that_waits_for_what_is_freed_is_told(session, link):
    """It was never registered: its lender died first. The task that makes the value may run for long, and tells nobody."""
    session.ownership.add(OID)
    session.ownership.add_borrower(OID, b"lender")
    session.drops(OID)
    session.borrowing.want_object(link, pb.WantObject(object_ids=[OID]), b"")
    assert not session.sent

    session.borrowing.borrower_died(b"lender")

    (told,) = session.sent
    assert told.object_id == OID
    assert lost(Failure(told.failure))
    assert not session.values.known
    assert not session.values.watchers
