"""Rows of several nodes on one machine, in Ray's API: two nodes, the driver on the first, everything it asks for on the other.

Ray's `cluster_utils.Cluster` and ours take the same calls. Ours always speaks TLS between nodes; Ray's does not.
"""

# The module is known at run time only, so its decorators have no types:
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import importlib
import statistics
import tempfile
from collections.abc import Mapping
from time import perf_counter
from typing import Any

from benchmarks.systems import Lab, Workload
from benchmarks.timing import Sample, rate, timed

#: Where each keeps its cluster of processes on one machine.
_CLUSTERS = {"ray": "ray.cluster_utils", "manta": "manta.testing"}
#: Only the other node has it.
_THERE = {"there": 0.001}


class SeveralNodes:
    """The cluster, made when the first row wants it, and the rows.

    Args:
        module: Ray, or whatever says it is Ray.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._cluster: Any = None

    def workloads(self) -> Mapping[str, Workload]:
        """Row name -> how it is done."""
        return {
            "far_task_sync": self.task_sync,
            "far_task_pipelined": self.task_pipelined,
            "far_actor_sync": self.actor_sync,
            "far_actor_pipelined": self.actor_pipelined,
            "far_get_large": self.get_large,
            "group_churn": self.group_churn,
            "node_join": self.node_join,
            # Of our stores whoever asks: no row names a peer for them.
            "copy_plain": lambda lab: _copies(lab, tls=False),
            "copy_tls": lambda lab: _copies(lab, tls=True),
        }

    def stop(self) -> None:
        """End the cluster, if there is one."""
        if self._cluster is not None:
            importlib.import_module(self._module).shutdown()
            self._cluster.shutdown()
            self._cluster = None

    def _ray(self, lab: Lab) -> Any:
        """The module, this process a driver on the first node of two."""
        ray = importlib.import_module(self._module)
        if self._cluster is None:
            ray.shutdown()
            store = int(lab.params.get("store_bytes", 1_500_000_000))
            cluster = importlib.import_module(_CLUSTERS[self._module]).Cluster(
                initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": store}
            )
            self._cluster = cluster
            cluster.add_node(num_cpus=lab.cpus, resources={"there": 1000}, object_store_memory=store)
            cluster.wait_for_nodes()
            cluster.connect()
        return ray

    # ------------------------------------------------------------ calls

    def task_sync(self, lab: Lab) -> Sample:
        ray = self._ray(lab)
        there = _small_value(ray)
        return rate(lambda: ray.get(there.remote()), lab.budget)

    def task_pipelined(self, lab: Lab) -> Sample:
        ray, batch = self._ray(lab), range(lab.params["batch"])
        there = _small_value(ray)
        return rate(lambda: ray.get([there.remote() for _ in batch]), lab.budget, len(batch))

    def actor_sync(self, lab: Lab) -> Sample:
        ray = self._ray(lab)
        actor = _actor(ray)
        return rate(lambda: ray.get(actor.small_value.remote()), lab.budget)

    def actor_pipelined(self, lab: Lab) -> Sample:
        ray, batch = self._ray(lab), range(lab.params["batch"])
        actor = _actor(ray)
        return rate(lambda: ray.get([actor.small_value.remote() for _ in batch]), lab.budget, len(batch))

    # ------------------------------------------------------------ objects, groups, nodes

    def get_large(self, lab: Lab) -> Sample:
        ray, size = self._ray(lab), lab.params["size_bytes"]

        @ray.remote(num_cpus=1, resources=_THERE)
        def make(size: int) -> Any:
            import numpy

            return numpy.ones(size, dtype=numpy.uint8)

        def once() -> float:
            ref = make.remote(size)
            ray.wait([ref], fetch_local=False)
            start = perf_counter()
            array = ray.get(ref)
            seconds = perf_counter() - start
            if len(array) != size or array[-1] != 1:
                raise AssertionError("the array is not what was made")
            return seconds

        once()
        return timed(once, lab.params["repeats"])

    def group_churn(self, lab: Lab) -> Sample:
        self._ray(lab)
        groups, count = importlib.import_module(f"{self._module}.util.placement_group"), lab.params["groups"]

        def make_and_remove() -> None:
            made = [groups.placement_group(bundles=[dict(_THERE)]) for _ in range(count)]
            for group in made:
                if not group.wait(timeout_seconds=30):
                    raise TimeoutError("a placement group was not placed within 30 s")
            for group in made:
                groups.remove_placement_group(group)

        return rate(make_and_remove, lab.budget, count)

    def node_join(self, lab: Lab) -> Sample:
        self._ray(lab)
        cluster = self._cluster

        def once() -> float:
            start = perf_counter()
            node = cluster.add_node(num_cpus=1, object_store_memory=200_000_000, wait=True)
            seconds = perf_counter() - start
            cluster.remove_node(node)
            cluster.wait_for_nodes()
            return seconds

        return timed(once, lab.params["repeats"])


def _small_value(ray: Any) -> Any:
    @ray.remote(num_cpus=1, resources=_THERE)
    def small_value() -> bytes:
        return b"ok"

    return small_value


def _actor(ray: Any) -> Any:
    @ray.remote(num_cpus=0, resources=_THERE)
    class Actor:
        def small_value(self) -> bytes:
            return b"ok"

    made: Any = Actor
    return made.remote()


def _copies(lab: Lab, *, tls: bool) -> Sample:
    """Copies from store to store, each in a process of its own: neither driver nor worker is there."""
    from benchmarks.micro.transfer import Nodes, certificates

    size = lab.params["size_bytes"]
    with tempfile.TemporaryDirectory() as folder:
        nodes = Nodes(2, 3 * size, certificates(folder) if tls else None)
        try:

            def once() -> float:
                return float(size) / nodes.pull(nodes.put(size), size, 1) / 1e9

            once()
            cpu = nodes.cpu()
            parts = tuple(once() for _ in range(lab.params["repeats"]))
            # Making an object costs too, so this is a little more than the copy alone.
            spent = (nodes.cpu() - cpu) / len(parts) / size * 1e9
        finally:
            nodes.close()
    return Sample(statistics.median(parts), parts, {"cpu_s_per_gb": round(spent, 2)})
