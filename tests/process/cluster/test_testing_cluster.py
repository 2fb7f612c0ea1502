"""What ships for users' tests: `manta.testing.Cluster`, and the fixtures of its pytest plugin."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import manta
from manta.api import embedded
from manta.testing import Cluster
from tests.process.semantics.support import is_running
from tests.support.waiting import wait_until

CLUSTER = None

ROOT = Path(__file__).resolve().parents[3]


@manta.remote(num_cpus=0, resources={"there": 1})
class There:
    def node(self):
        return manta.get_runtime_context().get_node_id()

    def pid(self):
        return os.getpid()


def test_nodes_come_and_go():
    """A node has what was asked for, is there when `add_node` returns, and takes its workers with it when it is killed."""
    with Cluster(head_node_args={"num_cpus": 2}) as cluster:
        node = cluster.add_node(num_cpus=3, resources={"there": 1}, labels={"zone": "a"}, node_name="second")
        cluster.connect(log_to_driver=False)
        assert (manta.cluster_resources()["CPU"], manta.cluster_resources()["there"]) == (5.0, 1.0)
        seen = {found["NodeID"]: found for found in manta.nodes()}
        assert seen[node.node_id]["Labels"]["zone"] == "a"
        actor = There.remote()
        assert manta.get(actor.node.remote(), timeout=20) == node.node_id
        pid = manta.get(actor.pid.remote(), timeout=20)

        cluster.remove_node(node, allow_graceful=False)
        cluster.wait_for_nodes()
        wait_until(lambda: not is_running(pid), what="its workers to go with it")
        assert [found["NodeID"] for found in manta.nodes() if found["Alive"]] == [cluster.list_all_nodes()[0].node_id]
        with pytest.raises(ValueError, match="was removed before"):
            cluster.remove_node(node)

        again = cluster.add_node(resources={"there": 1})
        assert manta.get(There.remote().node.remote(), timeout=20) == again.node_id
        cluster.remove_node(again)
        cluster.wait_for_nodes()
    assert not manta.is_initialized()


def test_a_cluster_without_a_head_says_so():
    with Cluster() as cluster:
        with pytest.raises(RuntimeError, match="add a node first"):
            cluster.address  # noqa: B018
        head = cluster.add_node()
        assert cluster.head_node is head
        with pytest.raises(ValueError, match="shutdown\\(\\) ends the whole cluster"):
            cluster.remove_node(head)
    with pytest.raises(RuntimeError, match="initialize_head=True"):
        Cluster(connect=True)


def test_what_no_node_can_have_is_refused_before_anything_starts():
    with Cluster() as cluster:
        with pytest.raises(ValueError, match="object_store_memory"):
            cluster.add_node(object_store_memory=1)
        with pytest.raises(TypeError, match="colour"):
            cluster.add_node(colour="red")
        assert cluster.list_all_nodes() == []


def test_a_program_elsewhere_joins_through_the_gateway():
    with Cluster(head_node_args={"num_cpus": 1}, gateway=True) as cluster:
        done = subprocess.run(
            [sys.executable, "-c", "import manta; manta.init(); print(manta.get(manta.remote(abs).remote(-3)))"],
            env={**embedded.child_environment(), **cluster.gateway_environment},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert done.stdout == "3\n", done.stderr


@pytest.mark.may_leak("files")
def test_its_processes_end_with_the_one_that_made_it():
    """Killed without a chance to clean up, that leaves nothing that runs; logs stay, as after every crash."""
    program = (
        "import os, signal\n"
        "from ray.cluster_utils import Cluster\n"
        "cluster = Cluster(initialize_head=True)\n"
        "node = cluster.add_node()\n"
        "print(cluster.head_node.pid, node.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "manta.compat", "-c", program],
        env=embedded.child_environment(), capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2, done.stderr
    wait_until(lambda: not any(map(is_running, pids)), what="its raylets to end")


FIXTURES = """
import manta
import pytest

@pytest.fixture
def manta_head_args():
    return {"num_cpus": 3}

def test_local(manta_local):
    assert manta.cluster_resources()["CPU"] == 2
    assert manta.get(manta.remote(abs).remote(-1)) == 1

def test_cluster(manta_cluster):
    manta_cluster.add_node(num_cpus=2)
    assert manta.cluster_resources()["CPU"] == 5

def test_neither():
    assert not manta.is_initialized()
"""


def test_the_fixtures_of_the_plugin(tmp_path):
    """Each test has a cluster of its own, and sizes are what the user's overriding fixtures say."""
    (tmp_path / "test_it.py").write_text(FIXTURES)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "manta.testing.pytest_plugin", "-p", "no:cacheprovider", str(tmp_path)],
        env={**embedded.child_environment(), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_the_plugin_costs_nothing_until_a_test_asks():
    """And is no entry point: pytest would rewrite the assertions of every module of this distribution, in every user's run."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "pytest11" not in declared.get("entry-points", {})
    program = (
        "import sys, pytest; before = set(sys.modules); import manta.testing.pytest_plugin; "
        "print(*sorted(name for name in set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=embedded.child_environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["manta", "manta.testing", "manta.testing.pytest_plugin", "manta.version"]
