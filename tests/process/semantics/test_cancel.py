"""cancel: pending, running and finished tasks, children, actors, and what it refuses."""

# mypy: disable-error-code="attr-defined"
# mypy takes a decorated class for the class itself.

from __future__ import annotations

import time

import pytest
import ray

from tests.process.semantics.support import Gate, manta_only, until

pytestmark = pytest.mark.shared_cluster


def ends_cancelled(ref, timeout: float = 20) -> None:
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(ref, timeout=timeout)


@ray.remote
def blocks(started: Gate, gate: Gate):
    started.open()
    gate.wait()
    return "done"


def test_a_running_task_is_interrupted(started: Gate, gate: Gate):
    ref = blocks.remote(started, gate)
    until(started.is_open)
    ray.cancel(ref)
    ends_cancelled(ref)


def test_a_pending_task_never_runs(started: Gate, gate: Gate, tmp_path):
    @ray.remote(num_cpus=4)
    def whole_node(begun, gate):
        begun.open()
        gate.wait()

    begun = Gate(tmp_path / "begun")
    blocker = whole_node.remote(begun, gate)
    until(begun.is_open)  # before that a worker of the last test, still on loan, may take the other task
    ref = blocks.remote(started, gate)
    ray.cancel(ref)
    ends_cancelled(ref)
    gate.open()
    ray.get(blocker)
    assert not started.is_open()


@manta_only("Ray 2.60's driver aborts (a failed check in its reference counter) once the argument arrives")
def test_a_task_whose_argument_is_not_there_yet_never_runs(started: Gate, gate: Gate, tmp_path):
    first = blocks.remote(started, gate)
    until(started.is_open)
    second_started = Gate(tmp_path / "second")

    @ray.remote
    def use(x, mine):
        mine.open()

    second = use.remote(first, second_started)
    ray.cancel(second)
    ends_cancelled(second)
    gate.open()
    assert ray.get(first) == "done"
    assert not second_started.is_open()


def test_a_finished_task_keeps_its_result():
    ref = ray.remote(lambda: 1).remote()
    assert ray.get(ref) == 1
    ray.cancel(ref)
    assert ray.get(ref) == 1


def test_force_kills_the_worker(started: Gate, gate: Gate):
    ref = blocks.remote(started, gate)
    until(started.is_open)
    ray.cancel(ref, force=True)
    with pytest.raises((ray.exceptions.TaskCancelledError, ray.exceptions.WorkerCrashedError)):
        ray.get(ref, timeout=20)


@manta_only("Ray's cancel does not interrupt one long time.sleep: it took effect 10 s later (measured on 2.60)")
def test_a_long_sleep_is_interrupted(started: Gate):
    @ray.remote
    def sleeps(started):
        started.open()
        time.sleep(600)

    ref = sleeps.remote(started)
    until(started.is_open)
    ray.cancel(ref)
    ends_cancelled(ref)


def test_a_cancelled_task_gives_its_cpu_back(started: Gate, gate: Gate):
    ref = blocks.options(num_cpus=4).remote(started, gate)
    until(started.is_open)
    ray.cancel(ref)
    ends_cancelled(ref)
    assert ray.get(ray.remote(num_cpus=4)(lambda: 1).remote(), timeout=20) == 1


def test_a_cancelled_task_is_not_retried(ledger, gate: Gate):
    @ray.remote(max_retries=-1, retry_exceptions=True)
    def f(ledger, gate):
        ledger.write("run")
        gate.wait()

    ref = f.remote(ledger, gate)
    until(ledger.read)
    ray.cancel(ref)
    ends_cancelled(ref)
    gate.open()
    assert ledger.read() == ["run"]


def test_what_depends_on_a_cancelled_task_fails_too(started: Gate, gate: Gate):
    first = blocks.remote(started, gate)
    second = ray.remote(lambda x: x).remote(first)
    until(started.is_open)
    ray.cancel(first)
    ends_cancelled(second)


def test_children_are_cancelled_with_their_parent(started: Gate, gate: Gate, ledger):
    @ray.remote
    def child(started, gate, ledger):
        try:
            started.open()
            gate.wait()
            ledger.write("finished")
        except BaseException:
            ledger.write("interrupted")
            raise

    @ray.remote
    def parent(started, gate, ledger):
        ray.get(child.remote(started, gate, ledger))

    ref = parent.remote(started, gate, ledger)
    until(started.is_open)
    ray.cancel(ref, recursive=True)
    ends_cancelled(ref)
    assert until(ledger.read) == ["interrupted"]


def test_without_recursive_children_go_on(started: Gate, gate: Gate, ledger):
    @ray.remote
    def child(started, gate, ledger):
        started.open()
        gate.wait()
        ledger.write("finished")

    @ray.remote
    def parent(started, gate, ledger):
        ray.get(child.remote(started, gate, ledger))

    ref = parent.remote(started, gate, ledger)
    until(started.is_open)
    ray.cancel(ref, recursive=False)
    ends_cancelled(ref)
    gate.open()
    assert until(ledger.read) == ["finished"]


