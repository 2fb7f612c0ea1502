"""get, put and wait: order, timeouts, and what they refuse."""

from __future__ import annotations

import time

import pytest
import ray

from tests.process.semantics.support import Gate, manta_does_better
from tests.support.waiting import soon

pytestmark = pytest.mark.shared_cluster


@pytest.fixture(scope="module")
def after():
    """A task that returns its argument once a gate is open."""

    @ray.remote(num_cpus=0.1)
    def after(gate, value):
        gate.wait()
        return value

    return after


def test_put_then_get():
    value = {"list": [1, 2.5, None], "text": "ü", "bytes": b"\x00", "set": {1}}
    assert ray.get(ray.put(value)) == value


def test_get_of_a_list_keeps_its_order(after, gate: Gate):
    slow, fast = after.remote(gate, "slow"), ray.put("fast")
    gate.open()
    assert ray.get([slow, fast, slow]) == ["slow", "fast", "slow"]


def test_get_of_an_empty_list_is_an_empty_list():
    assert ray.get([]) == []


@pytest.mark.parametrize("refs", [(), 1, "ref", {"a": 1}, None])
def test_get_takes_a_ref_or_a_list(refs: object):
    with pytest.raises(ValueError, match=r"(?i)objectref"):
        ray.get(refs)


def test_get_refuses_a_list_with_something_else_in_it():
    with pytest.raises(TypeError, match=r"ObjectRef|int"):
        ray.get([ray.put(1), 2])


def test_a_timeout_raises_an_error_that_is_a_timeout_error(after, gate: Gate):
    ref = after.remote(gate, 1)
    with pytest.raises(ray.exceptions.GetTimeoutError) as caught:
        ray.get(ref, timeout=0.05)
    assert isinstance(caught.value, TimeoutError)
    gate.open()
    assert ray.get(ref) == 1  # the task went on


def test_timeout_0_is_a_look(after, gate: Gate):
    assert ray.get(ray.put(1), timeout=0) == 1
    with pytest.raises(ray.exceptions.GetTimeoutError):
        ray.get(after.remote(gate, 1), timeout=0)


def test_timeout_minus_1_waits_for_ever(after, gate: Gate):
    ref = after.remote(gate, 1)
    gate.open()
    assert ray.get(ref, timeout=-1) == 1


@manta_does_better("Ray 2.60 takes any negative timeout for none at all")
def test_a_negative_timeout_other_than_minus_1_is_refused():
    with pytest.raises(ValueError, match="timeout"):
        ray.get(ray.put(1), timeout=-2)


def test_the_first_failed_element_raises(after, gate: Gate):
    @ray.remote
    def fails():
        raise KeyError("broken")

    with pytest.raises(KeyError):
        ray.get([ray.put(1), fails.remote(), ray.put(2)])


def test_get_raises_a_failure_without_waiting_for_the_rest(after, gate: Gate):
    """[slow, failed]: the failure comes through while the slow one still waits."""

    @ray.remote(num_cpus=0.1)
    def fails():
        raise KeyError("broken")

    with pytest.raises(KeyError):
        ray.get([after.remote(gate, 1), fails.remote()], timeout=20)


def test_put_of_a_ref_is_refused_and_of_a_list_of_refs_is_not():
    ref = ray.put(1)
    with pytest.raises(TypeError, match="ObjectRef"):
        ray.put(ref)
    assert ray.get(ray.get(ray.put([ref]))[0]) == 1


def test_put_of_something_unpicklable_names_it():
    import threading

    with pytest.raises(TypeError, match="lock"):
        ray.put({"a": [threading.Lock()]})


def test_values_are_snapshots():
    value = [1]
    ref = ray.put(value)
    value.append(2)
    first = ray.get(ref)
    first.append(3)
    assert ray.get(ref) == [1]


def test_two_gets_give_equal_values_and_distinct_objects():
    ref = ray.put({"a": 1})
    one, two = ray.get(ref), ray.get(ref)
    assert one == two
    assert one is not two


# -- wait ------------------------------------------------------------------------------------------------------------


