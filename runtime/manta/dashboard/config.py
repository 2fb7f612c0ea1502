"""What a dashboard is told at its start."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from manta.metrics.listen import Listen


@dataclass(frozen=True, slots=True)
class DashboardConfig:
    """Settings of one dashboard.

    Attributes:
        control: gRPC target of control: `unix:PATH` or host:port.
        session_dir: Folder of the cluster's session: logs are below it.
        tokens: File of the tokens it lets in; see `transport.tokens`. None where there are none, as it is open to all.
        open_to_all: Nobody is asked for a token to look and to run jobs; what an administrator may takes one out of `tokens`.
        bind: Where it listens: host:port; port 0 takes a free one.
        certificate: PEM file of the certificate it shows; None for plain HTTP, which only loopback may have, unless `plain`.
        plain: Plain HTTP is meant, whoever may be on the way.
        key: PEM file of its key. Both are read again when they change.
        credentials: Folder of the cluster's credentials, where control is not behind a Unix socket.
        packages: Folder for uploads; by default in the session's.
        jobs_socket: Where the supervisors of jobs are started by another process; None starts them here.
        address: By which address drivers of jobs join the cluster; empty: "auto".
        advertise: By which host browsers reach it, for drivers that ask; empty: where it listens.
        any_port: Where the port is taken, take a free one.
        hosts: Names under which it may be asked for, besides addresses and localhost.
        max_connections: TCP connections at once, counted before anybody is asked who they are.
        idle_s: A connection on which nothing is asked is closed after so long.
        metrics: Where health and metrics are; by default nowhere.
    """

    control: str
    session_dir: Path
    tokens: Path | None
    bind: str = "127.0.0.1:8265"
    open_to_all: bool = False
    certificate: Path | None = None
    key: Path | None = None
    plain: bool = False
    credentials: Path | None = None
    packages: Path | None = None
    jobs_socket: Path | None = None
    address: str = ""
    advertise: str = ""
    any_port: bool = False
    hosts: tuple[str, ...] = ()
    max_connections: int = 500
    idle_s: float = 30.0
    metrics: Listen = field(default_factory=Listen)
