"""Ten thousand connections that say nothing, at each door of a head: honest ones get in, the process stays small, and they go.

Limits hold before anybody is asked who they are.
"""

from __future__ import annotations

import contextlib
import resource
import socket
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from manta.rpc.v1 import control_pb2 as pb
from manta.transport import auth
from manta.transport.tcp import Answer, Preamble, Wish
from manta.transport.tls_socket import TlsSocket
from tests.support.heads import SERVERS, Head, Picture
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.shared_cluster, pytest.mark.timeout(240)]

MANY = 10_000
#: What listeners' queues have, of asyncio's servers by default.
BACKLOG = 128
#: How long an honest one may have to try during the flood, and how long a silent one may stay, seconds.
PATIENCE_S = 30.0


@pytest.fixture(scope="module", autouse=True)
def many_files():
    """So many descriptors for this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < MANY + 1000:
        pytest.skip(f"this process may have no more than {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, MANY + 1000), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def to_control(head: Head) -> bool:
    """A node's call is answered."""
    with head.control_channel() as channel:
        call: Any = channel.unary_unary("/manta.rpc.v1.ControlService/ClusterResources")
        with contextlib.suppress(grpc.RpcError):
            data = call(b"", metadata=auth.metadata(head.join_token), timeout=5)
            return bool(pb.ClusterResourcesResponse.FromString(data).total.amounts)
    return False


def to_gateway(head: Head) -> bool:
    """A driver's first message is looked at."""
    with head.gateway_channel() as channel:
        call: Any = channel.stream_stream("/manta.rpc.v1.GatewayService/Connect")
        try:
            list(call(iter([b"\xff"]), metadata=auth.metadata(head.token("submitter")), timeout=5))
        except grpc.RpcError as refused:
            return refused.code() is grpc.StatusCode.INVALID_ARGUMENT
    return False


def to_door(head: Head) -> bool:
    """A node hears that the process it wants is gone, or gets through to the raylet."""
    node_id = bytes.fromhex(head.node_id)
    for preamble, answer in (
        (Preamble(node_id, b"x" * 28), Answer.GONE),
        (Preamble(node_id, wish=Wish.RAYLET), Answer.OK),
    ):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", head.port_of("door")), 5) as sock:
            sock.sendall(preamble.encode())
            if sock.recv(1) == bytes([answer]):
                continue
        return False
    return True


def to_dashboard(head: Head) -> bool:
    """A viewer is answered."""
    with contextlib.suppress(OSError):
        return head.ask("GET", "/api/version", token="viewer")[0] == 200
    return False


#: Door to its process, how an honest one gets in, and how many connections there may be at most.
DOORS = {
    "control": ("manta.control", to_control, 2_000),
    "door": ("manta.raylet", to_door, 600),
    "gateway": ("manta.gateway", to_gateway, 1_000),
    "dashboard": ("manta.dashboard", to_dashboard, 500),
}


@contextlib.contextmanager
def flood(port: int) -> Iterator[list[socket.socket]]:
    """So many connections that are begun and say nothing."""
    sockets: list[socket.socket] = []
    try:
        for _ in range(MANY):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
            sockets.append(sock)
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


def log_bytes(head: Head) -> int:
    """Of all logs."""
    return sum(file.stat().st_size for file in (head.session_dir / "logs").iterdir())


@pytest.mark.parametrize("door", DOORS)
def test_ten_thousand_that_say_nothing_keep_nobody_out(head, door):
    module, gets_in, most = DOORS[door]
    pid = head.pid(module)
    wait_until(lambda: gets_in(head), what="an honest one gets in before")
    before, written = Picture.of(pid), log_bytes(head)
    with flood(head.port_of(door)) as strangers:
        wait_until(lambda: gets_in(head), timeout_s=PATIENCE_S, what="an honest one gets in")
        during = Picture.of(pid)
        # One turn of a loop accepts as many as its listener's backlog has, before it counts them and hangs up.
        assert during.fds - before.fds < most + BACKLOG + 20
        wait_until(lambda: Picture.of(pid).fds - before.fds < most + 100, what="those beyond the bound to be closed")
        assert during.rss - before.rss < 300 << 20
        assert during.threads - before.threads < 50
        for other, (_, others, _) in DOORS.items():
            if other != door:
                wait_until(lambda others=others: others(head), what=f"{other} is untouched")
        # What the kernel holds in its queues comes a little later, and goes as fast.
        wait_until(
            lambda: Picture.of(pid).fds < before.fds + 50, timeout_s=2 * PATIENCE_S, what="the silent ones to be closed"
        )
        assert len(strangers) == MANY
    before.came_back(pid, rss=150 << 20)
    assert log_bytes(head) - written < 200_000, "strangers do not fill the log"


def test_servers_may_open_as_many_files_as_there_are_limits_for(head):
    """A soft limit of 1,024, as most machines have, would be the first to be reached."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(65536, hard)
    for module in SERVERS:
        assert resource.prlimit(head.pid(module), resource.RLIMIT_NOFILE)[0] >= wanted, module


def test_a_slow_head_of_a_request_does_not_keep_its_connection(head):
    """A byte now and then ("slowloris") is as good as silence."""
    import ssl

    context = ssl.create_default_context(cafile=str(head.credentials / "ca.crt"))
    context.sslsocket_class = TlsSocket
    with contextlib.ExitStack() as stack:
        slow = []
        for _ in range(50):
            plain = stack.enter_context(socket.create_connection(("127.0.0.1", head.port_of("dashboard")), 10))
            sock = stack.enter_context(context.wrap_socket(plain, server_hostname="localhost"))
            sock.sendall(b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n")
            slow.append(sock)

        def all_are_closed() -> bool:
            for sock in list(slow):
                try:
                    sock.sendall(b"X")
                except OSError:
                    slow.remove(sock)
            return not slow

        wait_until(all_are_closed, timeout_s=PATIENCE_S)
    assert to_dashboard(head)
