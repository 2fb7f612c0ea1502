"""The rows that concurrent.futures.ProcessPoolExecutor has: tasks, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from time import perf_counter
from typing import Any

from benchmarks.systems import Lab, Workload
from benchmarks.timing import Sample, rate, timed


def small_value() -> bytes:
    return b"ok"


def make_array(size: int) -> Any:
    import numpy

    return numpy.ones(size, dtype=numpy.uint8)


class Adapter:
    def __init__(self) -> None:
        self.pool: ProcessPoolExecutor | None = None

    def start(self, cpus: int) -> None:
        """The pool starts processes when work comes, so some has to come: idle memory is measured with them."""
        self.pool = ProcessPoolExecutor(cpus)
        for future in [self.pool.submit(small_value) for _ in range(10 * cpus)]:
            future.result()

    def stop(self) -> None:
        assert self.pool is not None
        self.pool.shutdown()

    def workloads(self) -> Mapping[str, Workload]:
        return {
            "task_sync": self.task_sync,
            "task_pipelined": self.task_pipelined,
            "task_1mb": self.task_1mb,
            "drain_50k": self.drain_50k,
        }

    def task_sync(self, lab: Lab) -> Sample:
        assert self.pool is not None
        submit = self.pool.submit
        return rate(lambda: submit(small_value).result(), lab.budget)

    def task_pipelined(self, lab: Lab) -> Sample:
        count = lab.params["batch"]
        return rate(lambda: self._many(count), lab.budget, count)

    def task_1mb(self, lab: Lab) -> Sample:
        assert self.pool is not None
        submit, size = self.pool.submit, lab.params["size_bytes"]
        return rate(lambda: submit(make_array, size).result(), lab.budget)

    def drain_50k(self, lab: Lab) -> Sample:
        count = lab.params["tasks"]

        def once() -> float:
            start = perf_counter()
            self._many(count)
            return perf_counter() - start

        return timed(once, lab.params["repeats"], 50_000 / count)

    def _many(self, count: int) -> None:
        assert self.pool is not None
        submit = self.pool.submit
        for future in [submit(small_value) for _ in range(count)]:
            future.result()
