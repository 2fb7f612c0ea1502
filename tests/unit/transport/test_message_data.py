"""The data of a message, written and read by hand, is what protobuf would have written and read."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from manta.rpc.v1 import gateway_pb2 as gw
from manta.transport.message_data import WithData, head_of, split_data

ACTION = gw.DriverAction(chunk=gw.PutChunk(object_id=bytes(28)))


@pytest.mark.parametrize("size", [1, 127, 128, 70_000, 1 << 20])
def test_written_by_hand_it_is_what_protobuf_writes(size):
    data = bytes(size)
    rest = gw.ConnectRequest(number=300, received=7, actions=[ACTION])
    whole = gw.ConnectRequest(number=300, received=7, actions=[ACTION], data=data)

    assert rest.SerializeToString() + head_of(size) + data == whole.SerializeToString()
    parts = WithData(rest.SerializeToString(), memoryview(data))
    assert parts.head + parts.data == whole.SerializeToString()
    assert len(parts) == len(whole.SerializeToString())


@given(st.integers(0, 1 << 40), st.binary(min_size=1, max_size=300), st.booleans())
def test_what_is_split_is_the_message_and_its_data(number, data, with_action):
    rest = gw.ConnectResponse(number=number)
    if with_action:
        rest.actions.add(chunk=gw.FetchedChunk(request_id=number))
    head, tail = split_data(rest.SerializeToString() + head_of(len(data)) + data)

    assert gw.ConnectResponse.FromString(head) == rest
    assert tail == data


def test_a_message_without_data_stays_whole():
    encoded = gw.ConnectRequest(number=1, actions=[ACTION]).SerializeToString()
    assert split_data(encoded) == (encoded, b"")


@given(st.binary(max_size=100))
def test_any_bytes_are_split_or_cannot_be_decoded(encoded):
    try:
        head, tail = split_data(encoded)
    except DecodeError:
        return
    assert len(head) + len(tail) <= len(encoded)
