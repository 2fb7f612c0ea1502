"""What user code starts in a worker ends with the worker, and nothing of it is left."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

import manta
from manta.exceptions import WorkerCrashedError
from tests.process.cluster.support import running_cluster
from tests.process.semantics.support import is_running
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.process.semantics.support import Gate, Ledger

CLUSTER = None


def spawn_subprocesses(ledger: Ledger) -> None:
    import subprocess

    for _ in range(5):
        ledger.write(subprocess.Popen(["sleep", "600"]).pid)


def spawn_grandchildren(ledger: Ledger) -> None:
    """Their parents are gone before the worker is: orphans."""
    import subprocess

    for _ in range(3):
        done = subprocess.run(["sh", "-c", "sleep 600 >&2 & echo $!"], stdout=subprocess.PIPE, text=True, check=True)
        ledger.write(done.stdout.strip())


def spawn_sessions(ledger: Ledger) -> None:
    """Out of the worker's process group."""
    import subprocess

    for _ in range(3):
        ledger.write(subprocess.Popen(["sleep", "600"], start_new_session=True).pid)


def spawn_multiprocessing(ledger: Ledger) -> None:
    import multiprocessing
    import time

    context = multiprocessing.get_context("fork")
    for _ in range(3):
        child = context.Process(target=time.sleep, args=(600,))
        child.start()
        ledger.write(child.pid)


def spawn_forks(ledger: Ledger) -> None:
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            while True:
                signal.pause()
        ledger.write(pid)


def spawn_hermits(ledger: Ledger) -> None:
    """Out of group and session, parents gone; one runs no program, the other one with an empty environment."""
    import time

    for program in (False, True):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                ledger.write(os.getpid())
                if program:
                    os.execve("/bin/sleep", ["sleep", "600"], {})
                while True:
                    signal.pause()
            os._exit(0)
    while len(ledger.read()) < 2:
        time.sleep(0.001)


SPAWNS = [spawn_subprocesses, spawn_grandchildren, spawn_sessions, spawn_multiprocessing, spawn_forks, spawn_hermits]


@pytest.mark.parametrize("spawn", SPAWNS, ids=lambda spawn: spawn.__name__.removeprefix("spawn_"))
def test_children_end_with_a_worker_that_is_killed(spawn, ledger: Ledger, started: Gate):
    spawn.__module__ = "__main__"  # by value

    @manta.remote(max_retries=0)
    def parent():
        spawn(ledger)
        started.open()
        os.kill(os.getpid(), signal.SIGKILL)

    with running_cluster():
        with pytest.raises(WorkerCrashedError):
            manta.get(parent.remote(), timeout=20)
        pids = list(map(int, ledger.read()))
        assert pids
        wait_until(lambda: not any(map(is_running, pids)), what=f"{pids} to end")
        assert manta.get(manta.remote(abs).remote(-1)) == 1


def test_children_end_with_the_cluster(ledger: Ledger):
    """Workers end in peace, their children with them; the leak check around this test looks for both."""

    @manta.remote
    def parent():
        spawn_hermits(ledger)
        spawn_subprocesses(ledger)
        spawn_sessions(ledger)
        return os.getpid()

    for spawn in SPAWNS:
        spawn.__module__ = "__main__"
    with running_cluster():
        manta.get(parent.remote(), timeout=20)
        pids = list(map(int, ledger.read()))
        assert all(map(is_running, pids))
    wait_until(lambda: not any(map(is_running, pids)), what=f"{pids} to end")


def test_children_end_with_a_raylet_that_is_killed(ledger: Ledger):
    """Nobody is left to be told, and yet nothing is left."""

    @manta.remote
    def parent():
        spawn_hermits(ledger)
        spawn_subprocesses(ledger)
        spawn_sessions(ledger)

    for spawn in SPAWNS:
        spawn.__module__ = "__main__"
    with running_cluster() as cluster:
        manta.get(parent.remote(), timeout=20)
        pids = list(map(int, ledger.read()))
        assert all(map(is_running, pids))
        cluster.kill("raylet")
        wait_until(lambda: not any(map(is_running, pids)), what=f"{pids} to end")


def test_a_fork_bomb_ends_with_its_worker(ledger: Ledger):
    """Two hundred children that ignore every polite signal."""

    @manta.remote(max_retries=0)
    def bomb():
        for _ in range(200):
            pid = os.fork()
            if pid == 0:
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)
                while True:
                    signal.pause()
            ledger.write(pid)
        os._exit(1)

    with running_cluster():
        with pytest.raises(WorkerCrashedError):
            manta.get(bomb.remote(), timeout=30)
        pids = list(map(int, ledger.read()))
        assert len(pids) == 200
        wait_until(lambda: not any(map(is_running, pids)), what="all of them to end")
