"""Connections that outlive their sockets, against a pipe that loses everything at any moment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.core.errors import ProtocolError
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.channel import encode
from manta.transport.lasting import ACKNOWLEDGE_BYTES, OPENS, ForgottenError, Lasting


class Wire:
    """One end of a connection whose bytes arrive when the test says so."""

    waits_to_read = False
    is_open = True

    def __init__(self) -> None:
        self.sent = bytearray()
        self.arrived = bytearray()
        self.takes = 1 << 30
        self.closed = False

    def send(self, data):
        taken = min(len(data), self.takes)
        if not taken:
            raise BlockingIOError
        self.takes -= taken
        self.sent += data[:taken]
        return taken

    def recv(self, size):
        if not self.arrived:
            raise BlockingIOError
        data = bytes(self.arrived[:size])
        del self.arrived[:size]
        return data

    def fileno(self):
        return 7

    def close(self):
        self.closed = True


def carry(frm, to, most=1 << 30):
    """Some of what was sent arrives."""
    to.arrived += frm.sent[:most]
    del frm.sent[:most]


class Ends:
    """Who dialled, who was dialled, and the present socket."""

    def __init__(self) -> None:
        self.near, self.far = Lasting(), None
        self.got_near, self.got_far = [], []
        self.a = self.b = None

    def cut(self) -> None:
        """The socket breaks; what was on its way is lost."""
        for end in (self.near, self.far):
            if end is not None and end.lasts and not end.is_down:
                end.down()
        self.a = self.b = None

    def dial(self) -> None:
        """The near end gets another socket, and the far end its other side."""
        self.cut()
        self.a, self.b = Wire(), Wire()
        self.near.take_over(self.a)
        self.visitor = Lasting(self.b)

    def read(self, end, got) -> None:
        while frames := end.receive():
            for number, message, raw in frames:
                if number == OPENS:
                    if self.far is not None and message.key == self.far.key:
                        assert self.visitor.detach() is self.b
                        self.far.adopt(self.b, message.received)
                    else:
                        self.far = self.visitor
                        self.far.begin(message, raw)
                    return
                got.append(message.reason)

    def round(self, most=1 << 30) -> None:
        """Both write, some of it arrives, both read."""
        if self.a is None:
            return
        for end, wire in ((self.near, self.a), (self.far, self.b)):
            if end is not None and end._sock is wire:
                end.flush()
        carry(self.a, self.b, most)
        carry(self.b, self.a, most)
        self.read(self.far if self.far is not None and self.far._sock is self.b else self.visitor, self.got_far)
        if self.far is not None and self.far._sock is self.b:
            self.read(self.far, self.got_far)
        self.read(self.near, self.got_near)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("near"), st.integers(0, 300)),
        st.tuples(st.just("far"), st.integers(0, 300)),
        st.tuples(st.just("round"), st.integers(0, 200)),
        st.tuples(st.sampled_from(["cut", "dial"]), st.just(0)),
        st.tuples(st.just("slow"), st.integers(0, 100)),
    ),
    max_size=60,
)


@given(steps)
def test_every_frame_arrives_once_and_in_order_however_often_sockets_break(history):
    """Cuts fall anywhere: in the first frame, in its answer, in the middle of a frame, before anything was read."""
    ends = Ends()
    said_near, said_far = [], []
    for number, (what, amount) in enumerate(history):
        if what == "near":
            said_near.append(f"{number}" + "x" * amount)
            ends.near.send(pb.Exit(reason=said_near[-1]))
        elif what == "far" and ends.far is not None:
            said_far.append(f"{number}" + "y" * amount)
            ends.far.send(pb.Exit(reason=said_far[-1]))
        elif what == "round":
            ends.round(amount)
        elif what == "cut":
            ends.cut()
        elif what == "dial":
            ends.dial()
        elif what == "slow" and ends.a is not None:
            ends.a.takes = ends.b.takes = amount
    ends.dial()
    for _ in range(4):
        ends.round()
    assert ends.got_far == said_near
    assert ends.got_near == said_far
    assert ends.near.unsent_bytes == ends.far.unsent_bytes == 0


def joined():
    ends = Ends()
    ends.dial()
    ends.round()
    ends.round()
    assert ends.near.is_open
    assert ends.far.is_open
    return ends


def test_little_is_kept_of_what_arrives():
    ends = joined()
    for number in range(2000):
        ends.near.send(pb.Exit(reason=f"{number}" + "x" * 1000))
        ends.round()
    assert len(ends.got_far) == 2000
    assert ends.near.kept_bytes < 2 * ACKNOWLEDGE_BYTES
    assert ends.far.kept_bytes < 2 * ACKNOWLEDGE_BYTES


def test_what_cannot_be_sent_now_counts_as_unsent():
    ends = joined()
    ends.cut()
    ends.near.send(pb.Exit(reason="x" * 1000))
    assert ends.near.unsent_bytes > 1000
    assert ends.near.waits_to_read, "nobody has to poll for what has no socket"
    ends.dial()
    ends.near.flush()
    assert ends.near.waits_to_read, "nothing goes before the other end has said how far it is"
    assert ends.near.unsent_bytes > 1000


def test_a_connection_that_the_other_end_has_closed_is_not_gone_on_with():
    ends = joined()
    ends.dial()
    ends.near.flush()
    carry(ends.a, ends.b)
    (frame,) = ends.visitor.receive()
    assert frame[1].again
    assert frame[1].heard
    ends.visitor.refuse()
    carry(ends.b, ends.a)
    with pytest.raises(ForgottenError):
        ends.near.receive()


def test_closing_says_so_and_a_frame_of_another_kind_first_is_no_lasting_connection():
    ends = joined()
    ends.near.close()
    carry(ends.a, ends.b)
    (frame,) = ends.far.receive()
    assert isinstance(frame[1], pb.LinkCloses)
    wire = Wire()
    plain = Lasting(wire)
    wire.arrived += encode(pb.Exit(reason="a")) + encode(pb.Exit(reason="b"))
    assert [message.reason for _, message, _ in plain.receive()] == ["a", "b"]
    assert not plain.lasts
    plain.send(pb.Exit(reason="c"))
    assert plain.kept_bytes == 0
    assert wire.sent == encode(pb.Exit(reason="c"))


@pytest.mark.parametrize(
    "lie",
    [
        pb.LinkOpens(key=b"short"),
        pb.LinkOpens(key=b"k" * 2000),
        pb.LinkOpens(),
    ],
)
def test_a_first_frame_that_lies_is_refused(lie):
    wire = Wire()
    wire.arrived += encode(lie)
    with pytest.raises(ProtocolError):
        Lasting(wire).receive()


def test_nobody_can_have_more_than_was_sent_or_less_than_was_said():
    ends = joined()
    for received in (10**9, 0):
        for _ in range(200):
            ends.near.send(pb.Exit(reason="x" * 1000))
            ends.round()
        with pytest.raises(ProtocolError):
            ends.near.adopt(Wire(), received)
