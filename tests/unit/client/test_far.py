"""Links between nodes: which of those that broke are dialled again, and when."""

from __future__ import annotations

import os
import socket
import ssl
from contextlib import suppress

import pytest

from manta.client.far import (
    AFTER_YOU_S,
    GIVE_UP_S,
    LASTED_S,
    LONGEST_PAUSE_S,
    MAX_OPENING,
    OPEN_S,
    PAUSE_S,
    Far,
    FarLinks,
    is_final,
    pause_before,
)
from manta.client.links import Link, Links
from manta.core.errors import AuthenticationError
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.transport.channel import Connection, encode
from manta.transport.tcp import PREAMBLE_BYTES, Answer, Preamble, RefusedError
from tests.support.waiting import wait_until
from tests.unit.transport.test_certificates import credentials


@pytest.mark.parametrize(
    ("error", "final"),
    [
        (RefusedError(Answer.GONE), True),
        (RefusedError(Answer.OTHER_NODE), True),
        (RefusedError(Answer.VERSION), True),
        (RefusedError(Answer.BUSY), False),
        (ConnectionRefusedError(111, "nobody listens"), True),
        (ConnectionResetError(104, "reset"), False),
        (OSError(113, "no route to host"), False),
        (TimeoutError("not open in time"), False),
        (EOFError(), False),
        (ssl.SSLEOFError(8, "end in the middle"), False),
        (ssl.SSLCertVerificationError(1, "not ours"), True),
        (AuthenticationError("no certificate"), True),
        (None, False),
    ],
)
def test_only_what_says_that_the_process_is_gone_is_final(error, final):
    assert is_final(error) is final
    far = Far()
    far.broken = error
    assert (pause_before(far, 0.0) is None) is final


def test_a_connection_that_lasted_is_dialled_again_at_once():
    far = Far(tries=5, failing_since=0.0)
    far.opened_at, far.broken = 100.0, EOFError()
    assert pause_before(far, 100.0 + LASTED_S + 0.1) == 0.0


def test_one_that_does_not_last_waits_longer_each_time_and_is_given_up_in_the_end():
    pauses = []
    now, tries = 0.0, 0
    while True:
        far = Far(tries=tries, failing_since=0.0)
        far.broken = TimeoutError()
        pause = pause_before(far, now)
        if pause is None:
            break
        pauses.append(pause)
        now, tries = now + pause, tries + 1
    assert pauses[:3] == [PAUSE_S, 2 * PAUSE_S, 4 * PAUSE_S]
    assert max(pauses) == LONGEST_PAUSE_S
    assert GIVE_UP_S < now <= GIVE_UP_S + LONGEST_PAUSE_S


class Pump:
    """Polls when it is told to; knows whom it watches."""

    def __init__(self):
        self.watched = {}
        self.due = []

    def add(self, fd, handler):
        self.watched[fd] = handler

    def want_write(self, fd, wanted):
        pass

    def remove(self, fd):
        self.watched.pop(fd, None)

    def round(self, mask=1):
        """Everybody who is watched is called."""
        for handler in list(self.watched.values()):
            handler(mask)


class Process:
    """A process's links, on a clock of the test's."""

    def __init__(self, folder, name, authority=None):
        self.now = 100.0
        self.closed = []
        self.pump = Pump()
        self.links = Links(self.pump, name.encode() * 28, self.closed.append)
        self.links.node_id = self.links.hello.node_id = name.encode() * 28
        self.got = []
        self.links.on(pb.AddBorrower, lambda link, frame, raw: self.got.append((link.worker_id, frame.request_id)))
        files, self.authority = credentials(folder / name, authority=authority)
        self.links.far = self.far = FarLinks(self.links, files, lambda: self.now, self.pump.due.append)

    def is_given(self, sock, *more):
        """As when the raylet hands a connection over."""
        here, there = socket.socketpair()
        carrier = Link(Connection(here))
        self.links.adopt(carrier)
        socket.send_fds(there, [encode(pb.Handover())], [sock.fileno(), *more])
        there.close()
        self.links._ready(carrier, 1)


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def door_of(listener):
    return f"127.0.0.1:{listener.getsockname()[1]}"


