"""The object store under pressure: full, too small, left half-written by the dead; and empty again afterwards."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import signal
import threading
from typing import TYPE_CHECKING

import pytest

import manta
from manta.exceptions import ObjectStoreFullError, WorkerCrashedError
from tests.process.cluster.support import MIB
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.process.cluster.support import Cluster
    from tests.process.semantics.support import Gate

pytestmark = pytest.mark.shared_cluster

CLUSTER = {"num_cpus": 2, "object_store_memory": 128 * MIB, "log_to_driver": False}


def test_an_object_larger_than_the_store_is_refused_at_once():
    with pytest.raises(ObjectStoreFullError, match=str(128 * MIB)):
        manta.put(bytes(200 * MIB))


def test_a_result_larger_than_the_store_is_its_tasks_error():
    @manta.remote
    def huge():
        return bytes(200 * MIB)

    with pytest.raises(ObjectStoreFullError):
        manta.get(huge.remote(), timeout=20)


def test_a_result_whose_sibling_does_not_fit_is_freed(cluster: Cluster):
    """Its worker and its owner live on, and nobody else knows of it."""

    @manta.remote(num_returns=2)
    def two() -> tuple[bytes, bytes]:
        return bytes(10 * MIB), bytes(200 * MIB)

    for ref in two.remote():
        with pytest.raises(ObjectStoreFullError):
            manta.get(ref, timeout=30)
    wait_until(lambda: not cluster.store()["objects"], what="nothing is left")


def test_a_creator_waits_for_room_and_gets_it(cluster: Cluster):
    held = [manta.put(bytes(30 * MIB)) for _ in range(4)]
    done = []
    waiting = threading.Thread(target=lambda: done.append(manta.put(bytes(30 * MIB))), name="waits for room")
    waiting.start()
    wait_until(lambda: cluster.store()["waiting_creates"] == 1)
    assert not done
    held.pop()
    waiting.join(30)
    assert len(manta.get(done[0])) == 30 * MIB


def test_a_creator_that_waited_too_long_is_told_sizes_and_holders():
    held = [manta.put(bytes(30 * MIB)) for _ in range(4)]
    with pytest.raises(ObjectStoreFullError) as caught:
        manta.put(bytes(31 * MIB))
    text = str(caught.value)
    assert re.search(r"31|32505", text), text
    assert "128" in text or str(128 * MIB) in text, text
    assert str(os.getpid()) in text or "driver" in text, text
    del held
    wait_until(lambda: manta.put(bytes(31 * MIB)) is not None)


def test_items_that_come_after_their_reader_has_left_are_freed(cluster: Cluster, gate: Gate):
    @manta.remote(num_returns="streaming")
    def items():
        yield 0
        gate.wait()
        yield bytes(2 * MIB)

    before = cluster.store()
    stream = items.remote()
    assert manta.get(next(stream)) == 0
    del stream
    gc.collect()
    assert manta.get(manta.remote(os.getpid).remote()), "the stream is closed when this returns"
    gate.open()
    wait_until(lambda: cluster.store()["sealed_total"] > before["sealed_total"], what="the second item to be made")
    wait_until(lambda: cluster.store()["objects"] == before["objects"], what="it to be freed")


def test_ten_times_the_store_passes_through_it(cluster: Cluster):
    @manta.remote
    def make(number: int):
        return bytes([number % 256]) * (8 * MIB)

    @manta.remote
    def first(data: bytes):
        return data[0]

    seen = []
    for number in range(0, 160, 4):
        seen += manta.get([first.remote(make.remote(number + one)) for one in range(4)], timeout=40)
    assert seen == list(range(160))


def test_a_creator_killed_while_it_writes_leaves_no_room_taken(cluster: Cluster, started: Gate, gate: Gate):
    @manta.remote(max_retries=0)
    def dies():
        from manta.client import current

        session = current.session
        # Room is taken and never sealed: what a death in the middle of a copy looks like.
        write = type(session.store)._write

        def half(self, offset, value):
            started.open()
            gate.wait()
            write(self, offset, value)

        type(session.store)._write = half
        return bytes(40 * MIB)

    @manta.remote
    def pid():
        return os.getpid()

    ref = dies.remote()
    started.wait()
    assert cluster.store()["unsealed_bytes"] >= 40 * MIB
    for worker in cluster.workers():
        with contextlib.suppress(ProcessLookupError):  # one that nobody needed may be gone by now
            os.kill(worker, signal.SIGKILL)
    with pytest.raises(WorkerCrashedError):
        manta.get(ref, timeout=20)
    # Nor is a block of another worker that died with it, nor what earlier tests left: in the middle it would part the room.
    wait_until(lambda: not cluster.store()["used_bytes"], what="all room to be free")
    held = [manta.put(bytes(30 * MIB)) for _ in range(4)]  # all of the room is there
    del held


def test_readers_keep_what_they_read_after_its_ref_and_owner_are_gone(cluster: Cluster):
    @manta.remote
    class Owner:
        def make(self):
            return [manta.put(bytearray(b"x" * (10 * MIB)))]

    owner = Owner.remote()
    np = pytest.importorskip("numpy")

    @manta.remote
    def array():
        return np.arange(2 * MIB)

    view = manta.get(array.remote())
    manta.kill(owner)
    wait_until(lambda: cluster.store()["pinned_bytes"] >= 16 * MIB)
    assert manta.get([manta.put(bytes(30 * MIB)) for _ in range(3)])
    assert int(view[-1]) == 2 * MIB - 1
    part = view[100:200]
    del view
    assert cluster.store()["pinned_bytes"] > 0, "a slice pins the whole"
    assert part.tolist() == list(range(100, 200))
    del part
    wait_until(lambda: cluster.store()["pinned_bytes"] == 0, what="the pin to go")


def test_memory_is_freed_while_the_driver_calls_nothing(cluster: Cluster):
    """Dropping the last ref is enough, whatever the process does next."""
    before = cluster.store()["objects"]
    ref = manta.put(bytes(10 * MIB))
    assert cluster.store()["objects"] == before + 1
    del ref
    wait_until(lambda: cluster.store()["objects"] == before)


def test_dropped_results_nobody_read_are_freed(cluster: Cluster):
    @manta.remote
    def make():
        return bytes(5 * MIB)

    for _ in range(10):
        make.remote()
    manta.get([manta.remote(abs).remote(-1) for _ in range(4)])
    wait_until(lambda: not cluster.unrest())
    wait_until(lambda: cluster.store()["sealed_bytes"] == 0, what="results without refs to go")


def test_many_creators_at_once_all_get_their_turn(cluster: Cluster):
    @manta.remote(num_cpus=0.1)
    def use(number: int):
        ref = manta.put(bytes(20 * MIB))
        return len(manta.get(ref)) + number

    assert manta.get([use.remote(number) for number in range(30)], timeout=50) == [20 * MIB + n for n in range(30)]
