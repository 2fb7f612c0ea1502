"""Objects: read-only shared arrays, snapshots, refs that keep things alive, memory that comes back."""

from __future__ import annotations

import gc
import os

import pytest
import ray

from tests.process.semantics.support import Gate

pytestmark = pytest.mark.shared_cluster

np = pytest.importorskip("numpy")

MB = 1024 * 1024


@pytest.mark.parametrize("size", [8, 1000, 200_000])
def test_an_array_from_get_is_read_only_whatever_its_size(size: int):
    array = ray.get(ray.put(np.zeros(size)))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


@pytest.mark.parametrize("size", [8, 200_000])
def test_an_array_argument_is_read_only(size: int):
    @ray.remote
    def write(array):
        array[0] = 1

    for argument in (np.zeros(size), ray.put(np.zeros(size))):
        with pytest.raises(ValueError, match="read-only"):
            ray.get(write.remote(argument))


def test_the_drivers_own_array_stays_writable():
    array = np.zeros(200_000)
    ray.put(array)
    array[0] = 1
    assert array[0] == 1


def test_two_gets_share_the_memory():
    """Zero copy: 40 MB gotten twenty times are still 40 MB."""
    ref = ray.put(np.arange(5_000_000.0))
    arrays = [ray.get(ref) for _ in range(20)]
    addresses = {array.__array_interface__["data"][0] for array in arrays}
    assert len(addresses) == 1


def test_a_value_lives_as_long_as_what_was_got_from_it():
    ref = ray.put(np.arange(1_000_000.0))
    array = ray.get(ref)[10:20]
    del ref
    gc.collect()
    for n in range(10):  # churn: what was freed would be written over
        ray.put(np.full(1_000_000, float(n)))
    assert array.tolist() == list(range(10, 20))


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.arange(300_000).reshape(300, 1000),
        lambda: np.asfortranarray(np.arange(20_000.0).reshape(100, 200)),
        lambda: np.arange(100_000)[::3],
        lambda: np.array(["a", None, 3], dtype=object),
        lambda: np.array([], dtype="float32"),
        lambda: np.array(5),
        lambda: np.zeros(1000, dtype=[("x", "f8"), ("n", "i4")]),
        lambda: np.arange(1000).astype("datetime64[s]"),
    ],
    ids=["2d", "fortran", "strided", "objects", "empty", "scalar", "records", "times"],
)
def test_arrays_of_every_kind_come_back_equal(make):
    array = make()
    again = ray.get(ray.remote(lambda x: x).remote(array))
    assert (again.dtype, again.shape) == (array.dtype, array.shape)
    assert (again == array).all()


@pytest.mark.parametrize("size", [0, 1, 100 * 1024, 100 * 1024 + 1, MB, 20 * MB])
def test_bytes_of_every_size_come_back_equal(size: int):
    data = os.urandom(min(size, 1000)) * (size // 1000) + bytes(size % 1000) if size > 1000 else os.urandom(size)
    assert ray.get(ray.remote(lambda x: x).remote(data)) == data


def test_memory_comes_back():
    """Twenty times 40 MB through a store of 200."""
    for _ in range(20):
        ref = ray.put(np.zeros(40 * MB // 8))
        assert ray.get(ref).shape == (40 * MB // 8,)
        del ref


def test_what_only_cycles_hold_makes_room_when_room_is_needed():
    """Thirty times 30 MB through a store of 200: refs in cycles here, and views in cycles that a worker's result waits for."""
    zeros = ray.remote(lambda: np.zeros(4_000_000))
    gc.disable()
    try:
        for _ in range(8):
            loop = [ray.put(bytes(30 << 20))]
            loop.append(loop)
        for _ in range(8):
            loop = [ray.get(zeros.remote())]
            loop.append(loop)
    finally:
        gc.enable()
    del loop
    gc.collect()


def test_memory_of_results_comes_back():
    @ray.remote
    def make():
        return np.zeros(40 * MB // 8)

    for _ in range(10):
        assert ray.get(make.remote())[0] == 0


def test_a_ref_in_a_stored_value_keeps_its_object_alive():
    def store():
        return ray.put([ray.put(np.arange(1_000_000))])

    outer = store()
    gc.collect()
    assert ray.get(ray.get(outer)[0])[5] == 5


def test_a_ref_in_a_pending_argument_keeps_its_object_alive(gate: Gate):
    @ray.remote
    def use(gate, refs):
        gate.wait()
        return int(ray.get(refs[0])[5])

    result = use.remote(gate, [ray.put(np.arange(1_000_000))])
    gc.collect()
    gate.open()
    assert ray.get(result) == 5


def test_a_ref_kept_in_an_actor_keeps_its_object_alive():
    @ray.remote
    class Keeper:
        def keep(self, refs):
            self.refs = refs

        def read(self):
            return int(ray.get(self.refs[0])[5])

    keeper = Keeper.remote()
    ref = ray.put(np.arange(1_000_000))
    ray.get(keeper.keep.remote([ref]))
    del ref
    gc.collect()
    assert ray.get(keeper.read.remote()) == 5


def test_refs_returned_by_a_task_outlive_its_process_being_idle():
    """Their owner is the worker: it may not be reaped while it owns them."""

    @ray.remote
    def make():
        return [ray.put(np.arange(1_000_000)), ray.remote(lambda: 7).remote()]

    array, seven = ray.get(make.remote())
    ray.get([ray.remote(lambda: 0).remote() for _ in range(20)])
    assert ray.get(seven) == 7
    assert ray.get(array)[5] == 5


def test_refs_travel_through_several_borrowers():
    @ray.remote
    def pass_on(refs, depth):
        if depth == 0:
            return refs
        return ray.get(pass_on.options(num_cpus=0).remote(refs, depth - 1))

    def borrowed():
        return ray.get(pass_on.remote([ray.put(np.arange(1_000_000))], 4))

    assert ray.get(borrowed()[0])[5] == 5


def test_a_ref_captured_by_a_closure_stays_alive():
    ref = ray.put([1, 2, 3])

    @ray.remote
    def f():
        return ray.get(ref)

    assert ray.get(f.remote()) == [1, 2, 3]
    assert ray.get(f.remote()) == [1, 2, 3]


def test_ten_thousand_refs_in_one_object():
    refs = [ray.put(n) for n in range(2000)]
    assert ray.get(ray.get(ray.put(refs))) == list(range(2000))


def test_many_refs_as_arguments():
    @ray.remote
    def total(*numbers):
        return sum(numbers)

    assert ray.get(total.remote(*[ray.put(n) for n in range(300)])) == sum(range(300))


def test_a_task_puts_and_its_caller_gets():
    @ray.remote
    def f():
        return ray.put("inner")

    ref = ray.get(f.remote())
    assert isinstance(ref, ray.ObjectRef)
    assert ray.get(ref) == "inner"


def test_large_results_of_several_kinds_at_once():
    @ray.remote(num_returns=3)
    def f():
        return np.zeros(200_000), b"x" * MB, {"k": np.ones(3)}

    zeros, data, table = ray.get(f.remote())
    assert (zeros.sum(), len(data), table["k"].tolist()) == (0.0, MB, [1.0, 1.0, 1.0])


def test_buffers_keep_their_alignment():
    array = ray.get(ray.put(np.zeros(200_000)))
    assert array.__array_interface__["data"][0] % 64 == 0


def test_a_value_that_holds_one_array_twice_holds_it_once():
    array = np.arange(300_000)
    a, b = ray.get(ray.put((array, array)))
    assert a is b
