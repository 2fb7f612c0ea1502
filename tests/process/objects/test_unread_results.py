"""An owner that does not read its results holds up its own calls, and nobody else's; when it reads, every result is there."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

import manta
from manta.client import current
from manta.client.arguments import INLINE_TOGETHER_BYTES
from manta.client.direct import DirectSession
from manta.client.links import HIGH_BYTES
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.process.cluster.support import Cluster
    from tests.process.semantics.support import Gate, Ledger

pytestmark = pytest.mark.shared_cluster

#: A result just below what goes to the store; so many are several times what may wait for its reader.
RESULT_BYTES = 90_000
MANY = 4 * HIGH_BYTES // RESULT_BYTES


class Producer:
    def __init__(self):
        self.made = 0

    def make(self, gate: Gate):
        gate.wait()
        self.made += 1
        return bytes(RESULT_BYTES)

    def count(self):
        return self.made


class AsyncProducer:
    def __init__(self):
        self.made = 0

    async def make(self, gate: Gate):
        import asyncio

        while not gate.is_open():
            await asyncio.sleep(0.005)
        self.made += 1
        return bytes(RESULT_BYTES)

    async def count(self):
        return self.made


KINDS = {
    "serial": lambda: manta.remote(Producer).remote(),
    "threads": lambda: manta.remote(Producer).options(max_concurrency=2).remote(),
    "async": lambda: manta.remote(AsyncProducer).options(max_concurrency=2).remote(),
}


@manta.remote
def look(producer, pushed: Gate, ledger: Ledger):
    """Another owner: what the actor has made when its call's turn comes, which is behind every call that is not held up."""
    manta.get(producer.count.remote())
    ledger.write("ready")
    pushed.wait()
    made = manta.get(producer.count.remote())
    ledger.write("seen")
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_calls_wait_while_their_owner_does_not_read_and_others_are_served(
    cluster: Cluster, gate: Gate, ledger: Ledger, kind: str
):
    producer = KINDS[kind]()
    session = current.session
    assert isinstance(session, DirectSession)
    made = look.remote(producer, gate, ledger)
    manta.wait([made], timeout=0)
    wait_until(lambda: ledger.read() == ["ready"], what="the other owner runs")

    refs = [producer.make.remote(gate) for _ in range(MANY)]
    with session.lock:
        session.flush()
        gate.open()
        wait_until(lambda: "seen" in ledger.read(), what="the other owner's call ends")

    assert manta.get(made) < MANY * 3 // 4
    assert [len(value) for value in manta.get(refs)] == [RESULT_BYTES] * MANY
    assert manta.get(producer.count.remote()) == MANY


def test_more_small_argument_objects_than_a_frame_takes_all_arrive(cluster: Cluster):
    """What found no room is asked for by the worker."""

    @manta.remote
    def sizes(*values: bytes) -> list[tuple[int, bytes]]:
        return [(len(value), value[:4]) for value in values]

    count = 2 * INLINE_TOGETHER_BYTES // RESULT_BYTES
    refs = [manta.put(number.to_bytes(4, "big") + bytes(RESULT_BYTES)) for number in range(count)]

    assert manta.get(sizes.remote(*refs)) == [(RESULT_BYTES + 4, number.to_bytes(4, "big")) for number in range(count)]


def test_more_small_arguments_than_a_frame_takes_all_arrive(cluster: Cluster):
    @manta.remote
    def together(*values: bytes) -> int:
        return sum(map(len, values))

    count, size = INLINE_TOGETHER_BYTES // 10_000, 11_000

    assert manta.get(together.remote(*[bytes(size)] * count)) == count * size


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_actor_goes_on_when_the_reader_of_its_stream_has_died(cluster: Cluster, kind: str):
    """The generator is closed where it waited for its reader."""

    @manta.remote
    class Sync:
        @manta.method(_generator_backpressure_num_objects=1)
        def items(self):
            yield from range(5)

        def closed(self):
            return True

    @manta.remote
    class Async:
        @manta.method(_generator_backpressure_num_objects=1)
        async def items(self):
            for number in range(5):
                yield number

        async def closed(self):
            return True

    @manta.remote(max_retries=0)
    def dies(producer):
        stream = producer.items.remote()
        assert manta.get(next(stream)) == 0
        os.kill(os.getpid(), signal.SIGKILL)

    producer = Sync.remote() if kind == "sync" else Async.options(max_concurrency=1).remote()
    with pytest.raises(manta.exceptions.WorkerCrashedError):
        manta.get(dies.remote(producer))

    assert manta.get(producer.closed.remote(), timeout=30)
