"""A head begun by `manta start --head` on loopback, and how strangers and others speak to each of its ports."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from manta.cli import processes
from manta.transport import auth
from manta.transport.addresses import parse_door
from manta.transport.tls import TlsFiles, read_cluster, read_pems

#: Servers of a head by the module that is their program.
SERVERS = ("manta.control", "manta.raylet", "manta.gateway", "manta.dashboard")

_FLAGS = (
    "--node-ip", "127.0.0.1", "--port", "0", "--door-port", "0", "--gateway-port", "0", "--dashboard-port", "0",
    "--metrics-port", "0",
    "--num-cpus", "2", "--object-store-memory", "80M",
)  # fmt: skip


@dataclass(frozen=True, eq=False)  # two are never the same; caches take it as a key
class Head:
    """What `manta start` says of it."""

    session_dir: Path
    control: str
    door: str
    gateway: str
    dashboard: str
    node_id: str
    #: Ports of health and metrics by process.
    metrics: dict[str, str]

    @property
    def credentials(self) -> Path:
        """Its folder of them."""
        return self.session_dir / "credentials"

    def port_of(self, name: str) -> int:
        """The TCP port of control, door, gateway or dashboard."""
        address: str = getattr(self, name)
        return parse_door(address.rpartition("/")[2])[1]

    def token(self, role: str) -> str:
        """A user's token of that role."""
        lines = (self.credentials / "tokens").read_text().splitlines()
        return next(words[1] for line in lines if (words := line.split())[0] == role)

    @property
    def join_token(self) -> str:
        """The nodes'."""
        return auth.read_token(str(self.credentials / "join.token"))

    def pid(self, module: str) -> int:
        """Of one of SERVERS."""
        (found,) = [
            pid for pid in processes.mine_with(module) if str(self.session_dir) in " ".join(processes.arguments(pid))
        ]
        return found

    # -- gRPC

    def files(self, role: str = "worker") -> TlsFiles:
        """Certificates of a role."""
        return TlsFiles.of_role(str(self.credentials), role, read_cluster(str(self.credentials)))

    def control_channel(self, files: TlsFiles | None = None, *, shown: bool = True) -> grpc.Channel:
        """A channel to control's TCP port, with a node's certificate or (`shown=False`) without one."""
        files = files or self.files()
        authority, certificate, key = read_pems(files)
        credentials = grpc.ssl_channel_credentials(authority, *((key, certificate) if shown else (None, None)))
        return grpc.secure_channel(self.control, credentials, options=_options(files.name_of("control")))

    def gateway_channel(self, authority: bytes | None = None) -> grpc.Channel:
        """A channel to the gateway, as drivers have."""
        files = self.files("gateway")
        credentials = grpc.ssl_channel_credentials(authority or read_pems(files)[0])
        return grpc.secure_channel(
            f"127.0.0.1:{self.port_of('gateway')}", credentials, options=_options(files.name_of("gateway"))
        )

    # -- HTTP

    def http(self, timeout_s: float = 20.0) -> http.client.HTTPSConnection:
        """A connection to the HTTP server that knows its authority."""
        context = ssl.create_default_context(cafile=str(self.credentials / "ca.crt"))
        return http.client.HTTPSConnection("127.0.0.1", self.port_of("dashboard"), timeout=timeout_s, context=context)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        endless: bool = False,
    ) -> tuple[int, bytes]:
        """One request to the HTTP server; `token` is a role's name or what is shown. Of an endless answer only the status."""
        connection = self.http()
        shown = dict(headers or {})
        if token is not None:
            known = token in ("viewer", "submitter", "admin")
            shown["Authorization"] = f"Bearer {self.token(token) if known else token}"
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, data, shown)
            answer = connection.getresponse()
            return answer.status, b"" if endless and answer.status == 200 else answer.read()
        finally:
            connection.close()


def _options(name: str) -> list[tuple[str, Any]]:
    return [
        ("grpc.ssl_target_name_override", name),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.min_reconnect_backoff_ms", 5_000),
        ("grpc.max_reconnect_backoff_ms", 500),
        ("grpc.enable_http_proxy", 0),
    ]


def cli(*words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command as a program."""
    command = [sys.executable, "-m", "manta.cli", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=50, check=False, env={**os.environ, **(environment or {})}
    )


@contextmanager
def started(*flags: str, environment: dict[str, str] | None = None) -> Iterator[Head]:
    """A head for the block, in the sandbox's folder."""
    done = cli("start", "--head", *_FLAGS, *flags, "-o", "json", environment=environment)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    try:
        yield Head(
            Path(facts["session_dir"]), facts["control"], facts["door"], facts["gateway"], facts["dashboard"], facts["node_id"],
            facts["metrics"],
        )  # fmt: skip
    finally:
        stopped = cli("stop", "--all")
        assert stopped.returncode == 0, stopped.stderr


@dataclass(frozen=True, eq=False)  # two are never the same; caches take it as a key
class Picture:
    """What a process holds: the way to see that it lives on and keeps nothing."""

    fds: int
    threads: int
    rss: int

    @classmethod
    def of(cls, pid: int) -> Picture:
        """As it is now."""
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
        )
        return cls(len(os.listdir(f"/proc/{pid}/fd")), int(status["Threads"]), int(status["VmRSS"].split()[0]) << 10)

    def came_back(self, pid: int, *, rss: int = 60 << 20, within_s: float = 20.0) -> None:
        """Wait until the process holds no more than it did, a little aside."""
        deadline = time.monotonic() + within_s
        while True:
            now = Picture.of(pid)
            if now.fds <= self.fds + 8 and now.threads <= self.threads + 8 and now.rss <= self.rss + rss:
                return
            assert time.monotonic() < deadline, f"process {pid} had {self} and has {now}"
            time.sleep(0.05)
