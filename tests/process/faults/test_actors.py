"""Actors that die: in their constructor, in a call, while they are restarted; what their callers are told."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

import manta
from manta.exceptions import ActorDiedError, ActorUnavailableError
from tests.process.semantics.support import is_running
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.process.cluster.support import Cluster
    from tests.process.semantics.support import Gate, Ledger

pytestmark = pytest.mark.shared_cluster

ENDS = {
    "SIGKILL": (lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL"),
    "segfault": (lambda: __import__("ctypes").string_at(0), "SIGSEGV"),
    "_exit": (lambda: os._exit(7), "exit code 7"),
    "sys.exit": (lambda: __import__("sys").exit(5), "exit code 5"),
    "sys.exit(0)": (lambda: __import__("sys").exit(0), "INTENDED_USER_EXIT"),
    "exit_actor": (lambda: manta.actor.exit_actor(), "User requested to exit the actor"),
}


@manta.remote
class Mortal:
    def __init__(self, ledger: Ledger | None = None):
        self.ledger = ledger
        if ledger is not None:
            ledger.write("made")

    def ping(self):
        return "pong"

    def pid(self):
        return os.getpid()

    def end(self, how):
        if self.ledger is not None:
            self.ledger.write("end")
        ENDS[how][0]()


@pytest.mark.parametrize("how", ENDS)
def test_a_death_is_told_with_its_cause(how: str, ledger: Ledger):
    actor = Mortal.remote(ledger)
    assert manta.get(actor.ping.remote()) == "pong"
    with pytest.raises(ActorDiedError, match=ENDS[how][1]):
        manta.get(actor.end.remote(how), timeout=20)
    with pytest.raises(ActorDiedError, match=ENDS[how][1]):
        manta.get(actor.ping.remote(), timeout=20)
    assert ledger.read() == ["made", "end"], "a call runs at most once"


@pytest.mark.parametrize("how", ["SIGKILL", "_exit", "sys.exit"])
def test_it_is_restarted_as_often_as_allowed(how: str, ledger: Ledger):
    actor = Mortal.options(max_restarts=2).remote(ledger)
    for _ in range(2):
        with pytest.raises(ActorUnavailableError, match="may or may not have been executed"):
            manta.get(actor.end.remote(how), timeout=20)
        assert manta.get(actor.ping.remote(), timeout=20) == "pong"
    with pytest.raises(ActorDiedError):
        manta.get(actor.end.remote(how), timeout=20)
    assert ledger.read() == ["made", "end"] * 3


@pytest.mark.parametrize("how", ["exit_actor", "sys.exit(0)"])
def test_who_leaves_on_purpose_is_not_restarted(how: str, ledger: Ledger):
    actor = Mortal.options(max_restarts=-1).remote(ledger)
    with pytest.raises(ActorDiedError):
        manta.get(actor.end.remote(how), timeout=20)
    assert ledger.read() == ["made", "end"]


def test_restarts_without_end_go_on():
    actor = Mortal.options(max_restarts=-1, max_task_retries=-1).remote()
    pids = set()
    for _ in range(6):
        pid = manta.get(actor.pid.remote(), timeout=20)
        pids.add(pid)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: not is_running(pid))
    assert len(pids) == 6


def test_retried_calls_run_at_most_once_more_per_restart_and_in_order(ledger: Ledger):
    @manta.remote(max_restarts=-1, max_task_retries=-1)
    class Counter:
        def add(self, number: int):
            ledger.write(number)
            if number == 20 and ledger.read().count("20") < 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return number

    counter = Counter.remote()
    assert manta.get([counter.add.remote(number) for number in range(40)], timeout=30) == list(range(40))
    ran = list(map(int, ledger.read()))
    assert ran.count(20) == 3
    last = [max(at for at, one in enumerate(ran) if one == number) for number in range(40)]
    assert last == sorted(last), "the runs that count are in order"


def test_without_task_retries_queued_calls_survive_a_restart_and_the_running_one_does_not(gate: Gate, ledger: Ledger):
    """Those that had not been sent to the dead process cannot have been executed: they wait for the next life."""

    @manta.remote(max_restarts=1)
    class Slow:
        def work(self, number: int):
            ledger.write(number)
            if number == 0:
                gate.wait()
                os._exit(1)
            return number

    slow = Slow.remote()
    refs = [slow.work.remote(number) for number in range(5)]
    wait_until(ledger.read)
    gate.open()
    outcomes = []
    for ref in refs:
        try:
            outcomes.append(manta.get(ref, timeout=20))
        except ActorUnavailableError:
            outcomes.append("unavailable")
    assert outcomes[0] == "unavailable"
    counts = [ledger.read().count(str(number)) for number in range(5)]
    assert all(count <= 1 for count in counts), "at most once"
    assert all(
        (outcome == number) == (count == 1)
        for number, (outcome, count) in enumerate(zip(outcomes, counts, strict=False))
        if number
    )
    assert manta.get(slow.work.remote(9), timeout=20) == 9


@pytest.mark.parametrize("how", ["SIGKILL", "_exit", "sys.exit"])
def test_death_in_the_constructor_is_told_to_every_call(how: str, ledger: Ledger):
    @manta.remote
    class Stillborn:
        def __init__(self):
            ledger.write("made")
            ENDS[how][0]()

        def ping(self):
            return "pong"

    actor = Stillborn.remote()
    for ref in [actor.ping.remote() for _ in range(3)]:
        with pytest.raises(ActorDiedError):
            manta.get(ref, timeout=20)
    assert ledger.read() == ["made"]


def test_death_in_the_constructor_uses_up_restarts(ledger: Ledger):
    @manta.remote(max_restarts=2)
    class Stillborn:
        def __init__(self):
            ledger.write("made")
            os.kill(os.getpid(), signal.SIGKILL)

        def ping(self):
            return "pong"

    with pytest.raises(ActorDiedError):
        manta.get(Stillborn.remote().ping.remote(), timeout=30)
    assert ledger.read() == ["made"] * 3


def test_death_while_it_is_restarted_counts_too(ledger: Ledger):
    @manta.remote(max_restarts=3, max_task_retries=-1)
    class Feeble:
        def __init__(self):
            ledger.write("made")
            if len(ledger.read()) in (2, 3):
                os.kill(os.getpid(), signal.SIGKILL)

        def life(self):
            return len(ledger.read())

        def die(self):
            if len(ledger.read()) == 1:
                os.kill(os.getpid(), signal.SIGKILL)

    feeble = Feeble.remote()
    assert manta.get(feeble.life.remote(), timeout=20) == 1
    manta.get(feeble.die.remote(), timeout=30)
    assert manta.get(feeble.life.remote(), timeout=20) == 4


def test_a_constructor_that_raises_is_not_tried_again(ledger: Ledger):
    @manta.remote(max_restarts=5)
    class Refuses:
        def __init__(self):
            ledger.write("made")
            raise ValueError("not today")

        def ping(self):
            return "pong"

    with pytest.raises(ActorDiedError, match="not today"):
        manta.get(Refuses.remote().ping.remote(), timeout=20)
    assert ledger.read() == ["made"]


def test_an_actor_dies_with_the_worker_that_owns_it(tmp_path):
    @manta.remote(max_retries=0)
    def owner():
        actor = Mortal.remote()
        (tmp_path / "pid").write_text(str(manta.get(actor.pid.remote())))
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(manta.exceptions.WorkerCrashedError):
        manta.get(owner.remote(), timeout=20)
    orphan = int((tmp_path / "pid").read_text())
    wait_until(lambda: not is_running(orphan), what="the end of an actor without owner")


def test_callers_in_other_processes_hear_of_it_too(gate: Gate, ledger: Ledger):
    @manta.remote
    class Hangs:
        def hang(self):
            ledger.write(os.getpid())
            gate.wait()

    @manta.remote
    def call(actor):
        try:
            manta.get(actor.hang.remote())
        except ActorDiedError:
            return "heard"

    actor = Hangs.remote()
    ref = call.remote(actor)
    pid = int(wait_until(ledger.read)[0])
    os.kill(pid, signal.SIGKILL)
    assert manta.get(ref, timeout=20) == "heard"


def test_an_async_actor_that_dies_fails_all_its_calls(started: Gate):
    @manta.remote
    class Async:
        async def hang(self):
            import asyncio

            await asyncio.sleep(600)

        async def die(self):
            os._exit(1)

    actor = Async.remote()
    refs = [actor.hang.remote() for _ in range(20)]
    refs.append(actor.die.remote())
    for ref in refs:
        with pytest.raises(ActorDiedError, match="exit code 1"):
            manta.get(ref, timeout=20)


def test_many_actors_killed_at_once_all_come_back(cluster: Cluster):
    actors = [Mortal.options(max_restarts=1, max_task_retries=-1).remote() for _ in range(10)]
    pids = manta.get([actor.pid.remote() for actor in actors], timeout=30)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(map(is_running, pids)))
    again = manta.get([actor.pid.remote() for actor in actors], timeout=30)
    assert not set(again) & set(pids)
