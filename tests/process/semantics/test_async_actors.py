"""Actors that do several things at a time: async methods, threads, concurrency groups."""

# mypy: disable-error-code="attr-defined"
# mypy takes a decorated class for the class itself.

from __future__ import annotations

import asyncio
import threading
import time

import pytest
import ray

from tests.process.semantics.support import Gate, manta_only, until

pytestmark = pytest.mark.shared_cluster


@ray.remote
class Signal:
    """An async actor others wait at."""

    def __init__(self):
        self.event = asyncio.Event()
        self.waiting = 0

    async def wait(self):
        self.waiting += 1
        await self.event.wait()
        return "seen"

    async def send(self):
        self.event.set()

    async def count(self):
        return self.waiting


def test_async_methods_run_side_by_side():
    signal = Signal.remote()
    waiting = [signal.wait.remote() for _ in range(50)]
    until(lambda: ray.get(signal.count.remote()) == 50)
    ray.get(signal.send.remote())
    assert ray.get(waiting) == ["seen"] * 50


def test_all_async_methods_share_one_loop_and_thread():
    @ray.remote
    class A:
        async def where(self):
            return threading.get_ident(), id(asyncio.get_running_loop())

    a = A.remote()
    assert len(set(ray.get([a.where.remote() for _ in range(5)]))) == 1


def test_max_concurrency_bounds_an_async_actor():
    @ray.remote(max_concurrency=2)
    class A:
        def __init__(self):
            self.now = self.most = 0

        async def f(self):
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0.01)
            self.now -= 1
            return self.most

    a = A.remote()
    assert max(ray.get([a.f.remote() for _ in range(10)])) == 2


def test_refs_are_awaited_inside_an_async_actor():
    @ray.remote
    class A:
        async def f(self, refs):
            return await refs[0] + sum(await asyncio.gather(*refs[1:]))

    assert ray.get(A.remote().f.remote([ray.put(1), ray.put(2), ray.put(3)])) == 6


def test_an_async_exception_comes_back():
    @ray.remote
    class A:
        async def f(self):
            raise LookupError("async")

    with pytest.raises(LookupError, match="async"):
        ray.get(A.remote().f.remote())


def test_a_sync_method_of_an_async_actor_runs_on_the_loop():
    @ray.remote
    class A:
        async def a(self):
            return threading.get_ident()

        def b(self):
            return threading.get_ident()

    a = A.remote()
    assert len(set(ray.get([a.a.remote(), a.b.remote()]))) == 1


def test_an_async_actor_may_call_tasks_and_actors():
    @ray.remote
    class A:
        async def f(self):
            return await ray.remote(lambda: 5).remote() + await Signal.remote().count.remote()

    assert ray.get(A.remote().f.remote()) == 5


def test_a_task_waiting_for_its_argument_does_not_hold_up_an_async_actor(gate: Gate):
    @ray.remote
    def slow(gate):
        gate.wait()
        return "late"

    @ray.remote
    class A:
        async def echo(self, x):
            return x

    a = A.remote()
    late, early = a.echo.remote(slow.remote(gate)), a.echo.remote("early")
    assert ray.get(early, timeout=20) == "early"
    gate.open()
    assert ray.get(late) == "late"


def test_threads_run_methods_side_by_side():
    """`max_concurrency` without async methods is a pool of threads."""

    @ray.remote(max_concurrency=3)
    class A:
        def __init__(self):
            self.barrier = threading.Barrier(3, timeout=20)

        def meet(self):
            self.barrier.wait()
            return threading.get_ident()

    a = A.remote()
    assert len(set(ray.get([a.meet.remote() for _ in range(3)], timeout=30))) == 3


def test_without_max_concurrency_one_at_a_time():
    @ray.remote
    class A:
        def __init__(self):
            self.now = 0

        def f(self):
            self.now += 1
            time.sleep(0.005)
            now, self.now = self.now, self.now - 1
            return now

    a = A.remote()
    assert ray.get([a.f.remote() for _ in range(10)]) == [1] * 10


@ray.remote(concurrency_groups={"io": 2, "compute": 1})
class Grouped:
    @ray.method(concurrency_group="io")
    def io(self, started, gate):
        started.open()
        gate.wait()
        return "io"

    @ray.method(concurrency_group="compute")
    def compute(self):
        return "compute"

    def default(self):
        return "default"


def test_a_full_group_does_not_hold_up_the_others(started: Gate, gate: Gate):
    actor = Grouped.remote()
    blocked = [actor.io.remote(started, gate) for _ in range(2)]
    until(started.is_open)
    assert ray.get([actor.compute.remote(), actor.default.remote()], timeout=20) == ["compute", "default"]
    gate.open()
    assert ray.get(blocked) == ["io", "io"]


def test_a_call_may_choose_its_group(started: Gate, gate: Gate):
    actor = Grouped.remote()
    blocked = [actor.io.remote(started, gate) for _ in range(2)]
    until(started.is_open)
    in_io = actor.default.options(concurrency_group="io").remote()
    assert ray.wait([in_io], timeout=0.2) == ([], [in_io])
    gate.open()
    assert ray.get([*blocked, in_io]) == ["io", "io", "default"]


@manta_only("Ray 2.60 raises an AssertionError without a word for the class, and a call ends the actor")
def test_a_group_that_is_none_is_named():
    class Wrong:
        @ray.method(concurrency_group="net")
        def f(self): ...

    with pytest.raises(ValueError, match=r"Wrong.f belongs to concurrency group 'net'.*it has io"):
        ray.remote(concurrency_groups={"io": 1})(Wrong).remote()
    with pytest.raises(ValueError, match=r"Wrong.f belongs to concurrency group 'net'.*it has none"):
        ray.remote(Wrong).remote()

    class Async:
        async def f(self):
            return "f"

    class Sync:
        def f(self):
            return "f"

    for kind in (Async, Sync):
        actor = ray.remote(concurrency_groups={"io": 1})(kind).remote()
        with pytest.raises(ValueError, match="has no concurrency group 'net'; it has io"):
            ray.get(actor.f.options(concurrency_group="net").remote())
        assert ray.get(actor.f.remote()) == "f"


def test_groups_of_an_async_actor(started: Gate):
    """No asyncio.Event here: on Ray 2.60 each group has a loop and a thread of its own (checked)."""

    @ray.remote(concurrency_groups={"io": 1})
    class A:
        def __init__(self):
            self.sent = False

        @ray.method(concurrency_group="io")
        async def wait(self, started):
            started.open()
            while not self.sent:
                await asyncio.sleep(0.01)
            return "io"

        async def send(self):
            self.sent = True

    a = A.remote()
    ref = a.wait.remote(started)
    until(started.is_open)
    ray.get(a.send.remote(), timeout=20)
    assert ray.get(ref, timeout=20) == "io"


def test_order_cannot_be_promised_with_threads():
    @ray.remote
    class A:
        def f(self): ...

    with pytest.raises(ValueError, match="order"):
        A.options(max_concurrency=2, allow_out_of_order_execution=False).remote()


def test_blocking_get_in_an_async_actor_works_if_not_wisely(capfd):
    @ray.remote
    class A:
        async def f(self, refs):
            return ray.get(refs[0])

    assert ray.get(A.remote().f.remote([ray.put(3)]), timeout=20) == 3


def test_an_async_actor_leaves_with_exit_actor():
    @ray.remote
    class A:
        async def leave(self):
            ray.actor.exit_actor()

        async def ping(self): ...

    a = A.remote()
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(a.leave.remote(), timeout=30)
