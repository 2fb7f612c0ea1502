"""Every row in Ray's API. The module is a parameter: `import ray` and `import manta as ray` run the same lines.

The remote functions are those of ray/_private/ray_perf.py (`ray microbenchmark`) where it has the row. They are defined
inside methods and reach for local names only, so that they travel by value and drag nothing of this package along.
"""

# The module is known at run time only, so its decorators have no types:
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import gc
import importlib
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Any

from benchmarks.systems import Lab, Workload
from benchmarks.systems.outside import Outside
from benchmarks.systems.several_nodes import SeveralNodes
from benchmarks.timing import Sample, growth, rate, timed

#: How many results one `get` takes while a long queue drains.
_DRAIN_AT_ONCE = 10_000


class Adapter:
    """Ray, or whatever says it is Ray."""

    def __init__(self, module: str) -> None:
        self._module = module
        self.ray: Any = None
        self._outside: Outside | None = None
        self._several = SeveralNodes(module)

    def start(self, cpus: int) -> None:
        self.ray = importlib.import_module(self._module)
        # A Ray that was killed leaves a note which `init()` would follow instead of starting one.
        self.ray.init(address="local", num_cpus=cpus, logging_level=logging.ERROR)

    def start_outside(self, cpus: int) -> None:
        """A cluster beside us, and this process as a driver outside of it."""
        self._outside = Outside(self._module, cpus)
        self.ray = importlib.import_module(self._module)
        try:
            self.ray.init(self._outside.address, logging_level=logging.ERROR)
        except BaseException:
            self._outside.stop()
            raise

    def stop(self) -> None:
        self._several.stop()
        self.ray.shutdown()
        if self._outside is not None:
            self._outside.stop()

    def workloads(self) -> Mapping[str, Workload]:
        return {
            "task_sync": self.task_sync,
            "task_pipelined": self.task_pipelined,
            "task_chain": self.task_chain,
            "wait_1k": self.wait_1k,
            "actor_sync": self.actor_sync,
            "actor_pipelined": self.actor_pipelined,
            "actor_n_n": self.actor_n_n,
            "actor_n_n_ref": self.actor_n_n_ref,
            "actor_churn": self.actor_churn,
            "async_actor_sync": self.async_actor_sync,
            "async_actor_pipelined": self.async_actor_pipelined,
            "async_actor_args": self.async_actor_args,
            "put_small": self.put_small,
            "get_small": self.get_small,
            "put_1mb": self.put_1mb,
            "put_large": self.put_large,
            "task_1mb": self.task_1mb,
            "get_10k_refs": self.get_10k_refs,
            "args_10k": self.args_10k,
            "returns_3k": self.returns_3k,
            "drain_50k": self.drain_50k,
            "queue_1m": self.queue_1m,
            "growth_tasks": self.growth_tasks,
            "growth_refs": self.growth_refs,
            "growth_actors": self.growth_actors,
            "gateway_sync": self.actor_sync,
            "gateway_pipelined": self.actor_pipelined,
            "gateway_put": self.put_large,
            **self._several.workloads(),
        }

    # ------------------------------------------------------------ tasks

    def task_sync(self, lab: Lab) -> Sample:
        ray = self.ray
        small_value = self._small_value()
        return rate(lambda: ray.get(small_value.remote()), lab.budget)

    def task_pipelined(self, lab: Lab) -> Sample:
        ray, batch = self.ray, range(lab.params["batch"])
        small_value = self._small_value()
        return rate(lambda: ray.get([small_value.remote() for _ in batch]), lab.budget, len(batch))

    def task_chain(self, lab: Lab) -> Sample:
        ray, length = self.ray, lab.params["length"]

        @ray.remote
        def add_one(x: int) -> int:
            return x + 1

        def chain() -> None:
            ref: Any = 0
            for _ in range(length):
                ref = add_one.remote(ref)
            _expect(ray.get(ref), length)

        return rate(chain, lab.budget, length)

    def wait_1k(self, lab: Lab) -> Sample:
        ray, count = self.ray, lab.params["refs"]
        small_value = self._small_value()

        def wait_one_by_one() -> None:
            not_ready = [small_value.remote() for _ in range(count)]
            fetch_local = True  # Ray needs to be asked once per object only (its issue 30375)
            for _ in range(count):
                _, not_ready = ray.wait(not_ready, fetch_local=fetch_local)
                fetch_local = False

        return rate(wait_one_by_one, lab.budget)

    # ------------------------------------------------------------ actors

    def actor_sync(self, lab: Lab) -> Sample:
        ray, actor = self.ray, self._actor_class().remote()
        return rate(lambda: ray.get(actor.small_value.remote()), lab.budget)

    def actor_pipelined(self, lab: Lab) -> Sample:
        ray, actor, batch = self.ray, self._actor_class().remote(), range(lab.params["batch"])
        return rate(lambda: ray.get([actor.small_value.remote() for _ in batch]), lab.budget, len(batch))

    def actor_n_n(self, lab: Lab) -> Sample:
        ray, tasks, calls = self.ray, lab.params["tasks"], lab.params["calls"]
        count = max(1, lab.cpus // 2)
        actors = [self._actor_class().remote() for _ in range(count)]

        @ray.remote
        def work(actors: list[Any]) -> None:
            ray.get([actors[i % count].small_value.remote() for i in range(calls)])

        return rate(lambda: ray.get([work.remote(actors) for _ in range(tasks)]), lab.budget, tasks * calls)

    def actor_n_n_ref(self, lab: Lab) -> Sample:
        ray, calls = self.ray, lab.params["calls"]
        count = max(1, lab.cpus // 2)

        class Client:
            def __init__(self, server: Any) -> None:
                self.server = server

            def small_value_batch_arg(self, n: int) -> None:
                x = ray.put(0)
                ray.get([self.server.small_value_arg.remote(x) for _ in range(n)])

        client_class = ray.remote(num_cpus=0)(Client)
        clients = [client_class.remote(self._actor_class().remote()) for _ in range(count)]
        return rate(
            lambda: ray.get([c.small_value_batch_arg.remote(calls) for c in clients]), lab.budget, count * calls
        )

    def actor_churn(self, lab: Lab) -> Sample:
        ray, count = self.ray, lab.params["actors"]
        actor_class = self._actor_class()

        def create_call_kill() -> None:
            actors = [actor_class.remote() for _ in range(count)]
            ray.get([actor.small_value.remote() for actor in actors])
            for actor in actors:
                ray.kill(actor)

        return rate(create_call_kill, lab.budget)

    def async_actor_sync(self, lab: Lab) -> Sample:
        ray, actor = self.ray, self._async_actor_class().remote()
        return rate(lambda: ray.get(actor.small_value.remote()), lab.budget)

    def async_actor_pipelined(self, lab: Lab) -> Sample:
        ray, actor, batch = self.ray, self._async_actor_class().remote(), range(lab.params["batch"])
        return rate(lambda: ray.get([actor.small_value.remote() for _ in batch]), lab.budget, len(batch))

    def async_actor_args(self, lab: Lab) -> Sample:
        ray, actor, batch = self.ray, self._async_actor_class().remote(), range(lab.params["batch"])
        return rate(lambda: ray.get([actor.small_value_with_arg.remote(i) for i in batch]), lab.budget, len(batch))

    # ------------------------------------------------------------ objects

    def put_small(self, lab: Lab) -> Sample:
        ray = self.ray
        return rate(lambda: ray.put(0), lab.budget)

    def get_small(self, lab: Lab) -> Sample:
        ray, ref = self.ray, self.ray.put(0)
        return rate(lambda: ray.get(ref), lab.budget)

    def put_1mb(self, lab: Lab) -> Sample:
        ray, array = self.ray, _array(lab.params["size_bytes"])
        return rate(lambda: ray.put(array), lab.budget)

    def put_large(self, lab: Lab) -> Sample:
        ray, size = self.ray, lab.params["size_bytes"]
        array = _array(size)
        return rate(lambda: ray.put(array), lab.budget, size / 1e9)

    def task_1mb(self, lab: Lab) -> Sample:
        ray, size = self.ray, lab.params["size_bytes"]

        @ray.remote
        def make(size: int) -> Any:
            import numpy

            return numpy.ones(size, dtype=numpy.uint8)

        _expect(len(ray.get(make.remote(size))), size)
        return rate(lambda: ray.get(make.remote(size)), lab.budget)

    # ------------------------------------------------------------ many of something

    def get_10k_refs(self, lab: Lab) -> Sample:
        ray, count = self.ray, lab.params["refs"]

        @ray.remote
        def create_object_containing_refs() -> list[Any]:
            return [ray.put(1) for _ in range(count)]

        ref = create_object_containing_refs.remote()
        _expect(len(ray.get(ref)), count)
        return rate(lambda: ray.get(ref), lab.budget)

    def args_10k(self, lab: Lab) -> Sample:
        ray, count = self.ray, lab.params["arguments"]

        @ray.remote
        def count_them(*things: object) -> int:
            return len(things)

        ray.get(count_them.remote(1))

        def once() -> float:
            start = perf_counter()
            counted = ray.get(count_them.remote(*[ray.put(object()) for _ in range(count)]))
            seconds = perf_counter() - start
            _expect(counted, count)
            return seconds

        return timed(once, lab.params["repeats"])

    def returns_3k(self, lab: Lab) -> Sample:
        ray, count = self.ray, lab.params["returns"]

        @ray.remote(num_returns=count)
        def spread() -> tuple[int, ...]:
            return tuple(range(count))

        ray.get(spread.remote())

        def once() -> float:
            start = perf_counter()
            values = ray.get(spread.remote())
            seconds = perf_counter() - start
            _expect(values, list(range(count)))
            return seconds

        return timed(once, lab.params["repeats"])

    def drain_50k(self, lab: Lab) -> Sample:
        ray, count = self.ray, lab.params["tasks"]
        small_value = self._small_value()
        ray.get([small_value.remote() for _ in range(100)])

        def once() -> float:
            start = perf_counter()
            values = ray.get([small_value.remote() for _ in range(count)])
            seconds = perf_counter() - start
            _expect(len(values), count)
            return seconds

        return timed(once, lab.params["repeats"], 50_000 / count)

    def queue_1m(self, lab: Lab) -> Sample:
        tasks, scale = lab.params["tasks"], 1_000_000 / lab.params["tasks"]
        runs: list[_Queued] = []

        def once() -> float:
            runs.append(self._queue(tasks, lab.cpus, lab.memory))
            return runs[-1].submit_s + runs[-1].drain_s

        sample = timed(once, lab.params["repeats"], scale)
        last = runs[-1]
        sample.also["queue_1m_bytes"] = last.held_bytes / tasks
        sample.also["queue_1m_pause"] = max(last.longest_submit_s, last.longest_gc_s)
        sample.extra.update(tasks=tasks, **last.as_dict())
        return sample

    # ------------------------------------------------------------ growth

    def growth_tasks(self, lab: Lab) -> Sample:
        def cost(tasks: int) -> float:
            run = self._queue(tasks, lab.cpus, lambda: 0)
            return run.submit_s + run.drain_s

        return growth(cost, list(lab.params["sizes"]))

    def growth_refs(self, lab: Lab) -> Sample:
        ray = self.ray

        def cost(count: int) -> float:
            start = perf_counter()
            refs = [ray.put(i) for i in range(count)]
            values = ray.get(refs)
            del refs
            seconds = perf_counter() - start
            _expect(len(values), count)
            return seconds

        return growth(cost, list(lab.params["sizes"]))

    def growth_actors(self, lab: Lab) -> Sample:
        ray = self.ray
        actor_class = self._actor_class()

        def cost(count: int) -> float:
            start = perf_counter()
            actors = [actor_class.remote() for _ in range(count)]
            ray.get([actor.small_value.remote() for actor in actors])
            for actor in actors:
                ray.kill(actor)
            return perf_counter() - start

        return growth(cost, list(lab.params["sizes"]))

    # ------------------------------------------------------------ shared pieces

    def _small_value(self) -> Any:
        @self.ray.remote
        def small_value() -> bytes:
            return b"ok"

        return small_value

    def _actor_class(self) -> Any:
        @self.ray.remote(num_cpus=0)
        class Actor:
            def small_value(self) -> bytes:
                return b"ok"

            def small_value_arg(self, x: object) -> bytes:
                return b"ok"

        return Actor

    def _async_actor_class(self) -> Any:
        @self.ray.remote
        class AsyncActor:
            async def small_value(self) -> bytes:
                return b"ok"

            async def small_value_with_arg(self, x: object) -> bytes:
                return b"ok"

        return AsyncActor

    def _queue(self, tasks: int, cpus: int, memory: Callable[[], int]) -> _Queued:
        """Take every CPU, queue `tasks` behind that, look at the memory, let go, take all results.

        The holders poll a file instead of calling get: a blocked get would lend their CPUs out and nothing would queue.
        """
        ray = self.ray
        small_value = self._small_value()
        ray.get(small_value.remote())

        @ray.remote
        def hold(folder: str, index: int) -> None:
            open(os.path.join(folder, f"started-{index}"), "x").close()
            while not os.path.exists(os.path.join(folder, "go")):
                sleep(0.005)

        with tempfile.TemporaryDirectory() as folder, _GarbageWatch() as garbage:
            holders = [hold.remote(folder, index) for index in range(cpus)]
            until = monotonic() + 60
            while len(os.listdir(folder)) < cpus:
                if monotonic() > until:
                    raise TimeoutError(f"only {len(os.listdir(folder))} of {cpus} CPUs could be taken within 60 s")
                sleep(0.005)
            refs: list[Any] = [None] * tasks
            before, longest, start = memory(), 0.0, perf_counter()
            last = start
            for index in range(tasks):
                refs[index] = small_value.remote()
                now = perf_counter()
                if now - last > longest:
                    longest = now - last
                last = now
            submit_s = last - start
            held = memory() - before
            start = perf_counter()
            Path(folder, "go").touch()
            for at in range(0, tasks, _DRAIN_AT_ONCE):
                ray.get(refs[at : at + _DRAIN_AT_ONCE])
            drain_s = perf_counter() - start
            ray.get(holders)
        return _Queued(submit_s, drain_s, held, longest, garbage.longest_s)


class _Queued:
    """What `_queue` saw."""

    def __init__(
        self, submit_s: float, drain_s: float, held_bytes: int, longest_submit_s: float, longest_gc_s: float
    ) -> None:
        self.submit_s, self.drain_s, self.held_bytes = submit_s, drain_s, held_bytes
        self.longest_submit_s, self.longest_gc_s = longest_submit_s, longest_gc_s

    def as_dict(self) -> dict[str, float]:
        return dict(vars(self))


class _GarbageWatch:
    """The longest garbage collection of this process while it is open: the pause no amount of batching hides."""

    def __enter__(self) -> _GarbageWatch:
        self.longest_s, self._started = 0.0, 0.0
        gc.callbacks.append(self._seen)
        return self

    def __exit__(self, *exc: object) -> None:
        gc.callbacks.remove(self._seen)

    def _seen(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._started = perf_counter()
        else:
            self.longest_s = max(self.longest_s, perf_counter() - self._started)


def _array(size_bytes: int) -> Any:
    """Zeros, as Ray's microbenchmark puts them. (Untouched zeros all map to one page, so reading them is cheap for everybody.)"""
    import numpy

    return numpy.zeros(size_bytes // 8, dtype=numpy.int64)


def _expect(actual: object, right: object) -> None:
    """A fast wrong answer is not a figure."""
    if actual != right:
        raise AssertionError(f"wrong result: {str(actual)[:200]} instead of {str(right)[:200]}")
