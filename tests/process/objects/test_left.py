"""What a worker made and did not live to tell of goes at once; what its owner was told of stays."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

import manta
from manta.exceptions import ActorDiedError, WorkerCrashedError
from tests.process.cluster.support import MIB
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.process.cluster.support import Cluster

pytestmark = pytest.mark.shared_cluster

CLUSTER = {"num_cpus": 2, "object_store_memory": 128 * MIB, "log_to_driver": False}


def two_results(path: Path):
    """The first fits into what the tests leave of the store, the second does not: its worker waits between the two."""
    path.write_text(str(os.getpid()))
    return bytes(2 * MIB), bytes(40 * MIB)


def kill_between_the_two(cluster: Cluster, path: Path) -> None:
    wait_until(
        lambda: cluster.store()["waiting_creates"] == 1, what="the first result to be there and the second to wait"
    )
    os.kill(int(path.read_text()), signal.SIGKILL)


def test_a_result_that_its_task_did_not_live_to_tell_of_is_freed(cluster: Cluster, tmp_path: Path):
    held = [manta.put(bytes(30 * MIB)) for _ in range(4)]
    before = cluster.store()["objects"]
    refs = manta.remote(num_returns=2, max_retries=0)(two_results).remote(tmp_path / "pid")
    kill_between_the_two(cluster, tmp_path / "pid")

    with pytest.raises(WorkerCrashedError):
        manta.get(refs[0], timeout=20)
    wait_until(lambda: cluster.store()["objects"] == before, what="the first result to go, although its ref lives")
    del held


def test_the_next_attempt_s_result_stays(cluster: Cluster, tmp_path: Path):
    """It may be the very object that the first attempt made."""
    held = [manta.put(bytes(30 * MIB)) for _ in range(4)]
    before = cluster.store()["objects"]
    refs = manta.remote(num_returns=2, max_retries=1)(two_results).remote(tmp_path / "pid")
    kill_between_the_two(cluster, tmp_path / "pid")
    del held[:2]

    assert [len(value) for value in manta.get(refs, timeout=20)] == [2 * MIB, 40 * MIB]
    assert cluster.store()["objects"] == before
    del refs, held
    wait_until(lambda: cluster.store()["objects"] == before - 4)


def test_the_same_for_an_actor_whose_earlier_results_stay(cluster: Cluster, tmp_path: Path):
    @manta.remote
    class Maker:
        def one(self):
            return bytes(2 * MIB)

        @manta.method(num_returns=2)
        def two(self, path: Path):
            return two_results(path)

    maker = Maker.remote()
    told = maker.one.remote()
    assert len(manta.get(told)) == 2 * MIB
    held = [manta.put(bytes(30 * MIB)) for _ in range(3)]
    before = cluster.store()["objects"]
    refs = maker.two.remote(tmp_path / "pid")
    kill_between_the_two(cluster, tmp_path / "pid")

    with pytest.raises(ActorDiedError):
        manta.get(refs[0], timeout=20)
    wait_until(lambda: cluster.store()["objects"] == before, what="the first of the two results to go")
    assert len(manta.get(told)) == 2 * MIB
    del held
