"""The gateway, put together: opened in order, closed in reverse."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc.aio

from manta.aio.supervisor import Supervisor
from manta.core import errors
from manta.gateway.config import GatewayConfig
from manta.gateway.metrics import Counts, GatewayMetrics
from manta.gateway.reach import Reach
from manta.gateway.service import GatewayService
from manta.gateway.sessions import Sessions
from manta.gateway.tls import Certificate
from manta.metrics.port import opened
from manta.transport.accepted import Accepted
from manta.transport.grpc import MESSAGE_LIMIT, limits, most_connections
from manta.transport.tokens import TokenFile

#: A driver has one connection and one stream on it; a little more, for one that is being replaced.
STREAMS_PER_CONNECTION = 8

#: How long a stream may take to end when the gateway stops.
STOP_S = 1.0

#: Largest frame of HTTP/2 that is taken: a part of a large value in one. And what a driver may send ahead of being read; gRPC
#: begins with 64 KiB and finds the rest out by pings.
FRAME_BYTES = 1 << 20
AHEAD_BYTES = 4 << 20


def options(config: GatewayConfig, most: int) -> tuple[tuple[str, int], ...]:
    """Limits, all of which hold before anybody is asked who they are."""
    return (
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", MESSAGE_LIMIT),
        ("grpc.max_send_message_length", MESSAGE_LIMIT),
        ("grpc.max_metadata_size", 16 << 10),
        ("grpc.absolute_max_metadata_size", 16 << 10),
        ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION),
        *limits(most),
        ("grpc.max_connection_idle_ms", int(config.idle_s * 1000)),
        ("grpc.http2.max_frame_size", FRAME_BYTES),
        ("grpc.http2.lookahead_bytes", AHEAD_BYTES),
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    )


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway."""

    port: int
    #: Of health and metrics; 0 for none.
    metrics_port: int
    sessions: Sessions


@asynccontextmanager
async def serve(config: GatewayConfig) -> AsyncIterator[Gateway]:
    """A gateway that lets drivers in until the block ends.

    Raises:
        AuthenticationError: The token file is none.
        OSError: Certificate or key cannot be read.
        SettingError: The address is not this machine's, or the port is taken.
    """
    tokens = None if config.tokens is None else TokenFile(str(config.tokens), time.time)
    credentials = None
    if config.certificate is not None and config.key is not None:
        credentials = Certificate(config.certificate, config.key).credentials()
    async with Supervisor() as supervisor:
        sessions, counts, reach = Sessions(config, supervisor), Counts(), Reach(config.raylet)
        most = most_connections(config.max_connections)
        accepted = Accepted(most)
        metrics = GatewayMetrics(sessions, counts, accepted)
        server = grpc.aio.server(
            options=options(config, most), maximum_concurrent_rpcs=2 * config.max_sessions + STREAMS_PER_CONNECTION
        )
        server.add_generic_rpc_handlers((GatewayService(sessions, tokens, counts, accepted.shown).handler(),))
        try:
            if credentials is None:
                port = server.add_insecure_port(config.bind)
            else:
                port = server.add_secure_port(config.bind, credentials)
        except RuntimeError as taken:
            raise errors.SettingError(
                "bind", config.bind, "an address of this machine and a port on which nobody else listens"
            ) from taken
        await server.start()
        _ = supervisor.start(accepted.keep_room(port), name="strangers")
        try:
            async with opened(config.metrics, metrics.text, unready=lambda: reach.why, token=tuple) as metrics_port:
                if config.metrics.wanted:
                    _ = supervisor.start(reach.run(), name="reach")
                yield Gateway(port, metrics_port, sessions)
        finally:
            await sessions.close()
            await server.stop(STOP_S)
