"""Where an owner looks for an object when the node with its first copy is dead."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from manta.client.copies import MAX_HOLDERS, Copies
from manta.client.values import Stored
from manta.rpc.v1 import channel_pb2 as pb

OID = b"o" * 28
FIRST, A, B = b"f" * 28, b"a" * 28, b"b" * 28


class Session:
    """As much of one as there is to see."""

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.raylet_send = self.said.append
        self.values = SimpleNamespace(known={OID: Stored(5, FIRST)})
        self.ownership = SimpleNamespace(borrows={})
        self.links = SimpleNamespace(on=lambda kind, handler: None, dead={})
        self.fetching = SimpleNamespace(stored=Stored)
        session: Any = self
        self.copies = Copies(session)

    def copied(self, *nodes: bytes, gone: bool = False) -> None:
        link: Any = None
        for node_id in nodes:
            self.copies.told(link, pb.ObjectsCopied(object_ids=[OID], node_id=node_id, gone=gone), b"")

    def died(self, node_id: bytes) -> None:
        self.links.dead[node_id] = "it crashed"
        self.copies.node_died(node_id)

    @property
    def looked_for(self) -> bytes:
        return self.values.known[OID].node_id

    @property
    def saved(self) -> list[bytes]:
        return [said.node_id for said in self.said]


def test_the_next_who_has_a_copy_is_asked_to_keep_it():
    session = Session()
    session.copied(A, B)
    session.died(FIRST)
    assert (session.looked_for, session.saved) == (A, [A])
    assert session.said[0] == pb.SaveCopy(object_id=OID, size=5, node_id=A, dead_node=FIRST)
    session.copied(A, gone=True)
    assert (session.looked_for, session.saved) == (B, [A, B])
    session.died(B)
    assert (session.looked_for, session.copies.holders) == (B, {}), "nobody is left: it is lost, and reading says where"


def test_a_holder_that_is_dead_first_is_not_asked():
    session = Session()
    session.copied(A, B)
    session.died(A)
    session.died(FIRST)
    assert session.saved == [B]


def test_news_of_a_copy_may_come_after_the_death():
    session = Session()
    session.died(FIRST)
    assert session.looked_for == FIRST
    session.copied(A)
    assert (session.looked_for, session.saved) == (A, [A])
    session.copied(FIRST)
    assert session.copies.holders == {OID: []} or FIRST not in session.copies.holders.get(OID, ())


def test_only_a_few_are_remembered_and_none_of_what_is_borrowed_or_small():
    session = Session()
    session.copied(*(bytes([number]) * 28 for number in range(10)))
    assert len(session.copies.holders[OID]) == MAX_HOLDERS
    for value, borrows in ((b"small", {}), (Stored(5, FIRST), {OID: None})):
        session = Session()
        session.values.known[OID] = value
        session.ownership.borrows = borrows
        session.copied(A)
        assert session.copies.holders == {}


def test_another_nodes_death_changes_nothing():
    session = Session()
    session.copied(A)
    session.died(B)
    assert (session.looked_for, session.copies.holders) == (FIRST, {OID: [A]})
