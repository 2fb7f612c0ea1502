"""The node's TCP port: who is handed over to whom, who is refused and why, and what strangers cost."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket

import pytest

from manta.raylet.door import MAX_OF_ONE, Door
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.channel import Connection, accept, listen
from manta.transport.tcp import PREAMBLE_BYTES, Answer, Preamble, Wish
from tests.support.leaks import open_fds

NODE, WORKER, OTHER = b"n" * 28, b"w" * 28, b"o" * 28


@pytest.fixture(autouse=True)
def no_descriptor_is_lost():
    """Every test gives back every descriptor."""
    before = open_fds()
    yield
    assert {fd: where for fd, where in open_fds().items() if before.get(fd) != where} == {}


def in_a_loop(test):
    """Run a coroutine function as a test."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        asyncio.run(test(*args, **kwargs))

    return run


class Node:
    """A door with one process behind it, which is this test's."""

    def __init__(self, folder):
        self.path = str(folder / "w.sock")
        self.process = listen(self.path)
        self.tokens = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK | os.EFD_SEMAPHORE)
        self.adopted = []
        self.tasks = set()

    def start(self, coro, name):
        """Runs what the door starts."""
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    @contextlib.asynccontextmanager
    async def open(self):
        """Listen; everything is closed at the end."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = listener.getsockname()
        door = Door(
            listener,
            node_id=NODE,
            endpoint={WORKER: "unix:" + self.path, OTHER: "unix:" + self.path + ".gone"}.get,
            tokens=lambda lease, worker: (self.tokens, self.tokens) if (lease, worker) == (7, WORKER) else None,
            adopt=self.adopted.append,
            start=self.start,
        )
        try:
            async with door:
                yield door
            while self.tasks:
                await asyncio.wait(self.tasks)
        finally:
            self.process.close()
            os.close(self.tokens)
            for sock in self.adopted:
                sock.close()


async def knock(node, data, *, more=b""):
    """Dial, send bytes, and return the socket and what was answered (empty: closed)."""
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setblocking(False)
    await loop.sock_connect(sock, node.address)
    await loop.sock_sendall(sock, data + more)
    return sock, await loop.sock_recv(sock, 1)


@in_a_loop
async def test_a_connection_is_handed_to_the_process_it_names(tmp_path):
    """With the lease's semaphore; not one byte behind the preamble is read on the way."""
    node = Node(tmp_path)
    async with node.open() as door:
        preamble = Preamble(NODE, WORKER, lease_id=7)
        sock, answer = await knock(node, preamble.encode(), more=b"for the process alone")
        assert answer == bytes([Answer.OK])
        carrier = Connection(accept(node.process))
        carrier.setblocking(True)
        _, message, _ = carrier.read_frame()
        assert message == pb.Handover(lease_id=7)
        given, tokens, counter = carrier.take_descriptors()
        os.eventfd_write(node.tokens, 3)
        assert os.eventfd_read(tokens) == 1, "it is the very semaphore that the raylet has"
        with socket.socket(fileno=given) as theirs, sock:
            assert theirs.recv(100) == b"for the process alone"
            theirs.send(b"hello")
            assert await asyncio.get_running_loop().sock_recv(sock, 100) == b"hello"
        os.close(tokens)
        os.close(counter)
        carrier.close()
        assert door.counts["ok"] == 1


@in_a_loop
async def test_the_raylet_takes_what_is_for_itself(tmp_path):
    """Requests between raylets come through the same port."""
    node = Node(tmp_path)
    async with node.open():
        sock, answer = await knock(node, Preamble(NODE, wish=Wish.RAYLET).encode())
        assert answer == bytes([Answer.OK])
        sock.close()
        assert [theirs.fileno() >= 0 for theirs in node.adopted] == [True]


@pytest.mark.parametrize(
    ("preamble", "answer"),
    [
        (Preamble(NODE, b"x" * 28), Answer.GONE),
        (Preamble(NODE, OTHER), Answer.GONE),
        (Preamble(NODE, WORKER, lease_id=8), Answer.GONE),
        (Preamble(b"m" * 28, WORKER), Answer.OTHER_NODE),
    ],
    ids=["unknown process", "dead process", "no such lease", "another node"],
)
@in_a_loop
async def test_who_is_not_there_is_said(tmp_path, preamble, answer):
    """One byte, then the end."""
    node = Node(tmp_path)
    async with node.open() as door:
        sock, said = await knock(node, preamble.encode())
        with sock:
            assert said == bytes([answer])
            assert await asyncio.get_running_loop().sock_recv(sock, 1) == b""
        assert door.counts[answer.name.lower()] == 1


@in_a_loop
async def test_strangers_are_sent_away(tmp_path):
    """A browser that finds the port learns nothing and costs nothing."""
    node = Node(tmp_path)
    async with node.open() as door:
        sock, said = await knock(node, (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 4)[:PREAMBLE_BYTES])
        with sock:
            assert said == bytes([Answer.VERSION])
        assert door.counts["garbage"] == 1


@in_a_loop
async def test_those_who_say_nothing_keep_nobody_out(tmp_path, monkeypatch):
    """Up to a bound they are waited for; beyond it the oldest is sent away, and who says whom it wants is answered at once."""
    monkeypatch.setattr("manta.raylet.door.PREAMBLE_S", 60.0)  # however busy this machine is
    node = Node(tmp_path)
    loop = asyncio.get_running_loop()
    async with node.open() as door:
        silent = []
        for _ in range(MAX_OF_ONE):
            sock = socket.socket()
            sock.setblocking(False)
            await loop.sock_connect(sock, node.address)
            silent.append(sock)
        sock, said = await knock(node, Preamble(NODE, b"x" * 28).encode())
        sock.close()
        assert said == bytes([Answer.GONE])
        assert await loop.sock_recv(silent[0], 10) == bytes([Answer.BUSY])
        assert await loop.sock_recv(silent[0], 10) == b""
        assert door.counts["busy"] == 1
        for sock in silent:
            sock.close()


@in_a_loop
async def test_those_who_say_nothing_do_not_stay(tmp_path, monkeypatch):
    """When their time is up they are closed without a word."""
    monkeypatch.setattr("manta.raylet.door.PREAMBLE_S", 0.2)
    node = Node(tmp_path)
    async with node.open() as door:
        sock, said = await knock(node, b"")
        sock.close()
        assert said == b""
        assert door.counts["silent"] == 1
