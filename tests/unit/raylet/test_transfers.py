"""Objects between the stores of several nodes: the right bytes, once, whoever lies, stalls or goes away."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import threading

import pytest

from manta.raylet import kept
from manta.raylet.objects import pulls, transfer
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.certificates import make_authority
from manta.transport.channel import encode
from manta.transport.tcp import PREAMBLE_BYTES, Answer
from manta.transport.tls import Tls
from tests.support.leaks import open_fds
from tests.support.stores import MIB, Process, several
from tests.support.waiting import wait_until
from tests.unit.transport.test_certificates import NOW, credentials


@pytest.fixture(autouse=True)
def no_descriptor_is_lost():
    """Every test gives back every descriptor, and no thread stays."""
    before, threads = open_fds(), set(threading.enumerate())
    yield

    def left() -> tuple[dict[int, str], list[threading.Thread]]:
        fds = {fd: where for fd, where in open_fds().items() if before.get(fd) != where}
        return fds, [thread for thread in threading.enumerate() if thread not in threads and thread.is_alive()]

    # A thread that carries an object notices in its time that nobody wants it any more.
    with contextlib.suppress(AssertionError):
        wait_until(lambda: left() == ({}, []))
    assert left() == ({}, [])


@pytest.fixture(autouse=True)
def the_last_source_is_soon_given_up(monkeypatch):
    """Twenty seconds of trying again are more than tests of other things have."""
    monkeypatch.setattr(pulls, "MAX_LAST_BREAKS", 3)


@pytest.fixture(params=["plain", "tls"])
def tls(request, tmp_path):
    """Certificates of a cluster, or none."""
    if request.param == "plain":
        return None
    return Tls(credentials(tmp_path / "a", authority=make_authority("c1", now=NOW))[0])


def in_a_loop(test):
    """Run a coroutine function as a test."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        asyncio.run(test(*args, **kwargs))

    return run


async def until(holds, timeout_s=30.0):
    """Let the loop run until something holds."""
    async with asyncio.timeout(timeout_s):
        while not holds():
            await asyncio.sleep(0.005)


def oid(number: int) -> bytes:
    return bytes([number]) * 28


@in_a_loop
async def test_an_object_of_another_node_is_read_as_if_it_were_here(tls):
    """Its copy is evictable, and several who ask share one transfer."""
    async with several(2, 64 * MIB, tls) as (a, b):
        maker, data = Process(a), os.urandom(9 * MIB + 17)
        await maker.put(oid(1), data)
        readers = [Process(b) for _ in range(3)]
        got = await asyncio.gather(*(reader.get(oid(1), len(data), a) for reader in readers))
        assert got == [data] * 3
        await until(lambda: b.store()["evictable_bytes"] >= len(data))
        assert b.store()["pulls_fetched_total"] == 1
        assert [sum(node.exchange.transfers.seconds.counts) for node in (a, b)] == [0, 1]
        await until(lambda: a.store()["sends"] == 0 and a.store()["pinned_bytes"] == 0)
        moved = [node.exchange.transfers.traffic.totals() for node in (a, b)]
        assert moved == [{"in": 0, "out": len(data)}, {"in": len(data), "out": 0}]
        for node in (a, b):
            node.objects.table.validate()


@in_a_loop
async def test_objects_follow_each_other_over_one_connection(tls):
    """Each node keeps it for a while; one that was closed meanwhile is dialled anew, and a dead node's is closed."""
    async with several(2, 64 * MIB, tls) as (a, b):
        maker, reader = Process(a), Process(b)
        for number in range(1, 6):
            await maker.put(oid(number), bytes([number]) * MIB)

        async def fetch(number):
            assert await reader.get(oid(number), MIB, a) == bytes([number]) * MIB
            await until(lambda: (a.store()["kept_connections"], b.store()["kept_connections"]) == (1, 1))

        for number in (1, 2, 3):
            await fetch(number)
        assert a.visits == 1
        a.exchange.transfers._answered.close()
        await fetch(4)
        assert a.visits == 2
        assert b.store()["pulls_broken_total"] == 0
        await fetch(5)
        assert a.visits == 2
        b.exchange.neighbours.gone(a.node_id, "it was silent for 10 s")
        assert b.store()["kept_connections"] == 0
        await until(lambda: a.store()["kept_connections"] == 0)


