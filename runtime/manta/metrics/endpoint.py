"""The HTTP port for health and metrics: asyncio around `http`. Few connections, short requests, none of them kept."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from manta.aio.supervisor import Supervisor
from manta.core.errors import SettingError
from manta.metrics.http import MOST_HEAD_BYTES, Door, Response
from manta.metrics.listen import Listen
from manta.transport.strangers import Strangers, address_of

log = logging.getLogger(__name__)

#: Connections at a time; for a further one that has waited for longest, of the address that has most, is closed.
MOST_CONNECTIONS: Final = 32
#: How long a request may take to arrive, and a response to be read, seconds.
PATIENCE_S: Final = 5.0
_PAUSE_S: Final = 0.1
#: Who asks whether a process is ready that never was gets its answer when it is, or after so long: a kubelet that hears no asks
#: again a second later, whatever has become of it meanwhile. Less than the time that it gives an answer.
HOLD_S: Final = 2.0
_HOLD_LOOK_S: Final = 0.02


class Endpoint:
    """One listener. Made by `serve`.

    Args:
        door: Decides.
        context: TLS for the next who connects; None for none. Shaking hands counts as a connection.
    """

    def __init__(self, door: Door, context: Callable[[], ssl.SSLContext] | None = None) -> None:
        self._door, self._context = door, context
        self._was_ready = False
        self._open = Strangers[socket.socket](MOST_CONNECTIONS, MOST_CONNECTIONS)

    async def accept(self, listener: socket.socket, tasks: Supervisor) -> None:
        """Let connections in. Runs for ever."""
        loop = asyncio.get_running_loop()
        while True:
            # Those that came are listened to before the next may push them out.
            await asyncio.sleep(0)
            try:
                sock, peer = await loop.sock_accept(listener)
            except OSError as wrong:
                log.warning("no connection can be taken: %s", wrong)
                await asyncio.sleep(_PAUSE_S)
                continue
            longest = self._open.enter(sock, address_of(peer))
            if longest is not None:
                with suppress(OSError):
                    # Whoever reads from it sees the end, and closes it.
                    longest.shutdown(socket.SHUT_RDWR)
            _ = tasks.start(self._take(sock), name="scrape")

    async def _take(self, sock: socket.socket) -> None:
        """One who has come: shake hands, and answer."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=MOST_HEAD_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        context = None if self._context is None else self._context()
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, sock, ssl=context, ssl_handshake_timeout=PATIENCE_S if context else None
            )
            await self.handle(reader, asyncio.StreamWriter(transport, protocol, reader, loop))
        except (OSError, TimeoutError):
            sock.close()
        finally:
            self._open.leave(sock)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                response, with_body = await self._respond(reader)
                writer.write(response.encode(with_body=with_body))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            # Whoever asked has left, or says nothing.
            writer.transport.abort()
        finally:
            writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await writer.wait_closed()

    def close(self) -> None:
        """Close those whose turn never came."""
        for sock in self._open:
            sock.close()

    async def _respond(self, reader: asyncio.StreamReader) -> tuple[Response, bool]:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return Response(431, f"at most {MOST_HEAD_BYTES} bytes of headers\n".encode()), True
        try:
            if not self._was_ready and head.startswith(b"GET /readyz "):
                await self._readiness()
            return self._door.answer(head.removesuffix(b"\r\n\r\n"))
        except Exception:
            log.exception("a scrape failed")
            return Response(500, b"see the log\n"), True

    async def _readiness(self) -> None:
        """Wait for the first of it, for a while."""
        loop = asyncio.get_running_loop()
        until = loop.time() + HOLD_S
        while self._door.ready() and loop.time() < until:  # noqa: ASYNC110 - readiness is a question, no event
            await asyncio.sleep(_HOLD_LOOK_S)
        self._was_ready = not self._door.ready()


@asynccontextmanager
async def serve(listen: Listen, door: Door) -> AsyncIterator[int]:
    """Listen for the length of the block, which gets the TCP port (0 when there is none).

    Args:
        listen: Where.
        door: Decides; what its `private` says is for the TCP port and is set anew for the Unix socket.

    Raises:
        SettingError: The port or the socket cannot be used.
    """
    port = 0
    async with AsyncExitStack() as stack:
        if listen.port >= 0:
            secure = _Certificate(listen) if listen.certificate is not None and listen.key is not None else None
            endpoint = Endpoint(door, None if secure is None else secure.context)
            listener = stack.enter_context(_bound(listen))
            port = listener.getsockname()[1]
            stack.callback(endpoint.close)
            tasks = await stack.enter_async_context(Supervisor())
            _ = tasks.start(endpoint.accept(listener, tasks), name="metrics port")
        if listen.socket is not None:
            server = await _serve_unix(listen.socket, door)
            stack.callback(listen.socket.unlink, missing_ok=True)
            stack.push_async_callback(server.wait_closed)
            stack.callback(server.close)
        yield port


def _bound(listen: Listen) -> socket.socket:
    try:
        if listen.listener >= 0:
            given = socket.socket(fileno=listen.listener)
            given.setblocking(False)
            return given
        found = socket.getaddrinfo(listen.host or None, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listener = socket.create_server(address[:2], family=family, backlog=MOST_CONNECTIONS)
    except OSError as wrong:
        where = f"{listen.host}:{listen.port}"
        raise SettingError("metrics_port", where, f"an address and a port that are free ({wrong})") from wrong
    listener.setblocking(False)
    return listener


class _Certificate:
    """A certificate and its key, read again when they have changed."""

    def __init__(self, listen: Listen) -> None:
        assert listen.certificate is not None, "see serve"
        assert listen.key is not None, "see serve"
        self._files = (listen.certificate, listen.key)
        self._stamp, self._made = self._look(), self._read()

    def context(self) -> ssl.SSLContext:
        """For the next who connects."""
        stamp = self._look()
        if stamp != self._stamp:
            try:
                self._made = self._read()
                self._stamp = stamp
            except SettingError as wrong:
                log.warning("the certificate stays as it was: %s", wrong)
        return self._made

    def _look(self) -> tuple[tuple[int, int] | None, ...]:
        return tuple(map(_stamp_of, self._files))

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(*self._files)
        except (OSError, ssl.SSLError) as wrong:
            raise SettingError(
                "metrics_certificate", str(self._files[0]), f"a certificate and its key, PEM ({wrong})"
            ) from wrong
        return context


def _stamp_of(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


async def _serve_unix(path: Path, door: Door) -> asyncio.Server:
    private = Door(door.metrics, door.content_type, door.ready, private=True)
    path.unlink(missing_ok=True)  # noqa: ASYNC240 - once, before anybody is served
    # Nobody else may connect, whatever the directory allows.
    mask = os.umask(0o177)
    try:
        return await asyncio.start_unix_server(Endpoint(private).handle, path, limit=MOST_HEAD_BYTES)
    except OSError as wrong:
        raise SettingError("metrics_socket", str(path), f"a path for a Unix socket ({wrong})") from wrong
    finally:
        os.umask(mask)
