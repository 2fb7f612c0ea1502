"""The two charts, installed by Helm as the documents say."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.harness.cluster import Cluster
from tests.e2e.harness.images import PYTHON
from tests.support.gotools import say_aloud

ROOT = Path(__file__).resolve().parents[3]
OPERATOR = ROOT / "charts" / "manta-operator"
CLUSTER = ROOT / "charts" / "manta-cluster"
SYSTEM = "manta-system"

#: More logical CPUs than a laptop has: tests wait more than they compute, and what is set aside is little.
SMALL: Mapping[str, Any] = {
    "image": {"python": PYTHON},
    # Drivers of tests come by a forwarded port of this machine.
    "tls": {"extraSANs": ["127.0.0.1", "localhost"]},
    "head": {"resources": {"limits": {"cpu": 4, "memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "256Mi"}}},
    "workerGroups": {
        "workers": {
            "replicas": 2,
            "customResources": {"slot": 2},
            "resources": {"limits": {"cpu": 3, "memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "256Mi"}},
        }
    },
}


def run_helm(kubernetes: Cluster, *arguments: str | Path, values: Mapping[str, Any] | None = None) -> str:
    """Run helm; what it printed."""
    from tests.charts.programs import helm

    more: tuple[str | Path, ...] = ()
    given = None
    if values is not None:
        more, given = ("--values", "-"), yaml.safe_dump(json.loads(json.dumps(values)))
    return kubernetes.run(helm(say_aloud), *arguments, *more, given=given, timeout_s=300)


@contextlib.contextmanager
def operator(kubernetes: Cluster, namespace: str = SYSTEM) -> Iterator[None]:
    """The operator, for a block."""
    run_helm(
        kubernetes, "install", "manta-operator", OPERATOR, "--namespace", namespace, "--create-namespace",
        "--set", f"image.python={PYTHON}", "--wait", "--timeout", "120s",
    )  # fmt: skip
    try:
        yield
    finally:
        run_helm(kubernetes, "uninstall", "manta-operator", "--namespace", namespace, "--wait")


@contextlib.contextmanager
def manta_cluster(
    kubernetes: Cluster, namespace: str, name: str = "demo", values: Mapping[str, Any] = SMALL
) -> Iterator[str]:
    """A MantaCluster that is Ready, for a block; its name."""
    run_helm(kubernetes, "install", name, CLUSTER, "--namespace", namespace, values=values)
    try:
        kubernetes.wait(f"mantacluster/{name}", "condition=Ready", namespace=namespace, timeout_s=180)
        yield name
    finally:
        run_helm(kubernetes, "uninstall", name, "--namespace", namespace, "--wait")
