"""The Go programs of a cluster by kind: kind itself, what runs on its nodes, and kubectl."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.e2e.harness.kept import CannotMakeError
from tests.support.gotools import CannotBuildError, GoProgram, say_aloud

NODE = Path(__file__).resolve().parent / "node"


def _kubernetes_version(program: GoProgram) -> Mapping[str, str]:
    """Kubernetes takes its own version from the linker."""
    names = "k8s.io/component-base/version"
    major, minor, _ = program.version.split(".")
    texts = {"gitVersion": f"v{program.version}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return {f"{names}.{name}": text for name, text in texts.items()}


KIND = GoProgram("kind", NODE / "kind", "sigs.k8s.io/kind", "sigs.k8s.io/kind", "kind")
#: One binary whose parts are told apart by the name it is called by.
COMPONENTS = GoProgram(
    "kind-components",
    NODE / "components",
    "k8s.io/kubernetes",
    ".",
    "kubeadm, kubelet, kubectl, kube-proxy, etcd and the control plane, about seven minutes on two quiet cores",
    _kubernetes_version,
)
COREDNS = GoProgram("kind-coredns", NODE / "coredns", "github.com/coredns/coredns", ".", "CoreDNS")
LOCAL_PATH = GoProgram(
    "kind-local-path",
    NODE / "localpath",
    "github.com/rancher/local-path-provisioner",
    "github.com/rancher/local-path-provisioner",
    "the provisioner of volumes",
)
#: Ours, of the standard library alone.
KINDNETD = GoProgram("kind-kindnetd", NODE / "kindnetd", "", ".", "the stand-in for kind's network daemon")
PAUSE = GoProgram("kind-pause", NODE / "pause", "", ".", "what holds a pod's namespaces open")
ON_NODES = (COMPONENTS, COREDNS, LOCAL_PATH, KINDNETD, PAUSE)

KUBERNETES = COMPONENTS.version


def have(program: GoProgram) -> Path:
    """Build it, unless it is there.

    Raises:
        CannotMakeError: There is no Go, or it failed.
    """
    try:
        return program.build(say_aloud)
    except CannotBuildError as error:
        raise CannotMakeError(str(error)) from error


def kubectl() -> Path:
    """A kubectl of the nodes' version: another name for COMPONENTS."""
    components = have(COMPONENTS)
    folder = components.with_name(f"{components.name}-bin")
    folder.mkdir(exist_ok=True)
    link = folder / "kubectl"
    with contextlib.suppress(FileExistsError):
        link.symlink_to(components)
    return link


def source_of(module: str) -> Path:
    """Where the sources of `path@version` are, downloaded and verified by Go's checksum database."""
    done = subprocess.run(["go", "mod", "download", "-json", module], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise CannotMakeError(f"cannot download {module}: {done.stdout}")
    return Path(json.loads(done.stdout)["Dir"])
