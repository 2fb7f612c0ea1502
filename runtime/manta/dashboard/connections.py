"""Bounds on connections, which hold before anybody is asked who they are.

aiohttp takes as many connections as come, and waits for a first request for ever. Here a connection beyond the bound takes the
place of the one that has been idle for longest, or is closed when none is, and an idle one does not stay.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from manta.aio.supervisor import Supervisor

log = logging.getLogger(__name__)

#: How long a stranger may take for TLS.
HANDSHAKE_S: Final = 5.0
#: How often idle connections are looked for.
LOOK_S: Final = 1.0
#: How often, and at what distance, room is looked for before one who has come is sent away.
ROOM_LOOKS: Final = 50
ROOM_S: Final = 0.02


class Connections:
    """Everyone who is connected."""

    def __init__(self, most: int, idle_s: float) -> None:
        self._most, self._idle_s = most, idle_s
        #: Transport to since when nothing is asked on it, and how many requests are in work.
        self._since: dict[asyncio.BaseTransport, float] = {}
        self._busy: dict[asyncio.BaseTransport, int] = {}
        self._shaking = 0

    def __len__(self) -> int:
        return len(self._since) + self._shaking

    @contextmanager
    def busy(self, transport: asyncio.BaseTransport | None) -> Iterator[None]:
        """While the block runs, the connection is not idle."""
        if transport is None:
            yield
            return
        self._busy[transport] = self._busy.get(transport, 0) + 1
        try:
            yield
        finally:
            self._busy[transport] -= 1
            if not self._busy[transport]:
                del self._busy[transport]
            if transport in self._since:
                self._since[transport] = asyncio.get_running_loop().time()

    def make_room(self) -> bool:
        """Whether one more may come; an idle one may have to go for it."""
        if len(self) < self._most:
            return True
        self._forget_closed()
        if len(self) < self._most:
            return True
        idle = [transport for transport in self._since if transport not in self._busy]
        if not idle:
            return False
        oldest = min(idle, key=self._since.__getitem__)
        del self._since[oldest]
        _abort(oldest)
        return True

    async def take(
        self, sock: socket.socket, make: Callable[[], asyncio.Protocol], context: ssl.SSLContext | None
    ) -> None:
        """Shake hands with one who has come."""
        loop = asyncio.get_running_loop()
        self._shaking += 1
        try:
            transport, _ = await loop.connect_accepted_socket(
                make, sock, ssl=context, ssl_handshake_timeout=HANDSHAKE_S if context else None
            )
            self._since[transport] = loop.time()
        except (OSError, TimeoutError):
            sock.close()
        finally:
            self._shaking -= 1

    async def close_idle(self) -> None:
        """Close who asks nothing. Runs for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            self._forget_closed()
            before = asyncio.get_running_loop().time() - self._idle_s
            for transport, since in list(self._since.items()):
                if since < before and transport not in self._busy:
                    del self._since[transport]
                    _abort(transport)

    def _forget_closed(self) -> None:
        for transport in [one for one in self._since if one.is_closing()]:
            del self._since[transport]

    async def accept(
        self,
        listener: socket.socket,
        tasks: Supervisor,
        make: Callable[[], asyncio.Protocol],
        context: Callable[[], ssl.SSLContext | None],
    ) -> None:
        """Let connections in, up to the bound. Runs for ever."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listener)
            except OSError as wrong:
                log.warning("no connection can be taken: %s", wrong)
                await asyncio.sleep(LOOK_S)
                continue
            for _ in range(ROOM_LOOKS):
                if self.make_room():
                    break
                # Those that came just before have not shaken hands yet; the others wait in the kernel's queue.
                await asyncio.sleep(ROOM_S)
            else:
                sock.close()
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _ = tasks.start(self.take(sock, make, context()), name="handshake")


def _abort(transport: asyncio.BaseTransport) -> None:
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()
    else:
        transport.close()
