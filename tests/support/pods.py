"""Pods without Kubernetes: containers as processes with PID, mount and network namespaces as a kubelet gives them.

The containers of a pod share its network and the folders that are mounted into several of them; each has process ids of its own,
beginning with its PID 1, and a private folder of its own under the same path. It needs root, `unshare`, `ip` and `ss`; elsewhere
tests are skipped and say so, but never in CI.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from manta.transport import credentials
from manta.transport.auth import write_private
from tests.support import netns, waiting
from tests.support.netns import Host

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
#: How long anything may take: two pods are a dozen processes that start at once.
START_S = 60.0
#: Ports of health and metrics.
PORTS = {"raylet": 8090, "control": 8091, "gateway": 8092, "dashboard": 8093}
DOORS = ("control", "gateway", "dashboard", "raylet")
_CLONE_NEWNET = 0x40000000
#: Mounts what is this container's alone over the folder that has its place, and becomes the program.
_MOUNT = 'mount -t tmpfs -o mode=1777 none "$1" && mount -t tmpfs -o mode=1777 none "$2" && shift 2 && exec "$@"'


wait_until = partial(waiting.wait_until, timeout_s=START_S)


def need_pods() -> None:
    """Skip the test where there can be no pods; in CI fail it."""
    netns.need_hosts()
    tried = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount", "--mount-proc", "true"], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        import pytest

        why = f"PID and mount namespaces cannot be made here: {tried.stderr.strip()}"
        if os.environ.get("CI"):
            pytest.fail(f"CI must not go without: {why}")
        pytest.skip(why)


class Secret:
    """A mounted Secret, as the kubelet lays it out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._number = 0
        folder.mkdir()

    def fill(self, files: Mapping[str, bytes]) -> None:
        """Swap all files at once."""
        self._number += 1
        data = self.folder / f"..{self._number}"
        data.mkdir()
        for name, content in files.items():
            (data / name).write_bytes(content)
            (data / name).chmod(0o644)
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        beside = self.folder / "..data_tmp"
        beside.symlink_to(data.name)
        beside.rename(self.folder / "..data")


class Container:
    """One running container."""

    def __init__(self, pod: Pod, role: str, secret: Secret) -> None:
        self.pod, self.role = pod, role
        self._secret = secret
        self.output = pod.folder / f"{role}.log"
        #: How many were started.
        self.starts = 0
        self.start()

    def start(self) -> None:
        """Start it, as the kubelet does again when it has ended."""
        self.starts += 1
        pod = self.pod
        words = [
            "unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc",
            "sh", "-c", _MOUNT, "sh", str(pod.private), str(pod.tmp),
            sys.executable, "-m", "manta.pod", self.role, "--secret", str(self._secret.folder),
            "--private", str(pod.private), "--run", str(pod.run), "--state", str(pod.state), "--tmp", str(pod.tmp),
        ]  # fmt: skip
        environment = {**os.environ, **pod.environment, "PYTHONPATH": f"{ROOT / 'runtime'}:{ROOT}"}
        for name in ("MANTA_TMPDIR", "RAY_TMPDIR"):
            environment.pop(name, None)
        if self.role != "control":
            environment["MANTA_TMPDIR"] = str(pod.run)  # as the operator says it
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                pod.host.command(words), stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=environment
            )

    @property
    def first(self) -> int:
        """Its PID 1, by the number it has outside."""

        def found() -> list[int]:
            return children(self.process.pid)

        return wait_until(found, what="the container's first process")[0]

    def server(self) -> int:
        """The process of its server."""
        module = f"manta.{self.role}"
        return wait_until(
            lambda: next((pid for pid in children(self.first) if module in words_of(pid)), 0), what=f"{module} to start"
        )

    def copy(self, name: str) -> bytes:
        """A file of the container's own copies of its Secret."""
        folder = f"/proc/{self.first}/root{self.pod.private}/manta-{os.getuid()}/credentials"
        return Path(folder, name).read_bytes()

    def signal(self, number: signal.Signals) -> None:
        """As the kubelet: to PID 1."""
        os.kill(self.first, number)

    def wait(self, timeout_s: float = START_S) -> int:
        """Its exit code."""
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """All of it at once, as when it runs out of memory."""
        self.signal(signal.SIGKILL)
        self.wait()

    def ask(self, path: str, token: str = "") -> tuple[int, str]:
        """Its health and metrics, asked from outside of the pod's network; 0 where nobody listens."""
        return ask_from(self.pod.host, self.pod.host.address, PORTS[self.role], path, token)

    def exec(self, *words: str) -> subprocess.CompletedProcess[str]:
        """As `kubectl exec`: in the container, with the variables that its spec has, which are its first process's."""
        said = Path(f"/proc/{self.first}/environ").read_bytes().split(b"\0")
        environment = dict(os.fsdecode(entry).split("=", 1) for entry in said if entry)
        return subprocess.run(
            ["nsenter", "--target", str(self.first), "--all", *words],
            capture_output=True, text=True, timeout=START_S, check=False, env=environment,
        )  # fmt: skip

    def ready(self) -> bool:
        return self.ask("/readyz")[0] == 200

    def log(self) -> str:
        return self.output.read_text(errors="replace")


