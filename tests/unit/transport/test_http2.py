"""One gRPC call over HTTP/2, the dialling side, against frames made by hand."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from manta.core.errors import ProtocolError
from manta.transport import hpack, http2
from manta.transport.http2 import Call, Ended
from manta.transport.message_data import WithData, head_of

DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9


def frame(kind: int, body: bytes = b"", flags: int = 0, stream: int = 1) -> bytes:
    return len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + body


def frames(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """(type, flags, stream, body) of each frame."""
    found = []
    while data:
        size = int.from_bytes(data[:3], "big")
        found.append((data[3], data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + size]))
        data = data[9 + size :]
    return found


def taken(call: Call) -> list[tuple[int, int, int, bytes]]:
    return frames(b"".join(call.take()))


def message(data: bytes) -> bytes:
    return b"\0" + len(data).to_bytes(4, "big") + data


ANSWER = frame(HEADERS, hpack.encode([(":status", b"200"), ("content-type", b"application/grpc")]), flags=4)


@pytest.fixture
def call() -> Call:
    """One that has been answered, all it said so far taken."""
    call = Call("/a.B/C", "host:1", (("authorization", "Bearer x"),))
    call.take()
    assert call.feed(frame(SETTINGS, stream=0) + ANSWER) == []
    call.take()
    return call


def test_a_call_begins_with_preface_settings_and_headers():
    out = b"".join(Call("/a.B/C", "host:1", (("authorization", "Bearer x"),)).take())

    assert out.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    settings, update, headers = frames(out[24:])
    assert [settings[0], update[0], headers[0]] == [SETTINGS, UPDATE, HEADERS]
    assert dict(hpack.decode(headers[3])) == {
        ":method": b"POST", ":scheme": b"https", ":path": b"/a.B/C", ":authority": b"host:1", "te": b"trailers",
        "content-type": b"application/grpc", "user-agent": b"manta", "authorization": b"Bearer x",
    }  # fmt: skip


def test_a_small_message_is_one_frame(call):
    call.send(b"hello")
    assert taken(call) == [(DATA, 0, 1, message(b"hello"))]


def test_what_the_window_has_no_room_for_waits_and_goes_in_order(call):
    call.send(bytes(65_530))
    call.send(b"after")
    assert sum(len(body) for _, _, _, body in taken(call)) == 65_535

    call.feed(frame(UPDATE, struct.pack(">I", 4), stream=0))
    assert taken(call) == []  # the stream's own window is full still
    call.feed(frame(UPDATE, struct.pack(">I", 100)))
    assert b"".join(body for _, _, _, body in taken(call)) == message(b"after")[:4]
    call.feed(frame(UPDATE, struct.pack(">I", 100), stream=0))
    assert b"".join(body for _, _, _, body in taken(call)) == message(b"after")[4:]


def test_data_that_is_not_copied_is_sent_as_if_it_were(call):
    call.send(WithData(b"head", memoryview(bytes(50_000))))
    got = b"".join(body for _, _, _, body in taken(call))
    assert got == message(b"head" + head_of(50_000) + bytes(50_000))


def test_a_setting_may_take_back_what_the_stream_was_allowed(call):
    call.feed(frame(SETTINGS, struct.pack(">HI", 4, 10), stream=0))
    call.take()
    call.send(b"123456789")
    assert [body for _, _, _, body in taken(call)] == [message(b"123456789")[:10]]


def test_messages_arrive_whole_whatever_the_pieces(call):
    sent = [b"", b"one", bytes(100_000), b"last"]
    whole = b"".join(map(message, sent))
    data = b"".join(frame(DATA, whole[at : at + 16_384]) for at in range(0, len(whole), 16_384))
    got = []
    for at in range(0, len(data), 777):
        got += call.feed(data[at : at + 777])
    assert got == sent


def test_padding_is_no_part_of_a_message(call):
    assert call.feed(frame(DATA, b"\3" + message(b"x") + bytes(3), flags=8)) == [b"x"]


def test_what_was_taken_is_told_so_that_more_may_come(call):
    for _ in range(http2.UPDATE_BYTES // http2.FRAME_BYTES):
        call.feed(frame(DATA, message(bytes(http2.FRAME_BYTES - 5))))
    told = {stream: struct.unpack(">I", body)[0] for kind, _, stream, body in taken(call) if kind == UPDATE}
    assert told == {0: http2.UPDATE_BYTES, 1: http2.UPDATE_BYTES}


def test_pings_are_answered_and_ours_is_known_to_be(call):
    call.feed(frame(PING, b"12345678", stream=0))
    assert taken(call) == [(PING, 1, 0, b"12345678")]
    call.ping()
    assert call.pinged
    assert taken(call) == [(PING, 0, 0, bytes(8))]
    call.feed(frame(PING, bytes(8), flags=1, stream=0))
    assert not call.pinged


@pytest.mark.parametrize("cut", [False, True])
def test_trailers_say_how_a_call_ended(call, cut):
    block = hpack.encode([("grpc-status", b"5"), ("grpc-message", b"not%20here: %C3%A4"), ("x-bin", b"AQI")])
    if cut:
        call.feed(frame(HEADERS, block[:7], flags=1) + frame(CONTINUATION, block[7:], flags=4))
    else:
        call.feed(frame(HEADERS, block, flags=5))
    assert call.ended == Ended(5, "not here: ä", {"x-bin": b"\1\2"})


def test_what_is_no_grpc_is_said_by_its_status():
    call = Call("/a.B/C", "host:1")
    call.feed(frame(HEADERS, hpack.encode([(":status", b"502"), ("content-type", b"text/html")]), flags=4))
    assert call.ended == Ended(None, "it answered with HTTP status 502", {})


def test_a_reset_ends_the_call(call):
    call.feed(frame(RST, struct.pack(">I", 8)))
    assert call.ended is not None
    assert call.ended.status is None


def test_a_server_that_goes_away_lets_a_call_that_began_go_on(call):
    call.feed(frame(GOAWAY, struct.pack(">II", 1, 0) + b"bye", stream=0))
    assert call.ended is None
    assert call.feed(frame(DATA, message(b"still"))) == [b"still"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (frame(DATA, message(b"x"), stream=3), "no call"),
        (frame(DATA, b"\1" + bytes(4)), "compressed"),
        (frame(DATA, b"\0\xff\xff\xff\xff"), "too large"),
        (frame(5, b""), "pushes"),
        (frame(SETTINGS, b"12345", stream=0), "middle"),
        (frame(UPDATE, struct.pack(">I", (1 << 31) - 1), stream=0), "beyond"),
        (b"\xff\xff\xff\x01" + bytes(5), "16777215 bytes"),
        (frame(HEADERS, b"", flags=0) + frame(PING, bytes(8), stream=0), "interrupted"),
        (frame(DATA, b"\x09x", flags=8), "padding"),
    ],
)
def test_what_cannot_be_is_a_protocol_error(call, data, words):
    with pytest.raises(ProtocolError, match=words):
        call.feed(data)


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_any_bytes_are_taken_or_a_protocol_error(pieces):
    call = Call("/a.B/C", "host:1")
    try:
        for piece in pieces:
            call.feed(ANSWER[: len(piece)] + piece)
    except ProtocolError:
        pass


class Windows(RuleBasedStateMachine):
    """Whatever the windows, the other side gets the messages in order and never more than it allowed."""

    def __init__(self) -> None:
        super().__init__()
        self.call = Call("/a.B/C", "host:1")
        self.call.take()
        self.call.feed(frame(SETTINGS, struct.pack(">HI", 4, 50), stream=0) + ANSWER)
        self.call.take()
        self.sent = b""
        self.got = b""
        self.allowed = {0: 65_535, 1: 50}
        self.initial = 50

    @rule(size=st.integers(0, 40_000))
    def send(self, size: int) -> None:
        data = bytes((len(self.sent) + at) % 251 for at in range(size))
        self.sent += message(data)
        self.call.send(data)

    @rule(stream=st.sampled_from((0, 1)), more=st.integers(1, 50_000))
    def more(self, stream: int, more: int) -> None:
        self.allowed[stream] += more
        self.call.feed(frame(UPDATE, struct.pack(">I", more), stream=stream))

    @rule(window=st.integers(0, 60_000))
    def settings(self, window: int) -> None:
        self.allowed[1] += window - self.initial
        self.initial = window
        self.call.feed(frame(SETTINGS, struct.pack(">HI", 4, window), stream=0))

    @invariant()
    def what_came_was_allowed_and_is_a_prefix(self) -> None:
        for kind, _, _, body in taken(self.call):
            if kind == DATA:
                assert len(body) <= min(self.allowed.values())
                self.got += body
                for stream in self.allowed:
                    self.allowed[stream] -= len(body)
        assert self.sent.startswith(self.got)
        # Nothing waits that may go.
        assert self.got == self.sent or min(self.allowed.values()) <= 0


TestWindows = Windows.TestCase