def test_wait_splits_ready_from_not_ready_in_input_order(after, gate: Gate):
    slow = [after.remote(gate, n) for n in range(2)]
    done = [ray.put(n) for n in range(2)]
    ready, rest = ray.wait([slow[0], done[0], slow[1], done[1]], num_returns=2)
    assert (ready, rest) == ([done[0], done[1]], [slow[0], slow[1]])


def test_wait_for_all_returns_them_in_input_order(after, gate: Gate):
    refs = [ray.put(0), after.remote(gate, 1), ray.put(2)]
    gate.open()
    assert ray.wait(refs, num_returns=3) == (refs, [])


def test_wait_returns_at_most_num_returns_even_if_more_are_done():
    refs = [ray.put(n) for n in range(5)]
    ready, rest = ray.wait(refs, num_returns=2)
    assert (len(ready), len(rest)) == (2, 3)
    assert set(ready) | set(rest) == set(refs)
    assert rest == [ref for ref in refs if ref in rest]


def test_wait_returns_what_is_there_when_its_time_is_over(after, gate: Gate):
    slow, done = after.remote(gate, 1), ray.put(2)
    assert ray.wait([slow, done], num_returns=2, timeout=0.1) == ([done], [slow])
    assert ray.wait([slow], timeout=0) == ([], [slow])


def test_a_failed_task_is_ready():
    @ray.remote
    def fails():
        raise ValueError

    ref = fails.remote()
    assert ray.wait([ref], timeout=20) == ([ref], [])


def test_wait_for_nothing_is_nothing():
    assert ray.wait([]) == ([], [])


@pytest.mark.parametrize("refs", [(), 1, None, {}])
def test_wait_takes_a_list(refs: object):
    with pytest.raises(TypeError, match="list"):
        ray.wait(refs)


def test_wait_of_a_single_ref_says_that_it_wants_a_list():
    with pytest.raises(TypeError, match="list"):
        ray.wait(ray.put(1))


def test_wait_refuses_a_list_with_something_else_in_it():
    with pytest.raises(TypeError, match="ObjectRef"):
        ray.wait([ray.put(1), 2])


def test_wait_refuses_a_ref_twice():
    ref = ray.put(1)
    with pytest.raises(ValueError, match=r"unique|duplicate"):
        ray.wait([ref, ref])


@pytest.mark.parametrize("num_returns", [0, -1, 2])
def test_wait_refuses_a_number_that_cannot_be(num_returns: int):
    """Zero and below: "Invalid number of objects to return"; more than there are: names num_returns."""
    with pytest.raises(ValueError, match=r"num_returns|number of objects to return"):
        ray.wait([ray.put(1)], num_returns=num_returns)


def test_wait_refuses_a_negative_timeout():
    with pytest.raises(ValueError, match="timeout"):
        ray.wait([ray.put(1)], timeout=-1)


def test_wait_takes_its_settings_by_keyword_only():
    with pytest.raises(TypeError):
        ray.wait([ray.put(1)], 1)


def test_a_thousand_refs_one_by_one():
    @ray.remote
    def square(n):
        return n * n

    pending, results = [square.remote(n) for n in range(200)], []
    while pending:
        ready, pending = ray.wait(pending, timeout=20)
        assert ready
        results += ray.get(ready)
    assert sorted(results) == [n * n for n in range(200)]


def test_get_returns_soon_after_its_timeout(after, gate: Gate):
    """The contract: by its timeout and half a second."""
    ref = after.remote(gate, 1)

    def lateness() -> float:
        began = time.monotonic()
        with pytest.raises(ray.exceptions.GetTimeoutError):
            ray.get(ref, timeout=0.2)
        late = time.monotonic() - began - 0.2
        assert late >= 0
        return late

    soon(lateness, 0.5)


@manta_does_better("Ray's text is 'Get timed out: some object(s) not ready.' and names none")
def test_a_timeout_names_what_was_waited_for(after, gate: Gate):
    ref = after.remote(gate, 1)
    with pytest.raises(ray.exceptions.GetTimeoutError, match=ref.hex()):
        ray.get(ref, timeout=0.01)
