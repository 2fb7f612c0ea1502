"""The dashboard, put together: opened in order, closed in reverse."""

from __future__ import annotations

import errno
import ipaddress
import logging
import secrets
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from manta.aio.supervisor import Supervisor
from manta.core.errors import SettingError
from manta.dashboard.announce import announced
from manta.dashboard.compose import compose
from manta.dashboard.config import DashboardConfig
from manta.dashboard.connections import Connections
from manta.dashboard.context import Context
from manta.dashboard.control import connected
from manta.dashboard.guard import Guard
from manta.dashboard.http import Application
from manta.dashboard.metrics import numbers
from manta.dashboard.sessions import Sessions
from manta.dashboard.tls import Certificate
from manta.metrics.port import opened
from manta.transport import page_address
from manta.transport.addresses import joined, parse_bind
from manta.transport.tokens import Everybody, TokenFile

#: Connections that the kernel keeps until they are taken. Whoever finds this full tries again after 1, 3 and 7 seconds, so that a
#: short queue would keep honest ones out of a flood for longer than strangers do.
QUEUE = 1024
#: Of a request's first line, of one header, and how many there may be.
MOST_LINE_BYTES = 8190
MOST_HEADERS = 64
#: aiohttp writes a traceback for whatever is no request; strangers must not fill the log. What is our own fault `http` tells.
_NOTHING = logging.getLogger("manta.dashboard.strangers")
_NOTHING.setLevel(logging.CRITICAL)
#: How long what follows a refusal is read before the connection is closed.
LINGER_S = 1.0


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A running dashboard.

    Attributes:
        port: Where it listens.
        metrics_port: Where its health and metrics are; 0 for nowhere, or a Unix socket only.
    """

    port: int
    metrics_port: int = 0


@asynccontextmanager
async def serve(config: DashboardConfig) -> AsyncIterator[Dashboard]:
    """Serve for the length of the block.

    Raises:
        AuthenticationError: The token file is none.
        CertificateError: Certificate or key cannot be read.
        SettingError: The address is not this machine's, or the port is taken; or it is open to others without TLS.
    """
    tokens = Everybody() if config.tokens is None else TokenFile(str(config.tokens), time.time)
    certificate = Certificate(config.certificate, config.key) if config.certificate and config.key else None
    listener = _listen(config, secure=certificate is not None or config.plain)
    async with AsyncExitStack() as stack:
        stack.callback(listener.close)
        control = await stack.enter_async_context(connected(config))
        tasks = await stack.enter_async_context(Supervisor())
        connections = Connections(config.max_connections, config.idle_s)
        sessions = Sessions(tokens.role_of, tokens.valid, time.time, secrets.token_hex)
        # Cookies do not know ports: two servers of one machine must not sign each other's people out.
        cookie = f"{'__Host-' if certificate else ''}manta-{listener.getsockname()[1]}"
        scheme = "https" if certificate else "http"
        guard = Guard(tokens.role_of, scheme, frozenset(config.hosts), sessions.token_of, config.open_to_all)

        def unready() -> str:
            return f"control cannot be reached: {control.failure}" if control.failure else ""

        given = Context(config, control, tasks, sessions, cookie, certificate is not None)
        app = Application(compose(given), guard, connections, unready, cookie)
        runner = web.AppRunner(
            app.app, access_log=None, max_line_size=MOST_LINE_BYTES, max_field_size=MOST_LINE_BYTES, max_headers=MOST_HEADERS,
            lingering_time=LINGER_S, auto_decompress=False, keepalive_timeout=config.idle_s, logger=_NOTHING,
        )  # fmt: skip
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        stack.callback(given.stopping.set)
        server = runner.server
        assert server is not None
        _ = tasks.start(connections.close_idle(), name="idle connections")
        context = certificate.context if certificate else lambda: None
        _ = tasks.start(connections.accept(listener, tasks, server, context), name="accept")
        host, port = listener.getsockname()[:2]
        place = page_address.encode(joined(config.advertise or host, port), secure=certificate is not None)
        await stack.enter_async_context(announced(control, place, tasks))
        if config.metrics.wanted:
            _ = tasks.start(control.stay_told(), name="reach")
        metrics = numbers(app, connections)
        health = await stack.enter_async_context(opened(config.metrics, metrics, unready=unready, token=tuple))
        yield Dashboard(listener.getsockname()[1], health)


def _listen(config: DashboardConfig, *, secure: bool) -> socket.socket:
    try:
        host, port = parse_bind(config.bind)
        if not secure and not ipaddress.ip_address(host).is_loopback:
            raise SettingError("bind", config.bind, "an address of loopback where there is no certificate")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
    except ValueError as wrong:
        raise SettingError("bind", config.bind, "an address and a port, like 127.0.0.1:8265") from wrong
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(listener, host, port, or_any=config.any_port)
        listener.listen(QUEUE)
        listener.setblocking(False)
    except OSError as taken:
        listener.close()
        raise SettingError(
            "bind", config.bind, "an address of this machine and a port on which nobody else listens"
        ) from taken
    return listener


def _bind(listener: socket.socket, host: str, port: int, *, or_any: bool) -> None:
    try:
        listener.bind((host, port))
    except OSError as taken:
        if not or_any or taken.errno != errno.EADDRINUSE:
            raise
        listener.bind((host, 0))
