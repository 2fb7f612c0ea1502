"""Worker processes: reuse, crashes and retries, environment variables, directories, signals."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
import ray

from tests.process.semantics.support import is_running, until

pytestmark = pytest.mark.shared_cluster


@ray.remote
def pid():
    return os.getpid()


def test_a_worker_is_used_again():
    assert len({ray.get(pid.remote()) for _ in range(10)}) < 10


def test_module_globals_stay_in_a_worker():
    @ray.remote
    def count():
        import json

        json.calls = getattr(json, "calls", 0) + 1
        return os.getpid(), json.calls

    seen: dict[int, int] = {}
    for process, calls in ray.get([count.remote() for _ in range(20)]):
        seen[process] = max(calls, seen.get(process, 0))
    assert sum(seen.values()) >= 20


def test_max_calls_ends_a_process():
    once = ray.remote(max_calls=1)(lambda: os.getpid())
    pids = [ray.get(once.remote()) for _ in range(3)]
    assert len(set(pids)) == 3
    until(lambda: not is_running(pids[0]))


@pytest.mark.parametrize("max_calls", [1, 3])
def test_no_process_runs_a_function_more_often_than_max_calls(max_calls: int):
    """Short ones at once too, which are else queued with one worker."""
    limited = ray.remote(max_calls=max_calls)(lambda: os.getpid())
    runs = Counter(ray.get([limited.remote() for _ in range(24)]))
    assert max(runs.values()) <= max_calls


def test_workers_start_in_the_drivers_directory_with_its_path():
    @ray.remote
    def where():
        import sys

        return os.getcwd(), sys.path

    directory, path = ray.get(where.remote())
    assert directory == os.getcwd()
    assert str(Path(__file__).parents[3]) in path  # what made this very module importable


def test_env_vars_of_a_task():
    @ray.remote
    def read():
        return os.environ.get("PELAGIC"), os.getpid()

    with_it = ray.get(read.options(runtime_env={"env_vars": {"PELAGIC": "yes"}}).remote())
    without = ray.get(read.remote())
    assert (with_it[0], without[0]) == ("yes", None)
    assert with_it[1] != without[1]


def test_env_vars_reach_children_and_merge_by_name():
    @ray.remote
    def child():
        return os.environ.get("A"), os.environ.get("B")

    @ray.remote(runtime_env={"env_vars": {"A": "1", "B": "1"}})
    def parent():
        inherited = ray.get(child.remote())
        merged = ray.get(child.options(runtime_env={"env_vars": {"B": "2"}}).remote())
        return inherited, merged

    assert ray.get(parent.remote(), timeout=40) == (("1", "1"), ("1", "2"))


def test_env_vars_of_an_actor():
    @ray.remote(runtime_env={"env_vars": {"PELAGIC": "actor"}})
    class A:
        def read(self):
            return os.environ["PELAGIC"]

    assert ray.get(A.remote().read.remote()) == "actor"


@pytest.mark.parametrize("env_vars", [{"A": 1}, {1: "a"}, ["A=1"], "A=1"])
def test_env_vars_are_names_and_texts(env_vars: object):
    with pytest.raises(TypeError):
        ray.remote(runtime_env={"env_vars": env_vars})(lambda: None).remote()


def test_a_worker_that_dies_is_replaced_and_its_task_run_again(ledger):
    @ray.remote
    def f(ledger):
        ledger.write("run")
        if len(ledger.read()) < 3:
            os._exit(1)
        return "done"

    assert ray.get(f.remote(ledger), timeout=40) == "done"
    assert len(ledger.read()) == 3


@pytest.mark.parametrize(
    "end",
    [
        lambda: os._exit(1),
        lambda: os.kill(os.getpid(), signal.SIGKILL),
        lambda: __import__("ctypes").string_at(0),
        lambda: __import__("sys").exit(3),
    ],
    ids=["_exit", "SIGKILL", "segfault", "sys.exit"],
)
def test_without_retries_its_death_is_an_error(end):
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(ray.remote(max_retries=0)(end).remote(), timeout=40)
    assert ray.get(pid.remote(), timeout=20)


def test_max_retries_bounds_the_runs(ledger):
    @ray.remote(max_retries=1)
    def f(ledger):
        ledger.write("run")
        os._exit(1)

    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(f.remote(ledger), timeout=40)
    assert ledger.read() == ["run", "run"]


def test_the_default_of_retries_is_read_at_the_call(ledger, monkeypatch):
    """RAY_TASK_MAX_RETRIES: at each `.remote()`, not at import."""

    @ray.remote
    def f(ledger):
        ledger.write("run")
        os._exit(1)

    monkeypatch.setenv("RAY_TASK_MAX_RETRIES", "0")
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(f.remote(ledger), timeout=40)
    assert ledger.read() == ["run"]


def test_a_crash_takes_no_other_task_with_it():
    @ray.remote(max_retries=0)
    def crash():
        os._exit(1)

    @ray.remote
    def fine(n):
        return n

    bad = [crash.remote() for _ in range(4)]
    good = [fine.remote(n) for n in range(40)]
    assert ray.get(good, timeout=40) == list(range(40))
    for ref in bad:
        with pytest.raises(ray.exceptions.WorkerCrashedError):
            ray.get(ref, timeout=40)


def test_the_crash_of_a_parent_is_survived_by_a_new_run_of_it(ledger):
    @ray.remote
    def child():
        return 1

    @ray.remote(max_retries=10)  # more than Ray needs: it once killed the second run with the first one's leases
    def parent(ledger):
        ledger.write("run")
        value = ray.get(child.remote())
        if len(ledger.read()) == 1:
            os._exit(1)
        return value

    assert ray.get(parent.remote(ledger), timeout=40) == 1


def test_the_owner_of_a_ref_dead_is_an_error_and_no_hang():
    """Ray 2.60 on one machine still gave the value here: a copy was in the node's store (checked). Never a wait."""

    @ray.remote
    class Owner:
        def make(self):
            return [ray.put(bytes(1_000_000))]

        def pid(self):
            return os.getpid()

    owner = Owner.remote()
    (ref,) = ray.get(owner.make.remote())
    process = ray.get(owner.pid.remote())
    ray.kill(owner)
    until(lambda: not is_running(process))
    try:
        value = ray.get(ref, timeout=40)
    except ray.exceptions.OwnerDiedError:
        value = bytes(1_000_000)
    assert len(value) == 1_000_000


