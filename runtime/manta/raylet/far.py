"""Who comes through the node's door: processes of other nodes, for this raylet itself or for one of its processes.

The door knows addresses and bytes; here is who lives behind it. What a visitor may say to the raylet is the admission's to
decide, as of everybody.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, closing
from typing import Any, Final

from manta.core.errors import AuthenticationError, ProtocolError
from manta.raylet.clients import Client, Clients
from manta.raylet.door import Door
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.channel import Frame
from manta.transport.channel_aio import AsyncConnection
from manta.transport.lasting import CLOSES, OPENS, Lasting
from manta.transport.strangers import Strangers, address_of
from manta.transport.tcp import FarSocket
from manta.transport.tls import Tls, TlsFiles

log = logging.getLogger(__name__)

#: Seconds from the preamble to Hello, TLS in between.
HELLO_S: Final = 10.0
#: Visitors that have not said it yet, and of them those of one address.
MAX_STRANGERS: Final = 256
MAX_OF_ONE: Final = 192
#: How long a visitor whose socket broke may take to come back: longer than one tries (`client.far`). And how long a visit that is
#: over is remembered, so that who comes back for it is told so.
HELD_S: Final = 40.0


class Visitors:
    """Connections of other nodes' processes to this raylet.

    Args:
        clients: Processes of this node, whom others may ask for.
        files: This node's certificates.
        on_frames: As for every connection of the raylet.
        on_close: Likewise.
        tokens: The semaphore of a lease of that worker that an owner elsewhere has, and its counter; None when there is no such
            lease.
        on_broken: A visitor's socket broke: has somebody look whether it lives: (its id, its node).

    Raises:
        AuthenticationError: The certificates are missing or cannot be used.
    """

    def __init__(
        self,
        clients: Clients,
        files: TlsFiles,
        on_frames: Callable[[AsyncConnection, list[Frame]], None],
        on_close: Callable[[AsyncConnection, str], None],
        tokens: Callable[[int, bytes], tuple[int, ...] | None],
        on_broken: Callable[[bytes, bytes], None] = lambda worker_id, node_id: None,
    ) -> None:
        self._clients = clients
        self._tls = Tls(files)
        # Who starts the node hears of bad files, not the first visitor.
        self._tls.server()
        self._tls.client()
        self._on_frames = on_frames
        self._on_close = on_close
        self.tokens = tokens
        self._on_broken = on_broken
        self._connections: set[AsyncConnection] = set()
        self._strangers = Strangers[AsyncConnection](MAX_STRANGERS, MAX_OF_ONE)
        #: Visits that outlive their sockets, by key; and keys of those that are over.
        self._by_key: dict[bytes, AsyncConnection] = {}
        self._over: set[bytes] = set()
        #: Those without a socket, and when they are given up.
        self._held: dict[AsyncConnection, asyncio.TimerHandle] = {}
        self._loop = asyncio.get_running_loop()

    def endpoint(self, worker_id: bytes) -> str | None:
        """Where a driver or worker of this node listens; None when it is not here."""
        client = self._clients.get(worker_id)
        if client is None or not client.welcomed or client.role not in (pb.ROLE_DRIVER, pb.ROLE_WORKER):
            return None
        return client.endpoint

    def adopt(self, sock: socket.socket) -> None:
        """Listen to a visitor that wants the raylet itself."""
        try:
            address = address_of(sock.getpeername())
        except OSError:
            sock.close()
            return
        try:
            lasting = Lasting(FarSocket.accepted(sock, self._tls))
            connection = AsyncConnection(lasting, self._said, self._closed, on_broken=self._broke)
        except (AuthenticationError, OSError) as refused:
            log.warning("a connection from another node was closed: %s", refused)
            sock.close()
            return
        self._connections.add(connection)
        self._loop.call_later(HELLO_S, self._still_silent, connection)
        oldest = self._strangers.enter(connection, address)
        if oldest is not None:
            oldest.close("too many others have not said who they are")

    def _said(self, connection: AsyncConnection, frames: list[Frame]) -> None:
        # A frame of its own came through TLS: it is one of the cluster's.
        self._strangers.leave(connection)
        self._frames(connection, frames)

    def _still_silent(self, connection: AsyncConnection) -> None:
        if connection.peer is None:
            connection.close(f"it did not say who it is for {HELLO_S:g} s")

    def _frames(self, connection: AsyncConnection, frames: list[Frame]) -> None:
        if frames and frames[0][0] == OPENS:
            self._opens(connection, frames[0][1], frames[0][2])
            return
        if frames and frames[-1][0] == CLOSES:
            if len(frames) > 1:
                self._on_frames(connection, frames[:-1])
            connection.close("it has closed")
            return
        self._on_frames(connection, frames)

    def _opens(self, connection: AsyncConnection, opens: pb.LinkOpens, rest: bytes) -> None:
        before = self._by_key.get(opens.key)
        if before is not None:
            self._back(before, connection.detach(), opens.received)
        elif opens.heard or opens.key in self._over:
            connection.refuse()
        else:
            self._by_key[opens.key] = connection
            connection.begin(opens, rest)

    def _back(self, before: AsyncConnection, sock: FarSocket, received: int) -> None:
        timer = self._held.pop(before, None)
        if timer is not None:
            timer.cancel()
        try:
            before.adopt(sock, received)
        except ProtocolError as wrong:
            sock.close()
            before.close(str(wrong))

    def _broke(self, connection: AsyncConnection) -> bool:
        """A visitor's socket broke; whether it may come back: one that leases, and nobody else, has something here."""
        client = connection.peer
        if not isinstance(client, Client):
            return False
        self._held[connection] = self._loop.call_later(HELD_S, self._given_up, connection)
        self._on_broken(client.worker_id, client.node_id)
        return True

    def _given_up(self, connection: AsyncConnection) -> None:
        connection.close(f"it did not come back for {HELD_S:g} s")

    def _closed(self, connection: AsyncConnection, reason: str) -> None:
        self._connections.discard(connection)
        self._strangers.leave(connection)
        timer = self._held.pop(connection, None)
        if timer is not None:
            timer.cancel()
        key = next((key for key, one in self._by_key.items() if one is connection), None)
        if key is not None:
            del self._by_key[key]
            self._over.add(key)
            self._loop.call_later(HELD_S, self._over.discard, key)
        self._on_close(connection, reason)

    def close(self) -> None:
        """End every visit."""
        for connection in list(self._connections):
            connection.close("the node stops")


@asynccontextmanager
async def opened(
    listener: socket.socket,
    visitors: Visitors,
    *,
    node_id: bytes,
    start: Callable[[Coroutine[Any, Any, None], str], object],
) -> AsyncIterator[Door]:
    """The node's door for the length of the block; its visitors leave with it.

    Args:
        listener: Bound and listening; the door's own from now on.
        visitors: Where it leads.
        node_id: This node.
        start: Runs something in the background of the node.
    """
    with closing(visitors):
        door = Door(
            listener,
            node_id=node_id,
            endpoint=visitors.endpoint,
            tokens=visitors.tokens,
            adopt=visitors.adopt,
            start=start,
        )
        async with door:
            yield door
