"""A process group is killed if it is the one that was meant, and never another that was given its number."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from manta.jobs import groups


@pytest.fixture
def leader():
    """A process that leads a group."""
    process = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_the_group_that_was_meant_is_killed(leader):
    assert groups.kill(groups.identity(leader.pid), signal.SIGKILL)
    assert leader.wait() == -signal.SIGKILL


@pytest.mark.parametrize("lie", [{"started": 1}, {"boot": "another"}, {"started": None}, {"group": "7"}, {"group": 1}])
def test_another_that_has_its_number_is_left_alone(leader, lie):
    assert not groups.kill({**groups.identity(leader.pid), **lie}, signal.SIGKILL)
    assert leader.poll() is None


def test_what_a_leader_left_behind_is_killed(tmp_path):
    words = ["sh", "-c", f"sleep 1000 & echo $! > {tmp_path}/pid"]
    leader = subprocess.Popen(words, start_new_session=True)
    group = groups.identity(leader.pid)
    leader.wait()
    left = int((tmp_path / "pid").read_text())
    assert not groups.kill({**group, "started": group["started"] + 10**9}, signal.SIGKILL)
    watched = os.pidfd_open(left)
    assert groups.kill(group, signal.SIGKILL)
    os.close(watched)


def test_a_group_that_is_gone_is_nobody(leader):
    group = groups.identity(leader.pid)
    leader.kill()
    leader.wait()
    assert not groups.kill(group, signal.SIGKILL)
