"""Which of the ways to a cluster there are here: one that is given, kind with a registry, kind from our own node image."""

from __future__ import annotations

import enum
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from tests.e2e.harness import engine, images, node_image, programs
from tests.e2e.harness.debian import what_is_missing as no_debian
from tests.e2e.harness.kept import path_of

#: Names a kubeconfig of a cluster to use; its nodes have the images named below, or can pull them.
GIVEN = "MANTA_E2E_KUBECONFIG"
#: "registry" or "apart" takes that way, whatever else there is.
CHOSEN = "MANTA_E2E_KIND"
REGISTRY = "https://registry-1.docker.io/v2/"


class Way(enum.Enum):
    """How a cluster is come by."""

    GIVEN = "the cluster of MANTA_E2E_KUBECONFIG"
    REGISTRY = "kind, on this machine's Docker"
    APART = "kind, on a Docker daemon and a node image of our own"


def way() -> Way:
    """The one that is taken."""
    if os.environ.get(GIVEN):
        return Way.GIVEN
    chosen = os.environ.get(CHOSEN)
    if chosen in {"registry", "apart"}:
        return Way.REGISTRY if chosen == "registry" else Way.APART
    return Way.REGISTRY if _engine_runs() and _registry_answers() else Way.APART


def what_is_missing(taken: Way, *, may_build: bool = True) -> str:
    """Why there can be no cluster that way; empty if there can.

    Args:
        taken: The way.
        may_build: Whether things that take many minutes may be built now; they are by `./dev kind`.
    """
    if taken is Way.GIVEN:
        path = Path(os.environ[GIVEN])
        return "" if path.exists() else f"{GIVEN} names {path}, and there is no such file"
    if taken is Way.REGISTRY:
        if not programs.KIND.path.exists() and shutil.which("kind") is None and shutil.which("go") is None:
            return "kind is not installed, nor Go to build it"
        return ""
    built = path_of("kind-node", node_image.key()).exists()
    if not built and not may_build:
        return "kind's node image has not been built: run ./dev kind"
    missing = engine.what_is_missing() or images.what_is_missing()
    if not missing and not built:
        missing = no_debian()
        if shutil.which("go") is None:
            missing = "Go is not installed (Debian, Ubuntu: apt install golang)"
    return missing


def _engine_runs() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "version"], capture_output=True, check=False).returncode == 0


def _registry_answers() -> bool:
    try:
        with urllib.request.urlopen(REGISTRY, timeout=5) as answer:
            return bool(answer.status)
    except urllib.error.HTTPError as error:
        return error.code == 401  # "who are you?": it is there
    except OSError:
        return False
