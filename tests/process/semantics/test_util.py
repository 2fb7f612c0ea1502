"""ray.util: as_completed and map_unordered."""

from __future__ import annotations

import pytest
import ray
import ray.util

from tests.process.semantics.support import Gate

pytestmark = pytest.mark.shared_cluster


@ray.remote
def after(gate, value):
    if gate is not None:
        gate.wait()
    return value


def test_as_completed_gives_values_as_they_come(gate: Gate):
    refs = [after.remote(gate, "late"), after.remote(None, "early")]
    results = ray.util.as_completed(refs, chunk_size=1)
    assert next(results) == "early"
    gate.open()
    assert list(results) == ["late"]


def test_as_completed_can_give_refs():
    refs = [after.remote(None, n) for n in range(3)]
    assert set(ray.util.as_completed(refs, yield_obj_refs=True)) == set(refs)


def test_as_completed_of_nothing():
    assert list(ray.util.as_completed([])) == []


def test_as_completed_of_many():
    assert sorted(ray.util.as_completed([after.remote(None, n) for n in range(50)])) == list(range(50))


def test_map_unordered():
    square = ray.remote(lambda x: x * x)
    assert sorted(ray.util.map_unordered(square, range(30), backpressure_size=8, chunk_size=4)) == sorted(
        n * n for n in range(30)
    )


def test_map_unordered_keeps_few_in_flight(ledger):
    @ray.remote
    def f(n):
        return n

    def items():
        for n in range(40):
            ledger.write(n)
            yield n

    results = ray.util.map_unordered(f, items(), backpressure_size=4, chunk_size=1)
    next(results)
    assert len(ledger.read()) < 40
    assert len(list(results)) == 39
