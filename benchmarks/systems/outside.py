"""A cluster of its own, and this process as a driver outside of it: Manta's gateway, Ray's client server.

Both are started as their users start them, by `start --head --block`, and end with it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic, sleep

#: A cluster is up within this time, and gone.
_START_S = 90.0
_STOP_S = 30.0


class Outside:
    """A running cluster.

    Args:
        module: Whose.
        cpus: CPUs to lend.
        more: Flags of Manta's; by default no dashboard.

    Attributes:
        address: What `init` takes.
        metrics: Manta: the ports of health and metrics, by process.
        viewer: Manta: a token for them.
        join_file: Manta: lets other machines in.
    """

    def __init__(self, module: str, cpus: int, *more: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="outside-")
        self._others: list[subprocess.Popen[bytes]] = []
        self._process = self._manta(cpus, more or ("--no-dashboard",)) if module == "manta" else self._ray(cpus)

    def _manta(self, cpus: int, more: tuple[str, ...]) -> subprocess.Popen[bytes]:
        ports = [f"--{name}={_free_port()}" for name in ("port", "door-port", "gateway-port", "dashboard-port")]
        flags = ["--node-ip", "127.0.0.1", "--num-cpus", str(cpus), "--block", "-o", "json", *more]
        process, said = self._start(["manta.cli", "start", "--head", *ports, *flags], b"}")
        about = json.loads(said)
        folder = os.path.dirname(about["join_file"])
        os.environ["MANTA_CA_FILE"] = os.path.join(folder, "ca.crt")
        os.environ["MANTA_TOKEN_FILE"] = os.path.join(folder, "driver.token")
        self.address: str = about["gateway"]
        self.metrics: dict[str, str] = about["metrics"]
        self.join_file: str = about["join_file"]
        with open(os.path.join(folder, "tokens")) as tokens:
            self.viewer = next(line.split()[1] for line in tokens if line.startswith("viewer "))
        return process

    def _ray(self, cpus: int) -> subprocess.Popen[bytes]:
        client = _free_port()
        # Its client would want a token that `start` does not print; without one Ray does less than Manta here, not more.
        os.environ["RAY_AUTH_MODE"] = "disabled"
        flags = ["--block", "--num-cpus", str(cpus), "--include-dashboard=false", "--disable-usage-stats"]
        process, _ = self._start(
            ["ray.scripts.scripts", "start", "--head", f"--port={_free_port()}",
             f"--ray-client-server-port={client}", *flags],
            b"--block",
        )  # fmt: skip
        _await_port(client)
        self.address = f"ray://127.0.0.1:{client}"
        return process

    def add_node(self, cpus: int, name: str) -> str:
        """Manta: one more node, as another machine would be; where its metrics are."""
        flags = ["--node-ip", "127.0.0.1", f"--door-port={_free_port()}", "--metrics-port=0", "--num-cpus", str(cpus)]
        process, said = self._start(
            ["manta.cli", "start", "--join-file", self.join_file, *flags, "--node-name", name, "--block", "-o", "json"],
            b"}",
            name,
        )
        self._others.append(process)
        address: str = json.loads(said)["metrics"]["raylet"]
        return address

    def _start(self, words: list[str], until: bytes, output: str = "output") -> tuple[subprocess.Popen[bytes], bytes]:
        """Start it and wait for its word; what it said."""
        path = Path(self._folder.name, output)
        with path.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", *words], stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
            )
        end = monotonic() + _START_S
        while until not in (said := path.read_bytes()):
            if process.poll() is not None or monotonic() > end:
                raise RuntimeError(f"{words[0]} did not start: {said.decode(errors='replace')[-2000:]}")
            sleep(0.05)
        return process, said

    def stop(self) -> None:
        """End the cluster and everything it started."""
        for process in (*self._others, self._process):
            process.terminate()
        for process in (*self._others, self._process):
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._folder.cleanup()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _await_port(port: int) -> None:
    end = monotonic() + _START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            if monotonic() > end:
                raise
            sleep(0.1)
        else:
            return
