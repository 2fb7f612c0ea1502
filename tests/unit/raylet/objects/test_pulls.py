"""What is fetched, from whom, and how much at once: by itself, and against a slow twin of the nodes and the store."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from manta.raylet.objects.chains import Chains
from manta.raylet.objects.pull_commands import Begin, Drop, Fail, Fetch, Need, Reserve, Seal, Stop, Trouble
from manta.raylet.objects.pulls import MAX_ASKED, MAX_BREAKS, MAX_FETCHES, MAX_LAST_BREAKS, Pulls

ME, A, B, C = (bytes([letter]) * 28 for letter in b"mabc")
MIB = 1 << 20


def oid(number):
    return bytes([number]) * 28


def pulls(here=(), capacity=100 * MIB):
    return Pulls(ME, capacity, set(here).__contains__)


def need(number, *sources, size=MIB):
    return Need(oid(number), size, sources or (A,))


def test_one_object_is_fetched_once_for_all_who_ask():
    """The second joins; when it is here both asks are the table's."""
    machine = pulls()
    assert machine.ask(1, 1, [need(1)], now=0.0, room=9 * MIB) == [Begin(1, 1), Reserve(oid(1), MIB)]
    assert machine.ask(2, 1, [need(1)], now=0.0, room=9 * MIB) == [Begin(2, 1)]
    assert machine.created(oid(1)) == [Fetch(oid(1), MIB, A, 1, False, ())]
    assert machine.over(1, 1, now=0.0, room=8 * MIB) == []
    assert machine.done(oid(1), 1) == [Seal(oid(1))]
    assert machine.over(2, 1, now=0.0, room=8 * MIB) == []
    assert not machine


def test_the_last_who_wanted_it_ends_it():
    """Whatever stage it is in; a late range is given back, a late answer is nobody's."""
    machine = pulls()
    machine.ask(1, 1, [need(1)], now=0.0, room=9 * MIB)
    assert machine.over(1, 1, now=0.0, room=9 * MIB) == [Drop(oid(1))]
    assert machine.created(oid(1)) == [Drop(oid(1))]
    machine.ask(1, 2, [need(1)], now=0.0, room=9 * MIB)
    machine.created(oid(1))
    assert machine.died(1, now=0.0, room=9 * MIB) == [Stop(oid(1), 1), Drop(oid(1))]
    assert machine.done(oid(1), 1) == []


def test_asks_begin_when_all_they_need_fits():
    """Neither gets half: the second holds nothing until the first is over, and keeps its place before smaller ones."""
    machine = pulls()
    big = [need(1, size=4 * MIB), need(2, size=4 * MIB)]
    begun = machine.ask(1, 1, big, now=0.0, room=10 * MIB)
    assert begun == [Begin(1, 1), Reserve(oid(1), 4 * MIB), Reserve(oid(2), 4 * MIB)]
    assert machine.ask(2, 1, [need(3, size=4 * MIB), need(4, size=4 * MIB)], now=1.0, room=10 * MIB) == []
    assert machine.ask(3, 1, [need(5)], now=1.0, room=10 * MIB) == [], "first come, first served"
    assert machine.review(now=2.0, room=2 * MIB) == []
    out = machine.over(1, 1, now=3.0, room=10 * MIB)
    assert [kind for kind in out if isinstance(kind, Begin)] == [Begin(2, 1), Begin(3, 1)]


def test_one_that_does_not_fit_begins_in_the_end():
    """So that the store says why; one that could never fit at once."""
    machine = pulls()
    assert machine.ask(1, 1, [need(1)], now=0.0, room=0) == []
    assert machine.wake_at() == 5.0
    assert machine.review(now=5.0, room=0) == [Begin(1, 1), Reserve(oid(1), MIB)]
    assert machine.full(oid(1), "full") == [Fail(1, 1, oid(1), None, "full")]
    assert machine.ask(1, 2, [need(1, size=101 * MIB)], now=6.0, room=0)[0] == Begin(1, 2)


def test_a_broken_source_is_tried_again_then_the_next_then_it_is_lost():
    """With every reason by node."""
    machine = pulls()
    machine.ask(1, 1, [need(1, A, B)], now=0.0, room=9 * MIB)
    (fetch,) = machine.created(oid(1))
    now = 0.0
    for _ in range(MAX_BREAKS - 1):
        assert machine.failed(oid(1), fetch.attempt, Trouble.BROKEN, "reset", now=now) == []
        now = machine.wake_at()
        (fetch,) = machine.review(now=now, room=9 * MIB)
        assert fetch.node_id == A
    (fetch,) = machine.failed(oid(1), fetch.attempt, Trouble.BROKEN, "reset", now=now)
    assert fetch.node_id == B
    out = machine.failed(oid(1), fetch.attempt, Trouble.ABSENT, "has none", now=now)
    reason = f"node {A.hex()}: reset; node {B.hex()}: has none"
    assert out == [Drop(oid(1)), Fail(1, 1, oid(1), Trouble.ABSENT, reason)]


