"""Control killed while work runs: nothing that runs notices, and what it had acknowledged is still true afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import manta
from manta.exceptions import ActorDiedError
from tests.process.semantics.support import is_running
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.process.cluster.support import Cluster
    from tests.process.semantics.support import Gate, Ledger

pytestmark = pytest.mark.shared_cluster

CLUSTER = {"num_cpus": 4, "log_to_driver": False, "namespace": "faults"}


@manta.remote
class Counter:
    def __init__(self):
        self.count = 0

    def add(self):
        self.count += 1
        return self.count

    def pid(self):
        return os.getpid()

    def die(self):
        os._exit(1)


@pytest.fixture
def kill_control(cluster: Cluster):
    """Kills it, and at the end waits until its successor serves."""
    yield lambda: cluster.kill("control")
    wait_until(lambda: cluster.status()["registered"], timeout_s=20, what="the new control")


def test_running_tasks_and_calls_do_not_notice(kill_control, gate: Gate, ledger: Ledger):
    @manta.remote
    def long():
        ledger.write("long")
        gate.wait()
        return "long"

    counter = Counter.remote()
    assert manta.get(counter.add.remote()) == 1
    ref = long.remote()
    wait_until(ledger.read)
    kill_control()
    # Nobody is there to ask, and nobody has to be: tasks, calls and objects are between workers.
    assert manta.get(counter.add.remote(), timeout=10) == 2
    assert manta.get([manta.remote(abs).remote(-n) for n in range(50)], timeout=10) == list(range(50))
    assert bytes(manta.get(manta.put(bytes(1_000_000)))) == bytes(1_000_000)
    gate.open()
    assert manta.get(ref, timeout=10) == "long"
    assert ledger.read() == ["long"], "it ran once"


def test_named_actors_are_found_afterwards_in_the_same_process(kill_control):
    kept = Counter.options(name="kept").remote()
    pid = manta.get(kept.pid.remote())
    kill_control()
    assert manta.get(manta.get_actor("kept").pid.remote(), timeout=20) == pid
    with pytest.raises(ValueError, match="kept"):
        Counter.options(name="kept").remote()


def test_detached_actors_too(kill_control):
    detached = Counter.options(name="detached", lifetime="detached").remote()
    pid = manta.get(detached.pid.remote())
    kill_control()
    found = manta.get_actor("detached")
    assert manta.get(found.pid.remote(), timeout=20) == pid
    manta.kill(found)
    wait_until(lambda: not is_running(pid))


def test_new_actors_wait_and_come(kill_control):
    kill_control()
    actors = [Counter.remote() for _ in range(3)]
    named = Counter.options(name="new").remote()
    assert manta.get([actor.add.remote() for actor in [*actors, named]], timeout=20) == [1] * 4
    assert manta.get(manta.get_actor("new").add.remote(), timeout=10) == 2


def test_actors_that_were_being_made_come_all_the_same(kill_control, gate: Gate, ledger: Ledger):
    """Control dies with the request acknowledged, and the constructor under way or not begun."""

    @manta.remote(num_cpus=1)
    class Slow:
        def __init__(self):
            ledger.write("made")
            gate.wait()

        def ping(self):
            return "pong"

    actors = [Slow.remote() for _ in range(5)]  # one more than there are CPUs
    wait_until(lambda: len(ledger.read()) == 4)
    kill_control()
    gate.open()
    assert manta.get([actor.ping.remote() for actor in actors[:4]], timeout=20) == ["pong"] * 4
    last = actors.pop()
    actors.clear()
    assert manta.get(last.ping.remote(), timeout=20) == "pong"
    assert len(ledger.read()) == 5, "each constructor ran once"


def test_an_actor_that_dies_meanwhile_is_restarted(kill_control):
    counter = Counter.options(max_restarts=1, max_task_retries=-1).remote()
    pid = manta.get(counter.pid.remote())
    kill_control()
    os.kill(pid, 9)
    assert manta.get(counter.pid.remote(), timeout=20) != pid


def test_an_actor_that_dies_meanwhile_for_good_is_known_to_be_dead(kill_control):
    counter = Counter.remote()
    pid = manta.get(counter.pid.remote())
    kill_control()
    os.kill(pid, 9)
    with pytest.raises(ActorDiedError):
        manta.get(counter.add.remote(), timeout=20)


def test_an_actor_released_meanwhile_ends(kill_control):
    counter = Counter.remote()
    pid = manta.get(counter.pid.remote())
    kill_control()
    del counter
    wait_until(lambda: not is_running(pid), what="the end of an actor without handles", timeout_s=20)


def test_killed_again_and_again_while_actors_come_and_go(kill_control):
    names = []
    for round_ in range(4):
        kill_control()
        actor = Counter.options(name=f"round-{round_}").remote()
        names.append((actor, f"round-{round_}"))
        assert manta.get(Counter.remote().add.remote(), timeout=20) == 1
    for actor, name in names:
        assert manta.get(manta.get_actor(name).pid.remote()) == manta.get(actor.pid.remote())


def test_a_second_control_on_one_store_refuses(cluster: Cluster):
    wait_until(lambda: cluster.status()["registered"])
    arguments = ["--session-dir", cluster.session_dir, "--socket", f"{cluster.session_dir}/second.sock"]
    second = subprocess.run(
        [sys.executable, "-m", "manta.control", *arguments], capture_output=True, text=True, timeout=20, check=False
    )
    assert second.returncode != 0
    assert str(cluster.pid("control")) in second.stderr, "it names who has the store"
    assert manta.get(Counter.remote().add.remote(), timeout=10) == 1
