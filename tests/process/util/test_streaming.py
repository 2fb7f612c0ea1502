"""`as_completed` and `map_unordered` on a cluster: what `tests/process/semantics/test_util.py`, shared with Ray, leaves open."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice

import pytest

import manta
from manta.util import as_completed, map_unordered

pytestmark = pytest.mark.shared_cluster


@pytest.fixture(scope="module", autouse=True)
def cluster(module_sandbox: object) -> Iterator[None]:
    manta.init(num_cpus=2, object_store_memory=100 << 20, log_to_driver=False)
    yield
    manta.shutdown()


@manta.remote
def double(number: int) -> int:
    if number < 0:
        raise ValueError(number)
    return 2 * number


def test_what_is_available_together_comes_in_the_order_given():
    refs = [double.remote(number) for number in range(20)]
    manta.wait(refs, num_returns=20)

    assert [2 * number for number in range(20)] == list(as_completed(refs, chunk_size=3))


def test_a_failure_is_raised_at_its_turn():
    refs = [double.remote(number) for number in (1, -1, 2)]
    manta.wait(refs, num_returns=3)
    results = as_completed(refs, chunk_size=1)

    assert 2 == next(results)
    with pytest.raises(ValueError):
        next(results)


def test_an_endless_source_is_read_as_far_as_needed():
    taken = []

    def items() -> Iterator[int]:
        for number in count():
            taken.append(number)
            yield number

    results = list(islice(map_unordered(double, items(), backpressure_size=4, chunk_size=2), 10))

    assert 10 == len(set(results))
    assert len(taken) <= 10 + 4


def test_a_timeout_only_looks_again():
    assert [0, 2, 4] == sorted(map_unordered(double, range(3), backpressure_size=1, chunk_size=1, timeout=0.001))
    assert [0, 2, 4] == sorted(as_completed([double.remote(number) for number in range(3)], timeout=0.001))


def test_an_actors_method_and_a_function_with_options_will_do():
    @manta.remote
    class Adder:
        def add(self, number: int) -> int:
            return number + 1

    adder = Adder.remote()
    assert [1, 2, 3] == sorted(map_unordered(adder.add, range(3)))
    assert [0, 2] == sorted(map_unordered(double.options(num_cpus=0.5), range(2)))


def test_refs_instead_of_values_are_not_fetched():
    refs = list(map_unordered(double, [1, -1], yield_obj_refs=True))
    assert 2 == len(refs)
    with pytest.raises(ValueError):
        manta.get(refs)
