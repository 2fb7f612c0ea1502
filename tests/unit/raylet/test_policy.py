"""Which node a lease comes from."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.core.strategy import ANYWHERE, EXISTS, IN, NOT_IN, SPREAD, Strategy, Term
from manta.raylet.events import ClusterSeen, DemandSet, NodeSeen, Spill, Tick
from manta.raylet.scheduler import Scheduler
from manta.raylet.scheduling.cluster import Cluster
from manta.raylet.scheduling.ledger import Ledger
from manta.raylet.scheduling.placing import AT_ONCE
from manta.raylet.scheduling.policy import PACK_UP_TO, Policy
from manta.raylet.scheduling.records import Shape

HOME = b"\0" * 28
KEY: Any = ()
NAMES = ("CPU", "GPU", "x")
amounts = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 8).map(lambda n: n * 10_000))


def node(n: int) -> bytes:
    return bytes([n]) * 28


def shape_of(needs, strategy: Strategy | None, prefer: bytes, ledger: Ledger) -> Shape:
    return Shape(KEY, (b"job", b""), 0, needs, needs, False, ledger.feasible(needs), strategy, prefer, None)


@st.composite
def worlds(draw):
    def a_node():
        total = draw(amounts)
        free = {name: draw(st.integers(0, have // 10_000)) * 10_000 for name, have in total.items()}
        return total, free, draw(st.dictionaries(st.sampled_from(["zone", "disk"]), st.sampled_from("ab")))

    return [a_node() for _ in range(draw(st.integers(1, 5)))]


terms = st.builds(
    lambda key, operator, values: Term(key=key, operator=operator, values=tuple(sorted(values))),
    st.sampled_from(["zone", "disk"]),
    st.sampled_from([IN, NOT_IN, EXISTS, 4]),
    st.sets(st.sampled_from("ab"), min_size=1),
)
selectors = st.lists(terms, max_size=2).map(tuple)
strategies = st.one_of(
    st.just(ANYWHERE),
    st.builds(lambda n, soft: ANYWHERE.replace(node=node(n), node_soft=soft), st.integers(0, 6), st.booleans()),
    st.builds(
        lambda hard, soft: ANYWHERE.replace(hard=tuple(hard), soft=soft), st.lists(selectors, max_size=2), selectors
    ),
)


def slow_twin(world, needs, strategy, prefer):
    """The policy as one would say it aloud. Returns indexes of nodes that may be chosen; None to wait here, [] for never."""

    def covers(have):
        return all(have.get(name, 0) >= amount for name, amount in needs.items())

    def used(n):
        total, free, _ = world[n]
        shares = [1 - free.get(name, 0) / total[name] for name in ("CPU", "GPU") if total.get(name)]
        return max(shares, default=0.0)

    def meets(n, terms):
        labels = world[n][2]
        for term in terms:
            value = labels.get(term.key)
            good = {
                IN: value in term.values, NOT_IN: value not in term.values, EXISTS: value is not None, 4: value is None,
            }[term.operator]  # fmt: skip
            if not good:
                return False
        return True

    able = [n for n in range(len(world)) if covers(world[n][0])]
    if strategy.node:
        there = [n for n in able if node(n) == strategy.node]
        if there or not strategy.node_soft:
            able = there
    selectors = strategy.hard if not (strategy.node and able and node(able[0]) == strategy.node) else ()
    for selector in selectors or ((),):
        found = [n for n in able if meets(n, selector)]
        if found:
            break
    able = found
    if not able:
        return []
    better = [n for n in able if strategy.soft and meets(n, strategy.soft)]
    for tier in (better, [n for n in able if n not in better]):
        room = [n for n in tier if covers(world[n][1])]
        if not room:
            continue
        if [n for n in tier if n]:
            if any(node(n) == prefer for n in room):
                return [n for n in room if node(n) == prefer]
            if 0 in room and used(0) < PACK_UP_TO:
                return [0]
        least = min(used(n) for n in room)
        room = [n for n in room if used(n) == least]
        if 0 in room:
            return [0]
        plain = [n for n in room if not world[n][0].get("GPU")]
        return plain if plain and not needs.get("GPU") else room
    if 0 in able:
        return None
    return better or able


def policy_of(world) -> tuple[Policy, Ledger]:
    total, free, labels = world[0]
    ledger = Ledger(total)
    taken = {name: have - free[name] for name, have in total.items()}
    assert ledger.fits(taken)
    ledger.take(taken)
    cluster = Cluster(HOME, labels)
    seen = [NodeSeen(node(n), free, total, labels) for n, (total, free, labels) in enumerate(world)]
    cluster.learn(ClusterSeen(tuple(seen), anew=True))
    return Policy(ledger, cluster), ledger


@given(worlds(), amounts, strategies, st.integers(0, 5))
def test_the_choice_is_what_the_rules_say(world, needs, strategy, prefer):
    policy, ledger = policy_of(world)
    preferred = node(prefer) if prefer < len(world) else b""
    shape = shape_of({name: amount for name, amount in needs.items() if amount}, strategy, preferred, ledger)

    choice = policy.choose(shape)
    expected = slow_twin(world, shape.needs, strategy, preferred)

    if not expected:
        assert choice is False
        assert bool(policy.tiers(shape)) == (expected is None)
    else:
        assert (0 if choice is True else choice.node_id[0]) in expected


def four_nodes() -> Policy:
    policy, _ = policy_of([({"CPU": 40_000}, {"CPU": 40_000}, {}) for _ in range(4)])
    return policy


def test_spread_goes_round():
    policy = four_nodes()
    shape = shape_of({"CPU": 10_000}, SPREAD, b"", policy._ledger)
    order = []
    for _ in range(8):
        where = policy.choose(shape)
        policy.took_turn(shape, where)
        order.append(0 if where is True else where.node_id[0])

    assert sorted(order[:4]) == sorted(order[4:]) == [0, 1, 2, 3]


def test_what_was_sent_counts_until_the_node_reports_or_a_while_has_passed():
    policy = four_nodes()
    cluster = policy._cluster
    other = cluster.others[node(1)]

    cluster.promise(other, {"CPU": 30_000}, 100.0)
    assert not other.fits({"CPU": 20_000})
    assert cluster.forget_promises(101.0) == 102.0
    assert not other.fits({"CPU": 20_000})
    assert cluster.forget_promises(102.0) is None
    assert other.fits({"CPU": 20_000})
    cluster.promise(other, {"CPU": 30_000}, 103.0)
    cluster.learn(ClusterSeen((NodeSeen(node(1), {"CPU": 20_000}),)))
    assert (other.free, other.used) == ({"CPU": 20_000}, 0.5)


def test_a_draining_node_gets_nothing():
    policy = four_nodes()
    for n in (1, 2, 3):
        policy._cluster.learn(ClusterSeen((NodeSeen(node(n), {"CPU": 40_000}, {"CPU": 40_000}, draining=n != 3),)))
    policy._ledger.take({"CPU": 30_000})

    assert policy.choose(shape_of({"CPU": 10_000}, ANYWHERE, b"", policy._ledger)).node_id == node(3)


@pytest.mark.parametrize("strategy", [ANYWHERE, SPREAD], ids=["hybrid", "spread"])
def test_many_choices_in_a_row_are_those_that_would_be_made_one_by_one(strategy):
    """What orders the nodes once for many choices agrees with a look at every node for each."""
    chance = random.Random(7)
    nodes = [({"CPU": 80_000}, {"CPU": chance.randrange(9) * 10_000}, {}) for _ in range(20)]

    def chosen(*, together: bool) -> list[object]:
        policy, _ = policy_of(nodes)
        policy._ledger.take(dict(policy._ledger.available))
        shapes = [shape_of({"CPU": 10_000 * n}, strategy, b"", policy._ledger) for n in (1, 2)]
        found: list[object] = []
        for number in range(120):
            if not together:
                policy.begin()
            shape = shapes[number % 2]
            other = policy.choose(shape)
            policy.took_turn(shape, other)
            if not isinstance(other, bool):
                policy._cluster.promise(other, shape.needs, 1.0)
            found.append(other if isinstance(other, bool) else other.node_id)
        return found

    assert chosen(together=True) == chosen(together=False)
    assert False in chosen(together=True), "in the end nothing has room"


def test_promises_end_in_the_order_in_which_they_were_made_last():
    policy = four_nodes()
    cluster = policy._cluster
    first, second = cluster.others[node(1)], cluster.others[node(2)]
    cluster.promise(first, {"CPU": 10_000}, 100.0)
    cluster.promise(second, {"CPU": 10_000}, 100.5)
    cluster.promise(first, {"CPU": 10_000}, 101.0)

    assert cluster.forget_promises(102.5) == 103.0
    assert not second.promised
    assert first.promised == {"CPU": 20_000}
    cluster.learn(ClusterSeen((), (node(1),)))
    assert cluster.forget_promises(103.0) is None


def test_a_large_demand_lets_other_events_in_between():
    numbers = itertools.count()
    scheduler = Scheduler(
        Ledger({"CPU": 0}), make_id=lambda _pool: next(numbers).to_bytes(28, "big"), cluster=Cluster(HOME)
    )
    room = {"CPU": 1_000 * 10_000}
    scheduler.handle(ClusterSeen(tuple(NodeSeen(node(n), room, room) for n in (1, 2, 3)), anew=True), 0.0)

    def sent(commands: list[Any]) -> int:
        return sum(command.count for command in commands if isinstance(command, Spill))

    first = sent(scheduler.handle(DemandSet(b"o" * 28, b"job1", 1, {"CPU": 10_000}, 2_500), 0.0))
    assert first == AT_ONCE
    assert scheduler.wake_at == 0.0, "the rest is not forgotten"
    rest = [sent(scheduler.handle(Tick(), 0.0)) for _ in range(2)]
    assert [first, *rest] == [1_000, 1_000, 500]
    scheduler.validate()
