"""Two raylets under one control: what "local" is hard-wired nowhere comes to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import manta
from manta.exceptions import ActorDiedError
from tests.process.cluster.support import MIB, Node, running_cluster
from tests.process.semantics.support import is_running
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.process.cluster.support import Cluster

CLUSTER = None


class SecondNode(Node):
    """A raylet started by hand beside an embedded cluster, with a resource of its own."""

    def __init__(self, cluster: Cluster, resource: str, *, cpus: int = 1, labels: dict[str, str] | None = None) -> None:
        self.node_id = os.urandom(28).hex()
        super().__init__(f"{cluster.session_dir}/raylet-{self.node_id[:8]}.sock")
        arguments = [
            "--session-dir", cluster.session_dir, "--control", f"unix:{cluster.session_dir}/control.sock",
            "--node-id", self.node_id, "--num-cpus", str(cpus), "--resources", json.dumps({resource: 2}),
            "--labels", json.dumps(labels or {}), "--object-store-memory", str(64 * MIB),
            "--parent-pid", str(os.getpid()), "--node-name", "second",
        ]  # fmt: skip
        there = len(alive_nodes())
        self.process = subprocess.Popen([sys.executable, "-m", "manta.raylet", *arguments], start_new_session=True)
        wait_until(lambda: len(alive_nodes()) > there, what="the node to join", timeout_s=20)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


def alive_nodes() -> list[dict]:
    return [node for node in manta.nodes() if node["Alive"]]


@pytest.fixture
def nodes() -> Iterator[tuple[Cluster, SecondNode]]:
    with running_cluster(num_cpus=2) as cluster:
        second = SecondNode(cluster, "second")
        try:
            yield cluster, second
        finally:
            second.stop()


@manta.remote
class Where:
    def node(self):
        return manta.get_runtime_context().get_node_id()

    def pid(self):
        return os.getpid()

    def echo(self, value):
        return value


def test_actors_live_where_their_resources_are_and_are_called_from_anywhere(nodes):
    cluster, second = nodes
    there = Where.options(num_cpus=0, resources={"second": 1}).remote()
    here = Where.options(num_cpus=1).remote()
    assert manta.get(there.node.remote(), timeout=20) == second.node_id
    assert manta.get(here.node.remote(), timeout=20) in (second.node_id, cluster.status()["node_id"])

    @manta.remote
    def call(handle):
        return manta.get(handle.echo.remote("from a task"))

    assert manta.get(call.remote(there), timeout=20) == "from a task"
    assert manta.get(here.echo.remote(there.echo.remote("through both")), timeout=20) == "through both"
    named = Where.options(name="far", num_cpus=0, resources={"second": 1}).remote()
    assert manta.get(manta.get_actor("far").node.remote(), timeout=20) == second.node_id
    del named


def test_the_cluster_is_the_sum_of_its_nodes(nodes):
    cluster, second = nodes
    assert {node["NodeID"] for node in alive_nodes()} == {cluster.status()["node_id"], second.node_id}
    total = manta.cluster_resources()
    assert (total["CPU"], total["second"]) == (3.0, 2.0)


def test_a_node_that_is_killed_is_missed_within_a_second(nodes):
    _, second = nodes
    there = Where.options(num_cpus=0, resources={"second": 1}).remote()
    pid = manta.get(there.pid.remote(), timeout=20)
    os.kill(second.process.pid, signal.SIGKILL)
    # The actor's process ends a moment after its raylet: a call before that may still be answered.
    wait_until(lambda: not is_running(pid), what="its workers to go with it")
    with pytest.raises(ActorDiedError):
        manta.get(there.echo.remote(1), timeout=20)
    wait_until(lambda: len(alive_nodes()) == 1, what="control to notice")
    assert manta.get(manta.remote(abs).remote(-1), timeout=20) == 1


def test_an_actor_is_restarted_on_the_node_that_is_left(nodes):
    cluster, second = nodes
    first_id = cluster.status()["node_id"]
    actors = [Where.options(num_cpus=0.5, max_restarts=-1, max_task_retries=-1).remote() for _ in range(5)]
    homes = manta.get([actor.node.remote() for actor in actors], timeout=20)
    assert set(homes) == {first_id, second.node_id}, "five halves do not fit on either"
    pids = manta.get([actor.pid.remote() for actor in actors])
    lost = [pid for pid, home in zip(pids, homes, strict=True) if home == second.node_id]
    actors.pop(homes.index(first_id))  # which makes room for one
    os.kill(second.process.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(is_running, lost)))
    assert manta.get([actor.node.remote() for actor in actors], timeout=30) == [first_id] * 4
