"""Resources: who waits for what, what a blocked task gives back, GPUs, order of starts, requests nobody can meet."""

from __future__ import annotations

import os
import time

import pytest
import ray

from tests.process.semantics.support import Gate, manta_does_better, manta_only, says, until

pytestmark = pytest.mark.shared_cluster


def free(resource: str = "CPU") -> float:
    return float(ray.available_resources().get(resource, 0.0))


@ray.remote
def hold(started, gate):
    started.open()
    gate.wait()
    return "held"


def test_the_cluster_says_what_it_has():
    resources = ray.cluster_resources()
    assert (resources["CPU"], resources["GPU"], resources["slot"]) == (4.0, 2.0, 2.0)
    assert {"memory", "object_store_memory", "node:__internal_head__"} <= set(resources)
    assert all(isinstance(amount, float) for amount in resources.values())


def test_a_task_takes_one_cpu_and_gives_it_back(started: Gate, gate: Gate):
    until(lambda: free() == 4.0)
    ref = hold.remote(started, gate)
    until(started.is_open)
    until(lambda: free() == 3.0)
    gate.open()
    ray.get(ref)
    until(lambda: free() == 4.0)


def test_fractions_and_nothing_at_all():
    @ray.remote
    def assigned():
        return ray.get_runtime_context().get_assigned_resources()

    assert ray.get(assigned.remote()) == {"CPU": 1.0}
    assert ray.get(assigned.options(num_cpus=0.25).remote()) == {"CPU": 0.25}
    assert ray.get(assigned.options(num_cpus=0).remote()).get("CPU", 0) == 0
    assert ray.get(assigned.options(num_cpus=2, resources={"slot": 0.5}).remote()) == {"CPU": 2.0, "slot": 0.5}


def test_more_tasks_than_cpus_wait_their_turn(gate: Gate, ledger):
    @ray.remote
    def f(ledger, gate, n):
        ledger.write(n)
        gate.wait()

    refs = [f.remote(ledger, gate, n) for n in range(6)]
    until(lambda: len(ledger.read()) == 4)
    assert ray.wait(refs, timeout=0.2) == ([], refs)
    assert len(ledger.read()) == 4
    gate.open()
    ray.get(refs)
    assert len(ledger.read()) == 6


def test_equal_tasks_start_in_the_order_of_submission(ledger):
    @ray.remote(num_cpus=4)
    def f(ledger, n):
        ledger.write(n)

    ray.get([f.remote(ledger, n) for n in range(20)])
    assert ledger.read() == [str(n) for n in range(20)]


def test_a_shape_that_must_wait_does_not_hold_up_another(started: Gate, gate: Gate):
    """No head-of-line blocking: two wait for the slots, tasks that need none go by."""
    held = hold.options(resources={"slot": 2}).remote(started, gate)
    until(started.is_open)
    waiting = [hold.options(resources={"slot": 2}).remote(started, gate) for _ in range(2)]
    assert ray.get([ray.remote(lambda: 1).remote() for _ in range(10)], timeout=20) == [1] * 10
    gate.open()
    assert ray.get([held, *waiting]) == ["held"] * 3


def test_a_custom_resource_bounds_who_runs_together(gate: Gate, ledger):
    @ray.remote(num_cpus=0, resources={"slot": 1})
    def f(ledger, gate):
        ledger.write("in")
        gate.wait()

    refs = [f.remote(ledger, gate) for _ in range(3)]
    until(lambda: len(ledger.read()) == 2)
    assert ray.wait(refs, timeout=0.2)[0] == []
    assert len(ledger.read()) == 2
    gate.open()
    ray.get(refs)


def test_a_blocked_get_lends_its_cpu():
    """Without that, four parents on four CPUs would wait for ever for their children."""

    @ray.remote
    def child(n):
        return n

    @ray.remote
    def parent(n):
        return ray.get(child.remote(n))

    assert ray.get([parent.remote(n) for n in range(8)], timeout=30) == list(range(8))


def test_a_blocked_wait_lends_its_cpu():
    @ray.remote
    def child():
        return 1

    @ray.remote(num_cpus=4)
    def parent():
        ready, _ = ray.wait([child.remote()])
        return len(ready)

    assert ray.get(parent.remote(), timeout=30) == 1


@manta_only("on Ray 2.60 an actor's method that blocks in get lends nothing and this waits for ever (checked)")
def test_a_blocked_actor_method_lends_its_cpu():
    @ray.remote(num_cpus=4)
    class A:
        def f(self):
            return ray.get(ray.remote(lambda: 3).remote())

    assert ray.get(A.remote().f.remote(), timeout=30) == 3


def test_nesting_deeper_than_cpus():
    @ray.remote
    def down(n):
        return 0 if n == 0 else 1 + ray.get(down.remote(n - 1))

    assert ray.get(down.remote(10), timeout=60) == 10


def test_a_blocked_get_keeps_custom_resources(started: Gate, gate: Gate):
    until(lambda: free("slot") == 2.0)

    @ray.remote(resources={"slot": 1})
    def parent(started, gate):
        return ray.get(hold.remote(started, gate))

    ref = parent.remote(started, gate)
    until(started.is_open)
    # Both in one wait: what is free lags, and may still be that of the test before.
    until(lambda: (free(), free("slot")) == (3.0, 1.0), what="the parent's CPU, and nothing else, to be lent")
    gate.open()
    assert ray.get(ref) == "held"


