"""How actors end and begin again: handles, names, kill, exit, crashes, restarts."""

# mypy: disable-error-code="attr-defined"
# mypy takes a decorated class for the class itself.

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
import ray

from tests.process.semantics.support import Gate, is_running, plain, until

pytestmark = pytest.mark.shared_cluster


@ray.remote
class Cell:
    def __init__(self, value=None):
        self.value = value

    def read(self):
        return self.value

    def write(self, value):
        self.value = value

    def pid(self):
        return os.getpid()

    def block(self, started, gate):
        started.open()
        gate.wait()
        return "done"

    def leave(self):
        ray.actor.exit_actor()

    def crash(self):
        os._exit(1)


def dies(handle) -> Any:
    """Call until the actor is known to be dead; the error it then answers with."""

    def call():
        try:
            ray.get(handle.pid.remote(), timeout=30)
        except ray.exceptions.ActorDiedError as error:
            return error
        except ray.exceptions.ActorUnavailableError:
            pass
        return None

    return until(call, what="the actor's death")


# -- handles -----------------------------------------------------------------------------------------------------------


def test_an_actor_ends_with_its_last_handle():
    cell = Cell.remote()
    pid = ray.get(cell.pid.remote())
    del cell
    until(lambda: not is_running(pid), what="the process to end")


def test_queued_calls_finish_before_it_ends(started: Gate, gate: Gate, ledger):
    @ray.remote
    class A:
        def block(self, started, gate):
            started.open()
            gate.wait()

        def write(self, ledger):
            ledger.write("ran")

    actor = A.remote()
    actor.block.remote(started, gate)
    ref = actor.write.remote(ledger)
    until(started.is_open)
    del actor
    gate.open()
    ray.get(ref)
    assert ledger.read() == ["ran"]


def test_results_outlive_their_actor():
    cell = Cell.remote({"a": bytes(500_000)})
    ref = cell.read.remote()
    ray.wait([ref])
    pid = ray.get(cell.pid.remote())
    del cell
    until(lambda: not is_running(pid))
    assert len(ray.get(ref)["a"]) == 500_000


# -- names -------------------------------------------------------------------------------------------------------------


def test_a_named_actor_is_found_by_name():
    cell = Cell.options(name="by-name").remote(7)
    assert ray.get(ray.get_actor("by-name").read.remote()) == 7
    assert ray.get_actor("by-name") == cell
    assert ray.get_runtime_context().namespace == "semantics"


def test_a_name_is_taken_once():
    cell = Cell.options(name="once").remote()
    ray.get(cell.read.remote())
    with pytest.raises(ValueError, match="once") as caught:
        Cell.options(name="once").remote()
    assert isinstance(caught.value, ray.exceptions.ActorAlreadyExistsError)


def test_get_if_exists_gets_or_creates():
    first = Cell.options(name="shared", get_if_exists=True).remote(1)
    second = Cell.options(name="shared", get_if_exists=True).remote(2)
    assert first == second
    assert ray.get(second.read.remote()) == 1


def test_get_if_exists_from_many_tasks_at_once_makes_one():
    @ray.remote(num_cpus=0.5)
    def ask():
        return ray.get(Cell.options(name="raced", get_if_exists=True, lifetime="detached").remote().pid.remote())

    assert len(set(ray.get([ask.remote() for _ in range(8)]))) == 1
    ray.kill(ray.get_actor("raced"))


def test_namespaces_keep_equal_names_apart():
    here, there = Cell.options(name="twin").remote(1), Cell.options(name="twin", namespace="elsewhere").remote(2)
    ray.get([here.read.remote(), there.read.remote()])
    assert ray.get(ray.get_actor("twin").read.remote()) == 1
    assert ray.get(ray.get_actor("twin", namespace="elsewhere").read.remote()) == 2


@pytest.mark.parametrize("name", ["nobody", ""])
def test_a_name_that_nobody_has_is_a_value_error(name: str):
    with pytest.raises(ValueError, match=r"nobody|non-empty"):
        ray.get_actor(name)


