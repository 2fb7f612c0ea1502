"""Demands on other nodes: what is asked for there and what the own raylet is told of it always go together."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from manta.client.far_leases import FarLeases, FarTokens
from manta.client.lease import Lease
from manta.client.leasing import Leasing
from manta.client.templates import Templates
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common

NODES = (b"n1", b"n2", b"n3")
node = st.sampled_from(NODES)


class Link:
    """A connection to a node's raylet."""

    def __init__(self, node_id: bytes) -> None:
        self.node_id = node_id
        self.endpoint = "unix:raylet"


class Owner:
    """What `FarLeases` finds around it; the own raylet and the others remember what they were told last."""

    def __init__(self) -> None:
        self.templates = Templates()
        self.key = self.templates.key_for(b"key", pb.LeaseDemand(name="f"))
        self.welcome = pb.Welcome()
        self.worker_id, self.pid = b"owner", 1
        self.links = SimpleNamespace(
            dial=lambda raylet, hello: Link(raylet.node_id), endpoint="unix:owner", close=self.lost
        )
        self.leases: dict[int, Lease] = {}
        #: Wanted there as last said, by link.
        self.there: dict[Any, int] = {}
        self.returned: list[int] = []
        #: `away` and `spill_seen`, as the own raylet knows them.
        self.told = (0, 0)
        self.lost_nodes = SimpleNamespace(cause=lambda node_id: "it is gone")
        session: Any = self
        leasing: Any = self
        self.far = FarLeases(session, leasing)

    def send(self, link: Any, message: Any) -> None:
        if isinstance(message, pb.LeaseDemand):
            assert message.spilled
            assert not message.away, "what was sent elsewhere is not sent on"
            self.there[link] = message.wanted
        elif isinstance(message, pb.LeaseReturned):
            self.returned.append(message.lease_id)

    # ---- as `Leasing`

    def demand(self, key: Any) -> None:
        if not key.pending and key.far.asked:
            self.far.lower(key)
        key.far.dirty = False
        self.told = key.far.away, key.far.seen

    def broken(self, lease: Lease) -> None: ...

    def worker_died(self, frame: pb.WorkerDied) -> None:
        lease = self.leases.pop(frame.lease_id)
        del self.key.leases[lease.lease_id]

    def lost(self, link: Any) -> None:
        self.there.pop(link, None)
        self.far.lost(link)


