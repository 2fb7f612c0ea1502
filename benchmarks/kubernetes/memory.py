"""What the processes of pods hold: PSS by container and process, as the kernel says it in there."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.harness.cluster import Cluster
from tests.e2e.support.charts import SYSTEM

_LOOK = """
import json, os
found = []
for pid in filter(str.isdecimal, os.listdir("/proc")):
    if int(pid) == os.getpid():
        continue
    try:
        words = open(f"/proc/{pid}/cmdline").read().split("\\0")
        title = open(f"/proc/{pid}/comm").read().strip()
        kb = {line.split()[0]: int(line.split()[1]) for line in open(f"/proc/{pid}/smaps_rollup") if line.startswith("Pss")}
    except OSError:
        continue
    module = words[words.index("-m") + 1] if "-m" in words else title
    found.append((module, kb["Pss:"] - kb.get("Pss_Shmem:", 0)))
print(json.dumps(found))
"""


def held(kubernetes: Cluster, namespace: str, cluster: str = "demo") -> dict[str, Any]:
    """MB by pod, container and process of a MantaCluster and of the operator; mappings of shared memory left out."""
    found: dict[str, Any] = {}
    for where, selector in (
        (namespace, f"manta.compute/cluster={cluster}"),
        (SYSTEM, "app.kubernetes.io/name=manta-operator"),
    ):
        for pod in kubernetes.get("pods", "--selector", selector, namespace=where):
            name = pod["metadata"]["name"]
            for container in (one["name"] for one in pod["spec"]["containers"]):
                command = ["exec", name, "--container", container, "--", "python", "-c", _LOOK]
                processes = json.loads(kubernetes.kubectl("--namespace", where, *command))
                said = found.setdefault(name if where == namespace else "operator", {}).setdefault(container, {})
                for module, kb in processes:
                    said[module] = round(said.get(module, 0) + kb / 1024, 1)
    return found