def test_a_pending_result_of_a_dead_owner_is_an_error_and_no_hang(gate):
    """The owner of `ref` dies before the task has ended: nobody will ever know the value."""

    @ray.remote
    def slow(gate):
        gate.wait()

    @ray.remote
    class Owner:
        def make(self, gate):
            return [slow.remote(gate)]

    owner = Owner.remote()
    (ref,) = ray.get(owner.make.remote(gate))
    ray.kill(owner)
    with pytest.raises(ray.exceptions.OwnerDiedError):
        ray.get(ref, timeout=40)


def test_the_children_of_a_dead_worker_die_with_it(ledger):
    """What a task started with Popen is not left behind when its worker is killed."""

    @ray.remote(max_retries=0)
    def f(ledger):
        import subprocess

        ledger.write(subprocess.Popen(["sleep", "600"]).pid)
        os._exit(1)

    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(f.remote(ledger), timeout=40)
    child = int(ledger.read()[0])
    try:
        until(lambda: not is_running(child), what="the child to be reaped")
    finally:
        if is_running(child):
            os.kill(child, signal.SIGKILL)


def test_omp_num_threads_follows_num_cpus(monkeypatch):
    @ray.remote
    def read():
        return os.environ.get("OMP_NUM_THREADS")

    expected = os.environ.get("OMP_NUM_THREADS")
    assert ray.get(read.remote()) == (expected or "1")
    assert ray.get(read.options(num_cpus=2).remote()) == (expected or "2")


def test_a_task_has_no_setting_of_ours_for_grpc():
    """It may use gRPC itself."""

    @ray.remote
    def read():
        return {name for name in os.environ if name.startswith("GRPC_")}

    assert ray.get(read.remote()) == {name for name in os.environ if name.startswith("GRPC_")}


def test_a_warning_and_a_log_call_in_a_worker_hurt_nobody():
    @ray.remote
    def f():
        import logging
        import warnings

        warnings.warn("careful", stacklevel=1)
        logging.getLogger("x").error("logged")
        return 1

    assert ray.get(f.remote()) == 1


def test_a_task_may_use_threads_and_processes():
    @ray.remote
    def f():
        import subprocess
        import threading

        seen = []
        thread = threading.Thread(target=lambda: seen.append(ray.get(ray.put(1))))
        thread.start()
        thread.join()
        return seen, subprocess.run(["echo", "out"], capture_output=True, text=True, check=True).stdout

    assert ray.get(f.remote()) == ([1], "out\n")


def test_random_numbers_differ_between_workers(gate, ledger):
    """Forked workers must not draw the same numbers."""

    @ray.remote
    def draw(gate, ledger):
        import random

        ledger.write("in")
        gate.wait()
        return random.random()

    refs = [draw.remote(gate, ledger) for _ in range(4)]
    until(lambda: len(ledger.read()) == 4)
    gate.open()
    assert len(set(ray.get(refs))) == 4
