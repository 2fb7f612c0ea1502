"""`python -m manta.gateway`: the process that lets drivers outside in."""

from __future__ import annotations

import os
import sys

# Sockets are polled by the thread that waits for calls, not by one more that hands over to it: a message in and one out take
# 0.15 ms of CPU instead of 0.22, a gigabyte in 1.1 s instead of 1.5. A gRPC that does not know the word ignores it.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")

from manta.transport import grpc_settings as _first  # isort: skip  # noqa: F401

import argparse
import asyncio
import logging
from dataclasses import replace
from pathlib import Path

from manta.aio.ending import ending
from manta.core.errors import MantaError
from manta.gateway.config import GatewayConfig
from manta.gateway.server import serve
from manta.metrics import flags as metrics
from manta.shm.libc import keep_freed
from manta.transport.first_word import Starter
from manta.transport.first_word import add_flag as add_starter

log = logging.getLogger("manta.gateway")

#: What malloc may keep of what parts of large values took: a window's worth both ways, see `transport.message_log`.
KEEP_BYTES = 32 << 20


def parse(arguments: list[str] | None = None) -> tuple[GatewayConfig, Starter, int]:
    """The configuration, who waits for us to be ready, and the process to end with."""
    parser = argparse.ArgumentParser(
        prog="python -m manta.gateway", description="Let drivers outside of the cluster in."
    )
    parser.add_argument("--raylet", required=True, help="socket of the raylet on this node")
    parser.add_argument("--bind", default="0.0.0.0:7620", help="host:port to listen at")
    parser.add_argument("--certificate", type=Path, help="PEM file of the certificate to show")
    parser.add_argument("--key", type=Path, help="PEM file of its key")
    parser.add_argument("--plain", action="store_true", help="no TLS: who is on the way reads and changes everything")
    parser.add_argument("--tokens", type=Path, help="file of tokens, a line each: role token [expires]")
    parser.add_argument("--no-auth", action="store_true", help="no token is asked for: who gets here runs code")
    parser.add_argument("--session-dir", type=Path, help="folder of the cluster's session: output goes into its logs")
    parser.add_argument("--logs", type=Path, help="folder for the sessions' output (default: the session's)")
    parser.add_argument("--grace", type=float, default=60.0, help="seconds a session is kept without its driver")
    parser.add_argument("--max-sessions", type=int, default=100, help="drivers at once")
    parser.add_argument("--max-connections", type=int, default=1000, help="TCP connections at once")
    parser.add_argument("--idle", type=float, default=30.0, help="seconds until an unused connection is closed")
    add_starter(parser)
    parser.add_argument("--parent-pid", type=int, default=0, help="end with this process")
    metrics.add(parser, usual_port=8092)
    flags = parser.parse_args(arguments)
    if (flags.certificate is None or flags.key is None) != flags.plain or (flags.certificate is None) != (
        flags.key is None
    ):
        parser.error("either --certificate and --key, or --plain, which is without TLS")
    if (flags.tokens is None) != flags.no_auth:
        parser.error("either --tokens, or --no-auth, which lets everybody in")
    if flags.logs is None:
        if flags.session_dir is None:
            parser.error("--logs or --session-dir has to say where the sessions' output goes")
        flags.logs = flags.session_dir / "logs"
    listen = metrics.read(flags, "gateway")
    if listen.roles_file is None and listen.token_file is None and not listen.open_to_all:
        listen = replace(listen, roles_file=flags.tokens)
    config = GatewayConfig(
        raylet=flags.raylet,
        bind=flags.bind,
        certificate=flags.certificate,
        key=flags.key,
        tokens=flags.tokens,
        logs=flags.logs,
        grace_s=flags.grace,
        max_sessions=flags.max_sessions,
        max_connections=flags.max_connections,
        idle_s=flags.idle,
        metrics=listen,
    )
    return config, flags.starter, flags.parent_pid


async def run(config: GatewayConfig, starter: Starter, parent: int) -> None:
    """Be the gateway until told to end, or until the parent is gone."""
    async with ending(parent) as over, serve(config) as gateway:
        log.info("drivers are let in at port %d", gateway.port)
        if config.tokens is None:
            log.warning("nobody is asked for a token: whoever reaches this port runs code in the cluster")
        if config.certificate is None:
            log.warning("drivers come without TLS: whoever is on their way reads their tokens and what they say")
        starter.ready(f"{gateway.port}\n{gateway.metrics_port}\n")
        log.info("the gateway ends: %s", await over)


def main() -> int:
    """Parse, run."""
    try:
        config, starter, parent = parse()
    except MantaError as wrong:
        print(f"manta.gateway: {wrong}", file=sys.stderr)  # noqa: T201
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    config.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    keep_freed(KEEP_BYTES)
    try:
        asyncio.run(run(config, starter, parent))
    except (MantaError, OSError) as wrong:
        print(f"manta.gateway: {wrong}", file=sys.stderr)  # noqa: T201
        starter.failed(wrong)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
