"""User code that does what it should not: its call ends in a value or an error that says how, and nobody else notices."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

import manta
from manta.exceptions import ActorDiedError, RayTaskError, TaskCancelledError, WorkerCrashedError
from tests.process.semantics.support import is_running
from tests.support.pausing import paused
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.process.cluster.support import Cluster
    from tests.process.semantics.support import Gate, Ledger

pytestmark = pytest.mark.shared_cluster

CLUSTER = {"num_cpus": 2, "object_store_memory": 400 << 20, "log_to_driver": False}

PATIENCE_S = 20


@manta.remote
def double(number: int):
    return 2 * number


@pytest.fixture(autouse=True)
def others_go_on():
    """After each of these tests ordinary tasks run, on whatever worker they find."""
    yield
    assert manta.get([double.remote(number) for number in range(20)], timeout=PATIENCE_S) == list(range(0, 40, 2))


# ---- ends of the process, wherever the call is


ENDS = {
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda: ctypes.string_at(0),
    "_exit": lambda: os._exit(7),
    "sys.exit": lambda: sys.exit(5),
    "sys.exit(huge)": lambda: sys.exit(2**40 + 3),
    "sys.exit(negative)": lambda: sys.exit(-1),
    "sys.exit(text)": lambda: sys.exit("bye"),
    "sys.exit(object)": lambda: sys.exit(object()),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("how", ENDS)
def test_a_generator_task_after_some_items(how: str, ledger: Ledger):
    end = ENDS[how]

    @manta.remote(max_retries=0)
    def items():
        yield 1
        yield 2
        end()

    stream = items.remote()
    seen = []
    with pytest.raises(WorkerCrashedError):
        for ref in stream:
            seen.append(manta.get(ref, timeout=PATIENCE_S))  # noqa: PERF401 - what came before the end counts
    assert seen in ([1, 2], [1], [])


class Plain:
    def end(self, how: str):
        ENDS[how]()

    def wait(self, started: Gate, gate: Gate):
        started.open()
        gate.wait()
        return "done"


class Async:
    async def end(self, how: str):
        ENDS[how]()

    async def wait(self, started: Gate, gate: Gate):
        import asyncio

        started.open()
        while not gate.is_open():
            await asyncio.sleep(0.01)
        return "done"


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("kind", ["threads", "async"])
def test_a_call_beside_another(kind: str, how: str, started: Gate, gate: Gate):
    """Both calls hear of the death of their actor, and siblings of its process live on."""
    sibling = manta.remote(Plain).options(num_cpus=0).remote()
    waiting = sibling.wait.remote(started, gate)
    started.wait()
    os.unlink(started.path)
    actor = manta.remote(Async if kind == "async" else Plain).options(num_cpus=0, max_concurrency=3).remote()
    other = actor.wait.remote(started, gate)
    started.wait()
    with pytest.raises(ActorDiedError):
        manta.get(actor.end.remote(how), timeout=PATIENCE_S)
    with pytest.raises(ActorDiedError):
        manta.get(other, timeout=PATIENCE_S)
    gate.open()
    assert manta.get(waiting, timeout=PATIENCE_S) == "done"


@pytest.mark.parametrize("how", ENDS)
def test_a_serial_actor_s_method(how: str, started: Gate, gate: Gate):
    sibling = manta.remote(Plain).options(num_cpus=0).remote()
    waiting = sibling.wait.remote(started, gate)
    started.wait()
    actor = manta.remote(Plain).options(num_cpus=0).remote()
    with pytest.raises(ActorDiedError):
        manta.get(actor.end.remote(how), timeout=PATIENCE_S)
    gate.open()
    assert manta.get(waiting, timeout=PATIENCE_S) == "done"


@pytest.mark.parametrize("how", ENDS)
def test_a_constructor(how: str):
    @manta.remote(num_cpus=0)
    class Dies:
        def __init__(self):
            ENDS[how]()

        def ping(self):
            pass

    with pytest.raises(ActorDiedError):
        manta.get(Dies.remote().ping.remote(), timeout=PATIENCE_S)


@pytest.mark.parametrize("kind", ["serial", "threads", "async"])
def test_an_actor_that_is_stopped_and_continued(kind: str, started: Gate, gate: Gate):
    made, concurrency = {"serial": (Plain, 1), "threads": (Plain, 3), "async": (Async, 3)}[kind]
    actor = manta.remote(made).options(num_cpus=0, max_concurrency=concurrency).remote()
    pid = manta.get(actor.__ray_call__.remote(lambda self: os.getpid()), timeout=PATIENCE_S)
    ref = actor.wait.remote(started, gate)
    started.wait()
    with paused(pid):
        gate.open()
        assert manta.wait([ref], timeout=0.2)[0] == []
    assert manta.get(ref, timeout=PATIENCE_S) == "done"


# ---- what user code raises


class Odd(BaseException):
    pass


RAISED = {
    "StopIteration": StopIteration(3),
    "StopAsyncIteration": StopAsyncIteration(),
    "GeneratorExit": GeneratorExit("x"),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "BaseException": Odd("odd"),
    "group": BaseExceptionGroup("several", [Odd("a"), ValueError("b")]),
}


class Raises:
    def plain(self, name: str):
        raise RAISED[name]


class RaisesAsync:
    async def plain(self, name: str):
        raise RAISED[name]


@pytest.mark.parametrize("name", RAISED)
@pytest.mark.parametrize("kind", ["task", "serial", "threads", "async", "generator"])
def test_any_exception_is_the_call_s_failure(kind: str, name: str):
    @manta.remote(max_retries=0)
    def task(name):
        raise RAISED[name]

    @manta.remote(max_retries=0, num_returns="streaming")
    def items(name):
        yield 1
        raise RAISED[name]

    if kind == "task":
        ref = task.remote(name)
    elif kind == "generator":
        stream = items.remote(name)
        assert manta.get(next(stream), timeout=PATIENCE_S) == 1
        ref = next(stream)
    else:
        concurrency = 3 if kind == "threads" else None
        actor = manta.remote(RaisesAsync if kind == "async" else Raises).options(max_concurrency=concurrency).remote()
        ref = actor.plain.remote(name)
    with pytest.raises(RayTaskError) as caught:
        manta.get(ref, timeout=PATIENCE_S)
    assert type(RAISED[name]).__name__ in str(caught.value)
    if kind not in ("task", "generator"):
        # It lives.
        with pytest.raises(RayTaskError):
            manta.get(actor.plain.remote(name), timeout=PATIENCE_S)


def _fails(error: BaseException):
    def fail(*_: object):
        raise error

    return fail


def hostile(method: str, error: BaseException) -> type[Exception]:
    return type("Hostile", (Exception,), {method: _fails(error)})


@pytest.mark.parametrize(
    "method", ["__str__", "__repr__", "__reduce__", "__reduce_ex__", "__getstate__", "__eq__", "__bool__"]
)
@pytest.mark.parametrize(
    "worse", [ValueError("no"), SystemExit(3), KeyboardInterrupt()], ids=lambda e: type(e).__name__
)
@pytest.mark.parametrize("kind", ["task", "actor"])
def test_an_exception_that_cannot_be_described_fails_its_call_only(
    kind: str, method: str, worse: BaseException, tmp_path
):
    def raises():
        if kind == "task":
            (tmp_path / "pid").write_text(str(os.getpid()))
        raise hostile(method, worse)("text")

    if kind == "task":
        ref = manta.remote(max_retries=0)(raises).remote()
    else:
        actor = manta.remote(Plain).remote()
        ref = actor.__ray_call__.remote(lambda self: raises())
    with pytest.raises(RayTaskError, match="Hostile"):
        manta.get(ref, timeout=PATIENCE_S)
    if kind == "task":
        assert is_running(int((tmp_path / "pid").read_text())), "its worker lives"


def test_an_exception_whose_constructor_takes_something_else():
    class Picky(Exception):
        def __init__(self, a, b, *, c):
            super().__init__(f"{a} {b} {c}")

    @manta.remote(max_retries=0)
    def raises():
        raise Picky(1, 2, c=3)

    with pytest.raises(RayTaskError, match="1 2 3"):
        manta.get(raises.remote(), timeout=PATIENCE_S)


@pytest.mark.parametrize(
    "worse", [ValueError("no"), SystemExit(3), KeyboardInterrupt()], ids=lambda e: type(e).__name__
)
def test_a_value_whose_reduce_raises(worse: BaseException):
    class Unpicklable:
        __reduce__ = _fails(worse)

    @manta.remote(max_retries=0)
    def returns():
        return [Unpicklable()]

    with pytest.raises(WorkerCrashedError if isinstance(worse, SystemExit) else Exception) as caught:
        manta.get(returns.remote(), timeout=PATIENCE_S)
    assert isinstance(caught.value, RayTaskError | WorkerCrashedError)


def test_an_exception_larger_than_a_frame_is_replaced_by_one_that_says_so():
    @manta.remote(max_retries=0)
    def raises():
        raise ValueError("x", b"y" * (150 << 20))

    with pytest.raises(RayTaskError) as caught:
        manta.get(raises.remote(), timeout=PATIENCE_S)
    assert "carries at most" in str(caught.value.cause)[:1000]


def test_thousands_of_results_that_are_small_each_and_large_together():
    """More than fits a frame: 1,500 of 100,000 bytes."""

    @manta.remote(num_returns=1500, max_retries=0)
    def many():
        return [bytes([number % 256]) * 100_000 for number in range(1500)]

    refs = many.remote()
    assert [manta.get(ref, timeout=PATIENCE_S)[0] for ref in refs] == [number % 256 for number in range(1500)]


# ---- the process's things


def test_a_task_that_closes_every_descriptor(ledger: Ledger):
    """Its worker can tell nobody any more: a death like any other."""

    @manta.remote(max_retries=0)
    def closes():
        ledger.write("run")
        os.closerange(0, 4096)

    with pytest.raises(WorkerCrashedError):
        manta.get(closes.remote(), timeout=PATIENCE_S)
    assert ledger.read() == ["run"]


def test_an_actor_that_closes_every_descriptor():
    @manta.remote
    class Closes:
        def close(self):
            os.closerange(0, 4096)

        def ping(self):
            pass

    actor = Closes.remote()
    with pytest.raises(ActorDiedError):
        manta.get(actor.close.remote(), timeout=PATIENCE_S)
    with pytest.raises(ActorDiedError):
        manta.get(actor.ping.remote(), timeout=PATIENCE_S)


SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE, signal.SIGUSR1, signal.SIGALRM]


@pytest.mark.parametrize(
    "handler", [signal.SIG_IGN, signal.SIG_DFL, lambda *_: None], ids=["ignored", "default", "own"]
)
def test_a_task_that_changes_signal_handlers(handler):
    @manta.remote(max_retries=0)
    def changes():
        for number in SIGNALS:
            signal.signal(number, handler)
        return os.getpid()

    pids = manta.get([changes.remote() for _ in range(4)], timeout=PATIENCE_S)
    assert manta.get([double.remote(number) for number in range(100)], timeout=PATIENCE_S) == list(range(0, 200, 2))
    assert pids


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.default_int_handler], ids=["default", "python"])
def test_a_task_that_took_the_interrupt_s_handler_away_can_be_cancelled(handler, started: Gate, gate: Gate):
    @manta.remote
    def waits():
        signal.signal(signal.SIGINT, handler)
        started.open()
        gate.wait()

    ref = waits.remote()
    started.wait()
    manta.cancel(ref)
    with pytest.raises(TaskCancelledError):
        manta.get(ref, timeout=PATIENCE_S)


def test_a_timer_that_goes_off_after_its_task_ends_no_other_task():
    """Its handler raises while the worker has nothing to run: the worker ends, and tasks go to another."""

    class LateError(Exception):
        pass

    def late(*_: object):
        raise LateError

    @manta.remote(max_retries=0)
    def leaves_a_timer():
        signal.signal(signal.SIGALRM, late)
        signal.setitimer(signal.ITIMER_REAL, 1.0)  # long after this
        return os.getpid()

    pid = manta.get(leaves_a_timer.remote(), timeout=PATIENCE_S)
    wait_until(lambda: not is_running(pid), what="the worker to end of it")
    assert manta.get([double.remote(number) for number in range(20)], timeout=PATIENCE_S) == list(range(0, 40, 2))


def test_a_child_of_a_fork_that_comes_back_does_not_run_its_parent_s_tasks(ledger: Ledger):
    """Many short tasks wait on the same worker when one forks; each of them runs once."""

    @manta.remote(max_retries=0)
    def work(number: int):
        ledger.write(number)
        if number == 50:
            child = os.fork()
            return "child" if child == 0 else "parent"
        return number

    manta.get([double.remote(1) for _ in range(50)])
    refs = [work.remote(number) for number in range(300)]
    values = manta.get(refs, timeout=PATIENCE_S)
    assert values[50] == "parent"
    assert values[:50] + values[51:] == [*range(50), *range(51, 300)]
    assert sorted(map(int, ledger.read())) == list(range(300))


@pytest.mark.parametrize("kind", ["task", "serial", "threads", "async", "generator"])
@pytest.mark.parametrize("how", ["returns", "raises", "exits"])
def test_a_child_of_a_fork_ends_when_it_comes_back(kind: str, how: str, tmp_path):
    def forks():
        child = os.fork()
        if child:
            (tmp_path / "child").write_text(str(child))
            return b"p" * 1_000_000
        if how == "raises":
            raise ValueError("in the child")
        if how == "exits":
            sys.exit(3)
        return b"c" * 1_000_000

    class Forks:
        def fork(self):
            return forks()

    class ForksAsync:
        async def fork(self):
            return forks()

    if kind == "task":
        value = manta.get(manta.remote(max_retries=0)(forks).remote(), timeout=PATIENCE_S)
    elif kind == "generator":

        @manta.remote(max_retries=0)
        def items():
            yield forks()

        (ref,) = items.remote()
        value = manta.get(ref, timeout=PATIENCE_S)
    else:
        made = manta.remote(ForksAsync if kind == "async" else Forks)
        actor = made.options(max_concurrency=3 if kind == "threads" else None).remote()
        value = manta.get(actor.fork.remote(), timeout=PATIENCE_S)
    assert value == b"p" * 1_000_000
    child = int((tmp_path / "child").read_text())
    wait_until(lambda: not is_running(child), what="the child to end")


def test_threads_that_outlive_their_task(started: Gate, gate: Gate, ledger: Ledger, cluster: Cluster):
    """They wait in `get` before, while and after other tasks run on their worker; its CPU is lent out for tasks' waits only."""

    @manta.remote
    def opens(number: int):
        while not gate.is_open():
            time.sleep(0.01)
        return number

    @manta.remote(max_retries=0)
    def starts():
        refs = [opens.remote(1)]

        def waits():
            started.open()
            ledger.write(manta.get(refs[0]))

        threading.Thread(target=waits, daemon=True).start()
        started.wait()
        return os.getpid()

    manta.get(starts.remote(), timeout=PATIENCE_S)
    assert manta.get([double.remote(number) for number in range(50)], timeout=PATIENCE_S) == list(range(0, 100, 2))

    @manta.remote
    def waits_too():
        return manta.get(double.remote(4))

    assert manta.get([waits_too.remote() for _ in range(4)], timeout=PATIENCE_S) == [8] * 4
    gate.open()
    wait_until(lambda: ledger.read() == ["1"], what="the thread to get its value")


