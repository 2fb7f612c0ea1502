"""Streaming generators: results that are refs one by one."""

from __future__ import annotations

import asyncio

import pytest
import ray

from tests.process.semantics.support import Gate, manta_does_better, until

pytestmark = pytest.mark.shared_cluster


@ray.remote
def count(n):
    yield from range(n)


def test_a_generator_function_streams_without_being_told():
    generator = count.remote(3)
    assert type(generator).__name__ == "ObjectRefGenerator"
    assert [ray.get(ref) for ref in generator] == [0, 1, 2]


@manta_does_better("Ray 2.60 calls send() on the generator, which `yield from` passes on to range's iterator")
def test_yield_from_an_iterator():
    @ray.remote
    def f():
        yield from range(3)

    assert [ray.get(ref) for ref in f.remote()] == [0, 1, 2]


def test_each_item_is_a_ref():
    ref = next(count.remote(1))
    assert isinstance(ref, ray.ObjectRef)
    assert ray.get(ref) == 0


def test_num_returns_streaming_says_it_aloud():
    @ray.remote(num_returns="streaming")
    def f():
        yield 1

    assert [ray.get(ref) for ref in f.remote()] == [1]


def test_an_item_is_there_before_the_task_ends(gate: Gate):
    @ray.remote
    def f(gate):
        yield "early"
        gate.wait()
        yield "late"

    generator = f.remote(gate)
    assert ray.get(next(generator), timeout=20) == "early"
    gate.open()
    assert ray.get(next(generator), timeout=20) == "late"


def test_after_the_last_item_it_stops_for_good():
    generator = count.remote(1)
    next(generator)
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(generator)


def test_an_empty_generator():
    assert list(count.remote(0)) == []


def test_an_exception_is_one_more_ref_and_then_the_end():
    @ray.remote
    def f():
        yield 1
        raise ValueError("broken")

    generator = f.remote()
    assert ray.get(next(generator)) == 1
    failed = next(generator)
    with pytest.raises(ValueError, match="broken"):
        ray.get(failed)
    with pytest.raises(StopIteration):
        next(generator)


def test_completed_is_a_ref_of_the_whole():
    generator = count.remote(2)
    ray.get(generator.completed(), timeout=20)
    assert [ray.get(ref) for ref in generator] == [0, 1]


def test_completed_is_there_when_the_task_has_failed_too():
    """Checked on Ray 2.60: the error is the last item's, not that of `completed()`."""

    @ray.remote
    def f():
        yield 1
        raise ValueError("broken")

    generator = f.remote()
    completed = generator.completed()
    assert ray.wait([completed], timeout=20) == ([completed], [])


def test_next_ready_and_is_finished(gate: Gate):
    @ray.remote
    def f(gate):
        gate.wait()
        yield 1

    generator = f.remote(gate)
    assert not generator.next_ready()
    assert not generator.is_finished()
    gate.open()
    until(generator.next_ready)
    assert ray.get(next(generator)) == 1
    with pytest.raises(StopIteration):
        next(generator)
    assert generator.is_finished()


def test_wait_takes_a_generator(gate: Gate):
    @ray.remote
    def f(gate):
        gate.wait()
        yield 1

    generator = f.remote(gate)
    assert ray.wait([generator], timeout=0.1) == ([], [generator])
    gate.open()
    assert ray.wait([generator], timeout=20) == ([generator], [])
    assert ray.get(next(generator)) == 1


def test_get_of_a_generator_gives_it_back():
    generator = count.remote(1)
    assert ray.get(generator) is generator
    assert [ray.get(ref) for ref in generator] == [0]


def test_cancel_takes_a_generator(gate: Gate):
    @ray.remote
    def f(gate):
        yield 1
        gate.wait()
        yield 2

    generator = f.remote(gate)
    assert ray.get(next(generator)) == 1
    ray.cancel(generator)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        for ref in generator:
            ray.get(ref, timeout=20)


@pytest.mark.parametrize("call", ["send", "throw", "close"])
def test_it_is_not_a_two_way_generator(call: str):
    generator = count.remote(1)
    arguments = {"send": (1,), "throw": (ValueError(),), "close": ()}[call]
    with pytest.raises(NotImplementedError):
        getattr(generator, call)(*arguments)


def test_it_does_not_travel():
    with pytest.raises(TypeError):
        ray.put(count.remote(1))


def test_async_for_walks_it():
    async def walk():
        return [await ref async for ref in count.remote(3)]

    assert asyncio.run(walk()) == [0, 1, 2]


def test_large_items_travel_through_the_store():
    @ray.remote
    def f():
        for n in range(5):
            yield bytes([n]) * 1_000_000

    assert [ray.get(ref)[:1] for ref in f.remote()] == [bytes([n]) for n in range(5)]


def test_refs_of_items_may_be_passed_on():
    double = ray.remote(lambda x: 2 * x)
    assert ray.get([double.remote(ref) for ref in count.remote(3)]) == [0, 2, 4]


def test_backpressure_stops_the_producer_until_items_are_taken(ledger):
    @ray.remote(_generator_backpressure_num_objects=2)
    def f(ledger):
        for n in range(6):
            ledger.write(n)
            yield n

    generator = f.remote(ledger)
    until(lambda: len(ledger.read()) >= 2)
    assert ray.get(next(generator)) == 0
    until(lambda: len(ledger.read()) >= 3)
    assert len(ledger.read()) < 6
    assert [ray.get(ref) for ref in generator] == [1, 2, 3, 4, 5]


def test_backpressure_of_0_is_refused():
    with pytest.raises(ValueError, match="backpressure"):
        ray.remote(_generator_backpressure_num_objects=0)(count._function).remote(1)


def test_a_method_of_an_actor_streams():
    @ray.remote
    class A:
        def count(self, n):
            yield from range(n)

    actor = A.remote()
    assert [ray.get(ref) for ref in actor.count.options(num_returns="streaming").remote(3)] == [0, 1, 2]
    assert [ray.get(ref) for ref in actor.count.remote(2)] == [0, 1]


def test_an_async_generator_of_an_actor_streams():
    @ray.remote
    class A:
        async def count(self, n):
            for i in range(n):
                await asyncio.sleep(0)
                yield i

    actor = A.remote()
    assert [ray.get(ref) for ref in actor.count.remote(3)] == [0, 1, 2]


def test_dropping_it_half_read_leaves_nothing_running(ledger):
    @ray.remote(_generator_backpressure_num_objects=1)
    def f(ledger):
        yield from range(100)
        ledger.write("ended")

    generator = f.remote(ledger)
    next(generator)
    del generator
    until(lambda: ray.available_resources().get("CPU") == 4.0, what="the CPU to be free again")


def test_several_results_of_a_fixed_number_may_come_from_a_generator():
    @ray.remote(num_returns=2)
    def f():
        yield 1
        yield 2

    assert ray.get(f.remote()) == [1, 2]
