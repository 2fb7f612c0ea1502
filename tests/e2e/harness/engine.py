"""A Docker daemon in namespaces of its own: `with engine(folder) as docker`. It needs root and Debian's `dockerd`."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.e2e.harness.kept import CannotMakeError
from tests.e2e.harness.programs import NODE
from tests.support import apart

ROOT = Path(__file__).resolve().parents[3]
START_S = 60.0
STOP_S = 30.0
CGROUPS = Path("/sys/fs/cgroup")
#: Number of the capability without which Docker cannot start privileged containers as it wants to.
SYS_RESOURCE = 24


def what_is_missing() -> str:
    """Why there can be none here; empty if there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "namespaces for a Docker daemon need root on Linux"
    for program, package in (
        ("dockerd", "docker.io"),
        ("docker", "docker.io"),
        ("iptables", "iptables"),
        ("ip", "iproute2"),
        ("unshare", "util-linux"),
        ("nsenter", "util-linux"),
    ):
        if shutil.which(program) is None:
            return f"`{program}` is not installed (Debian, Ubuntu: apt install {package})"
    return ""


class Engine:
    """A running one, or the machine's own.

    Attributes:
        settings: The environment for programs that speak with it: kind, docker.
        pid: Its first process; 0 for the machine's own.
    """

    def __init__(self, settings: Mapping[str, str], pid: int = 0) -> None:
        self.settings, self.pid = dict(settings), pid

    def docker(self, *arguments: str | Path, timeout_s: float = 120.0) -> str:
        """Run the command `docker`; what it printed."""
        command = ["docker", *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, text=True, env=self.settings, timeout=timeout_s, check=False
        )
        if done.returncode:
            words, said = " ".join(command)[:200], f"{done.stdout[-1500:]}{done.stderr[-1500:]}"
            raise CannotMakeError(f"`{words}` ended with status {done.returncode}: {said}")
        return done.stdout

    def inside(self, command: Sequence[str]) -> list[str]:
        """A command as it runs in the daemon's network, from where nodes, pods and Services are reached by address."""
        return ["nsenter", "--target", str(self.pid), "--net", "--", *command] if self.pid else list(command)


@contextlib.contextmanager
def engine(folder: Path, *, data: Path | None = None, doors: Sequence[socket.socket] = ()) -> Iterator[Engine]:
    """Have one for a block; when it ends, no process, mount, address, rule or control group of it is left.

    Args:
        folder: For its socket, state and log; a short path. Only the log stays.
        data: Where its images are kept; None for in the folder, to be thrown away with all that runs.
        doors: Listening sockets made outside: whoever connects reaches the same port inside.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dockerd.pid").unlink(missing_ok=True)  # a folder may be used again, and nobody else's is
    address, log, group = folder / "docker.sock", folder / "dockerd.log", f"manta-e2e-{secrets.token_hex(4)}"
    kept, state = data or folder / "data", folder / "state"
    command = [
        "dockerd", "--host", f"unix://{address}", "--data-root", str(kept), "--exec-root", str(state),
        "--pidfile", str(folder / "dockerd.pid"), "--cgroup-parent", f"/{group}",
    ]  # fmt: skip
    if not _may(SYS_RESOURCE):
        command += ["--add-runtime", f"nocap={NODE / 'runc-nocap'}", "--default-runtime", "nocap"]
    asked = {
        "command": command,
        "log": str(log),
        "doors": [door.fileno() for door in doors],
        "gently": data is not None,
    }
    process = subprocess.Popen(
        ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", sys.executable, "-m", "tests.e2e.harness.inside",
         json.dumps(asked)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=[door.fileno() for door in doors],
    )  # fmt: skip
    try:
        answer = apart.hear(process, START_S)
        if "ready" not in answer:
            raise CannotMakeError(f"no Docker daemon: {answer.get('failed')}")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield Engine({**os.environ, "DOCKER_HOST": f"unix://{address}"}, int(children[0]))
    finally:
        apart.end(process, STOP_S)
        for path in (state, *(() if data else (kept,))):
            shutil.rmtree(path, ignore_errors=True)
        _remove_groups(group)


def _may(capability: int) -> bool:
    """Whether processes here may be given a capability."""
    lines = Path("/proc/self/status").read_text().splitlines()
    [bounding] = [line.split()[1] for line in lines if line.startswith("CapBnd:")]
    return bool(int(bounding, 16) >> capability & 1)


def _remove_groups(name: str) -> None:
    """The daemon's control groups, which no namespace ends. The kernel takes a moment to empty them."""
    deadline = time.monotonic() + 5.0
    left = True
    while left and time.monotonic() < deadline:
        left = False
        for top in [CGROUPS / name, *CGROUPS.glob(f"*/{name}")]:
            for folder, _, _ in os.walk(top, topdown=False):
                try:
                    os.rmdir(folder)
                except FileNotFoundError:
                    continue
                except OSError:
                    left = True
        if left:
            time.sleep(0.05)