# ---- recursion


def test_a_recursion_error_deep_in_user_code():
    @manta.remote(max_retries=0)
    def deep(depth=0):
        return deep_down(depth)

    def deep_down(depth):
        return deep_down(depth + 1)

    with pytest.raises(RecursionError):
        manta.get(deep.remote(), timeout=PATIENCE_S)


def test_calls_made_at_the_end_of_the_stack_are_lost_nowhere():
    """A task goes down until there is no stack left, submitting and getting on its way."""

    @manta.remote(max_retries=0)
    def deep():
        done = 0

        def down():
            nonlocal done
            assert manta.get(double.remote(done)) == 2 * done
            done += 1
            down()

        sys.setrecursionlimit(200)
        try:
            down()
        except RecursionError:
            pass
        finally:
            sys.setrecursionlimit(1000)
        return done, manta.get([double.remote(number) for number in range(20)], timeout=10)

    done, values = manta.get(deep.remote(), timeout=40)
    assert done > 10
    assert values == list(range(0, 40, 2))


@pytest.mark.parametrize("limit", [60, 100, 10**6])
def test_a_recursion_limit_that_user_code_leaves_behind(limit: int):
    """Other tasks of the same worker go on."""

    @manta.remote(max_retries=0)
    def sets():
        sys.setrecursionlimit(limit)

    manta.get([sets.remote() for _ in range(4)], timeout=PATIENCE_S)
    assert manta.get([double.remote(number) for number in range(100)], timeout=PATIENCE_S) == list(range(0, 200, 2))


def test_recursion_without_a_limit_ends_in_a_crash_that_is_told():
    """A hundred times as deep as the stack of a usual process goes, and more says nothing else: it only takes longer to build."""

    @manta.remote(max_retries=0)
    def deep():
        sys.setrecursionlimit(2**30)
        nested: list[object] = []
        for _ in range(1_000_000):
            nested = [nested]
        return repr(nested)

    with pytest.raises((RecursionError, WorkerCrashedError)):
        manta.get(deep.remote(), timeout=40)
