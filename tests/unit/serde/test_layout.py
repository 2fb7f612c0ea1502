"""Whatever bytes arrive, `deserialize` answers with a value or a `DeserializationError`, and allocates by no one's word."""

import pickle
import tracemalloc
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from manta import serde

VALUE = {"first": pickle.PickleBuffer(b"a" * 100), "second": [pickle.PickleBuffer(b"b" * 10)], "third": 3}
GOOD = serde.to_bytes(serde.serialize(VALUE))
HEADER_SIZE = 24 + 2 * 8


def test_the_layout_is_the_one_that_is_documented():
    """Bytes on disk and wire: a change is a new version of the layout."""
    assert GOOD[:4] == b"\x01mta"
    assert int.from_bytes(GOOD[16:24], "little") == 2
    assert [int.from_bytes(GOOD[at : at + 8], "little") for at in (24, 32)] == [100, 10]
    stream_size = int.from_bytes(GOOD[8:16], "little")
    assert GOOD[HEADER_SIZE] == 0x80
    end = HEADER_SIZE + stream_size
    first = -(-end // 64) * 64
    assert GOOD[end:first] == bytes(first - end)
    assert GOOD[first : first + 100] == b"a" * 100
    assert GOOD[first + 128 :] == b"b" * 10


@pytest.mark.parametrize("size", range(len(GOOD)))
def test_a_value_cut_off_anywhere_is_refused(size):
    for data in (GOOD[:size], memoryview(GOOD)[:size]):
        with pytest.raises(serde.DeserializationError):
            serde.deserialize(data)


@pytest.mark.parametrize("bit", range(HEADER_SIZE * 8))
def test_a_flipped_bit_in_the_header_is_noticed(bit):
    damaged = bytearray(GOOD)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(serde.DeserializationError):
        serde.deserialize(damaged)


def test_bytes_after_the_value_are_ignored():
    back = serde.deserialize(GOOD + b"rounded up")
    assert (bytes(back["first"]), bytes(back["second"][0]), back["third"]) == (b"a" * 100, b"b" * 10, 3)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.lists(st.integers(0, 2**64 - 1), max_size=4))
@example(0, 2**64 - 1, [])
@example(2**64 - 1, 0, [])
@example(0, 1, [2**64 - 1])
@example(0, 2, [2**63, 2**63])
def test_lengths_that_lie_are_refused_without_allocating(stream_size, count, lengths):
    """The checksum is right here: a liar can compute one too."""
    sizes = b"".join(number.to_bytes(8, "little") for number in (stream_size, count, *lengths))
    announced = min(count, len(lengths)) * 8 + 16
    checksum = zlib.crc32(sizes[:announced])
    data = b"\x01mta" + checksum.to_bytes(4, "little") + sizes + b"\x80\x05N."
    tracemalloc.start()
    try:
        serde.deserialize(data)
    except serde.DeserializationError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1 << 20


# No pickle streams of Hypothesis's making: those may call anything. The first byte decides, and it is not a stream's.
@given(st.binary(max_size=200).filter(lambda data: data[:1] != b"\x80"))
def test_other_bytes_are_refused(data):
    with pytest.raises(serde.DeserializationError):
        serde.deserialize(data)


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\x05", b"\x80\x05.", b"\x80\xff.", b"\x80\x05\x97."])
def test_streams_that_are_none_are_refused(data):
    with pytest.raises(serde.DeserializationError):
        serde.deserialize(data)


def test_a_value_of_a_module_that_is_not_here_says_so_and_what_would_help():
    with pytest.raises(
        serde.DeserializationError, match=r"No module named 'nowhere_to_be_found'.*install it here"
    ) as caught:
        serde.deserialize(b"\x80\x05cnowhere_to_be_found\nThing\n.")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_what_a_setstate_raises_is_the_cause():
    with pytest.raises(serde.DeserializationError, match="ZeroDivisionError: from the user") as caught:
        serde.deserialize(serde.to_bytes(serde.serialize(Fragile())))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


class Fragile:
    def __reduce__(self):
        return _break, ()


def _break():
    raise ZeroDivisionError("from the user")
