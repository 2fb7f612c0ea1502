"""Nodes that are lost: what ran there runs elsewhere, what was there ends in an error that says why, who comes back is fenced."""

from __future__ import annotations

import gc
import os
import signal
from typing import TYPE_CHECKING

import pytest

import manta
from manta.exceptions import ObjectLostError, OwnerDiedError, WorkerCrashedError
from manta.testing import Cluster
from tests.process.cluster.support import children_of
from tests.process.semantics.support import Gate, Ledger, is_running
from tests.support.pausing import go_on, pause
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from manta.testing import ClusterNode
    from tests.support.leaks import Sandbox

CLUSTER = None
pytestmark = pytest.mark.shared_cluster

#: Of control in these tests, seconds. Nodes say something every second; a busy machine keeps one from it for five at times.
SILENCE_S = 8


def everything_of(node: ClusterNode) -> list[int]:
    """The raylet and all that it has started."""
    found = [node.pid]
    for pid in found:
        found += children_of(pid)
    return found


class Paused:
    """A whole node, stopped as a virtual machine is."""

    def __init__(self, node: ClusterNode) -> None:
        self.pids = everything_of(node)
        pause(*self.pids)

    def go_on(self) -> None:
        go_on(*self.pids)


@manta.remote(num_cpus=0, resources={"there": 1})
class Account:
    def __init__(self, ledger: Ledger | None = None) -> None:
        self.ledger = ledger
        self.calls = 0

    def node(self) -> str:
        return manta.get_runtime_context().get_node_id()

    def add(self, gate: Gate | None = None) -> tuple[str, int]:
        if self.ledger is not None:
            self.ledger.write("call")
        if gate is not None:
            gate.wait()
        self.calls += 1
        return self.node(), self.calls

    def put(self) -> list:
        return [manta.put("mine")]


@manta.remote(num_cpus=0, resources={"there": 1})
def stay(ledger: Ledger, gate: Gate) -> str:
    ledger.write("run")
    gate.wait()
    return manta.get_runtime_context().get_node_id()


@manta.remote(num_cpus=0, resources={"there": 1})
def large() -> bytes:
    return bytes(1 << 20)