def test_the_last_source_may_break_for_a_while_as_long_as_its_node_lives():
    """A network that resets connections loses nothing; a death that is told ends it at once."""
    machine = pulls()
    machine.ask(1, 1, [need(1, A)], now=0.0, room=9 * MIB)
    (fetch,) = machine.created(oid(1))
    now = 0.0
    for _ in range(MAX_LAST_BREAKS - 1):
        assert machine.failed(oid(1), fetch.attempt, Trouble.BROKEN, "reset", now=now) == []
        now = machine.wake_at()
        (fetch,) = machine.review(now=now, room=9 * MIB)
    assert 15 < now < 30
    out = machine.node_died(A, "it was silent", now=now)
    assert out[-1] == Fail(1, 1, oid(1), Trouble.DEAD, f"node {A.hex()} is dead: it was silent")


def test_a_detour_that_fails_leads_back_to_the_root():
    """Which is told of it, and sends by itself in the end."""
    machine = pulls()
    machine.ask(1, 1, [need(1)], now=0.0, room=9 * MIB)
    (fetch,) = machine.created(oid(1))
    for other in (B, C, b"d" * 28):
        (detour,) = machine.redirected(oid(1), fetch.attempt, other, now=0.0)
        assert (detour.node_id, detour.direct) == (other, True)
        (fetch,) = machine.failed(oid(1), detour.attempt, Trouble.BUSY, "busy", now=0.0)
        assert fetch.node_id == A
    assert fetch == Fetch(oid(1), MIB, A, 7, True, (B, C, b"d" * 28))
    assert machine.redirected(oid(1), 7, B, now=0.0) == [], "it may not point there again"
    assert machine.wake_at() is not None


def test_a_dead_node_is_left_at_once():
    """Whether it is fetched from, was to be, or comes back as an answer."""
    machine = pulls()
    machine.ask(1, 1, [need(1, A, B), need(2, B)], now=0.0, room=9 * MIB)
    (first,) = machine.created(oid(1))
    machine.created(oid(2))
    out = machine.node_died(A, "silent", now=0.0)
    assert out == [Stop(oid(1), first.attempt), Fetch(oid(1), MIB, B, 3, False, ())]
    out = machine.node_died(B, "silent", now=0.0)
    assert [type(command) for command in out] == [Stop, Drop, Fail, Stop, Drop]
    assert not machine


def test_a_process_cannot_ask_for_everything():
    """Nor twice under one name."""
    machine = pulls()
    many = [Need(number.to_bytes(28, "big"), 1, (A,)) for number in range(MAX_ASKED + 1)]
    assert machine.ask(1, 1, many, now=0.0, room=0) is None
    assert machine.ask(1, 1, many[:5], now=0.0, room=0) == []
    assert machine.ask(1, 1, many[:5], now=0.0, room=0) is None
    machine.validate()


def test_a_chain_grows_at_its_end_and_nobody_is_sent_along_his_own():
    """Who comes back is served from here; when nothing is sent from here any more the next is too."""
    chains = Chains()
    assert chains.next_hop(oid(1), A, (), direct=False) is None
    chains.begun(oid(1), A)
    assert chains.next_hop(oid(1), B, (), direct=False) == A
    assert chains.next_hop(oid(1), C, (), direct=False) == B
    assert chains.next_hop(oid(1), B, (A,), direct=False) is None
    assert chains.next_hop(oid(1), ME, (C, B), direct=False) == A
    chains.node_died(ME)
    chains.ended(oid(1))
    assert chains.next_hop(oid(1), ME, (), direct=False) is None
    chains.copied(oid(1), A)
    chains.copied(oid(1), B)
    chains.node_died(B)
    assert chains.freed([oid(1), oid(2)]) == {A: [oid(1)]}
    chains.validate()


CAPACITY = 8 * MIB
SIZES = {oid(number): MIB * (1 + number % 3) for number in range(6)}