@in_a_loop
async def test_a_kept_connection_that_is_not_wanted_is_closed_by_whoever_dialled_it(monkeypatch):
    """And by the other side, should that one not: nothing is kept for ever."""
    monkeypatch.setattr(kept, "DIALLED_S", 0.05)
    async with several(2, 64 * MIB) as (a, b):
        await Process(a).put(oid(1), b"x" * MIB)
        await Process(b).get(oid(1), MIB, a)
        await until(lambda: a.visits == 1 and a.store()["sends"] == 0)
        await until(lambda: (a.store()["kept_connections"], b.store()["kept_connections"]) == (0, 0))
    monkeypatch.setattr(kept, "DIALLED_S", 60)
    monkeypatch.setattr(kept, "ANSWERED_S", 0.05)
    async with several(2, 64 * MIB) as (a, b):
        await Process(a).put(oid(1), b"x" * MIB)
        await Process(b).get(oid(1), MIB, a)
        await until(lambda: a.store()["sends"] == 0 and a.store()["kept_connections"] == 0)


@in_a_loop
async def test_what_follows_a_transfer_is_another_or_the_end():
    """Anything else over a kept connection closes it, and only it."""
    async with several(2, 64 * MIB) as (a, b):
        await Process(a).put(oid(1), b"x" * MIB)
        await Process(b).get(oid(1), MIB, a)
        await until(lambda: a.store()["kept_connections"] == 1)
        far = b.exchange.transfers._dialled.take(a.node_id)
        with contextlib.closing(far):
            far.take(5.0).sendall(encode(pb.Goodbye()))
            await until(lambda: a.store()["kept_connections"] == 0)
        await Process(a).put(oid(2), b"y" * MIB)
        assert await Process(b).get(oid(2), MIB, a) == b"y" * MIB


@in_a_loop
async def test_a_broadcast_is_a_chain(tls):
    """Whoever asks while the object is on its way gets it from who asked before; the first holder sends it once."""
    async with several(5, 128 * MIB, tls) as nodes:
        data = os.urandom(48 * MIB)
        await Process(nodes[0]).put(oid(1), data)
        got = await asyncio.gather(*(Process(node).get(oid(1), len(data), nodes[0]) for node in nodes[1:]))
        assert got == [data] * 4
        assert sum(node.store()["pulls_redirected_total"] for node in nodes[1:]) >= 1
        for node in nodes:
            node.objects.table.validate()
            node.exchange.transfers.pulls.validate()
            node.exchange.transfers.chains.validate()


@in_a_loop
async def test_when_the_owner_frees_an_object_its_copies_go_too():
    """The holder of the original tells those who copied it; an owner elsewhere tells the holder."""
    async with several(3, 64 * MIB) as (a, b, c):
        owner, maker, reader = Process(a), Process(b), Process(c)
        maker.say(pb.OwnerElsewhere(worker_id=owner.client.worker_id, node_id=a.node_id))
        await maker.put(oid(1), b"x" * MIB, owner=owner.client.worker_id)
        await reader.get(oid(1), MIB, b)
        await owner.get(oid(1), MIB, b)
        owner.say(pb.FreeObjects(object_ids=[oid(1)], node_id=b.node_id))
        await until(lambda: not any(node.store()["objects"] for node in (a, b, c)))
        await until(lambda: not a.store()["frees_unconfirmed"])


@in_a_loop
async def test_what_belongs_to_a_process_of_another_node_goes_with_it():
    """Whether it dies while it is watched, was dead before, or its node dies."""
    async with several(3, 64 * MIB) as (a, b, c):
        maker = Process(b)
        living, dead, elsewhere = Process(a), os.urandom(28), Process(c)
        for number, (owner, node) in enumerate(
            ((living.client.worker_id, a), (dead, a), (elsewhere.client.worker_id, c)), start=1
        ):
            maker.say(pb.OwnerElsewhere(worker_id=owner, node_id=node.node_id))
            await maker.put(oid(number), b"x" * MIB, owner=owner)
        await until(lambda: b.store()["objects"] == 2)
        await until(lambda: a.store()["owners_watched_by_others"] == 1)
        living.die()
        await until(lambda: b.store()["objects"] == 1)
        b.exchange.neighbours.gone(c.node_id, "it was silent for 10 s")
        assert b.store()["objects"] == 0
        b.exchange.neighbours.far.validate()