class Pod:
    """Some containers on one network, with volumes that they share."""

    def __init__(self, host: Host, folder: Path, name: str, environment: Mapping[str, str]) -> None:
        self.host, self.folder, self.name = host, folder, name
        self.run, self.private = folder / "run", folder / "private"
        self.state, self.tmp = folder / "state", folder / "tmp"
        for path in (self.run, self.private, self.state, self.tmp):
            path.mkdir(parents=True)
        self.environment = {
            "MANTA_POD_NAME": name, "MANTA_POD_UID": f"uid-of-{name}", "MANTA_POD_IP": host.address,
            "MANTA_POD_NAMESPACE": "default", "MANTA_CLUSTER_NAME": "demo", **environment,
        }  # fmt: skip
        self.containers: dict[str, Container] = {}

    @property
    def session(self) -> Path:
        """The folder that its containers share."""
        return self.run / f"manta-{os.getuid()}" / "demo"

    def start(self, role: str, secret: Secret) -> Container:
        """Start a container."""
        self.containers[role] = found = Container(self, role, secret)
        return found

    def signal(self, number: signal.Signals) -> None:
        """All containers at once, as when the pod is deleted."""
        for container in self.containers.values():
            container.signal(number)

    def close(self) -> None:
        for container in self.containers.values():
            if container.process.poll() is None:
                with contextlib.suppress(AssertionError, OSError):
                    container.kill()
                container.process.kill()
                container.process.wait(START_S)
        shutil.rmtree(self.folder)


