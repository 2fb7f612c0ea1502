"""The node's one TCP port of the channel: reads who is meant, and hands the socket to that process.

TLS, tokens and frames are between the two processes at the ends. A connection that has not said whom it wants costs one
descriptor for at most `PREAMBLE_S`, and there are at most `MAX_KNOCKING` of those: for one more the one that has said
nothing for longest is sent away (see `transport.strangers`).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from manta.core.errors import ProtocolError, SettingError
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.addresses import joined
from manta.transport.channel import Connection
from manta.transport.strangers import Strangers, address_of
from manta.transport.tcp import PREAMBLE_BYTES, Answer, Preamble, Wish

log = logging.getLogger(__name__)

#: Seconds to say whom one wants.
PREAMBLE_S: Final = 5.0
#: Connections that have not said it yet.
MAX_KNOCKING: Final = 256
#: Of them from one address.
MAX_OF_ONE: Final = 128
#: Accepted in one go: those that came before are listened to in between, or a flood would push out who has said all it has to.
_AT_ONCE: Final = 32


def bind(host: str, port: int) -> socket.socket:
    """A listening socket there.

    Raises:
        SettingError: The address is not this machine's, or the port is taken.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        reasons = {
            errno.EADDRINUSE: "a port that is free; another process listens there",
            errno.EADDRNOTAVAIL: "an address of this machine",
            errno.EACCES: "a port that this user may listen on, 1024 or above",
        }
        expected = reasons.get(error.errno or 0, f"an address to listen on ({error.strerror or error})")
        raise SettingError("door", f"{host}:{port}", expected) from error


def advertised(listener: socket.socket, node_ip: str) -> str:
    """How others dial a door: where it listens, or the node's address if it listens everywhere."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared with, not bound to
        host = node_ip
    return joined(host, port)


class Door:
    """`async with` listens; who wants the raylet itself is adopted, everyone else handed over.

    Args:
        listener: A bound and listening TCP socket; closed at the end.
        node_id: This node.
        endpoint: Where a process of this node listens ("unix:<path>"); None when it is not here.
        tokens: The semaphore of a lease that is out, for the worker at its end, and its counter: descriptors that stay the
            lender's, or None when there is no such lease.
        adopt: Takes a connection that is for the raylet itself.
        start: Runs a coroutine in the background, by name.
    """

    def __init__(
        self,
        listener: socket.socket,
        *,
        node_id: bytes,
        endpoint: Callable[[bytes], str | None],
        tokens: Callable[[int, bytes], tuple[int, ...] | None],
        adopt: Callable[[socket.socket], None],
        start: Callable[[Coroutine[Any, Any, None], str], object],
    ) -> None:
        self._listener = listener
        self._node_id = node_id
        self._endpoint = endpoint
        self._tokens = tokens
        self._adopt = adopt
        self._start = start
        self._loop = asyncio.get_running_loop()
        self._knocking = Strangers[socket.socket](MAX_KNOCKING, MAX_OF_ONE)
        #: What became of those who came, by outcome.
        self.counts = dict.fromkeys((*(answer.name.lower() for answer in Answer), "garbage", "silent"), 0)

    async def __aenter__(self) -> Door:
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener.fileno(), self._acceptable)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()

    def _acceptable(self) -> None:
        try:
            for _ in range(_AT_ONCE):
                try:
                    sock, peer = self._listener.accept()
                except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                    return
                sock.setblocking(False)
                oldest = self._knocking.enter(sock, address_of(peer))
                if oldest is not None:
                    self._answer(oldest, Answer.BUSY)
                    with suppress(OSError):
                        # Whoever reads from it sees the end, and closes it.
                        oldest.shutdown(socket.SHUT_RDWR)
                self._start(self._receive(sock), "door")
        except OSError as full:
            # Out of descriptors: look again in a moment instead of spinning on it.
            log.warning("accept failed: %s", full)
            self._loop.remove_reader(self._listener.fileno())
            self._loop.call_later(0.1, self._listen_again)

    def _listen_again(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener.fileno(), self._acceptable)

    async def _receive(self, sock: socket.socket) -> None:
        """One connection, from its first byte until it is somebody else's."""
        try:
            try:
                async with asyncio.timeout(PREAMBLE_S):
                    data = await self._read_exactly(sock)
                preamble = Preamble.decode(data)
            except (TimeoutError, EOFError, OSError):
                if sock in self._knocking:
                    self.counts["silent"] += 1
                return
            except ProtocolError as wrong:
                self.counts["garbage"] += 1
                # Counted, and not told unless somebody looks for it: strangers must not fill the log.
                log.debug("a connection was closed: %s", wrong)
                self._answer(sock, Answer.VERSION)
                return
            refusal = self._pass_on(sock, preamble)
            if refusal is not None:
                self._answer(sock, refusal)
        finally:
            self._knocking.leave(sock)
            sock.close()

    async def _read_exactly(self, sock: socket.socket) -> bytes:
        data = b""
        while len(data) < PREAMBLE_BYTES:
            # Not a byte more: what follows is for whoever is named.
            more = await self._loop.sock_recv(sock, PREAMBLE_BYTES - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def _pass_on(self, sock: socket.socket, preamble: Preamble) -> Answer | None:
        """Give the socket to who is meant, or say why not. The answer goes first, so that it is the first byte."""
        if preamble.node_id != self._node_id:
            return Answer.OTHER_NODE
        if preamble.wish is Wish.RAYLET:
            self._answer(sock, Answer.OK)
            self._adopt(sock.dup())
            return None
        endpoint = self._endpoint(preamble.worker_id)
        descriptors = [sock.fileno()]
        if preamble.lease_id:
            tokens = self._tokens(preamble.lease_id, preamble.worker_id)
            if tokens is None:
                return Answer.GONE
            descriptors.extend(tokens)
        if endpoint is None:
            return Answer.GONE
        try:
            # Without waiting: a process whose listener's queue is full does not get to stop this loop.
            carrier = Connection.dial(endpoint.removeprefix("unix:"), timeout_s=0)
        except BlockingIOError:
            return Answer.BUSY
        except OSError:
            return Answer.GONE
        try:
            self._answer(sock, Answer.OK)
            carrier.send_first((pb.Handover(lease_id=preamble.lease_id),), descriptors)
        except OSError as gone:
            # Whoever dialled sees the connection end, as if the process had died a moment later.
            log.warning("a process did not take a connection: %s", gone)
        finally:
            carrier.close()
        return None

    def _answer(self, sock: socket.socket, answer: Answer) -> None:
        """Send the one byte; a socket that was just accepted has room for it."""
        self.counts[answer.name.lower()] += 1
        with suppress(OSError):
            sock.send(bytes([answer]))
