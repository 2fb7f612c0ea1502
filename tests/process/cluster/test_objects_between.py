"""Large values between nodes that share nothing: read, returned, passed, broadcast, freed, lost."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

import manta
from manta.exceptions import ObjectLostError
from tests.process.cluster.machines import alive, joined, machines
from tests.process.cluster.support import MIB
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.process.cluster.machines import Machine

CLUSTER = None


@pytest.fixture
def two(tmp_path) -> Iterator[tuple[Machine, Machine]]:
    """A node on which this process is a driver, and another one with a resource of its own."""
    with machines(tmp_path) as cluster:
        here = cluster.add("here", cpus=2)
        there = cluster.add("there", cpus=1, resources={"there": 8})
        with joined(here):
            alive(2)
            yield here, there


def data(mib: int, seed: int = 0) -> bytes:
    return hashlib.sha256(bytes([seed])).digest() * (mib * MIB // 32)


@manta.remote(num_cpus=0, resources={"there": 1})
class There:
    """On the other node."""

    def make(self, mib, seed=0):
        return data(mib, seed)

    def same(self, value, mib, seed=0):
        return value == data(mib, seed), manta.get_runtime_context().get_node_id()

    def keep(self, refs):
        self.refs = refs

    def read(self):
        return [len(value) for value in manta.get(self.refs)]

    def put(self, mib):
        return [manta.put(data(mib))]


def objects(*machines: Machine) -> list[int]:
    return [machine.store()["objects"] for machine in machines]


def kept(machine: Machine) -> int:
    """Bytes that are neither read nor to be evicted."""
    store = machine.store()
    return (store["sealed_bytes"] - store["evictable_bytes"] - store["pinned_bytes"]) // MIB * MIB


def test_large_values_go_both_ways(two):
    """Returns, arguments, values inside other values, and what an actor there has put."""
    _here, there = two
    actor = There.remote()
    assert manta.get(actor.make.remote(5), timeout=30) == data(5)
    mine = manta.put(data(6, 1))
    assert manta.get(actor.same.remote(mine, 6, 1), timeout=30) == (True, there.node_id)
    assert manta.get(actor.same.remote(data(3), 3), timeout=30) == (True, there.node_id)
    assert manta.get(actor.same.remote(actor.make.remote(4), 4), timeout=30)[0]
    manta.get(actor.keep.remote([mine, actor.make.remote(2)]), timeout=30)
    assert manta.get(actor.read.remote(), timeout=30) == [6 * MIB, 2 * MIB]
    inner = manta.get(actor.put.remote(7), timeout=30)[0]
    assert manta.get(inner, timeout=30) == data(7)


def test_many_are_fetched_together_and_freed_everywhere(two):
    """When the last reference goes, the original and its copies go, wherever they are."""
    here, there = two
    actor = There.remote()
    refs = [actor.make.remote(2, seed) for seed in range(8)]
    assert manta.get(refs, timeout=30) == [data(2, seed) for seed in range(8)]
    mine = manta.put(data(6))
    manta.get(actor.same.remote(mine, 6), timeout=30)
    assert objects(here, there) == [9, 9]
    del refs, mine
    wait_until(lambda: objects(here, there) == [0, 0], what="all copies to go")


def test_more_than_a_store_holds_comes_through_it(two):
    """Copies that nobody reads make room."""
    _here, _there = two
    actor = There.remote()
    refs = [manta.put(data(9, seed)) for seed in range(5)]
    for _ in range(2):
        for seed, ref in enumerate(refs):
            assert manta.get(actor.same.remote(ref, 9, seed), timeout=30)[0]
    together = [actor.same.remote(ref, 9, seed) for seed, ref in enumerate(refs)]
    assert all(found for found, _ in manta.get(together, timeout=50))


def test_what_a_dead_node_had_is_lost_by_name(two):
    """Object, creator, node and reason; a value that is here as well is still read."""
    _here, there = two
    actor = There.remote()
    read, unread = actor.make.remote(3, 1), actor.make.remote(3, 2)
    manta.wait([read, unread], num_returns=2, timeout=30, fetch_local=False)
    assert manta.get(read, timeout=30) == data(3, 1)
    there.kill()
    with pytest.raises(ObjectLostError, match=f"(?s){unread.hex()}.*{there.node_id}.*creator: task"):
        manta.get(unread, timeout=30)
    assert manta.get(read, timeout=30) == data(3, 1)


def test_what_a_process_elsewhere_owns_goes_with_it(two):
    """Actors here that are killed owned what an actor there, and a task, had made for them."""
    _here, there = two
    actor = There.remote()

    @manta.remote(num_cpus=0)
    class Owner:
        def start(self, actor):
            self.ref = actor.make.remote(5)
            manta.wait([self.ref])

    @manta.remote(num_cpus=0, resources={"there": 1})
    def make(mib):
        return data(mib)

    @manta.remote(num_cpus=0)
    class Leaser:
        def start(self):
            self.ref = make.remote(5)
            manta.wait([self.ref], fetch_local=False)

    owner, leaser = Owner.remote(), Leaser.remote()
    manta.get([owner.start.remote(actor), leaser.start.remote()], timeout=30)
    assert there.store()["objects"] == 2
    manta.kill(owner)
    manta.kill(leaser)
    wait_until(lambda: there.store()["objects"] == 0, what="their objects to go")


def test_wait_fetches(two):
    """Ready means here, unless that is not wished for."""
    here, there = two
    actor = There.remote()
    first, second = actor.make.remote(4, 1), actor.make.remote(4, 2)
    ready, _ = manta.wait([first, second], num_returns=2, timeout=30, fetch_local=False)
    assert len(ready) == 2
    assert objects(here, there) == [0, 2]
    ready, rest = manta.wait([first, second], num_returns=1, timeout=30)
    assert (len(ready), len(rest)) == (1, 1)
    assert here.store()["objects"] >= 1
    manta.wait([first, second], num_returns=2, timeout=30)
    assert here.store()["objects"] == 2


def test_large_arguments_and_results_of_tasks_there(two):
    """A task on the other node reads what is here, and what it returns is read here and there."""
    _here, there = two

    @manta.remote(num_cpus=0, resources={"there": 1})
    def double(value):
        return value + value, manta.get_runtime_context().get_node_id()

    mine = manta.put(data(3))
    doubled, node = manta.get(double.remote(mine), timeout=30)
    assert (doubled, node) == (data(6), there.node_id)

    @manta.remote(num_cpus=0, resources={"there": 1}, num_returns=2)
    def parts(value):
        return value[: 2 * MIB], value[2 * MIB :]

    first, second = parts.remote(data(5))
    assert manta.get([first, second], timeout=30) == [data(2), data(3)]
    assert manta.get(double.remote(first), timeout=30) == (data(4), there.node_id)


def test_a_broadcast_reaches_every_node(tmp_path):
    """From the driver's node to actors on three others at once, more than once."""
    with machines(tmp_path) as cluster:
        here = cluster.add("here", cpus=1)
        others = [cluster.add(name, cpus=1, resources={name: 1}) for name in ("one", "two", "three")]
        with joined(here):
            alive(4)
            actors = [There.options(resources={name: 1}).remote() for name in ("one", "two", "three")]
            for seed in range(3):
                ref = manta.put(data(12, seed))
                answers = manta.get([actor.same.remote(ref, 12, seed) for actor in actors], timeout=50)
                assert answers == [(True, other.node_id) for other in others]
            del ref
            wait_until(lambda: objects(here, *others) == [0] * 4, what="every copy to go")


