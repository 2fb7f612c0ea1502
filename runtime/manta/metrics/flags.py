"""Flags and variables that say where a server's health and metrics are; the same for every server."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from manta.core.environment import setting
from manta.core.errors import SettingError
from manta.metrics.listen import Listen
from manta.transport import auth

#: The variable that gives a component's port where no flag does.
VARIABLES: Final = {
    "raylet": "metrics_port",
    "control": "control_metrics_port",
    "gateway": "gateway_metrics_port",
    "dashboard": "dashboard_metrics_port",
}


def add(parser: argparse.ArgumentParser, usual_port: int) -> None:
    """The flags.

    Args:
        parser: Of the server.
        usual_port: What the port is in a cluster on Kubernetes.
    """
    parser.add_argument(
        "--metrics-port",
        type=int,
        default=None,
        help=f"HTTP port of /healthz, /readyz and /metrics (usually {usual_port}; default: none; 0: any free one)",
    )
    parser.add_argument("--metrics-host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--metrics-fd", type=int, default=-1, help="a socket that listens at that port already")
    parser.add_argument("--metrics-socket", type=Path, default=None, help="a private Unix socket for the same")
    parser.add_argument("--metrics-token-file", type=Path, default=None, help="a token that may see the metrics")
    parser.add_argument("--metrics-roles-file", type=Path, default=None, help="tokens with roles; each may see them")
    parser.add_argument("--metrics-no-auth", action="store_true", help="who reaches the port may see the metrics")
    parser.add_argument("--metrics-certificate", type=Path, default=None, help="PEM file: the port speaks TLS")
    parser.add_argument("--metrics-key", type=Path, default=None, help="PEM file of its key")
    parser.add_argument(
        "--metrics-name", action="append", default=[], help="a name under which the port may be asked for; repeatable"
    )


def read(flags: argparse.Namespace, component: str) -> Listen:
    """What flags and variables say.

    Raises:
        SettingError: A variable holds nonsense, or there is a certificate without its key.
    """
    if (flags.metrics_certificate is None) != (flags.metrics_key is None):
        raise SettingError(
            "metrics_certificate", str(flags.metrics_certificate), "to be given together with metrics_key"
        )
    port: int | None = flags.metrics_port if flags.metrics_port is not None else setting(VARIABLES[component])
    token_file: Path | None = flags.metrics_token_file
    if token_file is None and (text := setting("metrics_token_path")):
        token_file = Path(text)
    return Listen(
        host=flags.metrics_host,
        port=-1 if port is None else port,
        socket=flags.metrics_socket,
        token_file=token_file,
        hosts=tuple(flags.metrics_name),
        roles_file=flags.metrics_roles_file,
        certificate=flags.metrics_certificate,
        key=flags.metrics_key,
        open_to_all=flags.metrics_no_auth,
        listener=_ours(flags.metrics_fd),
    )


def _ours(descriptor: int) -> int:
    """A descriptor that nobody gets whom this process starts."""
    if descriptor >= 0:
        os.set_inheritable(descriptor, False)
    return descriptor


def tokens(listen: Listen) -> Sequence[str]:
    """The token of the file that the flags name, which may see the metrics.

    Raises:
        AuthenticationError: The file holds none.
    """
    return (auth.read_token(str(listen.token_file)),) if listen.token_file is not None else ()
