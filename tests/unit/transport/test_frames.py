"""The frame decoder: what was sent comes out, however it was cut; what was not sent is a ProtocolError and nothing else."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manta.core.errors import ProtocolError
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport import channel
from manta.transport.channel import (
    HEADER,
    HEADER_BYTES,
    LARGE_BYTES,
    MAX_BODY_BYTES,
    MAX_RAW_BYTES,
    NUMBER,
    PROTOCOL,
    FrameDecoder,
    encode,
)
from tests.unit.transport.messages import FRAMES, frames, messages

RAW = st.binary(max_size=200)
slow_to_make = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def head(
    *, version: int = PROTOCOL, reserved: int = 0, number: int | None = None, body: int = 0, raw: int = 0
) -> bytes:
    return HEADER.pack(version, reserved, NUMBER[pb.Goodbye] if number is None else number, body, raw)


def feed_in_pieces(decoder: FrameDecoder, data: bytes, cuts: list[int]) -> list[channel.Frame]:
    found = []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in zip(edges, edges[1:], strict=False):
        found += decoder.feed(data[start:end])
    return found


def test_every_frame_of_the_table_has_a_number_and_a_parser():
    assert {kind: number for number, kind in FRAMES.items()} == NUMBER
    assert set(FRAMES) == set(channel.PARSE)


@pytest.mark.parametrize("number", sorted(FRAMES))
@settings(slow_to_make, max_examples=15)
@given(data=st.data())
def test_every_message_comes_out_as_it_went_in(number, data):
    message = data.draw(messages(FRAMES[number].DESCRIPTOR))
    raw = data.draw(RAW)

    assert [(number, message, raw)] == FrameDecoder().feed(encode(message, raw))


@slow_to_make
@given(sent=st.lists(st.tuples(frames(), RAW), max_size=5), cuts=st.lists(st.integers(0, 1 << 20), max_size=20))
def test_a_stream_may_be_cut_anywhere(sent, cuts):
    """The kernel cuts where it likes; order and borders of frames stay."""
    decoder = FrameDecoder()

    found = feed_in_pieces(decoder, b"".join(encode(message, raw) for message, raw in sent), cuts)

    assert [(NUMBER[type(message)], message, raw) for message, raw in sent] == found
    assert decoder.buffered_bytes == 0


@slow_to_make
@given(
    sent=st.lists(
        st.tuples(frames(), st.sampled_from([0, 50, LARGE_BYTES - 1, LARGE_BYTES, 3 * LARGE_BYTES])), max_size=4
    ),
    cuts=st.lists(st.integers(0, 1 << 20), max_size=6),
)
def test_a_stream_of_large_frames_may_be_cut_anywhere(sent, cuts):
    """Those are put together in a way of their own."""
    frames = [(message, bytes(i % 251 for i in range(64)) * (size // 64 + 1)) for message, size in sent]
    decoder = FrameDecoder()

    found = feed_in_pieces(decoder, b"".join(encode(message, raw) for message, raw in frames), cuts)

    assert [(NUMBER[type(message)], message, raw) for message, raw in frames] == found
    assert decoder.buffered_bytes == 0


def test_the_body_of_a_large_frame_that_is_no_protobuf_is_refused():
    body = b"\xff" * 20
    decoder = FrameDecoder()

    assert decoder.feed(head(number=NUMBER[pb.Hello], body=len(body), raw=2 * LARGE_BYTES) + body + bytes(9)) == []
    assert decoder.feed(bytes(LARGE_BYTES)) == []
    with pytest.raises(ProtocolError, match="cannot be decoded"):
        decoder.feed(bytes(LARGE_BYTES))


def test_byte_by_byte_is_a_cut_as_well():
    data = encode(pb.PushTasks(lease_id=1, ids=b"x" * 28, args=[b"12"]), b"raw") * 3
    decoder = FrameDecoder()

    found = [frame for at in range(len(data)) for frame in decoder.feed(data[at : at + 1])]

    assert len(found) == 3
    assert decoder.buffered_bytes == 0


def test_a_frame_cut_at_any_byte_only_waits_for_its_rest():
    """Truncation is no error of the format: the connection's end is told by the socket."""
    data = encode(pb.TaskResults(lease_id=3, ids=b"x" * 28, values=[b"v"], micros=[7]), b"raw bytes")
    for cut in range(len(data)):
        decoder = FrameDecoder()

        assert decoder.feed(data[:cut]) == []
        assert decoder.buffered_bytes == cut
        assert len(decoder.feed(data[cut:])) == 1


