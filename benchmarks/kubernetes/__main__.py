"""Times on kind, and sizes: `python -m benchmarks.kubernetes [--rounds 5] [--json FILE]`. Prints, judges nothing.

- helm install -> first result: from calling helm for a MantaCluster until a driver outside, which tries from the beginning, has
  the result of a task; the operator and the images are there before. With it: until the MantaCluster is Ready.
- pod running -> worker ready: from the kubelet's word that a worker's container runs until it says that it is ready, as a watch
  of pods hears both.
- images: as registries hold them, compressed by gzip, and how much of it is the base.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.kubernetes.sizes import archive_of, sizes
from tests.e2e.harness.cluster import Cluster, CommandError, cluster
from tests.e2e.support import charts, drivers

FIRST_S = 120.0
TASK = """
import manta
manta.init(log_to_driver=False)
print(manta.get(manta.remote(lambda: "result").remote()))
"""
LINE = (
    "{.metadata.name} {.metadata.labels.app\\.kubernetes\\.io/component} {.status.containerStatuses[*].state.running.startedAt}"
    ' {.status.conditions[?(@.type=="Ready")].status}{"\\n"}'
)


class Watch:
    """Hears of a namespace's pods, and when."""

    def __init__(self, kubernetes: Cluster, namespace: str) -> None:
        command = [
            kubernetes.kubectl_path,
            "--namespace",
            namespace,
            "get",
            "pods",
            "--watch",
            "--output",
            f"jsonpath={LINE}",
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=kubernetes.environment)
        self._running: dict[str, float] = {}
        self._ready: dict[str, float] = {}
        self._thread = threading.Thread(target=self._hear, daemon=True)
        self._thread.start()

    def _hear(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            name, component, *rest = line.split()
            if component == "worker" and len(rest) == 2:
                self._running.setdefault(name, time.monotonic())
                if rest[1] == "True":
                    self._ready.setdefault(name, time.monotonic())

    def end(self) -> list[float]:
        """Seconds from running to ready, of each worker."""
        self._process.kill()
        self._process.wait()
        self._thread.join()
        return [self._ready[name] - began for name, began in self._running.items() if name in self._ready]


def once(kubernetes: Cluster, number: int) -> dict[str, Any]:
    """One round: a MantaCluster from nothing to a result."""
    with kubernetes.namespace(f"bench-{number}") as namespace:
        watch = Watch(kubernetes, namespace)
        began = time.monotonic()
        charts.run_helm(kubernetes, "install", "demo", charts.CLUSTER, "--namespace", namespace, values=charts.SMALL)
        installed = time.monotonic() - began
        kubernetes.wait("service/demo-gateway", "create", namespace=namespace)
        address = {"KUBECONFIG": str(kubernetes.kubeconfig), "MANTA_ADDRESS": f"k8s://{namespace}/demo"}
        result = None
        while result is None and time.monotonic() - began < FIRST_S:
            try:
                assert drivers.run(["-c", TASK], address).strip() == "result"
                result = time.monotonic() - began
            except CommandError:
                continue
        kubernetes.wait("mantacluster/demo", "condition=Ready", namespace=namespace)
        ready = time.monotonic() - began
        workers = watch.end()
        charts.run_helm(kubernetes, "uninstall", "demo", "--namespace", namespace, "--wait")
    return {"helm_s": installed, "first_result_s": result, "ready_s": ready, "worker_ready_s": workers}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kubernetes", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as folder, cluster(Path(folder)) as kubernetes:
        with archive_of(kubernetes) as archive:
            images = sizes(archive)
        with charts.operator(kubernetes):
            rounds = [once(kubernetes, number) for number in range(asked.rounds)]
    first = [one["first_result_s"] for one in rounds if one["first_result_s"] is not None]
    workers = [seconds for one in rounds for seconds in one["worker_ready_s"]]
    rows = [
        ("helm install -> first result, s", first),
        ("helm install -> Ready, s", [one["ready_s"] for one in rounds]),
        ("of it, helm itself, s", [one["helm_s"] for one in rounds]),
        ("pod running -> worker ready, s", workers),
    ]
    for title, values in rows:
        if values:
            spread = f"{min(values):6.2f} to {max(values):6.2f}, {len(values)} times"
            print(f"{title:35} {statistics.median(values):6.2f}   ({spread})")
    for name, size in images.items():
        print(
            f"image {name:29} {size['compressed'] / 1e6:6.1f} MB compressed, {size['over_base'] / 1e6:.1f} MB over its base"
        )
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} CPUs")
    if asked.json:
        asked.json.write_text(json.dumps({"rounds": rounds, "images": images}, indent=1))
    if len(first) < asked.rounds:
        sys.exit(f"{asked.rounds - len(first)} rounds had no result within {FIRST_S:g} s")


if __name__ == "__main__":
    main()