class Cluster:
    """A head pod of four containers and a worker pod, with the Secrets that an operator would make."""

    def __init__(self, head: Host, worker: Host, folder: Path, **more: str) -> None:
        self.folder = folder
        self.made = folder / "made"
        credentials.make(str(self.made), "c1", names=(head.address,))
        self.secrets = {name: Secret(folder / f"secret-{name}") for name in ("head", "join")}
        self.publish()
        sizes = {
            "MANTA_NODE_CPUS": "2", "MANTA_NODE_MEMORY": str(400 * MIB), "MANTA_OBJECT_STORE_BYTES": str(80 * MIB),
            "MANTA_DRAIN_GRACE": "20", **more,
        }  # fmt: skip
        self.head = Pod(
            head, folder / "head", "demo-head", {"MANTA_GROUP": "head", "MANTA_CONTROL": "127.0.0.1:7600", **sizes}
        )
        self.worker = Pod(
            worker,
            folder / "worker",
            "demo-cpu-0",
            {
                "MANTA_GROUP": "cpu",
                "MANTA_CONTROL": f"{head.address}:7600",
                "MANTA_NODE_RESOURCES": '{"far": 10}',
                **sizes,
            },
        )

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.made.iterdir() if path.name != "ca.key"}

    def publish(self) -> None:
        """Put what is in `made` into the Secrets."""
        files = self.files()
        viewers = b"".join(line for line in files["tokens"].splitlines(keepends=True) if line.startswith(b"viewer"))
        self.secrets["head"].fill(files)
        names = ("ca.crt", "cluster", "worker.crt", "worker.key", "join.token")
        self.secrets["join"].fill({**{name: files[name] for name in names}, "tokens": viewers})

    def republish(self) -> None:
        """Swap the Secrets, and wait until every container has its copies of the new ones."""
        self.publish()
        names = ("ca.crt", "worker.crt", "join.token")
        wanted = [self.files()[name] for name in names]
        for container in self.containers():
            wait_until(partial(_has, container, names, wanted), what=f"{container.role}'s copies")

    def token(self, role: str) -> str:
        lines = (self.made / "tokens").read_text().splitlines()
        return next(line.split()[1] for line in lines if line.startswith(role))

    def start(self, *roles: str, worker: bool = True) -> None:
        """Start the containers; all of the head's unless some are named."""
        for role in roles or DOORS:
            self.head.start(role, self.secrets["join" if role == "raylet" else "head"])
        if worker:
            self.worker.start("raylet", self.secrets["join"])

    def wait_ready(self) -> None:
        for container in self.containers():
            what = f"{container.pod.name}/{container.role} to be ready"
            wait_until(partial(_is_ready, container), what=what)

    def containers(self) -> list[Container]:
        return [*self.head.containers.values(), *self.worker.containers.values()]

    def driver(self, code: str, **more: str) -> list[str]:
        """Command line of a driver outside that runs `code`, from another machine."""
        environment = {
            "MANTA_ADDRESS": f"manta://{self.head.host.address}:7620", "MANTA_TOKEN": self.token("submitter"),
            "MANTA_CA_FILE": str(self.made / "ca.crt"), "PYTHONPATH": f"{ROOT / 'runtime'}:{ROOT}", **more,
        }  # fmt: skip
        words = ["env", *(f"{name}={text}" for name, text in environment.items() if text)]
        return self.worker.host.command([*words, sys.executable, "-c", code])

    def rest(self, method: str, path: str, body: Any = None, role: str = "admin") -> tuple[int, Any]:
        """A request to the dashboard."""
        words = [
            "curl", "-sS", "--cacert", str(self.made / "ca.crt"), "-X", method, "-w", "\n%{http_code}",
            "-H", f"Authorization: Bearer {self.token(role)}", f"https://{self.head.host.address}:8265{path}",
            *(["-H", "Content-Type: application/json", "-d", json.dumps(body)] if body is not None else []),
        ]  # fmt: skip
        done = self.head.host.run(words)
        text, _, status = done.stdout.rpartition("\n")
        return int(status or 0), (json.loads(text) if text.startswith(("{", "[")) else text or done.stderr)

    def close(self) -> None:
        self.worker.close()
        self.head.close()
        for secret in self.secrets.values():
            shutil.rmtree(secret.folder)
        shutil.rmtree(self.made)


def _is_ready(container: Container) -> bool:
    code = container.process.poll()
    assert code is None, f"{container.pod.name}/{container.role} ended with {code}: {container.log()}"
    return container.ready()


def _has(container: Container, names: Sequence[str], wanted: Sequence[bytes]) -> bool:
    return [container.copy(name) for name in names] == wanted


@contextlib.contextmanager
def cluster(folder: Path, **more: str) -> Iterator[Cluster]:
    """A cluster of two pods, not started yet."""
    need_pods()
    hosts = folder / "hosts"
    hosts.mkdir()
    with netns.hosts(2, hosts) as (head, worker):
        made = Cluster(head, worker, folder / "c", **more)
        try:
            yield made
        finally:
            made.close()
    shutil.rmtree(hosts)
    shutil.rmtree(folder / "c")


def ask_from(
    host: Host, address: str, port: int, path: str, token: str = "", *, method: str = "GET"
) -> tuple[int, str]:
    """One HTTP request made within a host; status 0 where nobody listens."""
    connection = http.client.HTTPConnection(address, port, timeout=10)
    try:
        connection.sock = connected(host, address, port)
        connection.request(method, path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def connected(host: Host, address: str, port: int) -> socket.socket:
    """A connection that begins in a host's network. A socket stays where it was made; this thread goes back at once."""
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(host.namespace, os.O_RDONLY)
    try:
        _setns(there)
        try:
            return socket.create_connection((address, port), 10)
        finally:
            _setns(here)
    finally:
        os.close(here)
        os.close(there)


def _setns(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def children(pid: int) -> list[int]:
    """Children of a process."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def words_of(pid: int) -> list[str]:
    """A process's command line."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def private_file(path: Path, text: str) -> str:
    """A file for its owner alone; its path."""
    write_private(str(path), text.encode())
    return str(path)
