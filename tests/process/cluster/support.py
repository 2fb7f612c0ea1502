"""The cluster under test, seen from outside: its processes, and what its node's raylet says of itself.

Fixtures here are imported by the conftest files of `cluster/`, `faults/` and `objects/`.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import manta
from manta.rpc.v1 import channel_pb2 as pb
from manta.shm.copy import copy
from manta.transport.channel import PROTOCOL, Connection
from tests.process.semantics.support import Gate, Ledger, is_running
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.leaks import Sandbox

MIB = 1 << 20

#: What a module's cluster has, unless the module sets CLUSTER; None there means that each test starts its own.
CLUSTER: dict[str, Any] = {"num_cpus": 2, "object_store_memory": 200 * MIB, "log_to_driver": False}

#: Generous: reached only when something is broken.
PATIENCE_S = 30.0


class Node:
    """One raylet, asked as a tool would."""

    def __init__(self, socket: str) -> None:
        self.socket = socket

    def status(self) -> dict[str, Any]:
        """What the raylet says of itself: node, store, scheduler."""
        with contextlib.closing(Connection.dial(self.socket)) as connection:
            connection.settimeout(PATIENCE_S)
            hello = pb.Hello(protocol=PROTOCOL, role=pb.ROLE_TOOL, worker_id=os.urandom(28), pid=os.getpid())
            connection.send_first([hello])
            number, _, _ = connection.read_frame()
            assert number == pb.Frame.DESCRIPTOR.fields_by_name["welcome"].number
            connection.send(pb.StatusRequest(request_id=1))
            _, reply, _ = connection.read_frame()
            status: dict[str, Any] = json.loads(reply.json)
            return status

    def store(self) -> dict[str, int]:
        """Bytes and counts of its object store."""
        store: dict[str, int] = self.status()["store"]
        return store

    def unrest(self) -> dict[str, Any]:
        """What runs, waits or is taken; empty when every resource is back."""
        books = self.status()["scheduler"]
        taken = {name: total - books["available"].get(name, 0) for name, total in books["total"].items()}
        found = {
            "taken": {name: amount for name, amount in taken.items() if amount},
            "leases": books["leases"],
            "demands": [demand for demand in books["demands"] if demand["wanted"]],
        }
        return {name: value for name, value in found.items() if value}


def at_rest(node: Node, *, timeout_s: float = PATIENCE_S) -> None:
    """Wait until every resource is back, or fail naming what is not."""
    end = time.monotonic() + timeout_s
    while unrest := node.unrest():
        assert time.monotonic() < end, f"not at rest after {timeout_s} s: {unrest}"
        time.sleep(0.01)


class Cluster(Node):
    """An embedded cluster that this process has joined."""

    def __init__(self, context: Any) -> None:
        self.session_dir: str = context.address_info["session_dir"]
        super().__init__(context.address_info["raylet_socket_name"])

    def pid(self, role: str) -> int:
        """Of "control" or "raylet"; 0 when there is none."""
        return next(iter(self.pids(f"manta.{role}")), 0)

    def pids(self, module: str) -> list[int]:
        """Processes of this session that run `python -m module`."""
        return [pid for pid, words in command_lines() if module in words and self.session_dir in words]

    def workers(self) -> list[int]:
        """Processes of its workers, idle ones included."""
        guards = [pid for pid in children_of(self.pid("raylet")) if pid not in self.pids("manta.control")]
        factories = [pid for guard in guards for pid in children_of(guard)]
        return [pid for factory in factories for pid in children_of(factory)]

    def kill(self, role: str) -> int:
        """SIGKILL control or raylet and wait until it is gone; its process id."""
        pid = self.pid(role)
        assert pid, f"there is no {role}"
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_running(pid), what=f"the end of {role}")
        return pid


def children_of(pid: int) -> list[int]:
    """Direct children of a process with one thread that forks."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += [int(word) for word in (thread / "children").read_text().split()]
    return found


def command_lines() -> Iterator[tuple[int, list[str]]]:
    """Every process's id and words of its command line."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                yield int(entry.name), (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")


@contextlib.contextmanager
def running_cluster(**settings: Any) -> Iterator[Cluster]:
    """An embedded cluster for as long as the block lasts."""
    context = manta.init(address="local", **{**CLUSTER, **settings})
    try:
        yield Cluster(context)
    finally:
        manta.shutdown()


@pytest.fixture(scope="session", autouse=True)
def base_temp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What comes into being once per process and stays: inside of a sandbox it would count as left behind.

    pytest's own folder (made at the first `tmp_path`), and the thread that helps with large copies.
    """
    origin, to = bytearray(64 * MIB), bytearray(64 * MIB)
    copy(memoryview(to), memoryview(origin))
    return tmp_path_factory.getbasetemp()


@pytest.fixture(scope="module")
def module_cluster(request: pytest.FixtureRequest, module_sandbox: Sandbox | None) -> Iterator[Cluster | None]:
    """The cluster that a module's tests share. Such a module is marked `shared_cluster`."""
    settings = getattr(request.module, "CLUSTER", CLUSTER)
    if settings is None:
        yield None
        return
    assert module_sandbox is not None, "a module with a cluster has to be marked shared_cluster"
    with running_cluster(**settings) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def cluster(module_cluster: Cluster | None) -> Iterator[Cluster | None]:
    """The module's cluster; each test leaves it at rest, with as much memory as before."""
    if module_cluster is None:
        yield None
        return
    before = module_cluster.store()["objects"]
    yield module_cluster
    gc.collect()  # a caught error and its frame hold each other, and the frame holds the test's refs
    at_rest(module_cluster)
    wait_until(lambda: module_cluster.store()["objects"] <= before, what="every object to be freed")


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A closed door; opened when the test ends, so that no task is left waiting."""
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.open()


@pytest.fixture
def started(tmp_path: Path) -> Gate:
    """A second door, for a task to say that it runs."""
    return Gate(tmp_path / "started")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An append-only file of what ran."""
    return Ledger(tmp_path / "ledger")