@pytest.fixture(scope="module")
def head(module_sandbox: Sandbox) -> Iterator[Cluster]:
    """A cluster that notices silence soon, and this process as a driver on its head."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MANTA_node_silence_seconds", str(SILENCE_S))
        with Cluster(head_node_args={"num_cpus": 1}) as cluster:
            cluster.connect(log_to_driver=False)
            yield cluster


@pytest.fixture
def two(head: Cluster) -> Iterator[tuple[Cluster, ClusterNode]]:
    """The cluster with a second node, the only one with what is needed."""
    yield head, head.add_node(num_cpus=0, resources={"there": 8})
    gc.collect()  # a caught error and its frame hold each other, and the frame holds the test's actors
    for node in list(head.worker_nodes):
        head.remove_node(node, allow_graceful=False)
    wait_until(lambda: sum(node["Alive"] for node in manta.nodes()) == 1, what="all others to be gone", timeout_s=20)


def test_a_paused_node_is_given_up_and_what_comes_of_it_later_is_refused(two, tmp_path, request):
    cluster, node = two
    ledger, calls = Ledger(tmp_path / "ran"), Ledger(tmp_path / "called")
    gate = Gate(tmp_path / "gate")
    retried = stay.options(max_retries=1).remote(ledger, gate)
    lost = stay.options(max_retries=0).remote(ledger, gate)
    account = Account.options(max_restarts=1, max_task_retries=1).remote(calls)
    stored = large.remote()
    (owned,) = manta.get(Account.remote().put.remote(), timeout=20)
    assert manta.get(account.add.remote(), timeout=20) == (node.node_id, 1)
    running = account.add.remote(gate)
    manta.wait([stored], fetch_local=False, timeout=20)
    wait_until(lambda: len(ledger.read()) == 2 and len(calls.read()) == 2)

    paused = Paused(node)
    request.addfinalizer(paused.go_on)
    other = cluster.add_node(wait=False, num_cpus=0, resources={"there": 8})
    with pytest.raises(WorkerCrashedError, match=f"{node.node_id}, is dead: it was silent for {SILENCE_S} s") as died:
        manta.get(lost, timeout=20)
    assert died.value.facts["object"] == lost.hex()
    with pytest.raises(ObjectLostError, match=f"(?s){stored.hex()}.*{node.node_id}.*silent for {SILENCE_S} s.*task"):
        manta.get(stored, timeout=20)
    with pytest.raises(OwnerDiedError, match=owned.hex()) as died_too:
        manta.get(owned, timeout=20)
    assert died_too.value.facts == {
        "creator": "put()",
        "node_id": node.node_id,
        "reason": f"its node is dead: it was silent for {SILENCE_S} s",
    }
    wait_until(lambda: len(ledger.read()) == 3 and len(calls.read()) == 3, what="both to run again", timeout_s=20)

    # While the new ones still run: what the old ones say now must not be taken for theirs.
    paused.go_on()
    gate.open()
    assert manta.get(retried, timeout=20) == other.node_id
    assert manta.get(running, timeout=20) == (other.node_id, 1), "the second life begins anew"
    wait_until(lambda: not any(map(is_running, paused.pids)), what="the node to end by itself", timeout_s=20)
    assert manta.get(account.add.remote(), timeout=20) == (other.node_id, 2)
    assert (len(ledger.read()), len(calls.read())) == (3, 4)
    with pytest.raises(WorkerCrashedError):
        manta.get(lost)


def test_a_killed_node_is_noticed_at_once_and_its_work_goes_on_elsewhere(two, tmp_path):
    cluster, node = two
    ledger, gate = Ledger(tmp_path / "ran"), Gate(tmp_path / "gate")
    group = manta.util.placement_group([{"there": 2}])
    assert group.wait(20)
    account = Account.options(max_restarts=-1, max_task_retries=-1).remote()
    retried = stay.remote(ledger, gate)
    lost = stay.options(max_retries=0).remote(ledger, gate)
    assert manta.get(account.node.remote(), timeout=20) == node.node_id
    wait_until(lambda: len(ledger.read()) == 2)
    other = cluster.add_node(num_cpus=0, resources={"there": 8})

    os.kill(node.pid, signal.SIGKILL)
    with pytest.raises(WorkerCrashedError, match="the node of its worker"):
        manta.get(lost, timeout=20)
    gate.open()
    assert manta.get(retried, timeout=20) == other.node_id
    assert manta.get(account.node.remote(), timeout=20) == other.node_id
    in_group = stay.options(
        scheduling_strategy=manta.util.scheduling_strategies.PlacementGroupSchedulingStrategy(group)
    ).remote(ledger, gate)
    assert manta.get(in_group, timeout=20) == other.node_id
    manta.util.remove_placement_group(group)


def test_a_process_of_another_node_that_is_killed_gives_back_what_it_leased(two, tmp_path):
    """Its raylet says so: its connection alone would be waited for."""
    _, node = two
    ledger, gate = Ledger(tmp_path / "ran"), Gate(tmp_path / "gate")

    @manta.remote(max_retries=0)
    def parent() -> int:
        refs = [stay.remote(ledger, gate) for _ in range(3)]
        wait_until(lambda: len(ledger.read()) == 3, timeout_s=20)
        ledger.write(os.getpid())
        return len(manta.get(refs))

    ref = parent.remote()
    wait_until(lambda: len(ledger.read()) == 4, timeout_s=30)
    os.kill(int(ledger.read()[-1]), signal.SIGKILL)
    with pytest.raises(WorkerCrashedError):
        manta.get(ref, timeout=20)
    wait_until(lambda: node.status()["scheduler"]["leases"] == 0, timeout_s=20, what="its workers to be free again")


def test_a_worker_elsewhere_that_dies_before_it_reads_costs_nothing(two, tmp_path):
    """Tasks that were pushed to it and never begun are none of the attempts that they have."""
    ledger = Ledger(tmp_path / "ran")

    @manta.remote(num_cpus=0, resources={"there": 8}, max_retries=0)
    def quick(stop: bool = False) -> int:
        if stop:
            ledger.write(os.getpid())
            os.kill(os.getpid(), signal.SIGSTOP)
        return os.getpid()

    assert manta.get([quick.remote() for _ in range(50)], timeout=20), "it is quick: several are pushed at a time"
    stopped = quick.remote(stop=True)
    wait_until(lambda: len(ledger.read()) == 1)
    behind = [quick.remote() for _ in range(5)]
    manta.wait(behind, timeout=0.1)
    os.kill(int(ledger.read()[0]), signal.SIGKILL)
    with pytest.raises(WorkerCrashedError):
        manta.get(stopped, timeout=20)
    assert len(manta.get(behind, timeout=20)) == 5
