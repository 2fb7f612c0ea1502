"""However a process of the node ends, nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from tests.process.raylet.node import Lease, gone, send_signal
from tests.support.waiting import wait_until


def test_what_a_dead_worker_started_dies_with_it(raylet):
    """In its process group or, having left it, by the mark in its environment."""
    driver = raylet.driver()
    lease = driver.lease()
    started = [int(lease.tell("child")), int(lease.tell("daemon"))]
    assert not any(gone(pid) for pid in started)

    lease.tell("exit 0")

    wait_until(lambda: all(gone(pid) for pid in started), what="its children are gone")
    driver.goodbye()


def test_what_another_worker_started_lives_on(raylet):
    driver = raylet.driver()
    driver.want(2)
    one, other = (Lease(driver, driver.read(pb.LeaseGranted)) for _ in range(2))
    theirs = int(other.tell("daemon"))

    one.tell("exit 0")
    driver.read(pb.WorkerDied)

    assert not gone(theirs)
    driver.goodbye()
    wait_until(lambda: gone(theirs), what="it goes with its worker")


def test_a_killed_driver_takes_its_workers_with_it(raylet):
    """Its socket may be held open by a child; its process is what counts."""
    stand_in = subprocess.Popen(["sleep", "1000"])
    driver = raylet.driver(pid=stand_in.pid)
    lease = driver.lease()

    stand_in.kill()
    stand_in.wait()

    wait_until(lambda: gone(lease.pid), what="its worker is gone")
    wait_until(lambda: raylet.status()["jobs"] == 0, what="its job is over")
    driver.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_that_is_told_to_end_leaves_nothing(raylet, number):
    driver = raylet.driver()
    lease = driver.lease()
    started = [lease.pid, int(lease.tell("child")), int(lease.tell("daemon"))]

    raylet.process.send_signal(number)

    assert 0 == raylet.process.wait(10)
    wait_until(lambda: all(gone(pid) for pid in started), what="workers and what they started are gone")
    driver.close()


@pytest.mark.may_leak("files")
def test_workers_end_with_a_raylet_that_was_killed(node, raylet):
    """Killed, it cannot tidy its sockets away; processes it must not leave."""
    driver = raylet.driver()
    lease = driver.lease()
    factory = int(lease.tell("parent"))
    started = [lease.pid, factory, int(lease.tell("child"))]

    raylet.process.kill()
    raylet.process.wait()

    wait_until(lambda: all(gone(pid) for pid in started), what="factory, workers and their groups are gone")
    driver.close()


def test_a_factory_that_dies_is_replaced(raylet):
    driver = raylet.driver()
    lease = driver.lease()

    send_signal(int(lease.tell("parent")))
    died = driver.read(pb.WorkerDied)

    assert "its factory ended" in died.cause
    assert driver.read(pb.LeaseGranted).pid != lease.pid
    driver.goodbye()


def test_a_node_ends_with_its_parent(node):
    """The embedded cluster's driver is killed: the node ends and takes its session's files with it, logs aside."""
    node.start_control()
    parent = subprocess.Popen(["sleep", "1000"])
    raylet = node.start_raylet("--parent-pid", str(parent.pid), "--remove-session-dir")

    parent.kill()
    parent.wait()

    assert 0 == raylet.process.wait(10)
    # Control has a parent of its own here, and perhaps makes its socket only now.
    assert {"logs"} >= {path.name for path in node.session.iterdir() if not path.name.startswith("control")}


def test_a_worker_that_only_closes_its_socket_is_not_dead(raylet):
    driver = raylet.driver()
    lease = driver.lease()
    assert "closed" == lease.tell("close")

    driver.want(1, key=2)
    driver.read(pb.LeaseGranted)

    assert not gone(lease.pid)
    driver.goodbye()


def test_garbage_on_the_socket_ends_that_connection_only(raylet):
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stranger:
        stranger.connect(raylet.channel)
        stranger.sendall(os.urandom(4096))
        assert b"" == stranger.recv(4096)

    driver = raylet.driver()
    driver.lease()
    driver.goodbye()


def test_a_raylet_that_cannot_start_says_why(node):
    reader, writer = os.pipe()
    with subprocess.Popen(
        [
            sys.executable, "-m", "manta.raylet", "--session-dir", str(node.session), "--control", "unix:/nowhere",
            "--object-store-memory", "1", "--ready-fd", str(writer),
        ],
        pass_fds=(writer,),
        env=node.environment(),
    ) as process:  # fmt: skip
        os.close(writer)
        said = os.read(reader, 4096)
        os.close(reader)

    assert 70 == process.returncode
    assert b"\0" == said[:1]
    assert "too small" in common.ErrorInfo.FromString(said[1:]).message


def test_a_worker_ended_for_memory_says_so_to_its_owner(node):
    """With a threshold that is always crossed, whoever runs is ended."""
    node.start_control()
    raylet = node.start_raylet(extra={"MANTA_memory_usage_threshold": "0.0001"})
    driver = raylet.driver()
    driver.want(1, name="train")

    died = driver.read(pb.WorkerDied)

    assert died.out_of_memory
    for part in ("memory ran low on node 127.0.0.1", "task 'train'", "Largest processes: pid="):
        assert part in died.cause
    driver.goodbye()
