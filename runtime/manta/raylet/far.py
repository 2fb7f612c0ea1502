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

from manta.core.errors import AuthenticationError
from manta.raylet.clients import Clients
from manta.raylet.door import Door
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.channel import Frame
from manta.transport.channel_aio import AsyncConnection
from manta.transport.strangers import Strangers, address_of
from manta.transport.tcp import FarSocket
from manta.transport.tls import Tls, TlsFiles

log = logging.getLogger(__name__)

#: Seconds from the preamble to Hello, TLS in between.
HELLO_S: Final = 10.0
#: Visitors that have not said it yet, and of them those of one address.
MAX_STRANGERS: Final = 256
MAX_OF_ONE: Final = 192


class Visitors:
    """Connections of other nodes' processes to this raylet.

    Args:
        clients: Processes of this node, whom others may ask for.
        files: This node's certificates.
        on_frames: As for every connection of the raylet.
        on_close: Likewise.
        tokens: The semaphore of a lease of that worker that an owner elsewhere has; None when there is no such lease.
    Raises:
        AuthenticationError: The certificates are missing or cannot be used.
    """

    def __init__(
        self,
        clients: Clients,
        files: TlsFiles,
        on_frames: Callable[[AsyncConnection, list[Frame]], None],
        on_close: Callable[[AsyncConnection, str], None],
        tokens: Callable[[int, bytes], int | None],
    ) -> None:
        self._clients = clients
        self._tls = Tls(files)
        # Who starts the node hears of bad files, not the first visitor.
        self._tls.server()
        self._tls.client()
        self._on_frames = on_frames
        self._on_close = on_close
        self.tokens = tokens
        self._connections: set[AsyncConnection] = set()
        self._strangers = Strangers[AsyncConnection](MAX_STRANGERS, MAX_OF_ONE)
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
            connection = AsyncConnection(FarSocket.accepted(sock, self._tls), self._said, self._closed)
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
        self._on_frames(connection, frames)

    def _still_silent(self, connection: AsyncConnection) -> None:
        if connection.peer is None:
            connection.close(f"it did not say who it is for {HELLO_S:g} s")

    def _closed(self, connection: AsyncConnection, reason: str) -> None:
        self._connections.discard(connection)
        self._strangers.leave(connection)
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