class Demands(RuleBasedStateMachine):
    """One key of one owner; the twin counts by node."""

    def __init__(self) -> None:
        super().__init__()
        self.owner = Owner()
        self.asked: Counter[bytes] = Counter()
        self.spills = 0
        self.made = 0

    def link(self, at: bytes) -> Any:
        return self.owner.far._raylets.get(at)

    def held(self, at: bytes) -> list[Lease]:
        return [lease for lease in self.owner.leases.values() if lease.lender is self.link(at)]

    @rule(count=st.integers(1, 5))
    def submit(self, count):
        self.owner.key.pending.extend((b"%d" % n, 0, b"") for n in range(count))

    @rule(at=node, count=st.integers(1, 4))
    def spilled(self, at, count):
        self.spills += 1
        frame = pb.LeaseSpill(key=0, number=self.spills, raylet=common.Address(node_id=at), count=count, patience_ms=5)
        pending = len(self.owner.key.pending)
        self.owner.far.spilled(frame)
        if pending:
            self.asked[at] += min(count, pending)
        else:
            self.nothing_waits()
        assert self.owner.told == (self.asked.total(), self.spills)

    def nothing_waits(self):
        for each in NODES:
            self.asked[each] = min(self.asked[each], len(self.held(each))) if self.link(each) is not None else 0

    @rule(at=node)
    def granted(self, at):
        """A worker there takes what is pending."""
        key = self.owner.key
        if self.link(at) is None or len(self.held(at)) >= self.asked[at]:
            return
        self.made += 1
        lease = Lease(self.made, key, b"w", 1, FarTokens())
        lease.lender = self.link(at)
        self.owner.leases[lease.lease_id] = key.leases[lease.lease_id] = lease
        key.pending.clear()
        if key.far is not None:
            self.owner.demand(key)
            self.nothing_waits()

    @rule(at=node, count=st.integers(1, 3))
    def refused(self, at, count):
        link = self.link(at)
        free = self.asked[at] - len(self.held(at)) if link is not None else 0
        if free <= 0:
            return
        count = min(count, free)
        self.owner.there[link] -= count  # the node knows what it refuses
        self.owner.far.refused(link, pb.LeaseRefused(key=0, count=count))
        self.asked[at] -= count
        if not self.owner.key.pending:
            self.nothing_waits()

    @rule(at=node)
    def given_back(self, at):
        leases = self.held(at) if self.link(at) is not None else []
        if leases:
            lease = leases[0]
            del self.owner.leases[lease.lease_id], self.owner.key.leases[lease.lease_id]
            self.owner.far.give_back(lease, kill=False)
            assert self.owner.returned[-1] == lease.lease_id
            self.asked[at] = max(0, self.asked[at] - 1)
            if self.owner.key.far is not None:
                self.owner.demand(self.owner.key)
                if not self.owner.key.pending:
                    self.nothing_waits()

    @rule(at=node)
    def link_lost(self, at):
        link = self.link(at)
        if link is not None:
            self.owner.lost(link)
            self.asked[at] = 0
            if not self.owner.key.pending:
                self.nothing_waits()
            assert not [lease for lease in self.owner.leases.values() if lease.lender is link]

    @invariant()
    def both_sides_were_told_the_same(self):
        far = self.owner.key.far
        if far is None:
            return
        assert {link.node_id: count for link, count in far.asked.items()} == +self.asked
        assert not far.dirty, "the own raylet has not heard of it"
        assert self.owner.told[0] == far.away == self.asked.total()
        assert {link: count for link, count in self.owner.there.items() if count} == far.asked
        assert self.owner.far.statistics()["away"] == far.away


TestDemands = Demands.TestCase
TestDemands.settings = settings(settings.get_profile("standard"), max_examples=60, stateful_step_count=40)


@given(st.lists(st.integers(1, 5), max_size=6), st.integers(0, 30), st.integers(0, 5))
def test_of_a_dead_worker_elsewhere_only_the_tail_behind_what_was_begun_is_not(pushes, started, taken):
    """Its raylet counts what was begun; what was pushed and never reached it was not."""
    lease = Lease(1, None, b"w", 1, FarTokens())
    tokens: Any = lease.tokens
    names = []
    for count in pushes:
        for _ in range(count):
            names.append(b"%d" % len(names))
            lease.push((names[-1], 0, b""), 100)
        lease.tokens.put(count)
    assert not lease.take_back(3), "while it lives, only its raylet can take"
    taken = min(taken, max(0, len(names) - started))
    tokens.taken += taken
    assert [record[0] for record in lease.taken(taken)] == names[len(names) - taken :]
    left = names[: len(names) - taken]
    tokens.ended(started)
    begun, unstarted = lease.lost()
    assert [record[0] for record in begun] == left[: min(started, len(left))]
    assert [record[0] for record in unstarted] == left[min(started, len(left)) :]


def test_a_timer_that_has_passed_is_not_due_again():
    """What had gathered was pushed by other ways: else the process would be called again at once, and for ever."""
    tasks: Any = SimpleNamespace(gather_due=5.0, flushed=0)

    def flush() -> None:
        tasks.gather_due = None
        tasks.flushed += 1

    tasks.flush = flush
    session: Any = SimpleNamespace(templates=Templates())
    leasing = Leasing(session, tasks)
    assert leasing.tick(4.0) == 5.0
    assert leasing.tick(5.0) is None
    assert (leasing.tick(6.0), tasks.flushed) == (None, 1)
