"""Refs as futures and awaitables, and the API from several threads."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading

import pytest
import ray

from tests.process.semantics.support import Gate

pytestmark = pytest.mark.shared_cluster


@ray.remote
def echo(x):
    return x


@ray.remote
def fails():
    raise ZeroDivisionError("remote")


def test_future_is_one_of_concurrent_futures():
    future = echo.remote(5).future()
    assert isinstance(future, concurrent.futures.Future)
    assert future.result(timeout=20) == 5


def test_a_future_raises_what_get_raises():
    with pytest.raises(ZeroDivisionError) as caught:
        fails.remote().future().result(timeout=20)
    assert isinstance(caught.value, ray.exceptions.RayTaskError)


def test_as_completed_of_the_standard_library_takes_futures():
    futures = [echo.remote(n).future() for n in range(5)]
    assert sorted(f.result() for f in concurrent.futures.as_completed(futures, timeout=20)) == [0, 1, 2, 3, 4]


def test_a_callback_runs():
    called = threading.Event()
    echo.remote(1).future().add_done_callback(lambda future: called.set())
    assert called.wait(20)


def test_await():
    async def main():
        return await echo.remote(5)

    assert asyncio.run(main()) == 5


def test_await_raises_what_get_raises():
    async def main():
        await fails.remote()

    with pytest.raises(ZeroDivisionError) as caught:
        asyncio.run(main())
    assert isinstance(caught.value, ray.exceptions.RayTaskError)


def test_gather():
    async def main():
        return await asyncio.gather(*[echo.remote(n) for n in range(20)])

    assert asyncio.run(main()) == list(range(20))


def test_wait_for_times_out_and_the_loop_goes_on(gate: Gate):
    @ray.remote
    def slow(gate):
        gate.wait()
        return "late"

    async def main():
        ref = slow.remote(gate)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(ref, 0.05)
        gate.open()
        return await ref

    assert asyncio.run(main()) == "late"


def test_asyncio_wait():
    async def main():
        done, pending = await asyncio.wait([asyncio.wrap_future(echo.remote(n).future()) for n in range(3)], timeout=20)
        return sorted(task.result() for task in done), len(pending)

    assert asyncio.run(main()) == ([0, 1, 2], 0)


def test_two_loops_one_after_the_other():
    async def main():
        return await echo.remote(1)

    assert [asyncio.run(main()), asyncio.run(main())] == [1, 1]


def test_as_future_of_a_done_ref():
    async def main():
        ref = ray.put(3)
        return await ref, await ref

    assert asyncio.run(main()) == (3, 3)


def test_the_api_from_many_threads():
    def work(n):
        values = ray.get([echo.remote(n) for _ in range(20)])
        ready, _ = ray.wait([ray.put(n)], timeout=20)
        return values == [n] * 20 and ray.get(ready) == [n]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))


def test_a_thread_may_wait_while_the_main_thread_works(gate: Gate):
    @ray.remote
    def slow(gate):
        gate.wait()
        return "late"

    ref, got = slow.remote(gate), []
    thread = threading.Thread(target=lambda: got.append(ray.get(ref)))
    thread.start()
    assert ray.get(echo.remote(1), timeout=20) == 1
    gate.open()
    thread.join(20)
    assert got == ["late"]


def test_several_threads_may_wait_for_one_ref(gate: Gate):
    @ray.remote
    def slow(gate):
        gate.wait()
        return "late"

    ref = slow.remote(gate)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = [pool.submit(ray.get, ref) for _ in range(4)]
        gate.open()
        assert [result.result(20) for result in results] == ["late"] * 4


def test_an_actor_called_from_several_threads_runs_every_call_once():
    @ray.remote
    class A:
        def __init__(self):
            self.n = 0

        def add(self):
            self.n += 1
            return self.n

    a = A.remote()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: ray.get(a.add.remote()), range(100)))
    assert sorted(results) == list(range(1, 101))
