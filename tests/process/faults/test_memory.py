"""The node's memory runs low: the raylet ends a worker before the kernel ends something else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import manta
from manta.exceptions import ActorDiedError, OutOfMemoryError
from manta.raylet.memory import MemoryReader
from tests.process.cluster.support import MIB, running_cluster
from tests.support.leaks import environment

if TYPE_CHECKING:
    from tests.process.semantics.support import Ledger

CLUSTER = None

#: Far more than other tests take meanwhile, far less than the machine has.
HOG_BYTES = 1200 * MIB
#: What a hog takes at a time, and all it takes: others may give some back meanwhile, and then it crosses the line later.
STEP_BYTES = 100 * MIB
MOST_BYTES = 4 * HOG_BYTES


def threshold() -> float:
    """A line that a hog crosses and nothing else does."""
    usage = MemoryReader().usage()
    assert usage is not None
    if usage.limit_bytes - usage.used_bytes < MOST_BYTES:
        pytest.skip("too little free memory to play with")
    return (usage.used_bytes + HOG_BYTES / 2) / usage.limit_bytes


@pytest.fixture
def low():
    """A cluster that believes its memory to be nearly used up."""
    settings = {"MANTA_memory_usage_threshold": f"{threshold():.6f}", "MANTA_memory_monitor_refresh_ms": "20"}
    with environment(settings), running_cluster(num_cpus=2) as cluster:
        yield cluster


def hog() -> None:
    import time

    held = []
    for _ in range(MOST_BYTES // STEP_BYTES):
        held.append(bytearray(STEP_BYTES))
        held[-1][::4096] = b"x" * len(held[-1][::4096])
        time.sleep(0.02)  # the raylet looks as often
    time.sleep(60)


def test_without_retries_it_is_an_error_that_names_the_largest(low):
    @manta.remote(max_retries=0)
    def greedy():
        hog()

    @manta.remote
    def modest(number: int):
        return number

    ref = greedy.remote()
    with pytest.raises(OutOfMemoryError) as caught:
        manta.get(ref, timeout=40)
    text = str(caught.value)
    assert "greedy" in text
    assert "Largest processes: pid=" in text
    assert "MANTA_memory_usage_threshold" in text
    assert manta.get([modest.remote(number) for number in range(20)], timeout=20) == list(range(20))


def test_retries_for_want_of_memory_are_not_counted(low, ledger: Ledger):
    @manta.remote(max_retries=1)
    def greedy_at_first():
        ledger.write("run")
        if len(ledger.read()) <= 3:
            hog()
        return "modest at last"

    assert manta.get(greedy_at_first.remote(), timeout=50) == "modest at last"
    assert ledger.read() == ["run"] * 4


def test_an_actor_says_it_too(low):
    @manta.remote
    class Greedy:
        def pid(self):
            return os.getpid()

        def eat(self):
            hog()

    greedy = Greedy.remote()
    manta.get(greedy.pid.remote())
    with pytest.raises(ActorDiedError, match="memory"):
        manta.get(greedy.eat.remote(), timeout=40)