def accepted(listener, dialling, answer=Answer.OK):
    """The raylet's part: read the preamble, answer it."""
    sock, _ = listener.accept()

    def has_come() -> bool:
        dialling.pump.round(5)
        with suppress(BlockingIOError):
            return len(sock.recv(PREAMBLE_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)) == PREAMBLE_BYTES
        return False

    wait_until(has_come, what="the preamble")
    preamble = Preamble.decode(sock.recv(PREAMBLE_BYTES))
    sock.sendall(bytes([answer]))
    return sock, preamble


def address(name, listener):
    return common.Address(
        node_id=name.encode() * 28, worker_id=name.encode() * 28, endpoint="unix:/x", door=door_of(listener)
    )


@pytest.fixture
def pair(tmp_path):
    """Two processes of two nodes."""
    one = Process(tmp_path, "a")
    other = Process(tmp_path, "b", one.authority)
    yield one, other
    one.links.close_all()
    other.links.close_all()


def test_what_is_said_before_a_link_is_open_arrives_once_it_is(pair, listener):
    one, other = pair
    link = one.links.peer(address("b", listener))
    assert link is one.links.peer(address("b", listener))
    one.links.send(link, pb.AddBorrower(request_id=1))
    sock, preamble = accepted(listener, one)
    assert (preamble.node_id, preamble.worker_id) == (b"b" * 28, b"b" * 28)
    with sock:
        other.is_given(sock)
    wait_until(lambda: one.pump.round(5) or other.pump.round(1) or other.got)
    assert other.got == [(b"a" * 28, 1)]
    assert other.links.peers[b"a" * 28].far is not None
    wait_until(lambda: one.pump.round(5) or other.pump.round(5) or link.connection.is_open)
    one.far.tick(one.now)
    assert not one.far.busy


def test_a_refused_link_is_not_dialled_again(pair, listener):
    one, _ = pair
    link = one.links.peer(address("b", listener))
    accepted(listener, one, Answer.GONE)[0].close()
    wait_until(lambda: one.pump.round(5) or one.closed)
    assert one.closed == [link]
    assert one.links.again(link) is None


def test_a_link_that_breaks_while_it_opens_is_dialled_again_after_a_pause(pair, listener):
    one, _ = pair
    link = one.links.peer(address("b", listener))
    accepted(listener, one)[0].close()
    wait_until(lambda: one.pump.round(5) or link.connection.is_down)
    assert not one.closed
    one.links.send(link, pb.AddBorrower(request_id=7))
    assert not one.pump.watched, "nothing is dialled before its time"
    assert one.far.tick(one.now) == one.now + PAUSE_S
    one.now += PAUSE_S
    one.far.tick(one.now)
    sock, _ = accepted(listener, one)
    with sock:
        pair[1].is_given(sock)
    wait_until(lambda: both_round(*pair) or pair[1].got)
    assert pair[1].got == [(b"a" * 28, 7)]


def both_round(one, other):
    """Everybody reads and writes once."""
    one.pump.round(5)
    other.pump.round(5)


def opened(one, other, listener):
    """A link from one to the other, over which something was said."""
    link = one.links.peer(address("b", listener))
    one.links.send(link, pb.AddBorrower(request_id=1))
    sock, _ = accepted(listener, one)
    with sock:
        other.is_given(sock)
    wait_until(lambda: both_round(one, other) or (other.got and link.connection.is_open))
    one.far.tick(one.now)
    other.far.tick(other.now)
    one.now += LASTED_S + 1
    other.now += LASTED_S + 1
    return link


def cut(link):
    """As when the network resets the connection."""
    with socket.socket(fileno=os.dup(link.connection.fd)) as sock:
        sock.shutdown(socket.SHUT_RDWR)


