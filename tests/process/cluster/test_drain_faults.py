"""A drain among faults: control is killed in the middle of it, a worker or a whole node is stopped and says nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import manta
from manta.cli import main, processes
from manta.client import current
from manta.rpc.v1 import control_pb2 as ctl
from manta.testing import Cluster
from tests.process.cluster.support import MIB, Node
from tests.support.pausing import pause, paused
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from manta.testing import ClusterNode

CLUSTER = None

SPOT = {"num_cpus": 0, "resources": {"spot": 1}, "max_retries": 0}


@manta.remote(**SPOT)
def until(path: str) -> int:
    with open(path + ".pid", "w") as file:
        file.write(str(os.getpid()))
    os.rename(path + ".pid", path + ".runs")
    wait_until(lambda: os.path.exists(path), what="the word to end", timeout_s=40)
    return 1


@manta.remote(**SPOT)
def large(seed: int) -> bytes:
    return bytes([seed]) * MIB


@pytest.fixture
def spot() -> Iterator[tuple[Cluster, ClusterNode]]:
    """This process is a driver on the head of a cluster with one more node."""
    with Cluster(head_node_args={"num_cpus": 1}) as cluster:
        node = cluster.add_node(num_cpus=1, resources={"spot": 2})
        cluster.connect(log_to_driver=False)
        yield cluster, node


def begun(path: Path) -> int:
    """The process that runs `until`, once it does."""
    wait_until(lambda: os.path.exists(f"{path}.runs"), what="the task to run", timeout_s=20)
    with open(f"{path}.runs") as file:
        return int(file.read())


def drain(cluster: Cluster, node: ClusterNode, *more: str) -> int:
    assert cluster.head_node is not None
    return main(["drain", node.node_id, "--address", f"unix:{cluster.head_node.socket}", *more])


def seen(node: ClusterNode) -> ctl.NodeInfo:
    reply = current.require().control("ListNodes", ctl.ListNodesRequest(), ctl.ListNodesResponse)
    found: ctl.NodeInfo = next(each for each in reply.nodes if each.node_id.hex() == node.node_id)
    return found


def test_a_drain_outlives_a_control_that_is_killed(spot, tmp_path):
    """It is written down with its deadline; what it waited for ends, its object moves, the node leaves."""
    cluster, node = spot
    running, kept = until.remote(str(tmp_path / "word")), large.remote(7)
    begun(tmp_path / "word")
    manta.wait([kept], fetch_local=False)
    assert drain(cluster, node, "--no-wait", "--grace", "5m") == 0
    before = seen(node).drain
    (control,) = [
        pid for pid in processes.mine_with("manta.control") if cluster.head_node.session_dir in processes.arguments(pid)
    ]
    os.kill(control, signal.SIGKILL)
    wait_until(lambda: not processes.alive(control), what="the end of control")
    after = seen(node)
    assert after.drain == before
    late = large.remote(8)
    assert manta.wait([late], timeout=0.3) == ([], [late])
    (tmp_path / "word").touch()
    assert manta.get(running, timeout=30) == 1
    assert node.process.wait(30) == 0
    assert manta.get(kept, timeout=20)[0] == 7
    assert drain(cluster, node) == 0


def test_a_worker_that_is_stopped_does_not_hold_its_node_beyond_the_grace(spot, tmp_path):
    """What it ran ends in an error, and the node goes with exit code 0; objects have moved before."""
    cluster, node = spot
    kept = large.remote(7)
    manta.wait([kept], fetch_local=False)
    running = until.remote(str(tmp_path / "word"))
    pause(begun(tmp_path / "word"))
    assert drain(cluster, node, "--no-wait", "--grace", "5m") == 0
    assert cluster.head_node is not None
    head = Node(cluster.head_node.socket)
    wait_until(lambda: head.store()["objects"] == 1, what="the object to move")
    assert drain(cluster, node, "--grace", "3s") == 1
    with pytest.raises(manta.exceptions.WorkerCrashedError):
        manta.get(running, timeout=20)
    assert manta.get(kept, timeout=20)[0] == 7
    assert node.process.wait(20) == 0


def test_a_node_that_is_stopped_while_it_is_drained_is_given_up_when_the_grace_is_over(spot, tmp_path):
    """And ends when it goes on: nobody waits for it any more."""
    cluster, node = spot
    running = until.remote(str(tmp_path / "word"))
    begun(tmp_path / "word")
    assert drain(cluster, node, "--no-wait", "--grace", "5m") == 0
    with paused(node.pid):
        assert drain(cluster, node, "--grace", "1s") == 1
    assert node.process.wait(20) == 0
    with pytest.raises(manta.exceptions.WorkerCrashedError):
        manta.get(running, timeout=30)


OUTSIDE = """
import sys
import manta

manta.init(log_to_driver=False)


@manta.remote(num_cpus=0, resources={"spot": 1}, max_retries=0)
def large(seed):
    return bytes([seed]) * (1 << 20)


refs = [large.remote(seed) for seed in range(1, 5)]
manta.wait(refs, num_returns=4, fetch_local=False)
print("made", flush=True)
sys.stdin.readline()
print([value[0] for value in manta.get(refs)], flush=True)
"""


def test_objects_of_a_driver_outside_move_and_are_found(tmp_path):
    """Their owner is its session process, behind the gateway."""
    with Cluster(head_node_args={"num_cpus": 1}, gateway=True) as cluster:
        node = cluster.add_node(num_cpus=1, resources={"spot": 2})
        program = tmp_path / "program.py"
        program.write_text(OUTSIDE)
        with subprocess.Popen(
            [sys.executable, str(program)],
            env={**os.environ, **cluster.gateway_environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as driver:
            assert driver.stdout is not None
            assert driver.stdout.readline() == "made\n"
            assert drain(cluster, node) == 0
            assert node.process.wait(20) == 0
            assert driver.communicate("\n", timeout=30)[0] == "[1, 2, 3, 4]\n"
