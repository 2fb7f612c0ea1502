"""The HTTP port for health and metrics: asyncio around `http`. Few connections, short requests, none of them kept."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from manta.core.errors import SettingError
from manta.metrics.http import MOST_HEAD_BYTES, Door, Response
from manta.metrics.listen import Listen

log = logging.getLogger(__name__)

#: Connections at a time; a further one is closed unread.
MOST_CONNECTIONS: Final = 32
#: How long a request may take to arrive, and a response to be read, seconds.
PATIENCE_S: Final = 5.0


class Endpoint:
    """One listener. Made by `serve`.

    Args:
        door: Decides.
    """

    def __init__(self, door: Door) -> None:
        self._door = door
        self._open = 0
        #: Its TCP port; 0 for a Unix socket.
        self.port = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        if self._open >= MOST_CONNECTIONS:
            writer.close()
            return
        self._open += 1
        try:
            async with asyncio.timeout(PATIENCE_S):
                response, with_body = await self._respond(reader)
                writer.write(response.encode(with_body=with_body))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            # Whoever asked has left, or says nothing.
            writer.transport.abort()
        finally:
            self._open -= 1
            writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await writer.wait_closed()

    async def _respond(self, reader: asyncio.StreamReader) -> tuple[Response, bool]:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return Response(431, f"at most {MOST_HEAD_BYTES} bytes of headers\n".encode()), True
        try:
            return self._door.answer(head.removesuffix(b"\r\n\r\n"))
        except Exception:
            log.exception("a scrape failed")
            return Response(500, b"see the log\n"), True


@asynccontextmanager
async def serve(listen: Listen, door: Door) -> AsyncIterator[int]:
    """Listen for the length of the block, which gets the TCP port (0 when there is none).

    Args:
        listen: Where.
        door: Decides; what its `private` says is for the TCP port and is set anew for the Unix socket.

    Raises:
        SettingError: The port or the socket cannot be used.
    """
    servers: list[asyncio.Server] = []
    port = 0
    try:
        if listen.port >= 0:
            secure = _context(listen)
            try:
                server = await asyncio.start_server(
                    Endpoint(door).handle,
                    listen.host,
                    listen.port,
                    limit=MOST_HEAD_BYTES,
                    backlog=MOST_CONNECTIONS,
                    ssl=secure,
                    ssl_handshake_timeout=PATIENCE_S if secure is not None else None,
                )
            except OSError as wrong:
                where = f"{listen.host}:{listen.port}"
                raise SettingError("metrics_port", where, f"an address and a port that are free ({wrong})") from wrong
            servers.append(server)
            port = server.sockets[0].getsockname()[1]
        if listen.socket is not None:
            servers.append(await _serve_unix(listen.socket, door))
        yield port
    finally:
        for server in servers:
            server.close()
        for server in servers:
            await server.wait_closed()
        if listen.socket is not None:
            listen.socket.unlink(missing_ok=True)


def _context(listen: Listen) -> ssl.SSLContext | None:
    if listen.certificate is None or listen.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(listen.certificate, listen.key)
    except (OSError, ssl.SSLError) as wrong:
        raise SettingError(
            "metrics_certificate", str(listen.certificate), f"a certificate and its key, PEM ({wrong})"
        ) from wrong
    return context


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
