"""A cluster of nodes as on several machines: each raylet has a session folder and a door of its own, and TLS between them."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import manta
from manta.transport import credentials, first_word
from tests.process.cluster.support import MIB, Node
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_S = 30.0


class Machine(Node):
    """One node."""

    def __init__(self, process: subprocess.Popen[bytes], about: dict[str, Any]) -> None:
        self.process, self.node_id, self.door = process, about["node_id"], about["door"]
        super().__init__(about["channel"])

    def kill(self) -> None:
        """As when the raylet is killed by the kernel."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(START_S)


class Machines:
    """Control, and nodes that know each other by nothing but it and their doors."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.credentials = str(folder / "credentials")
        credentials.make(self.credentials, "c1")
        self._processes: list[subprocess.Popen[bytes]] = []
        self.control, said = self._start(
            [
                "manta.control",
                "--session-dir",
                self._session("control"),
                "--listen",
                "127.0.0.1:0",
                "--credentials",
                self.credentials,
            ]
        )
        self.control_target: str = json.loads(said)["address"]

    def add(self, name: str, *flags: str, cpus: float = 1, resources: dict[str, float] | None = None) -> Machine:
        """Start a node and wait until it is ready."""
        process, said = self._start(
            [
                "manta.raylet",
                "--session-dir",
                self._session(name),
                "--control",
                self.control_target,
                "--num-cpus",
                str(cpus),
                "--resources",
                json.dumps(resources or {}),
                "--node-name",
                name,
                "--object-store-memory",
                str(64 * MIB),
                "--door",
                "127.0.0.1:0",
                "--credentials",
                self.credentials,
                "--token-file",
                f"{self.credentials}/join.token",
                *flags,
            ]
        )
        return Machine(process, json.loads(said))

    def _session(self, name: str) -> str:
        path = self.folder / name
        path.mkdir(mode=0o700)
        return str(path)

    def _start(self, words: list[str]) -> tuple[subprocess.Popen[bytes], str]:
        mine, theirs = os.pipe()
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", *words, "--ready-fd", str(theirs), "--parent-pid", str(os.getpid())],
                pass_fds=(theirs,),
                start_new_session=True,
            )
            self._processes.append(process)
            os.close(theirs)
            theirs = -1
            assert select.select([mine], [], [], START_S)[0], f"{words[0]} is not ready in time"
            word = os.read(mine, first_word.LONGEST_BYTES)
        finally:
            os.close(mine)
            if theirs >= 0:
                os.close(theirs)
        return process, first_word.understand(word)

    def close(self) -> None:
        """End everything."""
        for process in reversed(self._processes):
            if process.poll() is None:
                process.terminate()
                process.wait(START_S)


@contextlib.contextmanager
def machines(folder: Path) -> Iterator[Machines]:
    """A cluster without nodes, for as long as the block lasts."""
    cluster = Machines(folder)
    try:
        yield cluster
    finally:
        cluster.close()


@contextlib.contextmanager
def joined(machine: Machine) -> Iterator[Any]:
    """This process is a driver on that node."""
    context = manta.init(f"unix:{machine.socket}", log_to_driver=False)
    try:
        yield context
    finally:
        manta.shutdown()


def alive(count: int) -> None:
    """Wait until control knows so many living nodes."""
    wait_until(lambda: sum(node["Alive"] for node in manta.nodes()) == count, what=f"{count} nodes", timeout_s=20)