@pytest.mark.parametrize(
    "bad",
    [
        head(version=0),
        head(version=PROTOCOL + 1),
        head(reserved=1),
        head(body=MAX_BODY_BYTES + 1),
        head(raw=MAX_RAW_BYTES + 1),
        head(body=0xFFFFFFFF, raw=0xFFFFFFFF),
        head(number=0),
        head(number=9),
        head(number=0xFFFF),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 32,
        b"\0" * 64,
        b"\xff" * 64,
    ],
    ids=lambda bad: bad[:12].hex(),
)
def test_what_is_no_frame_is_refused_at_its_header(bad):
    with pytest.raises(ProtocolError):
        FrameDecoder().feed(bad)


def test_a_refusal_names_what_came():
    with pytest.raises(ProtocolError, match="version 71, reserved 69"):
        FrameDecoder().feed(b"GET / HTTP/1.1\r\n")
    with pytest.raises(ProtocolError, match="type 9 is unknown to channel protocol 1"):
        FrameDecoder().feed(head(number=9))
    with pytest.raises(ProtocolError, match=f"body of {MAX_BODY_BYTES + 1} bytes"):
        FrameDecoder().feed(head(body=MAX_BODY_BYTES + 1))


def test_a_body_that_is_no_protobuf_is_refused():
    body = b"\xff" * 20

    with pytest.raises(ProtocolError, match="cannot be decoded"):
        FrameDecoder().feed(head(number=NUMBER[pb.Hello], body=len(body)) + body)


def test_good_frames_before_a_bad_one_do_not_hide_it():
    with pytest.raises(ProtocolError):
        FrameDecoder().feed(encode(pb.Goodbye()) + b"\xff" * HEADER_BYTES)


def test_an_announced_length_alone_costs_no_memory():
    """A liar pays for what he sends, not we for what he says."""
    decoder = FrameDecoder()
    tracemalloc.start()
    try:
        decoder.feed(head(body=MAX_BODY_BYTES, raw=MAX_RAW_BYTES))
        decoder.feed(b"x" * 1000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert decoder.buffered_bytes == HEADER_BYTES + 1000
    assert peak < 100_000


def test_frames_over_the_limit_are_not_even_sent():
    with pytest.raises(ProtocolError, match="a PushTasks frame of"):
        encode(pb.PushTasks(args=[b"x" * (MAX_BODY_BYTES + 1)]))
    with pytest.raises(ProtocolError, match="over the channel's limit"):
        encode(pb.Goodbye(), memoryview(bytearray(MAX_RAW_BYTES + 1)))


def survives(data: bytes, cuts: list[int]) -> None:
    """Anything at all: frames, or a ProtocolError."""
    decoder = FrameDecoder()
    try:
        found = feed_in_pieces(decoder, data, cuts)
    except ProtocolError:
        return
    assert decoder.buffered_bytes <= len(data)
    for number, message, raw in found:
        assert type(message) is FRAMES[number]
        assert type(raw) is bytes


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=4))
def test_random_bytes_are_survived(data, cuts):
    survives(data, cuts)


@slow_to_make
@given(st.lists(frames(), min_size=1, max_size=3), st.data())
def test_flipped_bits_are_survived(sent, data):
    """In headers mostly: that is where a lie about a length stands."""
    stream = bytearray(b"".join(encode(message, b"raw") for message in sent))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(len(stream), HEADER_BYTES) - 1) | st.integers(0, len(stream) - 1))
        stream[at] ^= 1 << data.draw(st.integers(0, 7))
    survives(bytes(stream), [data.draw(st.integers(0, len(stream)))])


def test_each_flipped_bit_of_a_header_is_a_refusal_a_wait_or_another_frame():
    frame = encode(pb.PushTasks(lease_id=1, ids=b"x" * 28, args=[b"args"]))
    for bit in range(HEADER_BYTES * 8):
        broken = bytearray(frame)
        broken[bit // 8] ^= 1 << (bit % 8)
        survives(bytes(broken), [])
