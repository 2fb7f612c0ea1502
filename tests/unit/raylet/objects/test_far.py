"""What raylets owe each other about objects, against a twin of plain sets, over links that break."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from manta.raylet.objects import far as module
from manta.raylet.objects.far import Far, Free

NODES = (b"n1", b"n2", b"n3")
OWNERS = tuple(b"owner%d" % n for n in range(4))
node = st.sampled_from(NODES)
owner = st.sampled_from(OWNERS)


class Debts(RuleBasedStateMachine):
    """One raylet's debts to three others. What a node has been told is lost with its link, unless it has confirmed it."""

    def __init__(self) -> None:
        super().__init__()
        self.far = Far()
        self.links: set[bytes] = set()
        self.made = 0
        #: What has to be free there, until the node confirms; what is on its link; what it has freed.
        self.owed: dict[bytes, dict[int, Free]] = {each: {} for each in NODES}
        self.said: dict[bytes, list[Free]] = {each: [] for each in NODES}
        self.freed: dict[bytes, set[bytes]] = {each: set() for each in NODES}
        self.wanted: dict[bytes, set[bytes]] = {each: set() for each in NODES}
        #: Owners elsewhere, and who watches processes of this node.
        self.owners: dict[bytes, bytes] = {}
        self.watchers: dict[bytes, set[bytes]] = {}

    @rule(at=node, count=st.integers(1, 5), creator=st.sampled_from([b"", b"worker"]))
    def free(self, at, count, creator):
        ids = [b"o%d" % (self.made + n) for n in range(count)]
        self.made += count
        out = self.far.free(at, ids, creator)
        assert [oid for one in out for oid in one.ids] == ids
        assert all(one.creator == creator for one in out)
        self.owed[at].update({one.number: one for one in out})
        self.wanted[at].update(ids)
        if at in self.links:
            self.said[at] += out

    @rule(at=node)
    def link(self, at):
        frees, owners = self.far.linked(at)
        assert [one.number for one in frees] == list(self.owed[at])
        assert set(owners) == {each for each, home in self.owners.items() if home == at}
        self.links.add(at)
        self.said[at] = list(frees)

    @rule(at=node)
    def link_breaks(self, at):
        self.links.discard(at)
        self.said[at].clear()

    @rule(at=node, repeated=st.booleans())
    @precondition(lambda self: any(self.said.values()))
    def node_frees_and_confirms(self, at, repeated):
        if self.said[at]:
            one = self.said[at].pop(0)
            self.freed[at].update(one.ids)
            for _ in range(1 + repeated):
                self.far.confirmed(at, one.number)
            self.owed[at].pop(one.number, None)

    @rule(who=owner, at=node)
    def makes_for_an_owner_elsewhere(self, who, at):
        new = who not in self.owners
        assert self.far.owner(who, at) == new
        if new:
            self.owners[who] = at

    @rule(who=owner)
    def owner_dies(self, who):
        assert self.far.owner_died(who) == (self.owners.pop(who, None) is not None)

    @rule(who=owner, at=node)
    def watched(self, who, at):
        self.far.watched(who, at)
        self.watchers.setdefault(who, set()).add(at)

    @rule(who=owner)
    def process_dies(self, who):
        assert set(self.far.died(who)) == self.watchers.pop(who, set())

    @rule(at=node)
    def node_dies(self, at):
        gone = {each for each, home in self.owners.items() if home == at}
        assert set(self.far.node_died(at)) == gone
        self.owners = {each: home for each, home in self.owners.items() if home != at}
        self.watchers = {each: rest for each, nodes in self.watchers.items() if (rest := nodes - {at})}
        self.links.discard(at)
        self.owed[at].clear()
        self.said[at].clear()
        self.wanted[at].clear()
        self.freed[at].clear()

    @invariant()
    def nothing_is_forgotten_and_nothing_is_kept(self):
        self.far.validate()
        for at in NODES:
            unconfirmed = {oid for one in self.owed[at].values() for oid in one.ids}
            assert self.wanted[at] == unconfirmed | (self.freed[at] & self.wanted[at])
            assert self.far.wants_link(at) == (bool(self.owed[at]) or at in self.owners.values())
        assert self.far.owners == self.owners
        assert self.far.statistics() == {
            "owners_elsewhere": len(self.owners),
            "frees_unconfirmed": sum(len(one.ids) for at in NODES for one in self.owed[at].values()),
            "owners_watched_by_others": len(self.watchers),
        }


TestDebts = Debts.TestCase
TestDebts.settings = settings(settings.get_profile("standard"), max_examples=60, stateful_step_count=40)


def test_of_too_many_that_nobody_confirms_the_oldest_are_let_go(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_UNCONFIRMED", 10)
    monkeypatch.setattr(module, "FREE_AT_ONCE", 4)
    far = Far()
    sent: list[Any] = [
        one for start in range(0, 20, 5) for one in far.free(b"n", [b"%d" % n for n in range(start, start + 5)])
    ]
    assert [len(one.ids) for one in sent] == [4, 1] * 4
    kept = far.linked(b"n")[0]
    assert kept == sent[-len(kept) :]
    assert sum(len(one.ids) for one in kept) == 10
    far.validate()
