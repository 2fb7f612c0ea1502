"""Workers that die while they run tasks: what is run again, how often, and what the owner is told."""

from __future__ import annotations

import os
import select
import signal
import time
from typing import TYPE_CHECKING

import pytest

import manta
from manta.client import current
from manta.client.direct import DirectSession
from manta.exceptions import StreamingGeneratorReplayInconsistentError, WorkerCrashedError
from tests.process.semantics.support import is_running
from tests.support.pausing import paused
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.cluster.support import Cluster
    from tests.process.semantics.support import Gate, Ledger

pytestmark = pytest.mark.shared_cluster

ENDS = {
    "SIGKILL": (lambda: os.kill(os.getpid(), signal.SIGKILL), r"signal 9 \(SIGKILL\)"),
    "segfault": (lambda: __import__("ctypes").string_at(0), r"signal 11 \(SIGSEGV\)"),
    "abort": (lambda: os.abort(), r"signal 6 \(SIGABRT\)"),
    "_exit": (lambda: os._exit(7), r"exit code 7"),
    "_exit(0)": (lambda: os._exit(0), r"exit code 0"),
    "sys.exit": (lambda: __import__("sys").exit(5), r"exit code 5"),
    "sys.exit()": (lambda: __import__("sys").exit(), r"exit code 0"),
    "sys.exit(text)": (lambda: __import__("sys").exit("bye"), r"exit code 1"),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_death_without_retries_is_an_error_that_says_how(how: str, ledger: Ledger):
    end, says = ENDS[how]

    @manta.remote(max_retries=0)
    def dies():
        ledger.write("run")
        end()

    with pytest.raises(WorkerCrashedError, match=says):
        manta.get(dies.remote(), timeout=20)
    assert ledger.read() == ["run"]


def test_three_retries_are_four_runs(ledger: Ledger):
    @manta.remote
    def dies():
        ledger.write("run")
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerCrashedError, match="SIGKILL"):
        manta.get(dies.remote(), timeout=20)
    assert ledger.read() == ["run"] * 4


def test_each_of_several_results_tells_of_the_death():
    @manta.remote(num_returns=3, max_retries=0)
    def dies():
        os._exit(1)

    for ref in dies.remote():
        with pytest.raises(WorkerCrashedError):
            manta.get(ref, timeout=20)


def test_retries_without_end_go_on_until_it_works(ledger: Ledger):
    @manta.remote(max_retries=-1)
    def dies_six_times():
        ledger.write("run")
        if len(ledger.read()) <= 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return "done"

    assert manta.get(dies_six_times.remote(), timeout=30) == "done"
    assert ledger.read() == ["run"] * 7


def lost_of(refs: list[manta.ObjectRef[int]]) -> list[int]:
    """Which of the numbers were lost with a worker; the others have come."""
    lost = []
    for number, ref in enumerate(refs):
        try:
            assert manta.get(ref, timeout=20) == number
        except WorkerCrashedError:
            lost.append(number)
    return lost


def test_a_task_that_was_never_started_costs_no_retry(ledger: Ledger):
    """Short tasks queue up on one worker; its death is the doing of one of them, and the rest runs exactly once."""

    @manta.remote(max_retries=0)
    def work(number: int):
        ledger.write(number)
        if number == 500:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    manta.get([work.remote(-1) for _ in range(50)])  # by now it is known to be short
    refs = [work.remote(number) for number in range(1000)]
    lost = lost_of(refs)
    ran = [word for word in ledger.read() if word != "-1"]
    assert len(ran) == len(set(ran)) == 1000, "every task ran once and none twice"
    assert lost == [500]


def test_an_owner_that_reads_late_gets_what_was_finished_before_the_worker_died():
    """More results than a socket takes: without retries none waits in a process that the next task may end."""

    @manta.remote(max_retries=0)
    def work(number: int):
        if number == 500:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    manta.get([work.remote(-1) for _ in range(50)])
    refs = [work.remote(number) for number in range(1000)]
    assert current.session is not None
    for _ in range(20):
        with current.session.lock:
            time.sleep(0.02)  # nothing is read
        time.sleep(0)
    lost = lost_of(refs)
    assert lost == [500]


