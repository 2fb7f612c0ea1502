"""A worker's process is gone. What it said last may still be in its socket: that comes first, up to its end of file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from manta.raylet.clients import Client, Clients
from manta.transport.channel_aio import AsyncConnection

#: How long the end of a dead worker's socket is waited for, seconds: a child of its may hold it open for ever.
LAST_FRAMES_S: Final = 0.05


class LastWords:
    """Dead workers whose last frames are awaited, with what is done then.

    Args:
        clients: Who is connected.
    """

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._awaited: dict[bytes, Callable[[], None]] = {}

    def of(self, worker_id: bytes, then: Callable[[], None]) -> None:
        """The worker is dead: `then()` once it has said all, at once when it has."""
        client = self._clients.get(worker_id)
        if client is None or client.connection.closed:
            then()
            return
        self._awaited[worker_id] = then
        asyncio.get_running_loop().call_later(LAST_FRAMES_S, self._enough, worker_id)

    def said(self, connection: AsyncConnection) -> None:
        """A connection has ended, perhaps one that was waited for."""
        client = connection.peer
        if isinstance(client, Client):
            self._enough(client.worker_id)

    def _enough(self, worker_id: bytes) -> None:
        then = self._awaited.pop(worker_id, None)
        if then is not None:
            then()
