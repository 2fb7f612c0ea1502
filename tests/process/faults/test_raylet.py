"""The raylet killed: every wait ends with a typed error at once, and no worker is left."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

import manta
from manta.exceptions import LocalRayletDiedError
from tests.process.cluster.support import MIB, running_cluster
from tests.process.semantics.support import is_running
from tests.support.waiting import soon, wait_until

if TYPE_CHECKING:
    from tests.process.semantics.support import Gate

CLUSTER = None


class Waiting:
    """A call in a thread of its own that should end with LocalRayletDiedError."""

    def __init__(self, name: str, call) -> None:
        self.name = name
        self.error: BaseException | None = None
        self.ended_at = 0.0
        self._call = call
        self.thread = threading.Thread(target=self._run, name=name)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._call()
        except BaseException as error:
            self.error = error
        self.ended_at = time.monotonic()


@manta.remote
def hang(gate: Gate):
    gate.wait(60)


def test_every_wait_ends_at_once_and_workers_with_it(gate: Gate):
    soon(lambda: the_longest_wait(gate), 2.0, tries=3)
    # A new cluster is not impressed.
    with running_cluster():
        assert manta.get(manta.remote(abs).remote(-1)) == 1


def the_longest_wait(gate: Gate) -> float:
    """After the raylet was killed; all others ended before."""
    with running_cluster(num_cpus=2, object_store_memory=80 * MIB) as cluster:

        @manta.remote
        class Actor:
            def hang(self):
                gate.wait(60)

            def pid(self):
                return os.getpid()

        @manta.remote
        def items():
            yield 1
            gate.wait(60)

        actor = Actor.remote()
        workers = {manta.get(actor.pid.remote())}
        task = hang.remote(gate)
        never = manta.remote(resources={"nobody has it": 1})(abs).remote(1)
        stream = items.options(num_cpus=0).remote()
        manta.get(next(stream))
        workers |= set(_descendants(cluster.pid("raylet")))
        held = manta.put(bytes(60 * MIB))
        waits = [
            Waiting("get of a task", lambda: manta.get(task)),
            Waiting("get with a timeout", lambda: manta.get(task, timeout=50)),
            Waiting("get of what nobody can run", lambda: manta.get(never)),
            Waiting("get of a call", lambda: manta.get(actor.hang.remote())),
            Waiting("wait", lambda: manta.get(manta.wait([task], timeout=50)[0])),
            Waiting("next item", lambda: manta.get(next(stream))),
            Waiting("put into a full store", lambda: manta.put(bytes(60 * MIB))),
            Waiting("a future", lambda: task.future().result(50)),
        ]
        wait_until(lambda: cluster.store()["waiting_creates"] == 1, what="the put to wait")
        began = time.monotonic()
        cluster.kill("raylet")
        for one in waits:
            one.thread.join(30)
            assert not one.thread.is_alive(), f"{one.name} still waits"
            assert isinstance(one.error, LocalRayletDiedError), f"{one.name}: {one.error!r}"
        with pytest.raises(LocalRayletDiedError):
            manta.put(bytes(MIB))
        with pytest.raises(LocalRayletDiedError):
            hang.remote(gate)
        with pytest.raises(LocalRayletDiedError):
            manta.cluster_resources()
        assert len(workers) >= 3
        wait_until(lambda: not any(map(is_running, workers)), what="the end of all workers")
        del held
    return max(one.ended_at - began for one in waits)


def test_a_stopped_raylet_that_is_killed_leaves_nothing(gate: Gate):
    """Its socket does not close before its end; workers go by the kernel's hand."""
    with running_cluster() as cluster:
        ref = hang.remote(gate)
        wait_until(lambda: len(_descendants(cluster.pid("raylet"))) >= 3)
        raylet = cluster.pid("raylet")
        workers = _descendants(raylet)
        os.kill(raylet, signal.SIGSTOP)
        os.kill(raylet, signal.SIGKILL)
        with pytest.raises(LocalRayletDiedError):
            manta.get(ref, timeout=20)
        wait_until(lambda: not any(map(is_running, workers)), what="the end of all workers")


def _descendants(pid: int) -> set[int]:
    found: set[int] = set()
    todo = [pid]
    while todo:
        one = todo.pop()
        try:
            with open(f"/proc/{one}/task/{one}/children") as file:
                children = {int(word) for word in file.read().split()}
        except OSError:
            continue
        found |= children
        todo.extend(children)
    return found