@pytest.mark.parametrize("retries", [1, 3])
def test_random_kills_of_workers_never_exceed_the_retries(retries: int, ledger: Ledger, cluster: Cluster):
    @manta.remote(max_retries=retries)
    def work(number: int, fatal: bool):
        ledger.write(number)
        if fatal and ledger.read().count(str(number)) <= retries:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    refs = [work.remote(number, number % 40 == 7) for number in range(200)]
    seen = []
    for ref in refs:
        try:
            seen.append(manta.get(ref, timeout=40))
        except WorkerCrashedError:
            seen.append(None)
    counts = [ledger.read().count(str(number)) for number in range(200)]
    assert max(counts) <= retries + 1
    assert min(counts) >= 1
    for number in range(7, 200, 40):
        assert counts[number] == retries + 1


def test_poison_fails_after_its_retries_and_harms_nobody_else(ledger: Ledger, cluster: Cluster):
    """Ten poison tasks among a hundred others: forty deaths, and no storm of new workers behind them."""
    before = cluster.status()["scheduler"]["started"]

    @manta.remote
    def poison(number: int):
        ledger.write(number)
        os._exit(1)

    @manta.remote
    def fine(number: int):
        return number

    bad = [poison.remote(number) for number in range(10)]
    good = [fine.remote(number) for number in range(100)]
    assert manta.get(good, timeout=50) == list(range(100))
    for ref in bad:
        with pytest.raises(WorkerCrashedError, match="exit code 1"):
            manta.get(ref, timeout=50)
    assert sorted(map(int, ledger.read())) == sorted(list(range(10)) * 4)
    started = cluster.status()["scheduler"]["started"] - before
    assert started <= 40 + 10, f"{started} workers were started for 40 deaths"


def test_the_death_of_a_worker_is_noticed_at_once(started: Gate, gate: Gate, tmp_path):
    """Also while a child of the worker holds copies of its sockets."""

    @manta.remote(max_retries=0)
    def hangs():
        child = os.fork()
        if child == 0:
            while True:
                signal.pause()
        (tmp_path / "child").write_text(str(child))
        (tmp_path / "pid").write_text(str(os.getpid()))
        started.open()
        gate.wait()

    ref = hangs.remote()
    started.wait()
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    # By those sockets it would never be.
    with pytest.raises(WorkerCrashedError):
        manta.get(ref, timeout=20)
    child = int((tmp_path / "child").read_text())
    wait_until(lambda: not is_running(child), what="its child to end with it")


def test_a_stopped_worker_holds_up_nobody_else(tmp_path, started: Gate, gate: Gate):
    """SIGSTOP: its own task waits, its CPU stays taken, other tasks run; SIGCONT lets it finish."""

    @manta.remote
    def stoppable():
        (tmp_path / "pid").write_text(str(os.getpid()))
        started.open()
        gate.wait()
        return "finished"

    ref = stoppable.remote()
    started.wait()
    pid = int((tmp_path / "pid").read_text())
    with paused(pid):
        assert manta.get([manta.remote(abs).remote(-n) for n in range(20)], timeout=20) == list(range(20))
        gate.open()
        assert manta.wait([ref], timeout=0.2)[0] == []
    assert manta.get(ref, timeout=20) == "finished"


def test_a_generator_that_dies_is_run_again_without_gaps_or_repetitions(ledger: Ledger):
    @manta.remote
    def items():
        ledger.write("run")
        for number in range(10):
            if number == 5 and len(ledger.read()) == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            yield number

    assert [manta.get(ref, timeout=20) for ref in items.remote()] == list(range(10))
    assert ledger.read() == ["run", "run"]


