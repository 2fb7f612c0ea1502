"""Tasks run on other nodes: where their resources are, where there is room, where their strategy says."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

import manta
from manta.exceptions import ActorUnschedulableError, TaskUnschedulableError, WorkerCrashedError
from manta.util.scheduling_strategies import (
    In,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
)
from tests.process.cluster.machines import alive, joined, machines
from tests.process.cluster.support import at_rest, running_cluster
from tests.process.cluster.test_two_nodes import SecondNode, Where
from tests.process.semantics.support import Gate, Ledger, is_running
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.process.cluster.machines import Machine
    from tests.process.cluster.support import Node

CLUSTER = None


@pytest.fixture(params=["one machine", "two machines"])
def nodes(request, tmp_path) -> Iterator[tuple[Node, SecondNode | Machine]]:
    """Two nodes that dial each other's processes by their sockets, and two that go through doors and TLS."""
    if request.param == "one machine":
        with running_cluster(num_cpus=2, labels={"zone": "a"}) as cluster:
            second = SecondNode(cluster, "second", labels={"zone": "b"})
            try:
                yield cluster, second
            finally:
                second.stop()
        return
    (tmp_path / "m").mkdir()
    with machines(tmp_path / "m") as several:
        first = several.add("first", "--labels", json.dumps({"zone": "a"}), cpus=2)
        other = several.add("second", "--labels", json.dumps({"zone": "b"}), cpus=1, resources={"second": 2})
        with joined(first):
            alive(2)
            yield first, other


@manta.remote
def where():
    return manta.get_runtime_context().get_node_id()


@manta.remote
def stay(ledger: Ledger, gate: Gate):
    ledger.write(os.getpid())
    gate.wait()
    return manta.get_runtime_context().get_node_id()


def test_a_task_runs_where_its_resources_are(nodes):
    """The own raylet points at the other node, whose raylet lends a worker; nested tasks come back the same way."""
    cluster, second = nodes

    @manta.remote(num_cpus=0, resources={"second": 1})
    def outer():
        home = manta.remote(where._function).options(label_selector={"zone": "a"})
        return manta.get_runtime_context().get_node_id(), manta.get(home.remote())

    there = where.options(num_cpus=0, resources={"second": 1})
    assert manta.get([there.remote() for _ in range(20)], timeout=20) == [second.node_id] * 20
    assert manta.get(outer.remote(), timeout=20) == (second.node_id, cluster.status()["node_id"])
    at_rest(second)
    at_rest(cluster)


def test_many_short_tasks_there_all_end(nodes):
    """Two workers there take turns at one queue: what is taken back from one while more is on its way to it is not lost."""

    @manta.remote(num_cpus=0, resources={"second": 1})
    def same(number):
        return number

    for _ in range(4):
        assert manta.get([same.remote(number) for number in range(1000)], timeout=20) == list(range(1000))


def test_what_does_not_fit_here_overflows(nodes, tmp_path):
    cluster, second = nodes
    ledger, gate = Ledger(tmp_path / "ran"), Gate(tmp_path / "gate")
    refs = [stay.remote(ledger, gate) for _ in range(4)]
    wait_until(lambda: len(ledger.read()) == 3, what="all three CPUs to be used")
    gate.open()
    homes = Counter(manta.get(refs, timeout=20))
    assert set(homes) == {cluster.status()["node_id"], second.node_id}
    at_rest(second)


def test_spread_uses_every_node(nodes, tmp_path):
    """All would fit on either. They last until the slower node has begun some."""
    cluster, second = nodes
    ledger, gate = Ledger(tmp_path / "ran"), Gate(tmp_path / "gate")

    @manta.remote(scheduling_strategy="SPREAD", num_cpus=0.01)
    def spread():
        node = manta.get_runtime_context().get_node_id()
        ledger.write(node)
        gate.wait()
        return node

    refs = [spread.remote() for _ in range(6)]
    wait_until(lambda: set(ledger.read()) == {cluster.status()["node_id"], second.node_id}, what="both nodes run some")
    gate.open()
    manta.get(refs, timeout=20)


