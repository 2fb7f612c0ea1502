"""Garbage on the sockets of living processes: who sends it is hung up on, everybody else is served, memory stays.

The private folder keeps strangers out; what is left is a broken tool of the same user, or a process of another version.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from pathlib import Path

import pytest

import manta
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.channel import HEADER, MAX_BODY_BYTES, MAX_RAW_BYTES, NUMBER, PROTOCOL, Connection, encode
from tests.support.waiting import wait_until

pytestmark = pytest.mark.shared_cluster

HELLO = encode(pb.Hello(protocol=PROTOCOL, role=pb.ROLE_TOOL, worker_id=b"g" * 28, pid=os.getpid()))


def header(number: int, body: int, raw: int = 0) -> bytes:
    return HEADER.pack(PROTOCOL, 0, number, body, raw)


#: What is refused at sight.
GARBAGE = {
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "zeros": bytes(64),
    "ones": b"\xff" * 64,
    "another version": struct.pack("<BBHII", PROTOCOL + 1, 0, NUMBER[pb.Hello], 0, 0),
    "unknown type": header(9, 0),
    "too long a body": header(NUMBER[pb.Hello], MAX_BODY_BYTES + 1),
    "too long a raw part": header(NUMBER[pb.Hello], 0, MAX_RAW_BYTES + 1),
    "no protobuf": header(NUMBER[pb.Hello], 20) + b"\xff" * 20,
    "good manners, then noise": HELLO + b"\xff" * 64,
}

#: Frames that are none of the business of whoever gets them, or that name what is not there.
NONSENSE = [
    pb.TakeBack(lease_id=1, count=1 << 31),
    pb.CancelTask(task_id=b"short"),
    pb.PushTasks(lease_id=99, ids=b"x", templates=[12345], args=[b"no pickle"]),
    pb.PushCalls(actor_id=b"nobody", incarnation=7, ids=b"y" * 28, args=[b""]),
    pb.AddBorrower(request_id=1, object_ids=[b"", b"x" * 1000]),
    pb.ReleaseBorrow(object_ids=[b"", b"y" * 28]),
    pb.WantObject(object_ids=[b"z"]),
    pb.ObjectValue(object_id=b"q"),
    pb.BorrowerAdded(request_id=1 << 60),
    pb.TaskResults(lease_id=1, ids=b"short", values=[b"a", b"b"], micros=[1]),
    pb.StreamItem(task_id=b"t", index=1 << 60),
    pb.LeaseGranted(key=10_000, lease_id=1),
    pb.ObjectsReady(request_id=77, object_ids=[b"x"]),
    pb.ControlReply(request_id=1 << 50),
]


@manta.remote
def who() -> tuple[int, str]:
    return os.getpid(), "answered"


@manta.remote
class Keeper:
    def pid(self) -> int:
        return os.getpid()


def resident_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def peer_pid(path: Path) -> int:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        return struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]


@pytest.fixture(scope="module")
def keeper(raylet: Path):
    """An actor: a worker that is surely there while it is shot at."""
    actor = Keeper.remote()
    manta.get(actor.pid.remote(), timeout=20)
    yield actor
    manta.kill(actor)


def target(kind: str, raylet: Path, keeper) -> tuple[Path, int]:
    """The socket of that process, and its pid."""
    if kind == "raylet":
        return raylet, peer_pid(raylet)
    pid = os.getpid() if kind == "driver" else manta.get(keeper.pid.remote(), timeout=20)
    for path in raylet.parent.glob("p-*.sock"):
        with contextlib.suppress(OSError):
            if peer_pid(path) == pid:
                return path, pid
    raise AssertionError(f"the {kind} listens nowhere in {raylet.parent}")


def hung_up(sock: socket.socket) -> bool:
    """The other side has closed."""
    sock.settimeout(10)
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


def everybody_is_served(keeper, pid: int) -> None:
    assert manta.get(who.remote(), timeout=20)[1] == "answered"
    assert manta.get(keeper.pid.remote(), timeout=20)
    assert Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("kind", ["raylet", "worker", "driver"])
@pytest.mark.parametrize("garbage", GARBAGE)
def test_who_sends_garbage_is_hung_up_on_and_nobody_else_notices(kind, garbage, raylet, keeper):
    path, pid = target(kind, raylet, keeper)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(GARBAGE[garbage])

        assert hung_up(sock)
    everybody_is_served(keeper, pid)


@pytest.mark.parametrize("kind", ["raylet", "worker", "driver"])
@pytest.mark.parametrize("frame", NONSENSE, ids=lambda frame: type(frame).__name__)
def test_nonsense_in_good_frames_harms_nobody(kind, frame, raylet, keeper):
    """Well-formed and wrong: refused, ignored or hung up on, as its receiver likes; the process goes on."""
    path, pid = target(kind, raylet, keeper)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(HELLO + encode(frame))

        everybody_is_served(keeper, pid)


@pytest.mark.parametrize("kind", ["raylet", "worker", "driver"])
def test_an_announced_length_costs_its_receiver_nothing(kind, raylet, keeper):
    """Fifty liars announce as much as is allowed and send nothing of it."""
    path, pid = target(kind, raylet, keeper)
    everybody_is_served(keeper, pid)
    before = resident_kib(pid)
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.connect(str(path))
            sock.sendall(header(NUMBER[pb.Hello], MAX_BODY_BYTES, MAX_RAW_BYTES) + bytes(1000))
        everybody_is_served(keeper, pid)
        assert resident_kib(pid) - before < 20 * 1024


@pytest.mark.parametrize("kind", ["raylet", "worker", "driver"])
def test_connections_that_say_nothing_are_harmless_and_leave_nothing(kind, raylet, keeper):
    path, pid = target(kind, raylet, keeper)
    everybody_is_served(keeper, pid)
    before = len(os.listdir(f"/proc/{pid}/fd"))
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(socket.socket(socket.AF_UNIX)).connect(str(path))
        everybody_is_served(keeper, pid)
    wait_until(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= before + 4, what="their descriptors are closed")


@pytest.mark.parametrize("kind", ["raylet", "worker", "driver"])
def test_descriptors_that_come_with_garbage_are_closed(kind, raylet, keeper):
    path, pid = target(kind, raylet, keeper)
    everybody_is_served(keeper, pid)
    before = len(os.listdir(f"/proc/{pid}/fd"))
    fds = [os.eventfd(0) for _ in range(4)]
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            socket.send_fds(sock, [b"\xff" * 40], fds)
            assert hung_up(sock)
    for fd in fds:
        os.close(fd)
    everybody_is_served(keeper, pid)
    wait_until(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= before + 4, what="their descriptors are closed")


def test_another_version_of_the_channel_is_told_so_by_the_raylet(raylet, keeper):
    path, _ = target("raylet", raylet, keeper)
    with contextlib.closing(Connection.dial(str(path))) as connection:
        connection.setblocking(True)
        connection.settimeout(10)
        connection.send(pb.Hello(protocol=PROTOCOL + 1, role=pb.ROLE_DRIVER, worker_id=b"v" * 28, pid=os.getpid()))

        number, message, _ = connection.read_frame()

    assert number == NUMBER[pb.Refused]
    assert str(PROTOCOL + 1) in message.error.message
    assert str(PROTOCOL) in message.error.message


def test_half_a_frame_for_ever_holds_up_nobody(raylet, keeper):
    with contextlib.ExitStack() as stack:
        for kind in ("raylet", "worker", "driver"):
            path, pid = target(kind, raylet, keeper)
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.connect(str(path))
            sock.sendall(HELLO[:-3])
            everybody_is_served(keeper, pid)
