"""The pages of docs/kubernetes, typed as they stand and in their order: install, watch, change, look for trouble, uninstall.

Comes first of all modules, as no operator is there yet. What is not as on the page: the Python minor version and the sizes, which
are this run's, and stand-ins for the Prometheus operator's definitions.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.charts import documents, monitoring
from tests.charts.programs import helm
from tests.e2e.harness.cluster import Cluster
from tests.e2e.harness.images import PYTHON
from tests.e2e.support.charts import SMALL
from tests.support.gotools import say_aloud
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
#: What pages say of a version that a reader chooses.
SHOWN = "3.12"
BLOCK_S = 900.0

#: In place of helm: its words, and this run's values for what is installed.
HELM = """#!/bin/sh
case "$1 $*" in
  "install "*charts/manta-cluster*) exec {helm} "$@" --values {folder}/small.yaml ;;
  "install "*charts/manta-operator*) exec {helm} "$@" --set image.python={python} ;;
  *) exec {helm} "$@" ;;
esac
"""


class Reader:
    """Somebody who types what the pages say, in a folder of their own that looks like a checkout."""

    def __init__(self, kubernetes: Cluster, folder: Path) -> None:
        self._folder = folder
        (folder / "charts").symlink_to(ROOT / "charts")
        shutil.copytree(ROOT / "examples/kubernetes", folder / "examples/kubernetes")
        for example in (folder / "examples/kubernetes").iterdir():
            example.write_text(example.read_text().replace(f"-py{SHOWN}", f"-py{PYTHON}"))
        (folder / "small.yaml").write_text(yaml.safe_dump(_plain(SMALL)))
        self._programs(kubernetes)
        path = os.pathsep.join((str(ROOT / "runtime"), str(ROOT)))
        programs = f"{folder}/bin{os.pathsep}{os.environ['PATH']}"
        self._environment = {
            **kubernetes.environment,
            "PATH": programs,
            "PYTHONPATH": path,
            "HELM_CACHE_HOME": f"{folder}/helm",
        }

    def _programs(self, kubernetes: Cluster) -> None:
        programs = self._folder / "bin"
        programs.mkdir()
        (programs / "kubectl").symlink_to(kubernetes.kubectl_path)
        (programs / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (programs / "helm").write_text(HELM.format(helm=helm(say_aloud), folder=self._folder, python=PYTHON))
        for name in ("python", "helm"):
            (programs / name).chmod(0o755)

    def types(self, page: str) -> str:
        """A page's blocks, each by a shell that stops at the first command that fails; what they print."""
        printed = ""
        for block in documents.blocks(page):
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block.replace(f"image.python={SHOWN}", f"image.python={PYTHON}")],
                cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=BLOCK_S, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{page}:\n{block}\n{done.stdout}{done.stderr}"
            printed += done.stdout
        return printed


def _plain(values):
    """Without what is not the sizes' business: a page's own words decide how many workers there are."""
    plain = yaml.safe_load(yaml.safe_dump(values))
    for group in plain["workerGroups"].values():
        del group["replicas"]
    return plain


@pytest.fixture(scope="module")
def reader(kubernetes: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    definitions = monitoring.definitions()
    kubernetes.apply(*definitions)
    try:
        yield Reader(kubernetes, tmp_path_factory.mktemp("reader"))
    finally:
        kubernetes.kubectl("delete", "crd", *(one["metadata"]["name"] for one in definitions), "--ignore-not-found")
        kubernetes.kubectl("delete", "job/driver", "role/manta-driver", "--ignore-not-found")


def test_the_pages_work_as_they_stand(kubernetes: Cluster, reader: Reader):
    """From nothing to a result, and back to nothing."""
    printed = reader.types("install.md")
    assert "[0, 1, 4, 9, 16, 25, 36, 49]" in printed, "the Job's driver got its result"
    assert "'CPU'" in printed, "the driver on this machine has seen the cluster"

    assert "'CPU'" in reader.types("connect.md")

    printed = reader.types("monitoring.md")
    assert "manta-operator-dashboard-cluster" in printed
    assert kubernetes.get("podmonitor", "demo")["spec"]["podMetricsEndpoints"]

    reader.types("upgrade.md")
    wait_until(lambda: _ready_workers(kubernetes) == "3/3", timeout_s=300, what="three workers are ready")
    reader.types("security.md")
    printed = reader.types("troubleshooting.md")
    assert "Available" in printed
    wait_until(lambda: _ready_workers(kubernetes) == "3/3", timeout_s=300, what="three workers are ready")

    reader.types("uninstall.md")
    kinds = kubernetes.kubectl("api-resources", "--output=name")
    assert "manta.compute" not in kinds
    wait_until(lambda: not _pods(kubernetes), timeout_s=180, what="no pod is left")


def _ready_workers(kubernetes: Cluster) -> str:
    return str(kubernetes.get("mantacluster", "demo").get("status", {}).get("workers"))


def _pods(kubernetes: Cluster) -> list[str]:
    return [pod["metadata"]["name"] for pod in kubernetes.get("pods", "--selector", "manta.compute/cluster=demo")]