def test_a_task_may_clean_up_when_it_is_interrupted(started: Gate, gate: Gate, ledger):
    """The interrupt is a KeyboardInterrupt in the main thread of the worker."""

    @ray.remote
    def f(started, gate, ledger):
        try:
            started.open()
            gate.wait()
        except KeyboardInterrupt:
            ledger.write("KeyboardInterrupt")
            raise

    ref = f.remote(started, gate, ledger)
    until(started.is_open)
    ray.cancel(ref)
    ends_cancelled(ref)
    assert until(ledger.read) == ["KeyboardInterrupt"]


def test_the_error_of_a_started_task_is_also_a_cancelled_error(started: Gate, gate: Gate):
    """Ray 2.60: of a started task RayTaskError and TaskCancelledError at once; with force plain TaskCancelledError."""
    ref = blocks.remote(started, gate)
    until(started.is_open)
    ray.cancel(ref)
    with pytest.raises(ray.exceptions.TaskCancelledError) as caught:
        ray.get(ref, timeout=20)
    assert isinstance(caught.value, ray.exceptions.RayError)


def test_a_borrower_may_cancel(started: Gate, gate: Gate):
    ref = blocks.remote(started, gate)
    until(started.is_open)

    @ray.remote
    def cancels(refs):
        ray.cancel(refs[0])

    ray.get(cancels.remote([ref]))
    ends_cancelled(ref)


def test_cancelling_twice_is_once(started: Gate, gate: Gate):
    ref = blocks.remote(started, gate)
    until(started.is_open)
    ray.cancel(ref)
    ray.cancel(ref)
    ends_cancelled(ref)


def test_interrupts_never_reach_the_next_task(gate: Gate, tmp_path):
    """Thirty cancels in a row, each at the end of its task's life; other tasks on the same workers all succeed."""

    @ray.remote
    def short():
        return 1

    others = []
    for _ in range(30):
        ref = short.remote()
        ray.cancel(ref)
        others.append(short.remote())
    assert ray.get(others, timeout=30) == [1] * 30


def test_one_positional_argument_only():
    refs = [ray.put(1), ray.put(2)]
    with pytest.raises(TypeError):
        ray.cancel(*refs)


@pytest.mark.parametrize("thing", [1, "x", None, []])
def test_something_else_is_refused(thing: object):
    with pytest.raises(TypeError, match=r"(?i)object ?ref"):
        ray.cancel(thing)


def test_cancel_of_a_put_changes_nothing():
    """There is no task; Ray 2.60 says nothing."""
    ref = ray.put(1)
    ray.cancel(ref)
    assert ray.get(ref) == 1


# -- actor tasks ------------------------------------------------------------------------------------------------------


@manta_only("on Ray 2.60 the call after it waits 30 s for the missing sequence number and is cancelled as well")
def test_a_queued_actor_call_is_dropped_without_leaving_a_gap(started: Gate, gate: Gate, ledger):
    @ray.remote
    class A:
        def block(self, started, gate):
            started.open()
            gate.wait()
            return "first"

        def write(self, ledger):
            ledger.write("ran")

        def ping(self):
            return "pong"

    actor = A.remote()
    first = actor.block.remote(started, gate)
    until(started.is_open)
    second = actor.write.remote(ledger)
    ray.cancel(second)
    ends_cancelled(second)
    gate.open()
    assert ray.get(first) == "first"
    assert ray.get(actor.ping.remote()) == "pong"
    assert ledger.read() == []


def test_a_running_sync_actor_call_sees_a_flag_only(started: Gate, gate: Gate):
    """No interrupt: the state of an actor is not to be torn. The method may look at is_canceled()."""

    @ray.remote
    class A:
        def block(self, started, gate):
            started.open()
            context = ray.get_runtime_context()
            until(lambda: context.is_canceled(), what="is_canceled")
            return "saw it"

        def ping(self):
            return "pong"

    actor = A.remote()
    ref = actor.block.remote(started, gate)
    until(started.is_open)
    ray.cancel(ref)
    try:
        assert ray.get(ref, timeout=20) == "saw it"
    except ray.exceptions.TaskCancelledError:
        pass  # Ray 2.60 reports the call as cancelled even though it returned
    assert ray.get(actor.ping.remote(), timeout=20) == "pong"


def test_a_running_async_actor_call_is_cancelled_as_asyncio_does(started: Gate, ledger):
    @ray.remote
    class A:
        async def block(self, started, ledger):
            import asyncio

            try:
                started.open()
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                ledger.write("CancelledError")
                raise

    actor = A.remote()
    ref = actor.block.remote(started, ledger)
    until(started.is_open)
    ray.cancel(ref)
    ends_cancelled(ref)
    assert until(ledger.read) == ["CancelledError"]


def test_force_on_an_actor_call_is_refused(started: Gate, gate: Gate):
    @ray.remote
    class A:
        def block(self, started, gate):
            started.open()
            gate.wait()

    actor = A.remote()
    ref = actor.block.remote(started, gate)
    until(started.is_open)
    with pytest.raises(ValueError, match="force"):
        ray.cancel(ref, force=True)
    gate.open()
    assert ray.get(ref) is None