@in_a_loop
async def test_an_owner_elsewhere_is_asked_about_what_a_dead_process_had_made():
    """Its answer, by way of its own raylet, frees only what that process had made."""
    async with several(2, 64 * MIB) as (a, b):
        owner, maker = Process(a), Process(b)
        maker.say(pb.OwnerElsewhere(worker_id=owner.client.worker_id, node_id=a.node_id))
        await maker.put(oid(1), b"x" * MIB, owner=owner.client.worker_id)
        await until(lambda: a.store()["owners_watched_by_others"] == 1)
        maker.die()
        left = await owner.next(pb.ObjectsLeft)
        assert (left.creator, list(left.object_ids)) == (maker.client.worker_id, [oid(1)])
        owner.say(pb.FreeObjects(object_ids=left.object_ids, creator=left.creator, node_id=left.node_id))
        await until(lambda: b.store()["objects"] == 0)


@in_a_loop
async def test_what_a_dead_node_had_is_lost_and_said_to_be():
    """Object, creator, node and reason are named; another node that has it is asked first."""
    async with several(3, 64 * MIB) as (a, b, c):
        await Process(a).put(oid(1), b"x" * MIB)
        reader = Process(b)
        b.exchange.neighbours.gone(c.node_id, "its connection was closed")
        assert await reader.get(oid(1), MIB, c, a) == b"x" * MIB
        with pytest.raises(AssertionError, match=f"(?s){c.node_id.hex()} is dead: its connection was closed.*creator"):
            await reader.get(oid(2), MIB, c)
        stranger = type(a)()
        b.exchange.transfers.pulls._pulls.clear()
        reader.ask([oid(3)], MIB, stranger)
        await asyncio.sleep(0)
        b.exchange.neighbours.gone(stranger.node_id, "never seen")
        lost = await reader.next(pb.ObjectsReady)
        assert lost.error.code == "OBJECT_LOST"
        assert oid(3).hex() in lost.error.message


@in_a_loop
async def test_what_a_node_does_not_have_is_waited_for_a_moment():
    """Its creator's seal may be on its way; then it comes, and without it it is lost."""
    async with several(2, 64 * MIB) as (a, b):
        reader = Process(b)
        reader.ask([oid(1)], MIB, a)
        await until(lambda: a.store()["waiting_gets"] == 1)
        await Process(a).put(oid(1), b"y" * MIB)
        ready = await reader.next(pb.ObjectsReady)
        assert ready.sizes == [MIB]
        with pytest.raises(AssertionError, match="does not have it"):
            await reader.get(oid(2), MIB, a)


@in_a_loop
async def test_one_who_waits_no_more_ends_the_transfer():
    """By cancelling or dying; the room comes back."""
    async with several(2, 64 * MIB) as (a, b):
        reader, other = Process(b), Process(b)
        request = reader.ask([oid(1)], MIB, a)
        other.ask([oid(2)], MIB, a)
        await until(lambda: b.store()["pulls_fetching"] == 2)
        reader.say(pb.GetObjects(request_id=request, cancel=True))
        other.die()
        await until(lambda: b.store()["pulls"] == 0 and b.store()["unsealed_bytes"] == 0)
        b.objects.table.validate()
        b.exchange.transfers.pulls.validate()


@in_a_loop
async def test_fetched_arguments_never_wait_for_each_others_room():
    """Two tasks whose arguments fill the store one by one: the second begins when the first has let go."""
    async with several(2, 64 * MIB) as (a, b):
        maker = Process(a)
        size = 14 * MIB
        for number in range(1, 5):
            await maker.put(oid(number), bytes([number]) * size)
        first, second = Process(b), Process(b)
        first.ask([oid(1), oid(2)], size, a)
        second.ask([oid(3), oid(4)], size, a)
        b.objects.table.validate()
        ready = await first.next(pb.ObjectsReady)
        assert len(ready.sizes) == 2
        if b.store()["pull_requests_waiting"]:
            first.say(pb.ReleaseObjects(object_ids=[oid(1), oid(2)]))
        ready = await second.next(pb.ObjectsReady)
        assert len(ready.sizes) == 2


@in_a_loop
async def test_an_object_that_never_fits_is_refused_in_the_stores_words():
    """With sizes, at once."""
    async with several(2, 64 * MIB) as (a, b):
        with pytest.raises(AssertionError, match="larger than the store"):
            await Process(b).get(oid(1), 100 * MIB, a)


