"""A process's side of the object store, with a raylet that is a list of frames."""

from __future__ import annotations

import os
import threading
from types import SimpleNamespace

import pytest

from manta.client.store import StoreClient
from manta.client.values import Stored
from manta.rpc.v1 import channel_pb2 as pb
from manta.serde import serialize
from manta.shm.layout import MIB

SIZE = 16 * MIB
ME, DEAD = b"m" * 28, b"d" * 28


def oid(number: int) -> bytes:
    return number.to_bytes(28, "big")


class Session:
    """What the store needs of its session. Frames of the raylet are heard when somebody reads, and not before."""

    def __init__(self):
        self.lock = threading.RLock()
        self.sent: list = []
        self.unread: list = []
        self.answers: dict = {}
        self.values = SimpleNamespace(known={})
        self.welcome = SimpleNamespace(node_id=b"n" * 28)
        self.linked: set[bytes] = set()
        self.links = SimpleNamespace(linked=self.linked.__contains__, on=lambda kind, handler: None)
        self.pump = SimpleNamespace(poll_once=self.read, finish=lambda waiter: setattr(waiter, "done", True))

    def now(self) -> float:
        return 0.0

    def raylet_send(self, message) -> None:
        self.sent.append(message)
        if type(message) in self.answers:
            self.unread.append(self.answers[type(message)])

    def read(self) -> None:
        while self.unread:
            self.unread.pop(0)()

    def wait_for(self, waiter, what, deadline=None) -> bool:
        self.read()
        return waiter.done

    def kinds(self) -> list[str]:
        kinds = [type(message).__name__ for message in self.sent]
        self.sent.clear()
        return kinds


@pytest.fixture
def session():
    return Session()


@pytest.fixture
def store(session):
    number = os.memfd_create("test")
    os.ftruncate(number, SIZE)
    store = StoreClient(session, number, SIZE)
    yield store
    store.close()


def test_a_block_that_was_lent_unread_is_used_before_an_object_is_asked_for_by_itself(session, store):
    """A process that only puts reads nothing in between, and the next block's grant lies in its socket."""
    data = serialize(bytes(400_000))
    session.answers = {pb.CreateObject: lambda: store.created(pb.ObjectCreated(object_id=oid(1), offset=0))}
    store.create(oid(1), data, ME)
    assert session.kinds() == ["RequestBlock", "CreateObject", "SealObject"]
    session.unread.append(lambda: store.block_granted(pb.BlockGranted(block_id=1, offset=MIB, size=2 * MIB)))

    store.create(oid(2), data, ME)
    assert session.kinds() == ["SealInBlock"]


def test_of_what_the_dead_had_made_only_what_is_not_known_is_freed(session, store):
    session.values.known[oid(1)] = Stored(MIB, b"node")
    session.values.known[oid(2)] = b"the next attempt's small value"
    store.left(pb.ObjectsLeft(creator=DEAD, object_ids=[oid(1), oid(2), oid(3)]))

    assert session.sent == [pb.FreeObjects(object_ids=[oid(2), oid(3)], creator=DEAD)]


def test_nothing_is_freed_while_a_last_result_may_be_unread(session, store):
    session.linked.add(DEAD)
    store.left(pb.ObjectsLeft(creator=DEAD, object_ids=[oid(1)]))
    store.left(pb.ObjectsLeft(creator=DEAD, object_ids=[oid(2)]))
    store.link_closed(ME)
    assert session.sent == []
    session.values.known[oid(1)] = Stored(MIB, b"node")  # it was
    session.linked.clear()

    store.link_closed(DEAD)
    store.link_closed(DEAD)
    assert session.sent == [pb.FreeObjects(object_ids=[oid(2)], creator=DEAD)]
