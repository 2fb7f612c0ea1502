"""The state API, `manta list` and `manta logs` from outside of the cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import manta
from manta.util import state

pytestmark = pytest.mark.shared_cluster


@pytest.fixture
def joined(door, monkeypatch):
    """This process is a driver outside."""
    for name, text in door.environment.items():
        monkeypatch.setenv(name, text)
    manta.init(log_to_driver=False)
    return door


@manta.remote
def speaks():
    print("said inside", flush=True)
    return os.getpid()


def test_a_driver_outside_lists_tasks_workers_and_logs(joined):
    pid = manta.get(speaks.remote())

    [task] = state.list_tasks(filters=[("name", "=", "speaks")])
    assert ("FINISHED", pid) == (task.state, task.worker_pid)
    assert pid in {row.pid for row in state.list_workers()}
    assert "said inside" in "".join(state.get_log(pid=pid))


def test_the_command_line_lists_and_prints_from_outside(joined):
    pid = manta.get(speaks.remote())

    def told(*arguments):
        command = [sys.executable, "-m", "manta.cli", *arguments, "--address", joined.address]
        return subprocess.run(command, capture_output=True, text=True, timeout=50)

    listed = told("list", "tasks", "--filter", f"worker_pid={pid}", "-o", "json")
    assert "speaks" in {row["name"] for row in json.loads(listed.stdout)}, listed.stderr
    printed = told("logs", "--pid", str(pid))
    assert (0, "said inside\n") == (printed.returncode, printed.stdout.splitlines(keepends=True)[-1]), printed.stderr