# ---- nodes that are not what they should be


class Liar:
    """A listener that answers a pull with what a test wants, in a thread."""

    def __init__(self, *answers: bytes, hold: bool = False) -> None:
        self.node_id = os.urandom(28)
        self._answers, self._hold = answers, hold
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.door = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock:
                if self._over.is_set():
                    return
                with contextlib.suppress(ConnectionError):  # who asks may give up at any time
                    sock.recv(PREAMBLE_BYTES, socket.MSG_WAITALL)
                    sock.sendall(bytes([Answer.OK]))
                    sock.recv(4096)
                    self.asked += 1
                    for answer in self._answers:
                        sock.sendall(answer)
                if self._hold:
                    self._over.wait()

    def __enter__(self) -> Liar:
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        with socket.create_connection(self._listener.getsockname()):
            pass
        self._thread.join()
        self._listener.close()


def chunk(offset: int, data: bytes) -> bytes:
    return encode(pb.ObjectChunk(offset=offset), data)


LIES = {
    "a larger object": ((encode(pb.PullAnswer(size=MIB + 1)),), "says its owner"),
    "a hole": ((encode(pb.PullAnswer(size=MIB)), chunk(64, b"x" * 64)), "a part from byte 64"),
    "too much": ((encode(pb.PullAnswer(size=MIB)), chunk(0, b"x" * (MIB + 1))), "1048577 bytes came"),
    "too little": ((encode(pb.PullAnswer(size=MIB)), chunk(0, b"x"), encode(pb.PullEnd())), "and 1 came"),
    "no end": ((encode(pb.PullAnswer(size=MIB)), chunk(0, b"x" * MIB)), "ended too early"),
    "garbage": ((b"HTTP/1.1 200 OK\r\n\r\n" * 10,), "no part of a transfer"),
    "another frame": ((encode(pb.Goodbye()),), "no part of a transfer"),
    "a body that is none": ((encode(pb.PullAnswer(size=1))[:12] + b"\xff\xff",), "cannot be decoded"),
    "a node that is none": ((encode(pb.PullAnswer(ask_node=b"x")),), "no node"),
    "itself": ((encode(pb.PullAnswer(ask_node=b"me")),), "no node"),
    "nothing": ((), "ended too early"),
}


@pytest.mark.parametrize("lie", LIES)
@in_a_loop
async def test_a_node_that_lies_ends_its_pull_and_the_next_source_is_tried(lie):
    """The other one has it: the right bytes. Nobody has: what was wrong is said."""
    answers, reason = LIES[lie]
    with Liar(*answers) as liar:
        async with several(2, 64 * MIB) as (a, b):
            b.exchange.neighbours.seen(liar.node_id, liar.door)
            reader = Process(b)
            with pytest.raises(AssertionError, match=reason):
                await reader.get(oid(2), MIB, liar)
            await Process(a).put(oid(1), b"z" * MIB)
            assert await reader.get(oid(1), MIB, liar, a) == b"z" * MIB
            assert b.store()["unsealed_bytes"] == 0


@in_a_loop
async def test_a_node_that_stalls_is_given_up(monkeypatch):
    """No byte for some time is the end."""
    monkeypatch.setattr(transfer, "STALL_S", 0.2)
    with Liar(encode(pb.PullAnswer(size=MIB)), chunk(0, b"x"), hold=True) as liar:
        async with several(1, 64 * MIB) as (b,):
            b.exchange.neighbours.seen(liar.node_id, liar.door)
            reader = Process(b)
            reader.ask([oid(1)], MIB, liar)
            # The pauses are the pulls' own; one try is enough to see.
            await until(lambda: b.store()["pulls_broken_total"] >= 1)


@in_a_loop
async def test_strangers_get_nothing(tmp_path):
    """Who has no certificate of the cluster is not answered, and who asks by a process's socket is refused."""
    tls = Tls(credentials(tmp_path / "a", authority=make_authority("c1", now=NOW))[0])
    other = Tls(credentials(tmp_path / "b", authority=make_authority("c2", now=NOW))[0])
    async with several(1, 64 * MIB, tls) as (a,), several(1, 64 * MIB, other) as (b,):
        await Process(a).put(oid(1), b"x" * MIB)
        b.exchange.neighbours.seen(a.node_id, a.door)
        with pytest.raises(AssertionError, match="TLS"):
            await Process(b).get(oid(1), MIB, a)