def test_a_name_is_free_again_after_death():
    cell = Cell.options(name="again").remote()
    ray.get(cell.read.remote())
    ray.kill(cell)

    def create():
        try:
            return Cell.options(name="again").remote(2)
        except ValueError:
            return None

    assert ray.get(until(create, what="the name to be free").read.remote()) == 2


def test_a_handle_from_get_actor_is_weak():
    """With the last handle of its maker gone the actor ends, whoever found it by name."""
    cell = Cell.options(name="weak").remote()
    found = ray.get_actor("weak")
    pid = ray.get(found.pid.remote())
    del cell
    until(lambda: not is_running(pid))
    assert "all references to the actor were removed" in plain(dies(found))


def test_a_detached_actor_outlives_its_handles():
    cell = Cell.options(name="detached", lifetime="detached").remote(5)
    ray.get(cell.read.remote())
    del cell
    assert ray.get(ray.get_actor("detached").read.remote()) == 5
    ray.kill(ray.get_actor("detached"))


# -- kill and exit -----------------------------------------------------------------------------------------------------


def test_kill_ends_the_process_and_fails_calls(started: Gate, gate: Gate):
    cell = Cell.remote()
    pid = ray.get(cell.pid.remote())
    running, queued = cell.block.remote(started, gate), cell.read.remote()
    until(started.is_open)
    ray.kill(cell)
    for ref in (running, queued, cell.read.remote()):
        with pytest.raises(ray.exceptions.RayActorError):
            ray.get(ref, timeout=30)
    until(lambda: not is_running(pid))
    assert "killed by `ray.kill`" in plain(dies(cell))


def test_kill_twice_is_once():
    cell = Cell.remote()
    ray.get(cell.read.remote())
    ray.kill(cell)
    ray.kill(cell)


@pytest.mark.parametrize("thing", [1, "name", None])
def test_kill_takes_a_handle_only(thing: object):
    with pytest.raises(ValueError, match=r"only supported for actors.*ray\.cancel"):
        ray.kill(thing)


def test_kill_of_a_ref_points_to_cancel():
    with pytest.raises(ValueError, match=r"ray\.cancel"):
        ray.kill(ray.put(1))


def test_kill_with_no_restart_false_lets_it_restart():
    cell = Cell.options(max_restarts=1, max_task_retries=-1).remote(1)
    pid = ray.get(cell.pid.remote())
    ray.kill(cell, no_restart=False)
    assert until(lambda: ray.get(cell.pid.remote(), timeout=30) != pid)


def test_exit_actor_is_the_actors_own_doing():
    cell = Cell.remote()
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(cell.leave.remote(), timeout=30)
    assert "exit_actor" in plain(dies(cell))


def test_exit_actor_is_not_restarted():
    cell = Cell.options(max_restarts=-1).remote()
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(cell.leave.remote(), timeout=30)
    dies(cell)


def test_exit_actor_outside_an_actor_is_refused():
    with pytest.raises(TypeError, match="actor"):
        ray.actor.exit_actor()
    with pytest.raises(TypeError, match="actor"):
        ray.get(ray.remote(lambda: ray.actor.exit_actor()).remote(), timeout=30)


def test_exit_actor_runs_exit_handlers(ledger):
    @ray.remote
    class A:
        def leave(self, ledger):
            import atexit

            atexit.register(ledger.write, "atexit")
            ray.actor.exit_actor()

    actor = A.remote()
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(actor.leave.remote(ledger), timeout=30)
    assert until(ledger.read) == ["atexit"]


def test_sys_exit_in_a_method_ends_the_actor():
    @ray.remote
    class A:
        def leave(self):
            raise SystemExit(0)

        def pid(self):
            return os.getpid()

    actor = A.remote()
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(actor.leave.remote(), timeout=30)
    dies(actor)


# -- crashes and restarts ----------------------------------------------------------------------------------------------


def test_a_crash_without_restarts_is_death():
    cell = Cell.remote()
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(cell.crash.remote(), timeout=30)
    error = dies(cell)
    assert error.actor_id == cell._actor_id.hex() or str(error.actor_id) in plain(error)


