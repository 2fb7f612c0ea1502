"""Actors that run several calls at once: each call reports the refs that came with it, and no other's."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

import pytest

import manta
from manta.client import current
from manta.client.user import UserSession
from tests.process.cluster.support import MIB
from tests.support.pausing import paused
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.process.cluster.support import Cluster
    from tests.process.semantics.support import Gate

pytestmark = pytest.mark.shared_cluster


class Keeper:
    def __init__(self):
        self.kept = []

    def keep(self, refs, begun: Gate | None = None, gate: Gate | None = None):
        self.kept += refs
        if begun is not None and gate is not None:
            begun.open()
            gate.wait()
        return len(refs)

    def drop(self, refs):
        return len(refs)

    def ping(self):
        return "pong"

    def read(self):
        return [manta.get(ref)[0] for ref in self.kept]

    def clear(self):
        self.kept.clear()


class AsyncKeeper:
    def __init__(self):
        self.kept = []

    async def keep(self, refs, begun: Gate | None = None, gate: Gate | None = None):
        import asyncio

        self.kept += refs
        if begun is not None and gate is not None:
            begun.open()
            while not gate.is_open():
                await asyncio.sleep(0.005)
        return len(refs)

    async def drop(self, refs):
        return len(refs)

    async def ping(self):
        return "pong"

    async def read(self):
        return [(await ref)[0] for ref in self.kept]

    async def clear(self):
        self.kept.clear()


KINDS = {
    "threads": lambda: manta.remote(Keeper).options(max_concurrency=4).remote(),
    "groups": lambda: manta.remote(concurrency_groups={"io": 2})(Keeper).options(max_concurrency=3).remote(),
    "async": lambda: manta.remote(AsyncKeeper).remote(),
}


@manta.remote
class Owner:
    """Another process with objects of its own."""

    def pid(self):
        return os.getpid()

    def refs(self):
        return [manta.put(b"x" * 10)]


@pytest.fixture(params=KINDS)
def keeper(request: pytest.FixtureRequest):
    actor = KINDS[request.param]()
    manta.get(actor.ping.remote())
    yield actor
    manta.kill(actor)


def counts() -> dict[str, int]:
    """What this process holds and has lent, with everything counted that was dropped."""
    gc.collect()
    session = current.require()
    assert isinstance(session, UserSession)
    with session.lock:
        session.drain_released()
        return session.ownership.statistics()


def test_a_call_waits_for_no_owner_of_another_call_s_refs(keeper, started: Gate, gate: Gate, cluster: Cluster):
    """Before a result goes, the owners of refs that its call keeps must know: here one that cannot answer."""
    owner = Owner.options(num_cpus=0).remote()
    pid = manta.get(owner.pid.remote())
    refs = manta.get(owner.refs.remote())
    with paused(pid):
        keeping = keeper.keep.remote(refs, started, gate)
        started.wait()
        assert manta.get(keeper.ping.remote(), timeout=10) == "pong"
        assert manta.wait([keeping], timeout=0)[0] == []
        gate.open()
    assert manta.get(keeping, timeout=20) == 1
    del refs
    gc.collect()
    assert manta.get(keeper.read.remote(), timeout=20) == [ord("x")]
    manta.kill(owner)


def test_one_call_keeps_its_ref_and_another_drops_its_own(keeper, started: Gate, gate: Gate, cluster: Cluster):
    """The kept one outlives its owner's own ref, the dropped one does not; in the end the owner's memory is as before."""
    before, objects = counts(), cluster.store()["objects"]
    kept, dropped = manta.put(b"k" * MIB), manta.put(b"d" * MIB)
    keeping = keeper.keep.remote([kept], started, gate)
    started.wait()
    assert manta.get(keeper.drop.remote([dropped]), timeout=20) == 1
    del dropped
    wait_until(lambda: cluster.store()["objects"] == objects + 1, what="the dropped object to be freed")
    gate.open()
    assert manta.get(keeping, timeout=20) == 1
    del kept, keeping
    gc.collect()
    manta.get([keeper.ping.remote() for _ in range(20)])
    assert manta.get(keeper.read.remote(), timeout=20) == [ord("k")]
    manta.get(keeper.clear.remote())
    wait_until(lambda: cluster.store()["objects"] == objects, what="the kept object to be freed")
    wait_until(lambda: counts() == before, what=f"the owner to count {before}")


def test_many_calls_at_once_lose_no_ref(keeper, cluster: Cluster):
    """Half of them keep, half of them drop, all at the same time."""
    before, objects = counts(), cluster.store()["objects"]
    expected = []
    for _ in range(30):
        calls = []
        for number in range(8):
            refs = [manta.put(bytes([number]) * 10) for _ in range(20)]
            if number % 2:
                expected += [number] * 20
                calls.append(keeper.keep.remote(refs))
            else:
                calls.append(keeper.drop.remote(refs))
            del refs
        assert manta.get(calls, timeout=20) == [20] * 8
        del calls
    gc.collect()
    assert sorted(manta.get(keeper.read.remote(), timeout=40)) == sorted(expected)
    manta.get(keeper.clear.remote())
    wait_until(lambda: counts() == before, what=f"the owner to count {before}")
    wait_until(lambda: cluster.store()["objects"] == objects, what="every object to be freed")