@pytest.fixture
def three(tmp_path) -> Iterator[tuple[Machine, Machine, Machine]]:
    """A node on which this process is a driver, and two more."""
    with machines(tmp_path) as cluster:
        here = cluster.add("here", cpus=1)
        others = [cluster.add(name, cpus=1, resources={name: 8}) for name in ("there", "third")]
        with joined(here):
            alive(3)
            yield here, others[0], others[1]


def test_a_copy_on_a_third_node_outlives_the_first(three):
    """Who made it is dead: its owner, borrowers and tasks read the copy, which is the first one from then on."""
    here, there, third = three
    actor, reader = There.remote(), There.options(resources={"third": 1}).remote()
    ref = actor.make.remote(5)
    assert manta.get(reader.same.remote(ref, 5), timeout=30)[0]
    assert objects(here, there, third) == [0, 1, 1]
    manta.get(reader.keep.remote([ref]), timeout=30)
    there.kill()
    assert manta.get(ref, timeout=30) == data(5)
    assert manta.get(reader.read.remote(), timeout=30) == [5 * MIB]
    assert manta.get(reader.same.remote(ref, 5), timeout=30) == (True, third.node_id)
    wait_until(lambda: kept(third) == 5 * MIB, what="the copy to be kept")
    manta.get(reader.keep.remote([]), timeout=30)
    del ref
    wait_until(lambda: objects(here, third) == [0, 0], what="every copy to go")


def test_a_copy_is_found_by_a_task_and_a_borrower_that_were_sent_to_the_dead_node(three):
    """What they were told is old: whoever sent them knows the copy on its own node."""
    here, there, third = three
    actor, reader = There.remote(), There.options(resources={"third": 1}).remote()
    ref = actor.make.remote(5)
    manta.get(reader.keep.remote([ref]), timeout=30)
    assert manta.get(ref, timeout=30) == data(5)
    there.kill()
    assert manta.get(reader.read.remote(), timeout=40) == [5 * MIB]
    assert objects(here, third) == [1, 1]
