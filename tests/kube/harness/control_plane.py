"""Starts a control plane in namespaces of its own, and stops it: `with control_plane(folder) as kube`."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.kube.harness import audit, build
from tests.kube.harness.certificates import Authority, service_account_keys
from tests.kube.harness.inside import ADVERTISED, PORTS
from tests.support import apart, kubeconfigs

ROOT = Path(__file__).resolve().parents[3]
#: Ten seconds on a quiet machine; this is for one where eight other things run.
START_S = 180.0
ANSWER_S = 120.0
STOP_S = 30.0

PARTS = ("etcd", "apiserver", "controllers", "scheduler")

#: Who asked what, and how it ended; never what was said, as that may be a Secret.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


def what_is_missing() -> str:
    """Why no control plane can be started here; empty if one can."""
    if sys.platform != "linux":
        return "it needs Linux"
    for program in ("unshare", "ip", "mount"):
        if shutil.which(program) is None:
            return f"`{program}` is not installed"
    if os.geteuid() != 0:
        return "making namespaces needs root"
    if build.binary().exists():
        return ""
    return build.what_is_missing() or f"{build.binary()} has not been built: run ./dev kube"


class ControlPlaneError(Exception):
    """It did not start, or did not do what was asked; the text says which part and the end of its log."""


class ControlPlane:
    """A running one.

    Attributes:
        folder: Certificates, kubeconfigs and `log/`.
        server: The API server's address for whoever is outside.
        kubeconfig: Of an administrator.
    """

    def __init__(self, folder: Path, server: str, authority: Authority, process: subprocess.Popen[str]) -> None:
        self.folder, self.server = folder, server
        self._authority, self._process = authority, process
        self.kubeconfig = self.kubeconfig_of("admin", groups=["system:masters"])

    @property
    def pid(self) -> int:
        """The process outside of the namespaces whose end is the end of all."""
        return self._process.pid

    def kubeconfig_of(self, user: str, *, groups: Sequence[str] = (), server: str = "") -> Path:
        """A kubeconfig of a user that needs no making: their roles alone decide what they may.

        Args:
            user: Their name for Kubernetes.
            groups: Their groups.
            server: Another address than the API server's, such as a proxy's before it.
        """
        name = user.replace(":", "-").replace("/", "-")
        certificate, key = self._authority.identity(name, user, groups)
        path = self.folder / f"{name}.conf"
        return write_kubeconfig(path, server or self.server, self._authority.certificate, certificate, key)

    @property
    def authority(self) -> Path:
        """The certificate with which the API server's own is verified."""
        return self._authority.certificate

    def certificate_of(self, kubeconfig: Path) -> tuple[Path, Path]:
        """The certificate and key of the user of a kubeconfig that `kubeconfig_of` made."""
        return self.folder / "pki" / f"{kubeconfig.stem}.crt", self.folder / "pki" / f"{kubeconfig.stem}.key"

    def start(self, part: str) -> None:
        """Start a part that was stopped; returns when it is healthy."""
        self._ask("start", part)

    def stop(self, part: str) -> None:
        """Kill a part."""
        self._ask("stop", part)

    def pause(self, part: str) -> None:
        """Let a part answer nothing any more, with its connections open."""
        self._ask("pause", part)

    def resume(self, part: str) -> None:
        """Let a paused part go on."""
        self._ask("resume", part)

    def audit(self) -> list[audit.Call]:
        """Every request that the API server has answered so far, oldest first."""
        return audit.read(self.folder / "log" / "audit.log")

    def _ask(self, do: str, part: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, "part": part}) + "\n")
        self._process.stdin.flush()
        answer = apart.hear(self._process, ANSWER_S)
        if "done" not in answer:
            raise ControlPlaneError(f"cannot {do} {part}: {answer.get('error') or answer.get('failed')}")


@contextmanager
def control_plane(folder: Path) -> Iterator[ControlPlane]:
    """Have one for a block: ready when it begins; when it ends, no process, mount or address of it is left.

    Args:
        folder: Empty or absent; it stays, for its logs.

    Raises:
        ControlPlaneError: It did not start.
        CannotBuildError: There is no binary.
    """
    program = build.build()
    authority = _write_files(folder)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        server = f"https://127.0.0.1:{listening.getsockname()[1]}"
        process = subprocess.Popen(
            ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", sys.executable, "-m",
             "tests.kube.harness.inside", str(folder), str(program), str(listening.fileno())],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=[listening.fileno()],
        )  # fmt: skip
    try:
        answer = apart.hear(process, START_S)
        if "ready" not in answer:
            raise ControlPlaneError(f"the control plane did not start: {answer.get('failed')}")
        yield ControlPlane(folder, server, authority, process)
    finally:
        apart.end(process, STOP_S)


def _write_files(folder: Path) -> Authority:
    for name in ("pki", "log", "etcd"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    authority = Authority(folder / "pki")
    service_account_keys(folder / "pki")
    names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "127.0.0.1",
        "10.96.0.1",
        ADVERTISED,
    ]
    authority.identity("apiserver", "kube-apiserver", (), names)
    inner = f"https://127.0.0.1:{PORTS['apiserver']}"
    users = {
        "admin": ("admin", ["system:masters"]),
        "controllers": ("system:kube-controller-manager", []),
        "scheduler": ("system:kube-scheduler", []),
    }
    for name, (user, groups) in users.items():
        write_kubeconfig(folder / f"{name}.conf", inner, authority.certificate, *authority.identity(name, user, groups))
    (folder / "audit-policy.json").write_text(json.dumps(AUDIT_POLICY))
    return authority


def write_kubeconfig(path: Path, server: str, authority: Path, certificate: Path, key: Path) -> Path:
    """One user at one server, everything in the file itself. JSON, which is YAML too."""

    def content(file: Path) -> str:
        return base64.b64encode(file.read_bytes()).decode()

    return kubeconfigs.write_kubeconfig(
        path,
        {"server": server, "certificate-authority-data": content(authority)},
        {"client-certificate-data": content(certificate), "client-key-data": content(key)},
    )
