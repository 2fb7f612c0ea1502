"""What people wait for on kind, and sizes: `python -m benchmarks.kubernetes [--rounds 5] [--json FILE]`. Prints, judges nothing.

- helm install -> first result: from calling helm for a MantaCluster until a driver outside, which tries from the beginning, has
  the result of a task; the operator and the images are there before. With it: until the MantaCluster is Ready.
- pod running -> worker ready: from the kubelet's word that a worker's container runs until it says that it is ready, as a watch
  of pods hears both; workers are added one by one to a cluster whose head is there. With it: from its creation until it runs.
- memory: PSS of the processes of an idle cluster's pods, and of the operator.
- a driver by k8s:// beside the same driver by the gateway's own address, both in the nodes' network (`forwarding.py`).
- images: as registries hold them, compressed by gzip, and how much of it is the base.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.kubernetes import forwarding
from benchmarks.kubernetes.memory import held
from benchmarks.kubernetes.sizes import archive_of, sizes
from benchmarks.kubernetes.watching import Watch
from tests.e2e.harness import ways
from tests.e2e.harness.cluster import Cluster, CommandError, cluster
from tests.e2e.support import charts, drivers
from tests.support.waiting import wait_until

FIRST_S = 120.0
TASK = """
import manta
manta.init(log_to_driver=False)
print(manta.get(manta.remote(lambda: "result").remote()))
"""


def once(kubernetes: Cluster, number: int) -> dict[str, Any]:
    """One round: a MantaCluster from nothing to a result."""
    with kubernetes.namespace(f"bench-{number}") as namespace:
        began = time.monotonic()
        charts.run_helm(kubernetes, "install", "demo", charts.CLUSTER, "--namespace", namespace, values=charts.SMALL)
        installed = time.monotonic() - began
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
        charts.run_helm(kubernetes, "uninstall", "demo", "--namespace", namespace, "--wait")
    return {"helm_s": installed, "first_result_s": result, "ready_s": ready}


def on_one(kubernetes: Cluster, added: int, *, forwarded: bool) -> dict[str, Any]:
    """What is measured on a cluster that stands: workers that are added, memory, ways of a driver."""
    values = {**charts.SMALL, "head": {**charts.SMALL["head"], "service": {"type": "NodePort"}}}
    with kubernetes.namespace("bench") as namespace, charts.manta_cluster(kubernetes, namespace, values=values):
        found: dict[str, Any] = {"memory_mb": held(kubernetes, namespace)}
        if forwarded:
            found["drivers"] = _ways(kubernetes, namespace)
        with Watch(kubernetes, namespace, "worker") as watch:
            there = _once(watch, 2)
            for number in range(3, 3 + added):
                patch = json.dumps([{"op": "replace", "path": "/spec/workerGroups/0/replicas", "value": number}])
                kubernetes.kubectl(
                    "--namespace", namespace, "patch", "mantacluster", "demo", "--type=json", "--patch", patch
                )
                found["workers"] = _once(watch, number)[len(there) :]
    return found


def _once(watch: Watch, number: int) -> list[dict[str, float]]:
    """How long each of so many took, once all are ready."""
    wait_until(lambda: len(watch.times()) == number, timeout_s=60, what=f"{number} to be ready")
    return watch.times()


def _ways(kubernetes: Cluster, namespace: str) -> dict[str, dict[str, float]]:
    """A driver's figures by k8s:// and by the gateway's own address, where nodes have addresses."""
    assert kubernetes.engine is not None
    secret = kubernetes.get("secret", "demo-submitter", namespace=namespace)["data"]
    authority = kubernetes.folder / "bench-ca.crt"
    authority.write_bytes(base64.b64decode(secret["ca.crt"]))
    service = kubernetes.get("service", "demo-gateway", namespace=namespace)
    node = kubernetes.get("node", kubernetes.nodes()[0])
    [host] = [one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP"]
    port = next(one["nodePort"] for one in service["spec"]["ports"] if one["name"] == "gateway")
    environment: Mapping[str, str] = {
        **kubernetes.environment,
        "MANTA_TOKEN": base64.b64decode(secret["token"]).decode(),
        "MANTA_CA_FILE": str(authority),
    }
    addresses = {"forwarded": f"k8s://{namespace}/demo", "direct": f"manta://{host}:{port}"}
    return {
        name: forwarding.measured(address, environment, kubernetes.engine.inside) for name, address in addresses.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kubernetes", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=10, help="how many are added, one by one")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--no-sizes", action="store_true", help="do not look at the images")
    asked = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as folder, cluster(Path(folder)) as kubernetes:
        if not asked.no_sizes:
            with archive_of(kubernetes) as archive:
                found["images"] = sizes(archive)
        with charts.operator(kubernetes):
            found["rounds"] = [once(kubernetes, number) for number in range(asked.rounds)]
            # Addresses of a given cluster's nodes may lead nowhere from here.
            reachable = kubernetes.engine is not None and ways.way() is not ways.Way.GIVEN
            found |= on_one(kubernetes, asked.workers, forwarded=reachable)
    found["load"], found["cpus"] = os.getloadavg(), os.cpu_count()
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))
    show(found)
    missing = sum(one["first_result_s"] is None for one in found["rounds"])
    if missing:
        sys.exit(f"{missing} rounds had no result within {FIRST_S:g} s")


def show(found: Mapping[str, Any]) -> None:
    """Tables for people."""
    rounds, workers = found["rounds"], found["workers"]
    rows = [
        ("helm install -> first result, s", [one["first_result_s"] for one in rounds if one["first_result_s"]]),
        ("helm install -> Ready, s", [one["ready_s"] for one in rounds]),
        ("of it, helm itself, s", [one["helm_s"] for one in rounds]),
        ("pod created -> running, s", [one["to_running_s"] for one in workers]),
        ("pod running -> worker ready, s", [one["to_ready_s"] for one in workers]),
    ]
    for title, values in rows:
        if values:
            spread = f"{min(values):6.2f} to {max(values):6.2f}, {len(values)} times"
            print(f"{title:35} {statistics.median(values):6.2f}   ({spread})")
    for pod, containers in found["memory_mb"].items():
        for container, processes in containers.items():
            each = ", ".join(f"{name} {mb}" for name, mb in sorted(processes.items()))
            print(f"memory {pod + ' ' + container:28} {sum(processes.values()):6.1f} MB   ({each})")
    if "drivers" in found:
        direct, forwarded = found["drivers"]["direct"], found["drivers"]["forwarded"]
        print(f"{'a driver':40}{'direct':>10}{'forwarded':>12}{'ratio':>8}")
        for name in direct:
            print(f"{name:40}{direct[name]:10.0f}{forwarded[name]:12.0f}{forwarded[name] / direct[name]:8.2f}")
    for name, size in found.get("images", {}).items():
        print(
            f"image {name:29} {size['compressed'] / 1e6:6.1f} MB compressed, {size['over_base'] / 1e6:.1f} MB over its base"
        )
    print(f"load {found['load'][0]:.1f}, {found['cpus']} CPUs")


if __name__ == "__main__":
    main()