def test_max_restarts_runs_the_constructor_again():
    """State is lost; identity is not."""
    cell = Cell.options(max_restarts=1).remote("from the constructor")
    ray.get(cell.write.remote("changed"))
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(cell.crash.remote(), timeout=30)

    def read():
        try:
            return ray.get(cell.read.remote(), timeout=30)
        except ray.exceptions.ActorUnavailableError:
            return None

    assert until(read, what="the restart") == "from the constructor"


def test_after_the_last_restart_it_is_dead():
    cell = Cell.options(max_restarts=1, max_task_retries=0).remote()
    for _ in range(2):
        with pytest.raises(ray.exceptions.RayActorError):
            ray.get(cell.crash.remote(), timeout=30)
        until(lambda: _answers(cell) is not None)
    assert isinstance(dies(cell), ray.exceptions.ActorDiedError)


def _answers(cell):
    """True: alive; False: dead; None: neither yet."""
    try:
        ray.get(cell.read.remote(), timeout=30)
    except ray.exceptions.ActorDiedError:
        return False
    except ray.exceptions.ActorUnavailableError:
        return None
    return True


def test_without_task_retries_a_call_hit_by_the_crash_is_not_run_again(started: Gate, gate: Gate, ledger):
    """At most once: the caller learns that it may have run."""

    @ray.remote(max_restarts=1)
    class A:
        def f(self, ledger, started, gate):
            ledger.write("run")
            started.open()
            gate.wait()

        def pid(self):
            return os.getpid()

    actor = A.remote()
    pid = ray.get(actor.pid.remote())
    ref = actor.f.remote(ledger, started, gate)
    until(started.is_open)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ray.exceptions.ActorUnavailableError, match=r"may or may not have been executed"):
        ray.get(ref, timeout=30)
    assert ledger.read() == ["run"]


def test_with_task_retries_it_is_run_again(ledger):
    @ray.remote(max_restarts=-1, max_task_retries=1)
    class A:
        def f(self, ledger):
            ledger.write("run")
            if len(ledger.read()) == 1:
                os._exit(1)
            return "done"

    assert ray.get(A.remote().f.remote(ledger), timeout=30) == "done"
    assert ledger.read() == ["run", "run"]


def test_method_retry_exceptions(ledger):
    @ray.remote
    class A:
        @ray.method(max_task_retries=2, retry_exceptions=[ValueError])
        def f(self, ledger):
            ledger.write("run")
            if len(ledger.read()) < 3:
                raise ValueError
            return len(ledger.read())

    assert ray.get(A.remote().f.remote(ledger), timeout=30) == 3


def test_a_restarted_actor_knows_it():
    @ray.remote(max_restarts=1, max_task_retries=1)
    class A:
        def f(self):
            context = ray.get_runtime_context()
            return context.was_current_actor_reconstructed, os.getpid()

    actor = A.remote()
    before, pid = ray.get(actor.f.remote())
    os.kill(pid, signal.SIGKILL)
    until(lambda: not is_running(pid))
    after, new_pid = ray.get(actor.f.remote(), timeout=30)
    assert (before, after) == (False, True)
    assert new_pid != pid


def test_a_named_actor_keeps_its_name_over_a_restart():
    cell = Cell.options(name="phoenix", max_restarts=1, max_task_retries=-1).remote(3)
    pid = ray.get(cell.pid.remote())
    os.kill(pid, signal.SIGKILL)
    until(lambda: not is_running(pid))
    assert ray.get(ray.get_actor("phoenix").read.remote(), timeout=30) == 3


def test_death_names_the_cause_for_humans():
    cell = Cell.remote()
    pid = ray.get(cell.pid.remote())
    os.kill(pid, signal.SIGKILL)
    text = plain(dies(cell))
    assert "Cell" in text
    assert str(pid) in text


def test_creation_with_a_failed_argument_is_death_with_the_root_cause():
    @ray.remote
    def fails():
        raise KeyError("argument of the constructor")

    cell = Cell.remote(fails.remote())
    with pytest.raises((ray.exceptions.ActorDiedError, KeyError), match="argument of the constructor"):
        ray.get(cell.read.remote(), timeout=30)
