"""The rows in Dask's API: one scheduler, one single-threaded worker process per CPU, no dashboard."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from time import perf_counter
from typing import Any

from benchmarks.systems import Lab, Workload
from benchmarks.timing import Sample, rate, timed


def small_value(*_: object) -> bytes:
    return b"ok"


def add_one(x: int) -> int:
    return x + 1


def make_array(size: int) -> Any:
    import numpy

    return numpy.ones(size, dtype=numpy.uint8)


class Actor:
    def small_value(self) -> bytes:
        return b"ok"


class Adapter:
    """`pure=False` everywhere: Dask otherwise answers a repeated call from its cache."""

    def __init__(self) -> None:
        self.client: Any = None

    def start(self, cpus: int) -> None:
        from distributed import Client, LocalCluster

        cluster = LocalCluster(  # type: ignore[no-untyped-call, unused-ignore]
            n_workers=cpus, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=logging.ERROR
        )
        self.client = Client(cluster)  # type: ignore[no-untyped-call, unused-ignore]

    def stop(self) -> None:
        cluster = self.client.cluster
        self.client.close()
        cluster.close()

    def workloads(self) -> Mapping[str, Workload]:
        return {
            "task_sync": self.task_sync,
            "task_pipelined": self.task_pipelined,
            "task_chain": self.task_chain,
            "actor_sync": self.actor_sync,
            "actor_pipelined": self.actor_pipelined,
            "put_small": self.put_small,
            "get_small": self.get_small,
            "put_1mb": self.put_array,
            "put_large": self.put_large,
            "task_1mb": self.task_1mb,
            "drain_50k": self.drain_50k,
        }

    def task_sync(self, lab: Lab) -> Sample:
        submit = self.client.submit
        return rate(lambda: submit(small_value, pure=False).result(), lab.budget)

    def task_pipelined(self, lab: Lab) -> Sample:
        client, batch = self.client, range(lab.params["batch"])
        return rate(
            lambda: client.gather([client.submit(small_value, pure=False) for _ in batch]), lab.budget, len(batch)
        )

    def task_chain(self, lab: Lab) -> Sample:
        client, length = self.client, lab.params["length"]

        def chain() -> None:
            future: Any = 0
            for _ in range(length):
                future = client.submit(add_one, future, pure=False)
            future.result()

        return rate(chain, lab.budget, length)

    def actor_sync(self, lab: Lab) -> Sample:
        actor = self.client.submit(Actor, actor=True).result()
        return rate(lambda: actor.small_value().result(), lab.budget)

    def actor_pipelined(self, lab: Lab) -> Sample:
        actor, batch = self.client.submit(Actor, actor=True).result(), range(lab.params["batch"])

        def calls() -> None:
            for future in [actor.small_value() for _ in batch]:
                future.result()

        return rate(calls, lab.budget, len(batch))

    def put_small(self, lab: Lab) -> Sample:
        client = self.client
        return rate(lambda: client.scatter(0, hash=False), lab.budget)

    def get_small(self, lab: Lab) -> Sample:
        client = self.client
        future = client.scatter(0, hash=False)
        return rate(lambda: client.gather(future), lab.budget)

    def put_array(self, lab: Lab, unit: float = 1.0) -> Sample:
        import numpy

        client, array = self.client, numpy.zeros(lab.params["size_bytes"] // 8, dtype=numpy.int64)
        return rate(lambda: client.scatter(array, hash=False), lab.budget, unit)

    def put_large(self, lab: Lab) -> Sample:
        return self.put_array(lab, lab.params["size_bytes"] / 1e9)

    def task_1mb(self, lab: Lab) -> Sample:
        client, size = self.client, lab.params["size_bytes"]
        return rate(lambda: client.submit(make_array, size, pure=False).result(), lab.budget)

    def drain_50k(self, lab: Lab) -> Sample:
        client, count = self.client, lab.params["tasks"]

        def once() -> float:
            start = perf_counter()
            client.gather([client.submit(small_value, pure=False) for _ in range(count)])
            return perf_counter() - start

        return timed(once, lab.params["repeats"], 50_000 / count)
