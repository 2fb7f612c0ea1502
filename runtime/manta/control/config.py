"""Control's settings, read once by `__main__`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from manta.metrics.listen import Listen


class StorageKind(Enum):
    """Where control's memory survives."""

    SQLITE = "sqlite"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class ControlConfig:
    """What one control needs to know.

    Attributes:
        session_dir: Private (0700) directory for the store, the log and, by default, the socket.
        socket: Unix socket to serve on. Its directory is what keeps others out; the token is asked for all the same.
        token: The session's token; empty asks for none, which only a private directory allows.
        listen: "host:port" for nodes on other machines, by TLS; empty for none. Port 0 is any.
        state_dir: Private directory for the store, should it outlive the session's; None puts it into `session_dir`.
        credentials: Folder of the cluster's credentials; `listen` needs it.
        storage: SQLITE survives kills and restarts; MEMORY is for tests.
        stop_grace_s: Calls in flight have so long to end when control stops. Watches never end by themselves, so this is
            how long every stop takes.
        log_limit_bytes: A log file is turned over at this size; two are kept.
        log_to_stderr: The log's lines go there too.
        metrics: Where health and metrics are; by default nowhere.
        node_silence_s: A node that was not heard of for so long is dead. Shorter notices frozen machines sooner, and takes
            shorter pauses for deaths; nodes say something every second.
    """

    session_dir: Path
    socket: Path
    token: str = ""
    listen: str = ""
    state_dir: Path | None = None
    credentials: Path | None = None
    storage: StorageKind = StorageKind.SQLITE
    stop_grace_s: float = 0.05
    log_limit_bytes: int = 16 << 20
    log_to_stderr: bool = False
    metrics: Listen = field(default_factory=Listen)
    node_silence_s: float = 10.0

    @property
    def store_path(self) -> Path:
        """The SQLite file."""
        return (self.state_dir or self.session_dir) / "control.sqlite"

    @property
    def log_path(self) -> Path:
        """The log file."""
        return self.session_dir / "control.log"