def test_a_link_goes_on_over_another_socket_and_nothing_is_lost_or_said_twice(pair, listener):
    one, other = pair
    one.links.on(pb.BorrowerAdded, lambda link, frame, raw: one.got.append(frame.request_id))
    link = opened(one, other, listener)
    there = other.links.peers[b"a" * 28]
    for number in range(3):
        one.links.send(link, pb.AddBorrower(request_id=10 + 2 * number))
        cut(link)
        wait_until(lambda: both_round(one, other) or (link.connection.fd >= 0 and there.connection.is_down))
        one.links.send(link, pb.AddBorrower(request_id=11 + 2 * number))
        other.links.send(there, pb.BorrowerAdded(request_id=number))
        sock, _ = accepted(listener, one)
        with sock:
            other.is_given(sock)
        wanted_now = (number + 1, 3 + 2 * number)
        wait_until(lambda wanted=wanted_now: both_round(one, other) or (len(one.got), len(other.got)) == wanted)
        one.far.tick(one.now)
        one.now += LASTED_S + 1
    assert [request for _, request in other.got] == [1, *range(10, 16)]
    assert one.got == [0, 1, 2]
    assert not one.closed
    assert not other.closed


def test_what_is_closed_on_purpose_is_not_dialled_again(pair, listener):
    one, other = pair
    link = opened(one, other, listener)
    there = other.links.peers[b"a" * 28]
    one.links.close(link)
    wait_until(lambda: other.pump.round(5) or other.closed)
    assert other.closed == [there]
    assert not other.far.busy


def test_who_comes_back_for_a_link_that_is_over_is_told_so(pair, listener):
    one, other = pair
    link = opened(one, other, listener)
    there = other.links.peers[b"a" * 28]
    cut(link)
    wait_until(lambda: one.pump.round(5) or not link.connection.is_open)
    other.links.close(there)
    sock, _ = accepted(listener, one)
    with sock:
        other.is_given(sock)
    wait_until(lambda: both_round(one, other) or one.closed)
    assert one.closed == [link]


def test_who_was_dialled_dials_as_well_after_a_moment(pair, listener):
    """Whoever had dialled may be dead: nobody else would ever find out."""
    one, other = pair
    link = opened(one, other, listener)
    there = other.links.peers[b"a" * 28]
    there.door = door_of(listener)
    cut(link)
    wait_until(lambda: other.pump.round(5) or there.connection.is_down)
    assert not other.pump.watched
    assert other.far.tick(other.now) == other.now + AFTER_YOU_S
    other.now += AFTER_YOU_S
    other.far.tick(other.now)
    accepted(listener, other, Answer.GONE)[0].close()
    wait_until(lambda: other.pump.round(5) or other.closed)
    assert other.closed == [there]


def test_a_dead_node_is_not_dialled_and_not_listened_to(pair, listener):
    one, other = pair
    link = opened(one, other, listener)
    one.links.dead[b"b" * 28] = "it was silent"
    assert one.links.of_node(b"b" * 28) == [link]
    one.links.close(link)
    assert one.links.again(link) is None
    assert one.links.peer(address("b", listener)) is None
    other.links.dead[b"a" * 28] = "it was silent"
    wait_until(lambda: other.pump.round(5) or other.closed)
    del one.links.dead[b"b" * 28]
    one.links.send(one.links.peer(address("b", listener)), pb.AddBorrower(request_id=2))
    sock, _ = accepted(listener, one)
    with sock:
        other.is_given(sock)
    wait_until(lambda: both_round(one, other) or len(other.closed) == 2)
    assert [request for _, request in other.got] == [1]


def test_who_never_says_a_word_costs_a_descriptor_for_a_while_only(pair, listener):
    _, other = pair
    strangers = []
    for _ in range(MAX_OPENING + 1):
        stranger = socket.create_connection(listener.getsockname())
        sock, _ = listener.accept()
        with sock:
            other.is_given(sock)
        strangers.append(stranger)
    assert len(other.pump.watched) == MAX_OPENING, "one too many was closed at once"
    assert other.far.tick(other.now + OPEN_S - 1) == other.now + OPEN_S
    assert len(other.pump.watched) == MAX_OPENING
    other.far.tick(other.now + OPEN_S)
    assert not other.pump.watched
    for stranger in strangers:
        with stranger:
            assert stranger.recv(1) == b""


def test_a_link_to_a_node_that_is_not_there_closes_after_its_maker_knows_it(pair, listener):
    one, _ = pair
    where = address("b", listener)
    where.door = "nowhere"
    link = one.links.peer(where)
    assert one.closed == []
    one.far.tick(one.now)
    assert one.closed == [link]
