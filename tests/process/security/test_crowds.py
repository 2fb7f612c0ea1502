"""gRPC's ports while one address takes all that they have: who is in stays in, others get in, and other addresses lose nothing.

An address connects and says nothing, or shakes hands and says nothing, or speaks HTTP/2 and asks for nothing. gRPC by itself
refuses everybody while its port is full of those.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import shutil
import socket
import ssl
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import psutil
import pytest

import manta
from manta.transport.addresses import parse_door
from manta.transport.tls import TlsFiles, read_cluster
from manta.transport.tls_socket import TlsSocket
from tests.process.cluster.machines import machines
from tests.support import gateway
from tests.support.waiting import soon, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

pytestmark = [pytest.mark.shared_cluster, pytest.mark.timeout(240)]

CLUSTER = None

#: Connections that either port has, and those of one address that come.
MOST = 60
MANY = 100
#: The first is that of who is in, too: it is not its address by which it is spared.
FLOOD, ANOTHER = "127.0.0.1", "127.0.0.2"
#: HTTP/2's first words: the preface, and settings without any.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
#: Whoever says nothing has five seconds, and is gone then anyway.
SOON_S = 4.0

PROGRAM = "import manta; manta.init(log_to_driver=False); print(manta.get(manta.put('in')))"


class Port(NamedTuple):
    """One of gRPC's, and somebody who is in."""

    number: int
    #: Process that is in.
    inside: int
    #: TLS, as those speak it who have no token.
    context: ssl.SSLContext
    #: One more gets in, with a single try as far as that is its own.
    join: Callable[[], None]

    @property
    def ties(self) -> set[int]:
        """Connections of who is in."""
        return {
            connection.laddr.port
            for connection in psutil.Process(self.inside).net_connections("tcp")
            if connection.raddr and connection.raddr.port == self.number and connection.laddr.ip.endswith(FLOOD)
        }


def hello(context: ssl.SSLContext) -> ssl.SSLContext:
    """Takes any certificate and speaks HTTP/2."""
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


@pytest.fixture(scope="module")
def gateways(module_sandbox) -> Iterator[Port]:
    """A gateway's port; this process is a driver."""
    folder = module_sandbox.path / "door"
    folder.mkdir()
    with gateway.cluster(folder, "--max-connections", str(MOST), "--idle", "60") as door:
        environment = {**os.environ, **door.environment}

        def join() -> None:
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM],
                env=environment,
                capture_output=True,
                text=True,
                timeout=50,
                check=False,
            )
            assert done.stdout == "in\n", done.stderr

        with pytest.MonkeyPatch.context() as patch:
            for name, text in door.environment.items():
                patch.setenv(name, text)
            manta.init(log_to_driver=False)
        try:
            yield Port(door.port, os.getpid(), hello(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)), join)
        finally:
            manta.shutdown()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def controls(module_sandbox) -> Iterator[Port]:
    """Control's port, with one node; those without a token have a node's certificate."""
    folder = module_sandbox.path / "machines"
    folder.mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack:
        # It has so many as are half of the files that it may open.
        resource.setrlimit(resource.RLIMIT_NOFILE, (2 * MOST, hard))
        try:
            cluster = stack.enter_context(machines(folder))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        files = TlsFiles.of_role(cluster.credentials, "worker", read_cluster(cluster.credentials))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.sslsocket_class = TlsSocket
        context.load_cert_chain(files.certificate, files.key)
        first = cluster.add("first")
        names = iter(range(100))
        yield Port(
            parse_door(cluster.control_target)[1],
            first.process.pid,
            hello(context),
            lambda: cluster.add(f"later{next(names)}").process.terminate(),
        )
    shutil.rmtree(folder)


@pytest.fixture(params=["gateways", "controls"])
def port(request: pytest.FixtureRequest) -> Port:
    found: Port = request.getfixturevalue(request.param)
    return found


def come(port: Port, kind: str, source: str) -> socket.socket | None:
    """One that has no token; None when it was refused."""
    try:
        sock = socket.create_connection(("127.0.0.1", port.number), 10, (source, 0))
        if kind != "silent":
            sock = port.context.wrap_socket(sock)
        if kind == "without a call":
            sock.sendall(PREFACE)
        sock.setblocking(False)
    except OSError:
        return None
    return sock


def still_there(sockets: Sequence[socket.socket]) -> list[socket.socket]:
    """Those that were not hung up on."""
    poll, left = select.poll(), {sock.fileno(): sock for sock in sockets}
    for descriptor in left:
        poll.register(descriptor, select.POLLIN)
    for descriptor, _ in poll.poll(0):
        try:
            # What comes is the other side's part of TLS and of HTTP/2.
            while left[descriptor].recv(4096):
                pass
        except (BlockingIOError, ssl.SSLWantReadError):
            continue
        except OSError:
            pass
        del left[descriptor]
    return list(left.values())


@pytest.mark.parametrize("kind", ["silent", "after the handshake", "without a call"])
def test_an_address_that_takes_a_whole_port_keeps_nobody_out_and_cuts_nobody(port, kind):
    soon(lambda: flooded(port, kind), SOON_S, tries=8)


def flooded(port: Port, kind: str) -> float:
    """After how long there is room again; when it is that late that silence has ended them all, nothing else is looked at."""
    ties = port.ties
    assert ties
    with contextlib.ExitStack() as stack:
        others: list[socket.socket] = []
        flood: list[socket.socket] = []
        began = time.monotonic()
        for source, sockets, count in ((ANOTHER, others, 3), (FLOOD, flood, MANY)):
            for _ in range(count):
                sock = come(port, kind, source)
                if sock is not None:
                    sockets.append(stack.enter_context(sock))
        wait_until(lambda: len(still_there(flood)) <= MOST // 2, what="half of the room is free for others")
        left, others_left = still_there(flood), still_there(others)
        took = time.monotonic() - began
        if took <= SOON_S:
            assert left, "there is no need for more"
            assert others_left == others, "they came first, and are few"
            port.join()
            assert ties <= port.ties, "whoever was in has the same connection"
    return took
