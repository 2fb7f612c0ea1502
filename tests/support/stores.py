"""Object stores of several nodes in one process, each with a real arena and a real door on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from manta.raylet.clients import Client, Clients
from manta.raylet.door import Door
from manta.raylet.exchange import Exchange
from manta.raylet.object_service import ObjectService
from manta.raylet.objects.allocator import Allocator
from manta.raylet.objects.arena import ArenaFile
from manta.raylet.objects.keeper import Keeper
from manta.raylet.objects.table import ObjectTable
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.channel_aio import AsyncConnection
from manta.transport.tcp import FarSocket

MIB = 1 << 20


class Process:
    """A process of a node, as its raylet sees it: what it is sent is kept."""

    def __init__(self, node: StoreNode, worker_id: bytes = b"") -> None:
        self.node = node
        self.inbox: list[Any] = []
        self.closed = False
        self._requests = 0
        self._news = asyncio.Event()
        self.client = Client(self, pb.ROLE_WORKER, worker_id or os.urandom(28), 1, "unix:x", b"job1", True)  # type: ignore[arg-type]
        node.clients.add(self.client)
        node.objects.joined(self.client)

    def send(self, message: Any) -> None:
        """The raylet says something."""
        self.inbox.append(message)
        self._news.set()

    def say(self, message: Any) -> None:
        """Say something to the raylet."""
        self.node.objects.handlers[type(message)](self.client, message)

    async def next(self, kind: type, timeout_s: float = 45.0) -> Any:
        """The next message of a kind that it has not seen."""
        async with asyncio.timeout(timeout_s):
            while True:
                for message in self.inbox:
                    if isinstance(message, kind):
                        self.inbox.remove(message)
                        return message
                self._news.clear()
                await self._news.wait()

    async def put(self, oid: bytes, data: bytes, owner: bytes = b"") -> None:
        """Make an object."""
        self.say(pb.CreateObject(object_id=oid, size=len(data), owner=owner or self.client.worker_id))
        created = await self.next(pb.ObjectCreated)
        assert not created.HasField("error"), created
        with self.node.arena.mapping.create_view(created.offset, len(data)) as view:
            view[:] = data
        self.say(pb.SealObject(object_id=oid))

    def ask(self, oids: list[bytes], size: int, *nodes: StoreNode) -> int:
        """Ask for objects of one size that live on other nodes."""
        self._requests += 1
        places = [
            pb.ObjectPlace(index=index, size=size, node_ids=[node.node_id for node in nodes])
            for index in range(len(oids))
        ]
        self.say(pb.GetObjects(request_id=self._requests, object_ids=oids, places=places))
        return self._requests

    async def get(self, oid: bytes, size: int, *nodes: StoreNode) -> bytes:
        """Fetch an object, read it, let go of it. Raises AssertionError with the error's text."""
        self.ask([oid], size, *nodes)
        ready = await self.next(pb.ObjectsReady)
        assert not ready.HasField("error"), ready.error.message
        data = bytes(self.node.arena.mapping.create_view(ready.offsets[0], ready.sizes[0]))
        self.say(pb.ReleaseObjects(object_ids=[oid]))
        return data

    def die(self) -> None:
        """Its process is gone."""
        self.node.clients.remove(self.client)
        self.node.objects.died(self.client.worker_id)


class StoreNode:
    """A node that has nothing but its store."""

    def __init__(self) -> None:
        self.node_id = os.urandom(28)
        self.clients = Clients()
        self.tasks: set[asyncio.Task[None]] = set()
        self.connections: set[Any] = set()
        #: Connections of other nodes so far.
        self.visits = 0

    def _start(self, coro: Any, name: str) -> None:
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    @asynccontextmanager
    async def open(self, capacity: int, tls: Any = None):
        """Be there."""
        self._tls = tls
        loop = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            allocator = Allocator(capacity, margin=0)
            self.arena = ArenaFile.create(allocator.span)
            stack.callback(self.arena.close)

            def report(event):
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(lambda: self.objects.arena_did(event))

            keeper = stack.enter_context(Keeper(self.arena, allocator.extent, report))
            self.objects = ObjectService(ObjectTable(allocator), self.clients, lambda work: keeper.perform((work,)))
            stack.callback(self.objects.close)
            self.exchange = Exchange(
                node_id=self.node_id,
                objects=self.objects,
                capacity=capacity,
                arena=self.arena.mapping,
                clients=self.clients,
                tls=tls,
            )
            listener = socket.create_server(("127.0.0.1", 0))
            self.door = f"127.0.0.1:{listener.getsockname()[1]}"
            await stack.enter_async_context(
                Door(
                    listener,
                    node_id=self.node_id,
                    endpoint=lambda worker_id: None,
                    tokens=lambda lease, worker_id: None,
                    adopt=self._adopt,
                    start=self._start,
                )
            )
            stack.callback(self._close)
            stack.callback(self.exchange.close)
            yield self

    def _close(self) -> None:
        for connection in list(self.connections):
            connection.close()

    def _adopt(self, sock: socket.socket) -> None:
        self.visits += 1
        self.connections.add(AsyncConnection(FarSocket.accepted(sock, self._tls), self._frames, self._closed))

    def _frames(self, connection: Any, frames: Any) -> None:
        for _number, message, _raw in frames:
            if not connection.closed:
                assert self.exchange.takes(connection, message), message
            if connection.closed:
                self.connections.discard(connection)

    def _closed(self, connection: Any, reason: str) -> None:
        self.connections.discard(connection)
        self.exchange.closed(connection)

    def store(self) -> dict[str, int]:
        """Its numbers."""
        return {**self.objects.table.statistics(), **self.exchange.statistics()}


@asynccontextmanager
async def several(count: int, capacity: int, tls: Any = None):
    """Nodes that know each other."""
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(StoreNode().open(capacity, tls)) for _ in range(count)]
        for one in nodes:
            for other in nodes:
                one.exchange.neighbours.seen(other.node_id, other.door)
        yield nodes
