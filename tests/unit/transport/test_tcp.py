"""Connections between nodes: the preamble, its answer, TLS, and frames on top, one step at a time."""

from __future__ import annotations

import contextlib
import select
import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.core.errors import ProtocolError
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.addresses import parse_door
from manta.transport.certificates import make_authority
from manta.transport.channel import Connection
from manta.transport.tcp import PREAMBLE_BYTES, Answer, FarSocket, Preamble, RefusedError, Wish
from manta.transport.tls import Tls
from tests.support.leaks import open_fds
from tests.unit.transport.test_certificates import NOW, credentials

PREAMBLE = Preamble(node_id=b"n" * 28, worker_id=b"w" * 28, lease_id=7)


@pytest.fixture(autouse=True)
def no_descriptor_is_lost():
    """Every test gives back every descriptor."""
    before = open_fds()
    yield
    assert {fd: where for fd, where in open_fds().items() if before.get(fd) != where} == {}


@pytest.fixture
def listener():
    """Somebody who listens on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture(params=["plain", "tls"])
def ends(request, tmp_path):
    """Certificates of two nodes of one cluster, or none."""
    if request.param == "plain":
        return None, None
    authority = make_authority("c1", now=NOW)
    return tuple(Tls(credentials(tmp_path / name, authority=authority)[0]) for name in ("a", "b"))


def door_of(listener):
    """Its address as doors are written."""
    return f"127.0.0.1:{listener.getsockname()[1]}"


def pump(*connections, until, timeout_s=10.0):
    """Read and write connections as a poll tells, until something holds; frames by connection."""
    got = {connection: [] for connection in connections}
    deadline = time.monotonic() + timeout_s
    while not until(got):
        assert time.monotonic() < deadline, "nothing more came"
        poll = select.poll()
        for connection in connections:
            writes = connection.unsent_bytes and not connection.waits_to_read
            poll.register(connection.fd, select.POLLIN | (select.POLLOUT if writes else 0))
        by_fd = {connection.fd: connection for connection in connections}
        for fd, mask in poll.poll(1000):
            connection = by_fd[fd]
            if mask & select.POLLOUT:
                connection.flush()
            if mask & ~select.POLLOUT:
                got[connection] += connection.receive()
                connection.flush()
    return got


def met(listener, tls_server, tls_client, answer=Answer.OK):
    """A dialled connection and the other end of it, as the process at the other end gets it; None if refused."""
    dialled = Connection.over(FarSocket.dial(door_of(listener), PREAMBLE, tls_client))
    dialled.send(pb.Hello(protocol=1, worker_id=b"d" * 28))
    select.select([], [dialled.fd], [], 5)
    dialled.flush()
    sock, _ = listener.accept()
    read = b""
    while len(read) < PREAMBLE_BYTES:
        dialled.flush()
        read += sock.recv(PREAMBLE_BYTES - len(read))
    assert Preamble.decode(read) == PREAMBLE
    sock.sendall(bytes([answer]))
    if answer is not Answer.OK:
        sock.close()
        return dialled, None
    return dialled, Connection.over(FarSocket.accepted(sock, tls_server))


def test_frames_travel_both_ways_once_everything_is_open(listener, ends):
    """What was sent before the connection was open arrives, large frames too, in order."""
    dialled, accepted = met(listener, *ends)
    with contextlib.closing(dialled), contextlib.closing(accepted):
        blob = bytes(range(256)) * 4096
        for number in range(3):
            dialled.send(pb.DefineFunction(hash=bytes([number]), blob=blob))
            accepted.send(pb.DefineFunction(hash=bytes([number + 10]), blob=blob), b"raw" * 50_000)
        got = pump(dialled, accepted, until=lambda got: len(got[accepted]) == 4 and len(got[dialled]) == 3)
        hello, *functions = got[accepted]
        assert hello[1].worker_id == b"d" * 28
        assert [(message.hash[0], len(message.blob)) for _, message, _ in functions] == [
            (n, len(blob)) for n in range(3)
        ]
        assert [(m.hash[0], m.blob == blob, raw) for _, m, raw in got[dialled]] == [
            (n + 10, True, b"raw" * 50_000) for n in range(3)
        ]


@pytest.mark.parametrize("answer", [answer for answer in Answer if answer is not Answer.OK])
def test_a_refusal_says_why(listener, answer):
    """The node's one byte becomes an error with a reason."""
    dialled, _ = met(listener, None, None, answer)
    with contextlib.closing(dialled):
        select.select([dialled.fd], [], [], 5)
        with pytest.raises(RefusedError) as refused:
            dialled.receive()
        assert refused.value.answer is answer


