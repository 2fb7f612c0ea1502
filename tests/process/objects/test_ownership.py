"""Refs inside values, in closures, in actors, in the results of results: an object lives as long as one of them does."""

from __future__ import annotations

import gc
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

import manta
from manta.exceptions import ObjectLostError, OwnerDiedError
from tests.process.cluster.support import MIB
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.process.cluster.support import Cluster
    from tests.process.semantics.support import Gate

pytestmark = pytest.mark.shared_cluster

BIG = 2 * MIB


@manta.remote
def make(byte: int, size: int = BIG):
    return bytes([byte]) * size


@manta.remote
def wrap(byte: int, size: int = BIG):
    """The worker owns the inner object."""
    return [make.remote(byte, size)]


@manta.remote
def wrap_put(byte: int, size: int = BIG):
    return {"inner": manta.put(bytes([byte]) * size)}


@manta.remote
def read(holder):
    (inner,) = holder.values() if isinstance(holder, dict) else holder
    return manta.get(inner)[0]


@manta.remote
class Keeper:
    def __init__(self):
        self.kept = None

    def keep(self, holder):
        self.kept = holder

    def give(self):
        return self.kept

    def wrap(self):
        """From now on it is an object of this process."""
        self.kept = manta.put(self.kept)

    def unwrap(self):
        """And here it ends."""
        kept, self.kept = self.kept, None
        return manta.get(kept)

    def read(self):
        return manta.get(self.kept[0])[0]


@pytest.mark.parametrize("size", [10, BIG], ids=["small", "large"])
@pytest.mark.parametrize("maker", [wrap, wrap_put], ids=["task", "put"])
def test_results_of_results_stay_while_their_owner_idles(maker, size: int, cluster: Cluster):
    holder = manta.get(maker.remote(7, size))
    # Other work passes through the inner owner's process meanwhile.
    manta.get([make.remote(1, 10) for _ in range(50)])
    (inner,) = holder.values() if isinstance(holder, dict) else holder
    assert manta.get(inner, timeout=20) == bytes([7]) * size


def test_refs_pass_through_tasks_and_actors_unread(cluster: Cluster):
    keeper = Keeper.remote()
    # Before the owner is: an actor may begin in a process that has run tasks, and would own what is lost with it.
    manta.get(keeper.give.remote())
    holder = wrap.remote(3)
    manta.get(keeper.keep.remote(holder))
    del holder
    manta.get([make.remote(1, 10) for _ in range(20)])
    assert manta.get(keeper.read.remote(), timeout=20) == 3
    again = manta.get(keeper.give.remote())
    manta.kill(keeper)
    assert manta.get(again[0], timeout=20)[0] == 3, "the next borrower was known before the last one died"


@pytest.mark.parametrize("size", [10, BIG], ids=["small", "large"])
def test_a_ref_comes_home_out_of_an_object_that_ends_with_the_call(size: int, cluster: Cluster):
    """It is the last one in the actor, and was known there before the call: its release does not overtake the result."""
    keeper = Keeper.remote()
    inner = manta.put(bytes([4]) * size)
    manta.get(keeper.keep.remote([inner]))
    manta.get(keeper.wrap.remote())
    del inner
    gc.collect()
    (again,) = manta.get(keeper.unwrap.remote())
    assert manta.get(again, timeout=20) == bytes([4]) * size


def test_three_levels_of_owners(cluster: Cluster):
    @manta.remote
    def outer():
        return [wrap.remote(9)]

    (middle,) = manta.get(outer.remote())
    (inner,) = manta.get(middle, timeout=20)
    del middle
    gc.collect()
    assert manta.get(inner, timeout=20)[0] == 9


def test_a_ref_in_a_closure_lives_as_long_as_the_process_that_made_it(cluster: Cluster):
    ref = manta.put(b"x" * 1000)

    @manta.remote
    def uses():
        return manta.get(ref)[:1]

    assert manta.get(uses.remote(), timeout=20) == b"x"
    assert manta.get([uses.remote() for _ in range(5)], timeout=20) == [b"x"] * 5


def test_a_pending_argument_keeps_its_object(gate: Gate, cluster: Cluster):
    @manta.remote
    def after(_, data):
        return data[0]

    @manta.remote
    def wait():
        gate.wait()

    ref = make.remote(5)
    pending = after.remote(wait.remote(), ref)
    manta.wait([ref])
    del ref
    gc.collect()
    gate.open()
    assert manta.get(pending, timeout=20) == 5


def test_objects_in_a_cycle_go_with_the_collector(cluster: Cluster):
    """What CPython's collector frees, the store frees; until then nothing can know."""

    class Loop:
        def __init__(self):
            self.ref = manta.put(bytes(BIG))
            self.me = self

    before = cluster.store()["objects"]
    for _ in range(5):
        Loop()
    gc.collect()
    wait_until(lambda: cluster.store()["objects"] == before)


