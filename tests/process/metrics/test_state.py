"""The state API and `manta list`: what tasks, actors, objects, workers, nodes and jobs there are."""

import json
import os
import subprocess
import sys

import pytest

import manta
from manta.client import current
from manta.util import state
from tests.support.waiting import wait_until

pytestmark = pytest.mark.shared_cluster


@manta.remote
def well():
    return 1


@manta.remote(max_retries=0)
def badly():
    raise ValueError("no good")


@manta.remote
def until(path):
    return wait_until(lambda: os.path.exists(path), timeout_s=30)


def _tasks(name: str):
    return state.list_tasks(filters=[("name", "=", name)], limit=10_000)


def test_tasks_that_ended_are_listed_with_how_and_where(ports):
    """At once: whoever asks has every process asked."""
    manta.get([well.remote() for _ in range(20)])
    ref = badly.remote()
    with pytest.raises(ValueError, match="no good"):
        manta.get(ref)

    assert ["FINISHED"] * 20 == [row.state for row in _tasks("well")]
    [failed] = _tasks("badly")
    assert ("FAILED", "TASK_EXECUTION_EXCEPTION") == (failed.state, failed.error_type)
    assert "no good" in failed.error_message
    assert failed.worker_pid > 0
    assert failed.start_time_ms <= failed.end_time_ms
    assert failed == state.get_task(ref)
    counts = state.summarize_tasks()["cluster"]["summary"]["badly"]["state_counts"]
    assert {"FAILED": 1} == counts


def test_tasks_under_way_are_listed_with_their_state(ports, tmp_path):
    """Two run, one waits for a worker, one for its argument."""
    running = [until.remote(str(tmp_path / "gate")) for _ in range(3)]

    @manta.remote
    def after(value):
        return value

    last = after.remote(running[0])
    wait_until(lambda: sorted(row.state for row in _tasks("until")).count("RUNNING") == 2)

    assert {"PENDING_NODE_ASSIGNMENT", "SUBMITTED_TO_WORKER"} & {row.state for row in _tasks("until")}
    assert ["PENDING_ARGS_AVAIL"] == [row.state for row in _tasks("after")]
    (tmp_path / "gate").touch()
    manta.get([*running, last])
    assert ["FINISHED"] == [row.state for row in _tasks("after")]


def test_a_task_whose_worker_died_is_told_by_its_owner(ports):
    @manta.remote(max_retries=0)
    def dies():
        os._exit(3)

    with pytest.raises(manta.exceptions.WorkerCrashedError):
        manta.get(dies.remote())

    assert [("FAILED", "WORKER_DIED")] == [(row.state, row.error_type) for row in _tasks("dies")]


def test_actors_and_their_calls_are_listed(ports):
    @manta.remote
    class Holder:
        def here(self):
            return os.getpid()

    holder = Holder.options(name="held").remote()
    pid = manta.get(holder.here.remote())

    [actor] = state.list_actors(filters=[("name", "=", "held")])
    assert ("Holder", "ALIVE", pid) == (actor.class_name, actor.state, actor.pid)
    [call] = [row for row in state.list_tasks(limit=10_000) if row.name == "Holder.here"]
    assert ("ACTOR_TASK", actor.actor_id, "FINISHED") == (call.type, call.actor_id, call.state)
    assert [] != [row for row in state.list_workers() if row.pid == pid and row.is_actor]
    assert actor == state.get_actor(actor.actor_id)
    manta.kill(holder)
    wait_until(lambda: state.get_actor(actor.actor_id).state == "DEAD")


def test_objects_nodes_and_jobs_are_listed(ports):
    ref = manta.put(bytes(3_000_000))

    [found] = wait_until(lambda: state.get_objects(ref.hex()))
    assert found.object_size >= 3_000_000
    assert os.getpid() == found.pid
    [node] = state.list_nodes()
    assert ("ALIVE", True) == (node.state, node.is_head_node)
    [job] = state.list_jobs()
    assert "RUNNING" == job.status


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: state.list_nodes(filters=[("colour", "=", "red")]),
        lambda: state.list_nodes(filters=[("state", "<", "red")]),
        lambda: state.list_nodes(limit=0),
        lambda: state.list_nodes(limit=10_001),
    ],
)
def test_questions_without_sense_are_refused(ports, wrong):
    with pytest.raises(state.RayStateApiException):
        wrong()


def _manta(*arguments):
    address = f"unix:{current.session.raylet_endpoint}"
    command = [sys.executable, "-m", "manta.cli", *arguments, "--address", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("kind", ["nodes", "actors", "tasks", "objects", "jobs", "workers"])
def test_the_command_line_lists_every_kind(ports, kind):
    """Without colours where no terminal is, as JSON for programs."""
    manta.get(well.remote())

    table, rows = _manta("list", kind), _manta("list", kind, "-o", "json")

    assert 0 == table.returncode, table.stderr
    assert "\x1b" not in table.stdout
    assert isinstance(json.loads(rows.stdout), list)


def test_the_command_line_filters_and_gets_one(ports):
    manta.get(well.remote())

    found = json.loads(_manta("list", "tasks", "--filter", "name=well", "--limit", "1", "-o", "json").stdout)
    assert ["well"] == [row["name"] for row in found]
    one = _manta("get", "tasks", found[0]["task_id"])
    assert "name: well\n" in one.stdout
    assert 1 == _manta("get", "tasks", "ffff00").returncode
    assert 2 == _manta("list", "tasks", "--filter", "colour=red").returncode
    assert 2 == _manta("list", "tasks", "--filter", "colour").returncode
