"""A raylet's settings: read once from flags (see `__main__`), then environment; inside, functions take values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from manta.metrics.listen import Listen


@dataclass(frozen=True, slots=True)
class RayletConfig:
    """One node.

    Attributes:
        session_dir: The session's private folder (0700): sockets, logs. Path short enough for a Unix socket.
        control: gRPC target of control, "unix:<path>" or "host:port".
        node_id: 28 bytes, new at each start.
        resources: What the node offers, in 1/10000ths.
        object_store_bytes: Capacity of the arena; it is reserved as it is used.
        node_ip: Address people know the node by.
        node_name: Its name for people; empty means the address.
        session_name: Name of the session; default the folder's.
        gpu_ids: Names of the GPUs; None numbers them from 0.
        labels: Labels of the node.
        head: Control runs beside it.
        parent_pid: A process whose end ends the node too (the driver of an embedded cluster); 0 for none.
        worker_entry: "module:function" that workers run; None for what they are made for. Tests set it.
        memory_threshold: Share of the node's memory above which workers are ended, 0 to 1; 1 turns it off. Lower it to leave
            room for what grows fast.
        memory_period_s: Time between two looks at it, seconds; 0 turns it off. Shorter catches faster growth and costs CPU.
        start_timeout_s: How long a worker may take from being asked for until it connects, seconds.
        prestart: Workers kept ready before the first driver comes.
        token_file: The session's token for gRPC, read again when it changes; None where the sockets' folder is the credential.
        remove_session_dir: The folder goes with the node, logs aside.
        control_pid: Process of a control that this node starts again when it ends; 0 for none (see `child_services`).
        control_command: What it was started as.
        door: How other nodes dial this one, "host:port" as it is told to them; empty for a node that no other one reaches.
        tls_folder: Folder of the certificates for connections between nodes: `ca.crt`, `worker.crt`, `worker.key`.
        tls_cluster: The cluster's name in them.
        drain_grace_s: What SIGTERM leaves to what runs here, seconds; then the node is given up.
        metrics: Where health and metrics are; by default nowhere.
        log_to_stderr: What goes to the log goes there too.
    """

    session_dir: Path
    control: str
    node_id: bytes
    resources: Mapping[str, int]
    object_store_bytes: int
    node_ip: str = "127.0.0.1"
    node_name: str = ""
    session_name: str = ""
    gpu_ids: tuple[str, ...] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    head: bool = False
    parent_pid: int = 0
    worker_entry: str | None = None
    memory_threshold: float = 0.95
    memory_period_s: float = 0.25
    start_timeout_s: float = 60.0
    prestart: int = 4
    token_file: Path | None = None
    remove_session_dir: bool = False
    control_pid: int = 0
    control_command: tuple[str, ...] = ()
    door: str = ""
    tls_folder: str = ""
    tls_cluster: str = ""
    drain_grace_s: float = 60.0
    metrics: Listen = field(default_factory=Listen)
    log_to_stderr: bool = False

    @property
    def channel_path(self) -> str:
        """Where the channel listens."""
        return str(self.session_dir / f"raylet-{self.node_id.hex()[:8]}.sock")

    @property
    def grpc_path(self) -> str:
        """Where control finds us."""
        return str(self.session_dir / f"raylet-{self.node_id.hex()[:8]}-grpc.sock")

    @property
    def logs(self) -> Path:
        """Folder of log files."""
        return self.session_dir / "logs"