class PullsMachine(RuleBasedStateMachine):
    """A store that counts bytes, nodes that answer anything, processes that ask, read and let go."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.here = set()
        self.machine = Pulls(ME, CAPACITY, self.here.__contains__)
        self.ranges = {}  # oid -> waits or writes
        self.fetches = {}  # oid -> Fetch
        self.asks = {}  # (client, request) -> ids
        self.begun = set()
        self.serial = 0

    def room(self):
        """Copies that nobody reads can be evicted: here, that begun asks wait for."""
        pinned = {one for key in self.begun for one in self.asks[key] if one in self.here}
        writing = {one for one, state in self.ranges.items() if state == "writes"}
        return CAPACITY - sum(SIZES[one] for one in pinned | writing)

    def perform(self, commands):
        for command in commands:
            match command:
                case Begin(client, request):
                    assert (client, request) in self.asks
                    self.begun.add((client, request))
                case Reserve(object_id, size):
                    assert object_id not in self.ranges
                    assert object_id not in self.here
                    assert size == SIZES[object_id]
                    self.ranges[object_id] = "waits"
                case Fetch(object_id, _, node, _, direct, avoid):
                    assert self.ranges[object_id] == "writes"
                    assert object_id not in self.fetches, "one at a time"
                    assert node != ME
                    assert node not in avoid
                    assert direct or node in (A, B)
                    self.fetches[object_id] = command
                    assert len(self.fetches) <= MAX_FETCHES
                case Stop(object_id, attempt):
                    assert self.fetches.pop(object_id).attempt == attempt
                case Seal(object_id):
                    assert self.ranges.pop(object_id) == "writes"
                    self.here.add(object_id)
                case Drop(object_id):
                    assert object_id not in self.fetches
                    del self.ranges[object_id]
                case Fail(client, request, object_id, _, _):
                    assert object_id in self.asks.pop((client, request))
                    self.begun.discard((client, request))
        self.answered()

    def answered(self):
        """The table answers asks that have everything; they stay until they are over."""
        for key in self.begun:
            for one in self.asks[key]:
                assert one in self.here or one in self.ranges, "what a begun ask waits for is on its way"

    @rule(
        client=st.integers(1, 3),
        ids=st.sets(st.sampled_from(sorted(SIZES)), min_size=1, max_size=3),
        both=st.booleans(),
    )
    def ask(self, client, ids, both):
        self.serial += 1
        self.asks[client, self.serial] = ids
        needs = [Need(one, SIZES[one], (A, B) if both else (A,)) for one in sorted(ids)]
        self.perform(self.machine.ask(client, self.serial, needs, now=self.now, room=self.room()))

    @precondition(lambda self: self.asks)
    @rule(data=st.data())
    def over(self, data):
        key = data.draw(st.sampled_from(sorted(self.asks)))
        del self.asks[key]
        self.begun.discard(key)
        self.perform(self.machine.over(*key, now=self.now, room=self.room()))

    @rule(client=st.integers(1, 3))
    def die(self, client):
        for key in [key for key in self.asks if key[0] == client]:
            del self.asks[key]
            self.begun.discard(key)
        self.perform(self.machine.died(client, now=self.now, room=self.room()))

    @precondition(lambda self: "waits" in self.ranges.values())
    @rule(data=st.data(), full=st.booleans())
    def reserved(self, data, full):
        one = data.draw(st.sampled_from(sorted(one for one, state in self.ranges.items() if state == "waits")))
        if SIZES[one] <= self.room():
            for copy in sorted(self.here):  # evict
                if not any(copy in self.asks[key] for key in self.begun):
                    self.here.discard(copy)
            self.ranges[one] = "writes"
            self.perform(self.machine.created(one))
        elif full:
            del self.ranges[one]
            self.perform(self.machine.full(one, "full"))

    @precondition(lambda self: self.fetches)
    @rule(data=st.data())
    def fetched(self, data):
        one = data.draw(st.sampled_from(sorted(self.fetches)))
        self.perform(self.machine.done(one, self.fetches.pop(one).attempt))

    @precondition(lambda self: self.fetches)
    @rule(data=st.data(), trouble=st.sampled_from(Trouble))
    def fails(self, data, trouble):
        one = data.draw(st.sampled_from(sorted(self.fetches)))
        self.perform(self.machine.failed(one, self.fetches.pop(one).attempt, trouble, "x", now=self.now))

    @precondition(lambda self: self.fetches)
    @rule(data=st.data(), to=st.sampled_from([A, B, C, ME]))
    def redirects(self, data, to):
        one = data.draw(st.sampled_from(sorted(self.fetches)))
        self.perform(self.machine.redirected(one, self.fetches.pop(one).attempt, to, now=self.now))

    @rule(node=st.sampled_from([A, B, C]))
    def node_dies(self, node):
        for one, fetch in list(self.fetches.items()):
            assert fetch.object_id == one
        self.perform(self.machine.node_died(node, "x", now=self.now))

    @rule(seconds=st.sampled_from([0.05, 1.0, 6.0]))
    def time_passes(self, seconds):
        self.now += seconds
        self.perform(self.machine.review(now=self.now, room=self.room()))

    @invariant()
    def holds(self):
        self.machine.validate()
        assert {one: fetch.attempt for one, fetch in self.fetches.items()} == {
            one: self.machine.attempt_of(one) for one in SIZES if self.machine.attempt_of(one) is not None
        }

    @invariant()
    def nobody_waits_for_nothing(self):
        """Who has not begun waits for room or time, and there is a time at which it begins."""
        if self.machine.waits:
            assert self.machine.wake_at() is not None

    def teardown(self):
        """Left alone with nodes that answer and processes that let go, every ask ends."""
        for _ in range(500):
            if not self.asks:
                break
            for one in [one for one, state in self.ranges.items() if state == "waits"]:
                self.ranges[one] = "writes"
                self.perform(self.machine.created(one))
            for one in sorted(self.fetches):
                if one in self.fetches:
                    self.perform(self.machine.done(one, self.fetches.pop(one).attempt))
            for key in [key for key in self.begun if all(one in self.here for one in self.asks[key])]:
                del self.asks[key]
                self.begun.discard(key)
                self.perform(self.machine.over(*key, now=self.now, room=self.room()))
            self.time_passes(6.0)
        assert not self.asks
        assert not self.machine
        assert not self.ranges


TestPullsMachine = PullsMachine.TestCase
TestPullsMachine.settings = settings(stateful_step_count=40)