def test_ten_thousand_refs_come_and_go(cluster: Cluster):
    from manta.client import current

    assert current.session is not None
    before = current.session.ownership.statistics()
    refs = [manta.put(number) for number in range(10_000)]
    holder = manta.put(refs)
    del refs
    assert sum(manta.get(manta.get(holder))) == sum(range(10_000))

    @manta.remote
    def total(inner):
        return sum(manta.get(inner))

    @manta.remote
    def nested(holders):
        return manta.get(total.remote(manta.get(holders[0])))

    assert manta.get(nested.remote([holder]), timeout=40) == sum(range(10_000))
    del holder
    gc.collect()
    ownership = current.session.ownership
    wait_until(lambda: ownership.statistics()["referenced"] <= before["referenced"], what="all of them to be forgotten")
    wait_until(lambda: ownership.statistics()["lent"] <= before["lent"], what="nobody to borrow them")
    current.session.ownership.validate()


class Curious:
    """Does something with a ref of the value it is part of, while that value is still being read."""

    def __init__(self, ref, what):
        self.ref, self.what = ref, what

    def __setstate__(self, state):
        self.ref = state["ref"]
        match state["what"]:
            case "get":
                self.found = manta.get(self.ref)
            case "wait":
                self.found = manta.wait([self.ref])[0] == [self.ref]
            case "pass on":
                self.found = manta.get(read.remote([self.ref]))
            case "put":
                self.found = manta.get(manta.get(manta.put([self.ref]))[0])
            case "drop":
                self.found, self.ref = None, None
            case "raise":
                raise RuntimeError("not today")


@pytest.mark.parametrize("what", ["get", "wait", "pass on", "put", "drop", "raise"])
@pytest.mark.parametrize("owner", ["here", "elsewhere"])
def test_a_ref_can_be_used_while_its_value_is_being_read(cluster: Cluster, what: str, owner: str):
    """And when reading fails half way, what had come out of the value is let go of all the same."""
    from manta.client import current

    assert current.session is not None
    ownership = current.session.ownership
    before = ownership.statistics()

    @manta.remote
    def make_holder(what):
        inner = manta.put(b"1234")
        return [inner, Curious(inner, what), bytes(200_000)]

    if owner == "here":
        inner = manta.put(b"1234")
        holder = manta.put([inner, Curious(inner, what), bytes(200_000)])
        del inner
    else:
        holder = make_holder.remote(what)
    if what == "raise":
        with pytest.raises(manta.exceptions.RaySystemError, match="not today"):
            manta.get(holder)
    else:
        value: Any = manta.get(holder)
        assert value[1].found == {"get": b"1234", "wait": True, "pass on": ord("1"), "put": b"1234", "drop": None}[what]
        assert manta.get(value[0]) == b"1234"
        del value
    del holder
    gc.collect()
    wait_until(lambda: ownership.statistics()["referenced"] <= before["referenced"], what="all of it to be forgotten")
    wait_until(lambda: ownership.statistics()["borrowed"] <= before["borrowed"], what="nothing to be borrowed")
    ownership.validate()


def test_the_death_of_an_inner_owner_is_an_error_and_no_hang(cluster: Cluster):
    @manta.remote
    class Owner:
        def make(self):
            return os.getpid(), [manta.put(bytes(BIG))]

    owner = Owner.remote()
    pid, (inner,) = manta.get(owner.make.remote())
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ObjectLostError) as caught:
        manta.get(inner, timeout=20)
    assert isinstance(caught.value, OwnerDiedError)
    assert inner.hex() in str(caught.value)
    with pytest.raises(OwnerDiedError):
        manta.get(read.remote([inner]), timeout=20)


def test_a_borrower_killed_holds_nothing_up(cluster: Cluster):
    before = cluster.store()["sealed_bytes"]
    ref = manta.put(bytes(BIG))
    keeper = Keeper.remote()
    manta.get(keeper.keep.remote([ref]))
    del ref
    gc.collect()
    assert manta.get(keeper.read.remote()) == 0
    manta.kill(keeper)
    wait_until(lambda: cluster.store()["sealed_bytes"] == before, what="the object to go with its last borrower")


def test_refs_of_failed_and_cancelled_tasks_are_forgotten(cluster: Cluster, gate: Gate):
    before = cluster.store()["objects"]

    @manta.remote
    def fails(data):
        raise ValueError(len(data))

    @manta.remote
    def hangs(data):
        gate.wait()

    refs = [fails.remote(make.remote(1)) for _ in range(4)]
    for ref in refs:
        with pytest.raises(ValueError, match=str(BIG)):
            manta.get(ref, timeout=20)
    hanging = hangs.remote(make.remote(1))
    manta.cancel(hanging)
    with pytest.raises(manta.exceptions.TaskCancelledError):
        manta.get(hanging, timeout=20)
    del refs, ref, hanging
    gc.collect()
    wait_until(lambda: cluster.store()["objects"] == before)