def test_nobody_listening_is_an_error_of_the_connection(listener):
    """Not of the call that dials: that returns at once."""
    door = door_of(listener)
    listener.close()
    far = FarSocket.dial(door, PREAMBLE, None)
    with contextlib.closing(far):
        select.select([], [far.fileno()], [], 5)
        with pytest.raises(OSError, match="refused"):
            far.send(b"x")


def test_a_stranger_gets_no_frame_through(listener, tmp_path):
    """A node of another cluster fails in the handshake, on both sides."""
    mine, other = (Tls(credentials(tmp_path / name)[0]) for name in ("a", "b"))
    dialled, accepted = met(listener, mine, other)
    with contextlib.closing(dialled), contextlib.closing(accepted), pytest.raises(OSError):
        pump(dialled, accepted, until=lambda got: got[accepted])


def test_plain_text_is_no_handshake(listener, tmp_path):
    """Somebody who passes the preamble and then speaks frames without TLS."""
    mine = Tls(credentials(tmp_path / "a")[0])
    dialled, accepted = met(listener, mine, None)
    with contextlib.closing(dialled), contextlib.closing(accepted), pytest.raises(OSError):
        pump(dialled, accepted, until=lambda got: got[accepted])


def test_the_end_of_one_side_is_seen_by_the_other(listener, ends):
    """Closed without a word, as by SIGKILL."""
    dialled, accepted = met(listener, *ends)
    with contextlib.closing(dialled):
        pump(dialled, accepted, until=lambda got: got[accepted])
        accepted.close()
        with pytest.raises((EOFError, OSError)):
            while True:  # what TLS says after its handshake may come first
                assert select.select([dialled.fd], [], [], 20)[0]
                dialled.receive()


def test_while_an_answer_is_awaited_nobody_polls_for_writing(listener):
    """Else a loop would spin at full speed for a round trip."""
    dialled = Connection.over(FarSocket.dial(door_of(listener), PREAMBLE, None))
    with contextlib.closing(dialled):
        dialled.send(pb.Hello(protocol=1))
        select.select([], [dialled.fd], [], 5)
        dialled.flush()
        assert dialled.waits_to_read
        assert dialled.unsent_bytes


@given(st.binary(min_size=28, max_size=28), st.binary(min_size=28, max_size=28), st.integers(0, 2**64 - 1))
def test_a_preamble_is_read_as_it_was_written(node_id, worker_id, lease_id):
    """For every id and lease."""
    preamble = Preamble(node_id, worker_id, lease_id, Wish.PROCESS)
    assert len(preamble.encode()) == PREAMBLE_BYTES
    assert Preamble.decode(preamble.encode()) == preamble


@given(st.binary(min_size=PREAMBLE_BYTES, max_size=PREAMBLE_BYTES))
def test_garbage_is_no_preamble(data):
    """A browser, a port scanner, another version."""
    with pytest.raises(ProtocolError):
        Preamble.decode(data)


@pytest.mark.parametrize(
    ("door", "parsed"),
    [("10.0.0.3:7610", ("10.0.0.3", 7610)), ("[fe80::1]:7610", ("fe80::1", 7610)), ("head.svc:1", ("head.svc", 1))],
)
def test_a_door_is_host_and_port(door, parsed):
    """Names, IPv4 and IPv6."""
    assert parse_door(door) == parsed


@pytest.mark.parametrize("door", ["", "host", "host:", ":7610", "host:0", "host:65536", "host:http", "unix:/x"])
def test_what_is_no_door_is_named(door):
    """The message repeats what was given."""
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_door(door)
