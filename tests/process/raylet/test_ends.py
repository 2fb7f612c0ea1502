"""However a process of the node ends, nothing of it is left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from manta.core.errors import MantaError
from manta.raylet.workers.process import marks_of
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport import first_word
from tests.process.raylet.node import Lease, gone, parent_of, send_signal
from tests.support.waiting import wait_until

#: Connects, gives the socket away, and stays.
CONNECTS = """
import socket, sys, time
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
with socket.socket(fileno=int(sys.argv[2])) as taker:
    socket.send_fds(taker, [b"x"], [sock.fileno()])
time.sleep(1000)
"""


def everything(lease: Lease) -> list[int]:
    """Processes that a worker started, each further away from it than the one before."""
    return [int(lease.tell(order)) for order in ("child", "daemon", "hermit", "hermit sleep")]


def test_what_a_dead_worker_started_dies_with_it(raylet):
    """In its process group or, having left it, by the marks that it bears."""
    driver = raylet.driver()
    lease = driver.lease()
    started = everything(lease)
    assert not any(gone(pid) for pid in started)

    lease.tell("exit 0")

    wait_until(lambda: all(gone(pid) for pid in started), what="its children are gone")
    driver.goodbye()


def test_what_another_worker_started_lives_on(raylet):
    driver = raylet.driver()
    driver.want(2)
    one, other = (Lease(driver, driver.read(pb.LeaseGranted)) for _ in range(2))
    ours, theirs = everything(one), everything(other)

    one.tell("exit 0")
    driver.read(pb.WorkerDied)

    wait_until(lambda: all(map(gone, ours)), what="those of the dead worker are gone")
    assert not any(map(gone, theirs))
    driver.goodbye()
    wait_until(lambda: all(map(gone, theirs)), what="they go with their worker")


def test_a_killed_driver_takes_its_workers_with_it(raylet):
    """Its socket may be held open by another process; the one that connected is what counts."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        stand_in = subprocess.Popen(
            [sys.executable, "-c", CONNECTS, raylet.channel, str(theirs.fileno())], pass_fds=(theirs.fileno(),)
        )
        _, (descriptor,), _, _ = socket.recv_fds(ours, 1, 1)
    driver = raylet.driver(sock=socket.socket(fileno=descriptor))
    lease = driver.lease()
    started = [lease.pid, *everything(lease)]

    stand_in.kill()
    stand_in.wait()

    wait_until(lambda: all(map(gone, started)), what="its worker is gone, and what that started")
    wait_until(lambda: raylet.status()["jobs"] == 0, what="its job is over")
    driver.close()


def test_what_a_driver_says_of_its_process_is_not_believed(raylet):
    """In a pod it may be in another container, where numbers mean others: its number here may be anybody's, or nobody's."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    other = subprocess.Popen(["sleep", "1000"])
    drivers = [raylet.driver(pid=pid) for pid in (ended.pid, other.pid, 1 << 22)]
    other.kill()
    other.wait()
    for driver in drivers:
        driver.goodbye()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_that_is_told_to_end_leaves_nothing(raylet, number):
    driver = raylet.driver()
    lease = driver.lease()
    started = [lease.pid, *everything(lease)]

    raylet.process.send_signal(number)

    assert 0 == raylet.process.wait(10)
    wait_until(lambda: all(gone(pid) for pid in started), what="workers and what they started are gone")
    driver.close()


@pytest.mark.may_leak("files")
@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_everything_ends_with_a_raylet_that_was_killed(raylet, stopped):
    """Killed, it cannot tidy its sockets away; processes it must not leave, wherever they went. One that is stopped when it is
    killed does not even close its sockets first."""
    driver = raylet.driver()
    lease = driver.lease()
    factory = int(lease.tell("parent"))
    started = [lease.pid, factory, parent_of(factory), *everything(lease)]

    if stopped:
        raylet.process.send_signal(signal.SIGSTOP)
    raylet.process.kill()
    raylet.process.wait()

    wait_until(lambda: all(map(gone, started)), what="guard, factory, workers and what they started are gone")
    driver.close()


@pytest.mark.may_leak("files")
def test_a_node_ends_when_its_guard_is_killed(raylet):
    """Orphans have come to the raylet by then, and end with it."""
    driver = raylet.driver()
    lease = driver.lease()
    factory = int(lease.tell("parent"))
    started = [lease.pid, factory, *everything(lease)]

    send_signal(parent_of(factory))

    assert 0 == raylet.process.wait(10)
    wait_until(lambda: all(map(gone, started)), what="factory, workers and what they started are gone")
    driver.close()


def test_the_guard_is_not_taken_for_a_raylet(node):
    """Raylets are found by their arguments, and told to end by whoever found them."""
    node.start_control()
    raylet = node.start_raylet(extra={"MANTA_WORKER_ID": "ab" * 28})
    driver = raylet.driver()
    guard = parent_of(int(driver.lease().tell("parent")))

    assert b"manta::guard" == Path(f"/proc/{guard}/cmdline").read_bytes().rstrip(b"\0")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(guard, number)
    driver.lease(key=2)
    # Nor for a child of the worker in which this cluster was started: that one's end is its raylet's, and its work then begins.
    assert set() == marks_of(guard)
    assert {"ab" * 28} == marks_of(raylet.process.pid)
    driver.goodbye()


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
        word = os.read(reader, first_word.LONGEST_BYTES)
        os.close(reader)

    assert 70 == process.returncode
    with pytest.raises(MantaError, match="too small"):
        first_word.understand(word)


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
