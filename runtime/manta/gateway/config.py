"""What a gateway is told at its start."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from manta.metrics.listen import Listen


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Settings of one gateway.

    Attributes:
        raylet: Socket of the raylet through which its sessions join the cluster.
        bind: Where it listens: host:port; port 0 takes a free one.
        certificate: PEM file of the certificate it shows, its authority's after it if it has one; None speaks without TLS.
        key: PEM file of its key. Both are read again when they change.
        tokens: File of the tokens it lets in; see `transport.tokens`. None lets everybody in.
        logs: Folder for its sessions' output.
        grace_s: A session whose driver's connection broke is kept so long. Longer survives longer absences of a laptop; what
            the driver holds stays in the cluster's memory meanwhile.
        max_sessions: Drivers at once. Each costs a process of about 40 MB.
        max_connections: TCP connections at once, counted before anybody is asked who they are.
        idle_s: A connection on which nothing is asked is closed after so long.
        metrics: Where its health and metrics are.
    """

    raylet: str
    bind: str
    certificate: Path | None
    key: Path | None
    tokens: Path | None
    logs: Path
    grace_s: float = 60.0
    max_sessions: int = 100
    max_connections: int = 1000
    idle_s: float = 30.0
    metrics: Listen = field(default_factory=Listen)
