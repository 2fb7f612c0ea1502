"""A gateway beside an embedded cluster, with certificates and tokens of its own."""

from __future__ import annotations

import datetime
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from manta.api import embedded
from manta.core.errors import MantaError
from manta.transport import first_word
from manta.transport.auth import new_token, write_private
from manta.transport.certificates import Role, make_authority, make_leaf, write_pair

CLUSTER = "test"


@dataclass(slots=True)
class Door:
    """A running gateway and what a driver needs for it."""

    folder: Path
    process: subprocess.Popen[bytes]
    port: int
    viewer: str
    submitter: str
    metrics_port: int = 0

    @property
    def address(self) -> str:
        return f"manta://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "MANTA_ADDRESS": self.address,
            "MANTA_TOKEN": self.submitter,
            "MANTA_CA_FILE": str(self.folder / "ca.pem"),
        }

    def log(self) -> str:
        return (self.folder / "gateway.log").read_text() + "".join(
            file.read_text() for file in self.folder.glob("gateway-sessions.log")
        )


def prepare(folder: Path, cluster: str = CLUSTER) -> tuple[str, str]:
    """Certificates and tokens in a folder; the tokens of a viewer and a submitter."""
    now = datetime.datetime.now(datetime.UTC)
    authority = make_authority(cluster, now=now)
    write_pair(authority, str(folder / "ca.pem"), str(folder / "ca.key"))
    leaf = make_leaf(authority, Role.GATEWAY, cluster, now=now)
    write_pair(leaf, str(folder / "gateway.pem"), str(folder / "gateway.key"))
    viewer, submitter = new_token(), new_token()
    write_private(str(folder / "tokens"), f"viewer {viewer}\nsubmitter {submitter}\n".encode())
    return viewer, submitter


def launch(
    folder: Path,
    raylet: str,
    viewer: str,
    submitter: str,
    *flags: str,
    entry: tuple[str, ...] = ("-m", "manta.gateway"),
    tls: bool = True,
) -> Door:
    """Start a gateway in a prepared folder and wait until it lets drivers in."""
    secure = (
        ("--certificate", str(folder / "gateway.pem"), "--key", str(folder / "gateway.key")) if tls else ("--plain",)
    )
    mine, theirs = os.pipe()
    environment = {**embedded.child_environment()}
    with open(folder / "gateway.log", "ab") as output:
        process = subprocess.Popen(
            [
                sys.executable, *entry, "--raylet", raylet, *secure, "--tokens", str(folder / "tokens"), "--logs", str(folder),
                "--ready-fd", str(theirs), "--parent-pid", str(os.getpid()),
                *(() if "--bind" in flags else ("--bind", "127.0.0.1:0")), *flags,
            ],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, pass_fds=(theirs,),
        )  # fmt: skip
    os.close(theirs)
    try:
        assert select.select([mine], [], [], 30)[0], "the gateway did not get ready"
        word = os.read(mine, first_word.LONGEST_BYTES)
    finally:
        os.close(mine)
    try:
        where = first_word.understand(word)
    except (EOFError, MantaError) as wrong:
        process.kill()
        process.wait()
        raise AssertionError(f"the gateway did not start: {(folder / 'gateway.log').read_text()}") from wrong
    port, metrics_port = map(int, where.split())
    return Door(folder, process, port, viewer, submitter, metrics_port)


def stop(door: Door) -> None:
    """End a gateway and its sessions."""
    door.process.terminate()
    try:
        door.process.wait(20)
    except subprocess.TimeoutExpired:
        door.process.kill()
        door.process.wait()
        raise


@contextmanager
def running(folder: Path, raylet: str, *flags: str, name: str = CLUSTER) -> Iterator[Door]:
    """A gateway for the block."""
    viewer, submitter = prepare(folder, name)
    door = launch(folder, raylet, viewer, submitter, *flags)
    try:
        yield door
    finally:
        stop(door)


@contextmanager
def cluster(
    folder: Path, *flags: str, num_cpus: float = 2, store_bytes: int = 200 << 20, name: str = CLUSTER
) -> Iterator[Door]:
    """A cluster of one node without a driver of its own, and a gateway to it whose certificate has the cluster's name."""
    home = embedded.start(
        temp_dir=str(folder), num_cpus=num_cpus, num_gpus=0, resources={}, labels={}, object_store_bytes=store_bytes,
        memory_bytes=None, node_name=None,
    )  # fmt: skip
    try:
        with running(folder, home.raylet, *flags, name=name) as door:
            yield door
    finally:
        home.stop()


def session_processes(door: Door) -> list[int]:
    """Process ids of the gateway's sessions."""
    children = Path(f"/proc/{door.process.pid}/task/{door.process.pid}/children").read_text().split()
    found = []
    for pid in children:
        with suppress(OSError):  # it has ended meanwhile
            if b"manta.gateway.owner" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(int(pid))
    return found
