"""Where a process's health and metrics are. Apart, as settings know it long before anything is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a process's health and metrics are.

    Attributes:
        host: Address to listen on.
        port: TCP port; 0 takes a free one, -1 listens on none.
        socket: A Unix socket that only its owner can reach; None for none.
        token_file: File with a token that may see the metrics.
        roles_file: File of tokens with roles, see `transport.tokens`: each of them may at least look.
        certificate: PEM file of a certificate to show: the port then speaks TLS. None for plain HTTP.
        key: Its key.
        hosts: Names under which the port may be asked for, besides addresses and localhost.
        open_to_all: Nobody is asked for a token.
        listener: Descriptor of a socket that listens at the port already; -1 for none.
    """

    host: str = "127.0.0.1"
    port: int = -1
    socket: Path | None = None
    token_file: Path | None = None
    hosts: tuple[str, ...] = ()
    roles_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    open_to_all: bool = False
    listener: int = -1

    @property
    def wanted(self) -> bool:
        """Whether there is anything to open."""
        return self.port >= 0 or self.socket is not None
