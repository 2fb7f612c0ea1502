"""Bounds on connections, which hold before anybody is asked who they are, and on how long those may take who are let in.

aiohttp takes as many connections as come, waits for a first request for ever, and for as long for one who sends a body or reads
an answer. Here a connection beyond the bound takes the place of the idle one that has been so for longest, of the address
that has most, or is closed when none is; an idle one does not stay, one that never showed a token even less; and who neither
sends what it began to send nor reads what it asked for is cut.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from manta.aio.supervisor import Supervisor
from manta.transport.strangers import Strangers, address_of

log = logging.getLogger(__name__)

#: How long a stranger may take for TLS.
HANDSHAKE_S: Final = 5.0
#: And for a first request with a token; later ones may be as far apart as `idle_s`.
STRANGER_S: Final = 5.0
#: Of a request in work, how long nothing of its body may come, or nothing of its answer be read.
STALL_S: Final = 20.0
#: How often idle connections are looked for.
LOOK_S: Final = 1.0
#: How often, and at what distance, room is looked for before one who has come is sent away.
ROOM_LOOKS: Final = 10
ROOM_S: Final = 0.02
#: After so many in a row those that came are listened to, or a flood would push out who has said all it has to.
_AT_ONCE: Final = 16


@dataclass(slots=True)
class _Open:
    """One connection that has shaken hands."""

    address: str
    #: Since when nothing is asked on it.
    since: float
    #: Requests in work.
    busy: int = 0
    #: It has shown a token.
    known: bool = False
    #: How far the request in work has come, and since when it is no further.
    progress: tuple[int, int] = (0, 0)
    progress_at: float = 0.0


class Connections:
    """Everyone who is connected."""

    def __init__(self, most: int, idle_s: float) -> None:
        self._most, self._idle_s = most, idle_s
        self._open: dict[asyncio.BaseTransport, _Open] = {}
        #: How many bytes of a request in work have come.
        self._read: dict[asyncio.BaseTransport, Callable[[], int | None]] = {}
        self._shaking = Strangers[socket.socket](most, most)

    def __len__(self) -> int:
        return len(self._open) + len(self._shaking)

    @contextmanager
    def busy(
        self, transport: asyncio.BaseTransport | None, read: Callable[[], int | None] = lambda: None
    ) -> Iterator[None]:
        """While the block runs, the connection is not idle.

        Args:
            transport: Of the connection; None when it is closed.
            read: How many bytes of the request's body have come; None when there are no more to come.
        """
        one = self._open.get(transport) if transport is not None else None
        if one is None or transport is None:
            yield
            return
        one.busy += 1
        one.progress_at = asyncio.get_running_loop().time()
        self._read[transport] = read
        try:
            yield
        finally:
            one.busy -= 1
            one.since = asyncio.get_running_loop().time()
            if not one.busy:
                self._read.pop(transport, None)

    def known(self, transport: asyncio.BaseTransport | None) -> None:
        """It has shown a token."""
        if transport in self._open:
            self._open[transport].known = True

    def make_room(self) -> bool:
        """Whether one more may come; an idle one may have to go for it."""
        if len(self) < self._most:
            return True
        self._forget_closed()
        if len(self) < self._most:
            return True
        idle = {transport: one for transport, one in self._open.items() if not one.busy}
        if not idle:
            return False
        have = Counter(one.address for one in idle.values())
        # Who has shown a token stays longer than who has not.
        oldest = min(idle, key=lambda each: (idle[each].known, -have[idle[each].address], idle[each].since))
        self._cut(oldest)
        return True

    async def take(
        self, sock: socket.socket, make: Callable[[], asyncio.Protocol], context: ssl.SSLContext | None
    ) -> None:
        """Shake hands with one who has come."""
        loop = asyncio.get_running_loop()
        try:
            address = address_of(sock.getpeername())
            _ = self._shaking.enter(sock, address)
            async with asyncio.timeout(HANDSHAKE_S):
                await _first_byte(sock)
            transport, _ = await loop.connect_accepted_socket(
                make, sock, ssl=context, ssl_handshake_timeout=HANDSHAKE_S if context else None
            )
            self._open[transport] = _Open(address, loop.time())
        except (OSError, TimeoutError, EOFError):
            sock.close()
        except asyncio.CancelledError:
            sock.close()
            raise
        finally:
            self._shaking.leave(sock)

    async def close_idle(self) -> None:
        """Close who asks nothing, and who is waited for in vain. Runs for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            self._forget_closed()
            now = asyncio.get_running_loop().time()
            for transport, one in list(self._open.items()):
                unread = transport.get_write_buffer_size() if isinstance(transport, asyncio.WriteTransport) else 0
                if one.busy or unread:
                    # An answer is written after its request's handler is done.
                    self._look(transport, one, unread, now)
                elif one.since < now - (self._idle_s if one.known else min(STRANGER_S, self._idle_s)):
                    self._cut(transport)

    def _look(self, transport: asyncio.BaseTransport, one: _Open, unread: int, now: float) -> None:
        """Cut one that neither sends the body of its request nor reads the answer."""
        one.since = now
        read = self._read.get(transport, lambda: None)()
        progress = (unread, -1 if read is None else read)
        if (not unread and read is None) or progress != one.progress:
            one.progress, one.progress_at = progress, now
        elif now - one.progress_at > STALL_S:
            what = f"{unread} bytes of an answer are not read" if unread else "a body that was begun does not come"
            log.warning("a connection of %s was cut: %s for %g s", one.address, what, STALL_S)
            self._cut(transport)

    def _forget_closed(self) -> None:
        for transport in [one for one in self._open if one.is_closing()]:
            del self._open[transport]

    def _cut(self, transport: asyncio.BaseTransport) -> None:
        del self._open[transport]
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()
        else:
            transport.close()

    async def accept(
        self,
        listener: socket.socket,
        tasks: Supervisor,
        make: Callable[[], asyncio.Protocol],
        context: Callable[[], ssl.SSLContext | None],
    ) -> None:
        """Let connections in, up to the bound. Runs for ever."""
        loop = asyncio.get_running_loop()
        number = 0
        while True:
            number += 1
            if not number % _AT_ONCE:
                await asyncio.sleep(0)
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
                if not self._shaking:
                    sock.close()
                    continue
                # All of them had time enough. The end that its handshake sees ends it.
                for _ in range(self._most // 2 + 1):
                    oldest = self._shaking.dismiss()
                    if oldest is not None:
                        with suppress(OSError):
                            oldest.shutdown(socket.SHUT_RDWR)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _ = tasks.start(self.take(sock, make, context()), name="handshake")


async def _first_byte(sock: socket.socket) -> None:
    """Wait until something was said: TLS begins with 256 KB of buffers, and whoever says nothing is not worth them.

    Raises:
        EOFError: It ended.
    """
    loop, said = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sock.fileno(), said.set)
    try:
        await said.wait()
    finally:
        loop.remove_reader(sock.fileno())
    if not sock.recv(1, socket.MSG_PEEK):
        raise EOFError
