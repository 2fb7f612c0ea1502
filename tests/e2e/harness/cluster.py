"""A Kubernetes with nodes and the project's images on them: `with cluster(folder) as kubernetes`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import selectors
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.harness import images, kept, node_image, programs, ways
from tests.e2e.harness.engine import Engine, engine
from tests.e2e.harness.images import Images
from tests.e2e.harness.kept import CannotMakeError
from tests.e2e.harness.ways import Way

ROOT = Path(__file__).resolve().parents[3]
CONFIG = ROOT / "kind-config.yaml"
CREATE_S = 600.0
FORWARD_S = 30.0


class CommandError(Exception):
    """A command did not do what was asked; the text has the command and what it said."""


class Cluster:
    """A running one.

    Attributes:
        kubeconfig: Of an administrator; works outside of whatever the cluster runs in.
        images: What is on the nodes.
        folder: For files of whoever uses it.
        kind: Its name for kind; empty for one that was given.
        engine: Where its nodes are containers; None for one that was given.
        kubectl_path: A kubectl of about its version.
    """

    def __init__(self, kubeconfig: Path, folder: Path, kind: str = "", docker: Engine | None = None) -> None:
        self.kubeconfig, self.folder, self.kind, self.engine = kubeconfig, folder, kind, docker
        self.images = Images()
        self.environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        # Another machine's kubectl may be years older than the cluster.
        ours = programs.COMPONENTS.path.exists()
        self.kubectl_path = str(programs.kubectl() if ours else shutil.which("kubectl") or "kubectl")

    def run(
        self,
        *command: str | Path,
        given: str | None = None,
        timeout_s: float = 120.0,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Run a program that finds the cluster by KUBECONFIG; what it printed.

        Raises:
            CommandError: It failed.
        """
        done = subprocess.run(
            [str(word) for word in command], input=given, capture_output=True, text=True, timeout=timeout_s, check=False,
            env={**self.environment, **(environment or {})},
        )  # fmt: skip
        if done.returncode:
            words = " ".join(map(str, command))
            raise CommandError(
                f"`{words}` ended with status {done.returncode}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
            )
        return done.stdout

    def kubectl(self, *arguments: str | Path, given: str | None = None, timeout_s: float = 120.0) -> str:
        """Run kubectl; what it printed."""
        return self.run(self.kubectl_path, *arguments, given=given, timeout_s=timeout_s)

    def get(self, *what: str, namespace: str = "default") -> Any:
        """Objects as values: one, or a list's items where `what` names a kind alone or a selector."""
        found = json.loads(self.kubectl("--namespace", namespace, "get", *what, "--output", "json"))
        return found["items"] if found["kind"].endswith("List") else found

    def apply(self, *manifests: Mapping[str, Any]) -> None:
        """Create or change objects."""
        self.kubectl("apply", "--filename", "-", given=yaml.safe_dump_all(manifests))

    def wait(self, what: str, condition: str, *, namespace: str = "default", timeout_s: float = 120.0) -> None:
        """`kubectl wait`: a condition such as "condition=Ready", of an object that exists or will."""
        arguments = ["wait", f"--for={condition}", what, "--timeout", f"{timeout_s:g}s"]
        self.kubectl("--namespace", namespace, *arguments, timeout_s=timeout_s + 10)

    def logs(self, pod: str, *arguments: str, namespace: str = "default") -> str:
        """What a pod has printed."""
        return self.kubectl("--namespace", namespace, "logs", pod, *arguments)

    @contextlib.contextmanager
    def namespace(self, prefix: str = "e2e", *, restricted: bool = True) -> Iterator[str]:
        """A namespace for a block, with the restricted standard enforced."""
        name = f"{prefix}-{secrets.token_hex(3)}"
        labels = {"pod-security.kubernetes.io/enforce": "restricted"} if restricted else {}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        try:
            yield name
        finally:
            self.kubectl("delete", "namespace", name, "--wait=false")

    @contextlib.contextmanager
    def forwarded(self, what: str, port: int, *, namespace: str = "default") -> Iterator[int]:
        """`kubectl port-forward` for a block; the local port."""
        command = [self.kubectl_path, "--namespace", namespace, "port-forward", what, f":{port}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self.environment) as process:
            try:
                assert process.stdout is not None
                with selectors.DefaultSelector() as selector:
                    selector.register(process.stdout, selectors.EVENT_READ)
                    line = process.stdout.readline() if selector.select(FORWARD_S) else ""
                found = re.search(r"127\.0\.0\.1:(\d+)", line)
                if not found:
                    raise CommandError(f"`{' '.join(command)}` forwards nothing: {line}")
                yield int(found[1])
            finally:
                process.kill()

    # --- nodes; only where they are containers ---

    def nodes(self) -> list[str]:
        """Names of the workers' nodes."""
        selector = "!node-role.kubernetes.io/control-plane"
        return sorted(node["metadata"]["name"] for node in self.get("nodes", "--selector", selector))

    def load(self, archive: Path) -> None:
        """Put images on the nodes that take pods."""
        assert self.engine is not None
        began = time.monotonic()
        command: list[str | Path] = [
            programs.have(programs.KIND),
            "load",
            "image-archive",
            archive,
            "--name",
            self.kind,
            "--nodes",
            ",".join(self.nodes()),
        ]
        self.run(*command, timeout_s=CREATE_S, environment=self.engine.settings)
        kept.say(f"images are on the nodes after {time.monotonic() - began:.0f} s")

    def image_with_packages(self) -> str:
        """The name of the image that has pandas and scikit-learn too: put on the nodes, unless they are somebody else's."""
        taken = ways.way()
        if taken is Way.APART:
            self.load(images.have_packages_archive())
        elif taken is Way.REGISTRY:
            assert self.engine is not None
            kind = shutil.which("kind") or programs.have(programs.KIND)
            name = images.build_packages_with_registry(self.engine)
            self.run(kind, "load", "docker-image", name, "--name", self.kind, timeout_s=CREATE_S)
        return images.WITH_PACKAGES

    def on_node(self, node: str, *command: str) -> str:
        """Run a program on a node."""
        assert self.engine is not None
        return self.engine.docker("exec", node, *command)


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Have one for a block, with the images on its nodes; when it ends, nothing of it is left, unless it was given.

    Args:
        folder: A short path; files of the cluster, and logs.

    Raises:
        CannotMakeError: Something is missing or failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    taken = ways.way()
    if missing := ways.what_is_missing(taken):
        raise CannotMakeError(missing)
    kept.say(f"a cluster by way of {taken.value}")
    if taken is Way.GIVEN:
        yield _given(Path(os.environ[ways.GIVEN]).resolve(), folder)
    elif taken is Way.REGISTRY:
        docker = Engine(os.environ)
        kind = shutil.which("kind") or programs.have(programs.KIND)
        built = images.build_with_registry(docker)
        with _kind_cluster(docker, Path(kind), folder, []) as running:
            running.run(
                kind, "load", "docker-image", built.runtime, built.operator, "--name", running.kind, timeout_s=CREATE_S
            )
            yield running
    else:
        archive = images.have_archive()
        node = node_image.have()
        # Whoever connects to this port outside reaches the same port inside, where kind has the API server listen.
        with socket.create_server(("127.0.0.1", 0), backlog=1024) as door, engine(folder / "e", doors=[door]) as docker:
            docker.docker("load", "--quiet", "--input", node, timeout_s=CREATE_S)
            more = ["--image", node_image.NAME]
            kind = programs.have(programs.KIND)
            with _kind_cluster(docker, kind, folder, more, door.getsockname()[1]) as running:
                running.load(archive)
                yield running


def _given(kubeconfig: Path, folder: Path) -> Cluster:
    """One that is there already. If it is kind's, on the Docker that DOCKER_HOST says, its nodes can be reached."""
    found = Cluster(kubeconfig, folder)
    context = found.kubectl("config", "current-context").strip()
    containers = subprocess.run(
        ["docker", "ps", "--quiet", "--filter", f"label=io.x-k8s.kind.cluster={context.removeprefix('kind-')}"],
        capture_output=True, check=False,
    ) if shutil.which("docker") else None  # fmt: skip
    if containers is not None and containers.stdout.strip():
        found.engine, found.kind = Engine(os.environ), context.removeprefix("kind-")
    return found


@contextlib.contextmanager
def _kind_cluster(docker: Engine, kind: Path, folder: Path, more: Sequence[str], port: int = 0) -> Iterator[Cluster]:
    name = f"manta-{secrets.token_hex(3)}"
    kubeconfig, config = folder / "kubeconfig", folder / "kind.yaml"
    content = yaml.safe_load(CONFIG.read_text())
    if port:
        content["networking"] = {**content.get("networking", {}), "apiServerPort": port}
    config.write_text(yaml.safe_dump(content))
    began = time.monotonic()
    create = [
        "create",
        "cluster",
        "--name",
        name,
        "--config",
        str(config),
        "--kubeconfig",
        str(kubeconfig),
        "--wait",
        "300s",
    ]
    running = Cluster(kubeconfig, folder, name, docker)
    try:
        running.run(kind, *create, *more, timeout_s=CREATE_S, environment=docker.settings)
        kubeconfig.chmod(0o600)
        running.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=120s")
        kept.say(f"kind made {name} in {time.monotonic() - began:.0f} s")
        yield running
    finally:
        if not docker.pid:  # one of our own ends with everything in it
            running.run(kind, "delete", "cluster", "--name", name, timeout_s=CREATE_S)
