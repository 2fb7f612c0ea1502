"""`python -m manta.dashboard`: the cluster's HTTP server."""

from __future__ import annotations

from manta.transport import grpc_settings as _first  # isort: skip  # noqa: F401

import argparse
import asyncio
import logging
import socket
import sys
from pathlib import Path

from manta.aio.ending import ending
from manta.core.errors import MantaError
from manta.dashboard.config import DashboardConfig
from manta.dashboard.server import serve
from manta.metrics import flags as metrics
from manta.transport.first_word import Starter
from manta.transport.first_word import add_flag as add_starter

log = logging.getLogger("manta.dashboard")


def parse(arguments: list[str] | None = None) -> tuple[DashboardConfig, Starter, int]:
    """The configuration, who waits for us to be ready, and the process to end with."""
    parser = argparse.ArgumentParser(prog="python -m manta.dashboard", description="The cluster's HTTP server.")
    parser.add_argument("--control", required=True, help="gRPC target of control: unix:PATH or host:port")
    parser.add_argument("--session-dir", type=Path, required=True, help="folder of the cluster's session")
    parser.add_argument("--tokens", type=Path, help="file of tokens, a line each: role token [expires]")
    parser.add_argument(
        "--no-auth",
        action="store_true",
        help="no token is asked for: who gets here runs jobs; admins show one of --tokens",
    )
    parser.add_argument("--bind", default="127.0.0.1:8265", help="host:port to listen at")
    parser.add_argument("--certificate", type=Path, help="PEM file of the certificate to show (default: plain HTTP)")
    parser.add_argument("--key", type=Path, help="PEM file of its key")
    parser.add_argument("--plain", action="store_true", help="plain HTTP on any address: who is on the way reads it")
    parser.add_argument("--credentials", type=Path, help="folder of credentials, where control is host:port")
    parser.add_argument("--packages", type=Path, help="folder for uploads (default: in the session's)")
    parser.add_argument("--jobs-socket", type=Path, help="who starts jobs' supervisors (default: this process)")
    parser.add_argument("--address", default="", help="by which drivers of jobs join (default: auto)")
    parser.add_argument("--advertise", default="", help="by which host browsers reach it (default: where it listens)")
    parser.add_argument("--any-port", action="store_true", help="where the port is taken, take a free one")
    parser.add_argument("--host-name", action="append", default=[], help="a name it may be asked for by; repeatable")
    parser.add_argument("--max-connections", type=int, default=500, help="TCP connections at once")
    parser.add_argument("--idle", type=float, default=30.0, help="seconds until an unused connection is closed")
    metrics.add(parser, usual_port=8093)
    add_starter(parser)
    parser.add_argument("--parent-pid", type=int, default=0, help="end with this process")
    flags = parser.parse_args(arguments)
    if (flags.certificate is None) != (flags.key is None):
        parser.error("--certificate and --key go together")
    if flags.plain and flags.certificate is not None:
        parser.error("--plain is without TLS, and --certificate is for it")
    if flags.tokens is None and not flags.no_auth:
        parser.error("either --tokens, or --no-auth, which lets everybody in")
    if not flags.control.startswith("unix:") and flags.credentials is None:
        parser.error("--credentials has to say where this cluster's certificates are, as control is not a Unix socket")
    config = DashboardConfig(
        control=flags.control,
        session_dir=flags.session_dir,
        tokens=flags.tokens,
        open_to_all=flags.no_auth,
        bind=flags.bind,
        certificate=flags.certificate,
        key=flags.key,
        plain=flags.plain,
        credentials=flags.credentials,
        packages=flags.packages,
        jobs_socket=flags.jobs_socket,
        address=flags.address,
        advertise=flags.advertise,
        any_port=flags.any_port,
        hosts=(socket.gethostname().lower(), *(name.lower() for name in flags.host_name)),
        max_connections=flags.max_connections,
        idle_s=flags.idle,
        metrics=metrics.read(flags, "dashboard"),
    )
    return config, flags.starter, flags.parent_pid


async def run(config: DashboardConfig, starter: Starter, parent: int) -> None:
    """Serve until told to end, or until the parent is gone."""
    async with ending(parent) as over, serve(config) as dashboard:
        log.info("listening at port %d", dashboard.port)
        if config.open_to_all:
            log.warning("nobody is asked for a token: whoever reaches this port runs jobs in the cluster")
        if config.plain:
            log.warning("plain HTTP on all addresses: whoever is on the way reads tokens and what is said")
        starter.ready(str(dashboard.port))
        log.info("the dashboard ends: %s", await over)


def main() -> int:
    """Parse, run."""
    try:
        config, starter, parent = parse()
    except MantaError as wrong:
        print(f"manta.dashboard: {wrong}", file=sys.stderr)  # noqa: T201
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        asyncio.run(run(config, starter, parent))
    except (MantaError, OSError) as wrong:
        print(f"manta.dashboard: {wrong}", file=sys.stderr)  # noqa: T201
        starter.failed(wrong)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
