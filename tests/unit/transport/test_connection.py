"""A connection: half-open peers, slow readers, descriptors, and the same over an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manta.core.errors import ProtocolError
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.channel import MAX_DESCRIPTORS, NUMBER, READ_BYTES, Connection, accept, encode, listen
from manta.transport.channel_aio import MAX_UNSENT_BYTES, AsyncConnection, ChannelServer
from tests.support.leaks import open_fds

HELLO = pb.Hello(protocol=1, worker_id=b"w" * 28)


@pytest.fixture(autouse=True)
def no_descriptor_is_lost():
    """Every test gives back every descriptor, its own and those that came to it."""
    before = open_fds()
    yield
    assert {fd: where for fd, where in open_fds().items() if before.get(fd) != where} == {}


@pytest.fixture
def pair():
    one, other = (Connection(sock) for sock in socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM))
    one.setblocking(False)
    other.setblocking(False)
    with contextlib.closing(one), contextlib.closing(other):
        yield one, other


def everything(connection: Connection) -> list:
    frames = []
    while select.select([connection.fd], [], [], 0)[0]:
        frames += connection.receive()
    return frames


# ---- half-open


def test_frames_sent_before_the_end_are_read_before_it(pair):
    one, other = pair
    one.send(pb.Goodbye(finished=True))
    one.close()

    assert [(NUMBER[pb.Goodbye], pb.Goodbye(finished=True), b"")] == other.receive()
    with pytest.raises(EOFError):
        other.receive()


def test_a_peer_that_only_stopped_sending_still_hears_us(pair):
    """Half-open: its end of file is ours to act on; until we do, what we send arrives."""
    one, other = pair
    one._sock.shutdown(socket.SHUT_WR)

    with pytest.raises(EOFError):
        other.receive()
    assert other.send(pb.Farewell())
    assert [NUMBER[pb.Farewell]] == [number for number, _, _ in everything(one)]


def test_sending_to_nobody_is_an_oserror_and_reading_an_end(pair):
    one, other = pair
    other.close()

    with pytest.raises(OSError):
        for _ in range(2):
            one.send(pb.Goodbye())
    with pytest.raises((EOFError, OSError)):
        one.receive()


def test_half_a_frame_and_then_the_end_is_an_end(pair):
    one, other = pair
    one.send_bytes(encode(HELLO)[:-1])
    one.close()

    assert other.receive() == []
    with pytest.raises(EOFError):
        other.receive()


def test_closing_twice_is_harmless(pair):
    pair[0].close()
    pair[0].close()

    assert pair[0].closed
    assert pair[0].fd == -1


def test_a_blocking_read_ends_at_its_timeout(pair):
    pair[0].setblocking(True)
    pair[0].settimeout(0.02)

    with pytest.raises(TimeoutError):
        pair[0].read_frame()


def test_a_blocking_read_gives_one_frame_at_a_time(pair):
    one, other = pair
    one.send(pb.Goodbye())
    one.send(pb.Farewell())
    other.setblocking(True)
    other.settimeout(5)

    assert [NUMBER[pb.Goodbye], NUMBER[pb.Farewell]] == [other.read_frame()[0], other.read_frame()[0]]


def test_garbage_is_a_protocol_error(pair):
    pair[0].send_bytes(b"GET / HTTP/1.1\r\n\r\n")

    with pytest.raises(ProtocolError):
        pair[1].receive()


# ---- slow readers


def fill(connection: Connection, message) -> int:
    """Send until the kernel takes no more; how many frames were sent or wait."""
    count = 1
    while connection.send(message):
        count += 1
    return count


@settings(max_examples=20)
@given(size=st.integers(1, 300_000), extra=st.integers(0, 5))
def test_a_slow_reader_gets_everything_in_order_later(size, extra):
    one, other = (Connection(sock) for sock in socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM))
    with contextlib.closing(one), contextlib.closing(other):
        one.setblocking(False)
        other.setblocking(False)
        count = fill(one, pb.FreeObjects(object_ids=[b"x" * size]))
        for number in range(extra):
            assert one.send(pb.LeaseReturned(lease_id=number)) is False, "nothing overtakes what waits"
        assert one.unsent_bytes > 0

        frames = []
        while not one.flush():
            frames += everything(other)
        frames += everything(other)

        assert one.unsent_bytes == 0
        assert count == sum(number == NUMBER[pb.FreeObjects] for number, _, _ in frames)
        assert list(range(extra)) == [message.lease_id for number, message, _ in frames[count:]]
        assert one.send(pb.Goodbye()), "the way is free again"


def test_the_first_frames_wait_as_well():
    one, other = (Connection(sock) for sock in socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM))
    with contextlib.closing(one), contextlib.closing(other):
        one.setblocking(False)
        other.setblocking(False)
        blob = pb.DefineFunction(blob=b"x" * 4_000_000)
        one.send_first((HELLO, blob))
        assert one.unsent_bytes > 0

        frames = []
        while not one.flush():
            frames += everything(other)
        frames += everything(other)

        assert [HELLO, blob] == [message for _, message, _ in frames]


def test_closing_forgets_what_waits(pair):
    fill(pair[0], pb.FreeObjects(object_ids=[b"x" * 100_000]))
    pair[0].close()

    assert pair[0].unsent_bytes == 0


# ---- descriptors


def test_descriptors_come_with_the_first_bytes_and_are_handed_out_once(pair):
    one, other = pair
    fd = os.eventfd(3)
    one.send_first((HELLO,), (fd,))
    os.close(fd)

    assert [HELLO] == [message for _, message, _ in other.receive()]
    taken = other.take_descriptors()
    assert other.take_descriptors() == []
    assert len(taken) == 1
    assert os.eventfd_read(taken[0]) == 3, "it is the very same counter"
    assert not os.get_inheritable(taken[0]), "children of user code do not get it"
    os.close(taken[0])


def test_descriptors_nobody_takes_are_closed_with_the_connection(pair):
    one, other = pair
    fds = [os.eventfd(0) for _ in range(MAX_DESCRIPTORS)]
    one.send_first((HELLO,), fds)
    for fd in fds:
        os.close(fd)
    other.receive()
    other.close()  # the fixture looks for what is left


def test_more_descriptors_than_agreed_are_dropped_by_the_kernel(pair):
    one, other = pair
    fds = [os.eventfd(0) for _ in range(MAX_DESCRIPTORS + 3)]
    one.send_first((HELLO,), fds)
    for fd in fds:
        os.close(fd)

    assert len(other.receive()) == 1
    taken = other.take_descriptors()
    assert len(taken) <= MAX_DESCRIPTORS
    for fd in taken:
        os.close(fd)


def test_descriptors_after_the_first_bytes_are_dropped(pair):
    """Readers use `recv` from then on: the frames arrive, what rides along does not."""
    one, other = pair
    one.send(HELLO)
    other.receive()
    fd = os.eventfd(0)
    socket.send_fds(one._sock, [encode(pb.Goodbye())], [fd])
    os.close(fd)

    assert [NUMBER[pb.Goodbye]] == [number for number, _, _ in other.receive()]
    assert other.take_descriptors() == []


def test_descriptors_of_a_peer_that_speaks_garbage_are_closed(pair):
    one, other = pair
    fd = os.eventfd(0)
    socket.send_fds(one._sock, [b"\xff" * 40], [fd])
    os.close(fd)
    with pytest.raises(ProtocolError):
        other.receive()
    other.close()


# ---- listening


def test_a_listener_admits_its_own_user(tmp_path):
    path = str(tmp_path / "s")
    with listen(path) as listener:
        assert os.stat(path).st_mode & 0o777 == 0o600
        assert accept(listener) is None
        dialled = Connection.dial(path)
        accepted = accept(listener)
        assert accepted is not None
        assert accepted.getblocking() is False
        accepted.close()
        dialled.close()


def test_dialling_nobody_is_an_oserror_and_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError):
        Connection.dial(str(tmp_path / "nobody"))
    path = str(tmp_path / "s")
    listen(path).close()
    with pytest.raises(ConnectionRefusedError):
        Connection.dial(path)


# ---- inside an event loop


class Server:
    """A channel server that notes what it sees."""

    def __init__(self, path: str) -> None:
        self.frames: list = []
        self.closed: list[str] = []
        self.connections: set[AsyncConnection] = set()
        self.channel = ChannelServer(path, self.on_frames, self.on_close)

    def on_frames(self, connection: AsyncConnection, frames: list) -> None:
        self.connections.add(connection)
        self.frames += [message for _, message, _ in frames]
        if any(isinstance(message, pb.Exit) for message in self.frames):
            raise RuntimeError("a mistake of the server")

    def on_close(self, connection: AsyncConnection, reason: str) -> None:
        self.closed.append(reason)


async def until(condition, *, deadline_s: float = 30.0) -> None:
    end = asyncio.get_running_loop().time() + deadline_s
    while not condition():
        assert asyncio.get_running_loop().time() < end, "it did not happen"
        await asyncio.sleep(0.001)


def test_a_garbage_sender_is_closed_and_the_others_are_served(tmp_path):
    async def main() -> None:
        path = str(tmp_path / "s")
        server = Server(path)
        async with server.channel:
            good = Connection.dial(path)
            for garbage in (b"\xff" * 100, b"GET / HTTP/1.1\r\n\r\n", struct.pack("<BBHII", 1, 0, 1, 1 << 31, 0)):
                bad = Connection.dial(path)
                bad.send_bytes(garbage)
                closed = len(server.closed)
                await until(lambda closed=closed: len(server.closed) > closed)
                assert bad._sock.recv(10) == b"", "it was hung up on"
                bad.close()
            good.send(HELLO)
            await until(lambda: server.frames)
            good.close()
        assert [HELLO] == server.frames
        assert len(server.closed) == 4

    asyncio.run(main())


def test_a_mistake_in_a_handler_costs_one_connection(tmp_path, caplog):
    async def main() -> None:
        path = str(tmp_path / "s")
        server = Server(path)
        async with server.channel:
            bad = Connection.dial(path)
            bad.send(pb.Exit())
            await until(lambda: server.closed)
            assert ["internal error"] == server.closed
            server.frames.clear()
            good = Connection.dial(path)
            good.send(HELLO)
            await until(lambda: server.frames)
            good.close()
            bad.close()

    asyncio.run(main())
    assert "a frame handler failed" in caplog.text


def test_a_peer_that_does_not_read_is_let_go_before_it_fills_the_memory(tmp_path):
    async def main() -> None:
        path = str(tmp_path / "s")
        server = Server(path)
        async with server.channel:
            peer = Connection.dial(path)
            peer.send(HELLO)
            await until(lambda: server.connections)
            (connection,) = server.connections
            chunk = bytes(32 << 20)
            for _ in range(MAX_UNSENT_BYTES // len(chunk) + 2):
                connection.send(pb.ObjectsReady(), chunk)
            await until(lambda: server.closed)
            assert "unread" in server.closed[0]
            assert connection.unsent_bytes == 0
            peer.close()

    asyncio.run(main())


def test_a_slow_reader_is_waited_for_and_gets_everything(tmp_path):
    async def main() -> None:
        path = str(tmp_path / "s")
        server = Server(path)
        async with server.channel:
            peer = Connection.dial(path)
            peer.setblocking(False)
            peer.send(HELLO)
            await until(lambda: server.connections)
            (connection,) = server.connections
            for number in range(200):
                connection.send(pb.ObjectsReady(request_id=number), bytes(READ_BYTES))
            assert connection.unsent_bytes > 0
            got: list = []
            async with asyncio.timeout(20):
                while len(got) < 200:
                    got += peer.receive()
                    await asyncio.sleep(0)
            assert list(range(200)) == [message.request_id for _, message, _ in got]
            await until(lambda: connection.unsent_bytes == 0)
            peer.close()

    asyncio.run(main())
