"""Starts control and raylets as processes, and speaks to them as drivers, tools and owners do."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message import Message

from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.transport import first_word
from manta.transport.channel import PROTOCOL, Connection, Frame

ROOT = Path(__file__).resolve().parents[3]
WAIT_S = 20.0
CPU = {"CPU": 10_000}

M = TypeVar("M", bound=Message)


class Node:
    """One control, one raylet (or more), and their session folder."""

    def __init__(self, path: Path) -> None:
        self.session = path / "s"
        self.session.mkdir(mode=0o700)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.control: subprocess.Popen[bytes] | None = None

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": f"{ROOT / 'runtime'}:{ROOT}", **(extra or {})}

    def start_control(self) -> subprocess.Popen[bytes]:
        self.control = self.start("manta.control", "--session-dir", str(self.session), "--parent-pid", str(os.getpid()))
        return self.control

    def start_raylet(self, *flags: str, cpus: float = 2, extra: Mapping[str, str] | None = None) -> Raylet:
        reader, writer = os.pipe()
        try:
            process = self.start(
                "manta.raylet", "--session-dir", str(self.session), "--control", f"unix:{self.session}/control.sock",
                "--num-cpus", str(cpus), "--object-store-memory", str(64 << 20), "--ready-fd", str(writer),
                "--parent-pid", str(os.getpid()), "--worker-entry", "tests.process.raylet.fake_worker:run", *flags,
                pass_fds=(writer,), extra=extra,
            )  # fmt: skip
            os.close(writer)
            writer = -1
            assert select.select([reader], [], [], WAIT_S)[0], "the raylet is not ready in time"
            word = os.read(reader, first_word.LONGEST_BYTES)
        finally:
            os.close(reader)
            if writer >= 0:
                os.close(writer)
        about = json.loads(first_word.understand(word))
        return Raylet(process, about["channel"], self.session)

    def start(
        self, module: str, *arguments: str, pass_fds: tuple[int, ...] = (), extra: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments], pass_fds=pass_fds, env=self.environment(extra), cwd=self.session
        )
        self.processes.append(process)
        return process

    def close(self) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
        # Control's store is meant to outlive it; everything else has to be gone by itself.
        for path in self.session.glob("control.*"):
            path.unlink()
        # The fake workers' own sockets: one that is killed while it starts cannot take its away.
        for path in self.session.glob("w-*.sock"):
            path.unlink()


class Raylet:
    """A running raylet process."""

    def __init__(self, process: subprocess.Popen[bytes], channel: str, session: Path) -> None:
        self.process, self.channel, self.session = process, channel, session

    def driver(self, **hello: Any) -> Client:
        hello.setdefault("job_config", pb.JobConfig(log_to_driver=True).SerializeToString())
        return Client(self.channel, pb.ROLE_DRIVER, **hello)

    @contextlib.contextmanager
    def tool(self) -> Iterator[Client]:
        tool = Client(self.channel, pb.ROLE_TOOL)
        try:
            yield tool
        finally:
            tool.close()

    def status(self) -> dict[str, Any]:
        with self.tool() as tool:
            return tool.status()


class Client:
    """A process on the channel, played by the test."""

    def __init__(
        self, path: str, role: int, *, pid: int | None = None, sock: socket.socket | None = None, **hello: Any
    ) -> None:
        self.worker_id = os.urandom(28)
        # Another process may have dialled: then that one is who is connected.
        self.connection = Connection.dial(path) if sock is None else Connection(sock)
        self.connection.settimeout(WAIT_S)
        self.unread: list[Frame] = []
        hello.setdefault("python", ".".join(map(str, sys.version_info[:3])))
        hello.setdefault("protocol", PROTOCOL)
        self.connection.send(
            pb.Hello(role=role, worker_id=self.worker_id, pid=pid or os.getpid(), endpoint="unix:/nowhere", **hello)  # type: ignore[arg-type]
        )
        try:
            self.welcome = self.read(pb.Welcome)
        except BaseException:
            self.connection.close()
            raise
        self.descriptors = self.connection.take_descriptors()

    def send(self, message: Message) -> None:
        self.connection.send(message)

    def read(self, kind: type[M]) -> M:
        """The next frame of this kind; others wait for their readers."""
        for at, (_number, message, _raw) in enumerate(self.unread):
            if isinstance(message, kind):
                del self.unread[at]
                return message
        while True:
            frame = self.connection.read_frame()
            message = frame[1]
            if isinstance(message, kind):
                return message
            if isinstance(message, pb.Refused):
                raise RefusedError(message.error.message)
            self.unread.append(frame)

    def want(self, wanted: int, *, key: int = 1, amounts: Mapping[str, int] = CPU, **more: Any) -> None:
        self.send(pb.LeaseDemand(key=key, resources=common.Resources(amounts=amounts), wanted=wanted, **more))

    def lease(self, **more: Any) -> Lease:
        """One lease, wanted and granted."""
        self.want(1, **more)
        return Lease(self, self.read(pb.LeaseGranted))

    def status(self) -> dict[str, Any]:
        self.send(pb.StatusRequest(request_id=1))
        state: dict[str, Any] = json.loads(self.read(pb.StatusReply).json)
        return state

    def line(self) -> tuple[str, str]:
        """(source, line) of the next single printed line."""
        lines = self.read(pb.LogLines)
        assert len(lines.lines) == 1, lines
        return lines.source, lines.lines[0]

    def goodbye(self) -> None:
        self.send(pb.Goodbye(finished=True))
        self.read(pb.Farewell)
        self.close()

    def close(self) -> None:
        self.connection.close()
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = []


class Lease:
    """A granted lease and its worker, who obeys."""

    def __init__(self, client: Client, granted: pb.LeaseGranted) -> None:
        self.client, self.granted = client, granted
        self.id, self.pid = granted.lease_id, granted.pid

    def tell(self, order: str) -> str:
        """Give the worker an order; what it answers."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.settimeout(WAIT_S)
            peer.connect(self.granted.worker.endpoint.removeprefix("unix:"))
            peer.sendall(order.encode())
            with contextlib.suppress(ConnectionError):
                return peer.recv(65536).decode().rstrip("\n")
        return ""

    def back(self, **flags: bool) -> None:
        self.client.want(0, key=self.granted.key)
        self.client.send(pb.LeaseReturned(lease_id=self.id, **flags))


class RefusedError(Exception):
    """The raylet refused."""


def gone(pid: int) -> bool:
    """Whether a process has ended and was reaped, or is a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def parent_of(pid: int) -> int:
    """A process's parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def send_signal(pid: int, number: int = signal.SIGKILL) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