def test_tasks_and_actors_go_to_the_node_they_name(nodes):
    cluster, second = nodes
    there = NodeAffinitySchedulingStrategy(second.node_id, soft=False)
    home = NodeLabelSchedulingStrategy({"zone": In("a")})
    assert manta.get(where.options(scheduling_strategy=there).remote(), timeout=20) == second.node_id
    assert manta.get(where.options(scheduling_strategy=home).remote(), timeout=20) == cluster.status()["node_id"]
    assert manta.get(where.options(label_selector={"zone": "!a"}).remote(), timeout=20) == second.node_id
    actor = Where.options(scheduling_strategy=there, num_cpus=0).remote()
    assert manta.get(actor.node.remote(), timeout=20) == second.node_id
    actor = Where.options(label_selector={"zone": "in(a,c)"}, num_cpus=0).remote()
    assert manta.get(actor.node.remote(), timeout=20) == cluster.status()["node_id"]


def test_a_node_that_is_not_there_is_an_error_or_a_preference(nodes):
    cluster, _ = nodes
    hard = NodeAffinitySchedulingStrategy("ab" * 28, soft=False)
    soft = NodeAffinitySchedulingStrategy("ab" * 28, soft=True)
    with pytest.raises(TaskUnschedulableError, match="doesn't exist any more or is infeasible"):
        manta.get(where.options(scheduling_strategy=hard).remote(), timeout=20)
    actor = Where.options(scheduling_strategy=hard).remote()
    with pytest.raises(ActorUnschedulableError, match="doesn't exist any more or is infeasible"):
        manta.get(actor.node.remote(), timeout=20)
    assert manta.get(where.options(scheduling_strategy=soft).remote(), timeout=20) == cluster.status()["node_id"]


def test_a_worker_that_dies_elsewhere_is_heard_of(nodes, tmp_path):
    _, second = nodes
    ledger, gate = Ledger(tmp_path / "ran"), Gate(tmp_path / "gate")
    there = {"num_cpus": 0, "resources": {"second": 2}}
    retried = stay.options(**there).remote(ledger, gate)
    wait_until(lambda: len(ledger.read()) == 1)
    os.kill(int(ledger.read()[0]), signal.SIGKILL)
    wait_until(lambda: len(ledger.read()) == 2)
    gate.open()
    assert manta.get(retried, timeout=20) == second.node_id
    shut = Gate(tmp_path / "shut")
    lost = stay.options(max_retries=0, **there).remote(ledger, shut)
    wait_until(lambda: len(ledger.read()) == 3)
    os.kill(int(ledger.read()[2]), signal.SIGKILL)
    with pytest.raises(WorkerCrashedError):
        manta.get(lost, timeout=20)


def test_a_node_that_dies_costs_a_retry(nodes, tmp_path):
    cluster, second = nodes
    ledger, gate = Ledger(tmp_path / "ran"), Gate(tmp_path / "gate")
    refs = [stay.remote(ledger, gate) for _ in range(3)]
    wait_until(lambda: len(ledger.read()) == 3)
    pids = [int(pid) for pid in ledger.read()]
    os.kill(second.process.pid, signal.SIGKILL)
    wait_until(lambda: sum(map(is_running, pids)) == 2, what="its worker to go with it")
    gate.open()
    assert manta.get(refs, timeout=30) == [cluster.status()["node_id"]] * 3


def test_demands_go_back_when_nobody_waits(nodes, tmp_path):
    cluster, second = nodes
    gate = Gate(tmp_path / "gate")
    refs = [stay.remote(Ledger(tmp_path / "ran"), gate) for _ in range(30)]
    gate.open()
    manta.get(refs, timeout=30)
    at_rest(second)
    at_rest(cluster)


def test_labels_and_resources_of_all_nodes_are_shown(nodes):
    _, second = nodes
    rows = {node["NodeID"]: node for node in manta.nodes()}
    assert rows[second.node_id]["Labels"]["zone"] == "b"
    assert rows[second.node_id]["Labels"]["ray.io/node-id"] == second.node_id
    wait_until(lambda: manta.available_resources().get("CPU") == 3.0)
    assert json.dumps(manta.cluster_resources())
