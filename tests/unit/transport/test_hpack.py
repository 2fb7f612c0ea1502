"""Headers of HTTP/2: what the standard's own examples say, and that nothing else is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.core.errors import ProtocolError
from manta.transport import hpack


@pytest.mark.parametrize(
    ("coded", "text"),
    [
        ("f1e3c2e5f23a6ba0ab90f4ff", b"www.example.com"),
        ("a8eb10649cbf", b"no-cache"),
        ("d07abe941054d444a8200595040b8166e082a62d1bff", b"Mon, 21 Oct 2013 20:13:21 GMT"),
        ("", b""),
    ],
)
def test_huffman_as_in_the_standards_examples(coded, text):
    assert hpack.huffman(bytes.fromhex(coded)) == text


def test_every_byte_has_a_code_and_the_code_has_no_gap():
    """Lengths alone are a code only if they fill the space exactly."""
    assert sum(2.0**-length for length in hpack._LENGTHS) == 1.0
    assert sorted(set(hpack._codes().values())) == list(range(257))


def test_a_block_of_a_response_is_read():
    # :status 200 by index; content-type by name; a new name, said to be kept, which a table of no bytes does not do.
    block = b"\x88" + b"\x0f\x10\x10application/grpc" + b"\x40\x01a\x01b" + b"\x20"

    assert hpack.decode(block) == [(":status", b"200"), ("content-type", b"application/grpc"), ("a", b"b")]


@given(st.lists(st.tuples(st.from_regex(r"[a-z-]{1,9}", fullmatch=True), st.binary(max_size=400)), max_size=8))
def test_what_is_encoded_is_decoded(headers):
    assert hpack.decode(hpack.encode(headers)) == headers


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (b"\x80", "entry 0"),
        (b"\xbe", "entry 62"),
        (b"\x3f\xe1\x1f", "larger table"),
        (b"\x00\x05abc", "too long, or ends"),
        (b"\x00", "ends in the middle"),
        (b"\xff" + b"\xff" * 9, "too large"),
        (b"\x00\x81\xff\x00", "ends in the middle|not coded|goes on"),
    ],
)
def test_what_is_no_block_is_refused(block, words):
    with pytest.raises(ProtocolError, match=words):
        hpack.decode(block)


@given(st.binary(max_size=200))
def test_any_bytes_are_headers_or_a_protocol_error(block):
    try:
        hpack.decode(block)
    except ProtocolError:
        pass