def test_a_child_does_not_queue_behind_its_parent_on_one_worker():
    """[child submitted, parent computes, then gets]: the child may start elsewhere meanwhile."""

    @ray.remote
    def child(gate):
        gate.open()

    @ray.remote
    def parent(gate):
        ref = child.remote(gate)
        gate.wait(20)  # without get: nothing tells the runtime that we wait
        return ray.get(ref)

    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        assert ray.get(parent.remote(Gate(Path(folder) / "gate")), timeout=30) is None


def test_tasks_leave_the_queue_of_a_worker_that_takes_longer_than_it_ever_did(started: Gate, gate: Gate):
    """One worker has run every task so far, each in no time, so the next ones queue with it; the first of them blocks."""

    @ray.remote
    def f(started, gate):
        if started is not None:
            started.open()
            gate.wait()
        return "done"

    for _ in range(20):
        ray.get(f.remote(None, None))
    long, *short = [f.remote(*((started, gate) if n == 0 else (None, None))) for n in range(20)]
    assert ray.get(short, timeout=20) == ["done"] * 19
    until(started.is_open)
    gate.open()
    assert ray.get(long) == "done"


def test_a_short_task_does_not_wait_behind_a_long_one_while_a_cpu_is_free(started: Gate, gate: Gate):
    """Equal shapes, same function: pipelining must not pin it to the busy worker."""

    @ray.remote
    def f(started, gate):
        if started is not None:
            started.open()
            gate.wait()
        return "done"

    ray.get([f.remote(None, None) for _ in range(20)])  # the estimate now says: short
    long = f.remote(started, gate)
    short = [f.remote(None, None) for _ in range(20)]
    assert ray.get(short, timeout=20) == ["done"] * 20
    gate.open()
    assert ray.get(long) == "done"


# -- GPUs: ids only, no hardware needed ----------------------------------------------------------------------------------


@ray.remote(num_gpus=1)
def gpu():
    return ray.get_gpu_ids(), os.environ.get("CUDA_VISIBLE_DEVICES"), os.getpid()


def test_a_gpu_task_is_given_ids_and_sees_only_them():
    ids, visible, _pid = ray.get(gpu.remote())
    assert len(ids) == 1
    assert visible == ",".join(str(i) for i in ids)


def test_two_gpus():
    ids, visible, _pid = ray.get(gpu.options(num_gpus=2).remote())
    assert sorted(int(i) for i in ids) == [0, 1]
    assert sorted(visible.split(",")) == ["0", "1"]


def test_halves_of_one_gpu_share_an_id(gate: Gate, ledger):
    @ray.remote(num_gpus=0.5)
    def half(gate, ledger):
        ledger.write("in")
        gate.wait()
        return ray.get_gpu_ids()[0]

    refs = [half.remote(gate, ledger) for _ in range(4)]
    until(lambda: len(ledger.read()) == 4)
    gate.open()
    assert sorted(int(i) for i in ray.get(refs)) == [0, 0, 1, 1]


def test_an_actor_keeps_its_gpu():
    @ray.remote(num_gpus=1)
    class A:
        def ids(self):
            return ray.get_gpu_ids()

    a, b = A.remote(), A.remote()
    assert sorted(int(ids[0]) for ids in ray.get([a.ids.remote(), b.ids.remote()])) == [0, 1]
    assert ray.get(a.ids.remote()) == ray.get(a.ids.remote())


def test_without_gpus_the_variable_is_untouched():
    """Ray 2.60's default; older ones blanked it."""

    @ray.remote
    def f():
        return ray.get_gpu_ids(), os.environ.get("CUDA_VISIBLE_DEVICES", "unset")

    assert ray.get(f.remote()) == ([], os.environ.get("CUDA_VISIBLE_DEVICES", "unset"))


def test_a_gpu_task_ends_its_process():
    """`max_calls` is 1 with GPUs, so that the device's memory is given back."""
    pids = [ray.get(gpu.remote())[2] for _ in range(3)]
    assert len(set(pids)) == 3


def test_accelerator_ids():
    @ray.remote(num_gpus=1)
    def f():
        return ray.get_runtime_context().get_accelerator_ids()["GPU"], ray.get_gpu_ids()

    strings, ids = ray.get(f.remote())
    assert strings == [str(i) for i in ids]


# -- requests nobody can meet --------------------------------------------------------------------------------------------


def test_an_infeasible_task_waits(gate: Gate):
    """A node that could run it may join. It is cancelled like any pending one."""
    ref = ray.remote(num_cpus=1000)(lambda: 1).remote()
    assert ray.wait([ref], timeout=0.5) == ([], [ref])
    ray.cancel(ref)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(ref, timeout=20)


def test_an_infeasible_task_does_not_hold_up_others():
    ref = ray.remote(resources={"unobtainium": 1})(lambda: 1).remote()
    assert ray.get([ray.remote(lambda: 2).remote() for _ in range(5)], timeout=20) == [2] * 5
    ray.cancel(ref)


@manta_does_better("Ray says it after up to ten seconds, with a text about autoscalers")
def test_an_infeasible_request_is_said_within_a_second(tmp_path):
    says(
        """
        import time, ray
        ray.init(num_cpus=2)
        ref = ray.remote(resources={"unobtainium": 1})(lambda: 1).remote()
        ray.wait([ref], timeout=1.5)
        """,
        tmp_path,
        "unobtainium",
    )


def test_memory_is_admission_only():
    assert ray.get(ray.remote(memory=50 * 1024 * 1024)(lambda: 1).remote(), timeout=20) == 1


def test_everything_is_given_back(started: Gate):
    """Runs last in this module: all resources are at rest again."""
    whole = {"CPU": 4.0, "GPU": 2.0, "slot": 2.0}
    until(lambda: {name: free(name) for name in whole} == whole, what="all resources at rest")
    assert time.monotonic() > 0
