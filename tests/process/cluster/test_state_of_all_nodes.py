"""`manta list`, `manta logs` and the state API answer for every node of a cluster, and name one that does not answer."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import manta
from manta.util import state
from manta.util.placement_group import placement_group, remove_placement_group
from tests.process.cluster.support import MIB, running_cluster
from tests.process.cluster.test_two_nodes import SecondNode
from tests.support.pausing import paused
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.process.cluster.support import Cluster

CLUSTER = None


@pytest.fixture
def nodes() -> Iterator[tuple[Cluster, SecondNode]]:
    with running_cluster(num_cpus=2) as cluster:
        second = SecondNode(cluster, "second")
        try:
            yield cluster, second
        finally:
            second.stop()


@manta.remote(resources={"second": 1})
def there(text, size=0):
    print(text, flush=True)
    return bytes(size)


@manta.remote
class Speaker:
    def say(self, text):
        print(text, flush=True)


def _manta(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "manta.cli", *arguments, "--address", f"unix:{cluster.socket}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def _rows(cluster: Cluster, *arguments: str) -> list[dict]:
    rows: list[dict] = json.loads(_manta(cluster, *arguments, "-o", "json").stdout)
    return rows


def test_tasks_workers_and_objects_of_all_nodes_are_listed(nodes):
    """Asked from the head, of what ran elsewhere; every command, and the same rows for the program."""
    cluster, second = nodes
    ref = there.remote("hello from there", 2 * MIB)
    # These two nodes have no doors: the value stays where it is.
    manta.wait([ref], fetch_local=False)

    [task] = _rows(cluster, "list", "tasks", "--filter", "name=there")
    assert ("FINISHED", second.node_id) == (task["state"], task["node_id"])
    [found] = state.list_tasks(filters=[("name", "=", "there")])
    assert task["task_id"] == found.task_id
    assert 2 == len({row["node_id"] for row in _rows(cluster, "list", "workers")})
    assert second.node_id in {row.node_id for row in state.get_objects(ref.hex())}
    assert 0 == _manta(cluster, "get", "workers", task["worker_id"]).returncode
    counts = json.loads(_manta(cluster, "summary", "tasks", "-o", "json").stdout)
    assert {"FINISHED": 1} == counts["summary"]["there"]["state_counts"]
    assert state.summarize_objects()["cluster"]["total_objects"] >= 1


def test_a_node_that_does_not_answer_is_named_and_the_rest_is_shown(nodes):
    cluster, second = nodes
    with paused(second.process.pid):
        shown = _manta(cluster, "list", "workers", "-o", "json")
        assert 0 == shown.returncode
        assert second.node_id in shown.stderr
        assert [] != json.loads(shown.stdout)
        with pytest.raises(state.RayStateApiException, match="raise_on_missing_output"):
            state.list_workers(timeout=2)
        with pytest.warns(UserWarning, match=second.node_id):
            assert [] != state.list_workers(timeout=2, raise_on_missing_output=False)


def test_placement_groups_are_listed_and_got(nodes):
    cluster, _ = nodes
    group = placement_group([{"CPU": 1}], name="small")
    assert group.wait(20)

    [row] = _rows(cluster, "list", "placement-groups", "--filter", "name=small")
    assert ("CREATED", [{"CPU": 1.0}]) == (row["state"], [bundle["unit_resources"] for bundle in row["bundles"]])
    assert row["placement_group_id"] == state.get_placement_group(row["placement_group_id"]).placement_group_id
    assert 0 == _manta(cluster, "get", "placement-groups", row["placement_group_id"]).returncode
    remove_placement_group(group)


def test_logs_of_any_node_are_listed_and_printed(nodes):
    """Of a worker by its process id, of an actor by its id, of the dead too; nothing outside of the folder of logs."""
    cluster, second = nodes
    manta.get(there.remote("hello from there"))
    [task] = state.list_tasks(filters=[("name", "=", "there")])

    assert f"raylet-{second.node_id[:8]}.log" in _manta(cluster, "logs").stdout
    by_pid = _manta(cluster, "logs", "--pid", str(task.worker_pid), "--node", second.node_id)
    assert "hello from there" in by_pid.stdout, by_pid.stderr
    assert "hello from there" in "".join(state.get_log(task_id=task.task_id))
    assert "hello from there" in "".join(state.get_log(task_id=task.task_id, filter_ansi_code=True))
    assert [] != state.list_logs(node_id=second.node_id)["worker_out"]

    speaker = Speaker.options(resources={"second": 1}).remote()
    manta.get(speaker.say.remote("spoken"))
    actor_id = speaker._actor_id.hex()
    assert "spoken" in _manta(cluster, "logs", "--actor", actor_id).stdout
    manta.kill(speaker)
    wait_until(lambda: state.get_actor(actor_id).state == "DEAD")
    assert "spoken" in wait_until(lambda: _manta(cluster, "logs", "--actor", actor_id).stdout)

    for outside in ("../control.db", "/etc/passwd", "no-such.log"):
        refused = _manta(cluster, "logs", outside)
        assert (1, "") == (refused.returncode, refused.stdout)
        with pytest.raises(state.RayStateApiException):
            list(state.get_log(node_id=second.node_id, filename=outside))


def test_a_log_is_followed(nodes, tmp_path):
    cluster, _ = nodes
    speaker = Speaker.remote()
    manta.get(speaker.say.remote("first"))
    actor_id = speaker._actor_id.hex()
    output = tmp_path / "followed"
    command = [
        sys.executable,
        "-m",
        "manta.cli",
        "logs",
        "--actor",
        actor_id,
        "-f",
        "--address",
        f"unix:{cluster.socket}",
    ]
    with output.open("wb") as file, subprocess.Popen(command, stdout=file) as process:
        wait_until(lambda: "first" in output.read_text())
        manta.get(speaker.say.remote("second"))
        wait_until(lambda: "second" in output.read_text())
        process.send_signal(signal.SIGINT)
        assert 130 == process.wait(20)