def test_a_generator_that_makes_fewer_values_when_it_is_run_again_ends_in_an_error(ledger: Ledger, gate: Gate):
    """What came before the crash stays."""

    @manta.remote
    def items():
        ledger.write("run")
        first = len(ledger.read()) == 1
        yield from range(5 if first else 2)
        if first:
            gate.wait()
            os.kill(os.getpid(), signal.SIGKILL)

    stream = items.remote()
    before = [next(stream) for _ in range(5)]
    gate.open()
    after = next(stream)
    assert manta.get(before, timeout=20) == list(range(5))
    with pytest.raises(StreamingGeneratorReplayInconsistentError, match="made 2 values; 5 had come before"):
        manta.get(after, timeout=20)
    with pytest.raises(StopIteration):
        next(stream)


def test_a_generator_that_dies_without_retries_ends_in_the_error():
    @manta.remote(max_retries=0)
    def items():
        yield 1
        os.kill(os.getpid(), signal.SIGKILL)
        yield 2

    stream = items.remote()
    with pytest.raises(WorkerCrashedError):
        manta.get(list(stream), timeout=20)


def test_the_children_of_a_dead_parent_task_are_owned_anew(ledger: Ledger):
    """The parent's worker owned the child's result; a new run of the parent makes a new child."""

    @manta.remote
    def child():
        return "value"

    @manta.remote
    def parent():
        ledger.write("run")
        ref = child.remote()
        value = manta.get(ref)
        if len(ledger.read()) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return value

    assert manta.get(parent.remote(), timeout=20) == "value"


def test_the_leased_workers_of_a_dead_owner_are_ended(ledger: Ledger, started: Gate, tmp_path):
    @manta.remote(num_cpus=0)
    def child():
        (tmp_path / "child").write_text(str(os.getpid()))
        started.open()
        while True:
            signal.pause()

    @manta.remote(max_retries=0, num_cpus=0)
    def parent():
        ref = child.remote()
        started.wait()
        del ref
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerCrashedError):
        manta.get(parent.remote(), timeout=20)
    orphan = int((tmp_path / "child").read_text())
    wait_until(lambda: not is_running(orphan), what="the end of the dead owner's task")


def this_session() -> DirectSession:
    session = current.require()
    assert isinstance(session, DirectSession)
    return session


def read_only_the_raylet(until: Callable[[DirectSession], bool], begin: Gate) -> None:
    """Let what waits for the gate go on, and read nothing of what it says until the raylet has said enough."""
    session = this_session()
    with session.lock:
        begin.open()
        deadline = time.monotonic() + 20
        while not until(session):
            assert time.monotonic() < deadline, "the raylet did not tell"
            select.select([session.raylet.connection.fd], [], [], 0.1)
            session.links.read(session.raylet)


def test_a_result_counts_though_the_death_of_its_worker_is_read_first(gate: Gate, ledger: Ledger):
    """Two sockets have no order: run again for that, a task of a worker that retires would run twice."""

    @manta.remote(max_calls=1, max_retries=0)
    def once():
        ledger.write("run")
        gate.wait()
        return "done"

    ref = once.remote()
    wait_until(lambda: ledger.read() == ["run"])
    lent = {lease.lease_id for lease in this_session().leasing.leases.values() if lease.inflight}
    assert len(lent) == 1
    read_only_the_raylet(lambda session: not lent & session.leasing.leases.keys(), gate)
    assert manta.get(ref, timeout=20) == "done"
    assert ledger.read() == ["run"]


@pytest.mark.parametrize("restarts", [0, 1])
def test_what_an_actor_returned_counts_though_its_death_is_read_first(gate: Gate, restarts: int):
    nothing = manta.remote(lambda: None)

    @manta.remote(max_restarts=restarts)
    class Actor:
        def first(self):
            gate.wait()
            return "done"

        def leave(self):
            manta.get(nothing.remote())  # whoever waits has sent what it finished before
            os.kill(os.getpid(), signal.SIGKILL)

        def ready(self):
            pass

    actor = Actor.remote()
    manta.get(actor.ready.remote())
    first = actor.first.remote()
    actor.leave.remote()
    client = this_session().actors.by_id[actor._actor_id]
    wait_until(lambda: len(client.inflight) == 2)
    alive = client.phase
    read_only_the_raylet(lambda session: client.phase != alive, gate)
    assert manta.get(first, timeout=20) == "done"
