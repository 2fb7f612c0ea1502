"""The last field of a driver's or a session's message: the bytes of a part of a large value, behind the encoded rest.

`ConnectRequest.data` and `ConnectResponse.data` have the highest number there is, 6, so encoders put them last. Written and read
by hand they cost one copy less each way than protobuf makes.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.message import DecodeError

#: Its field number and wire type.
_TAG: Final = 6 << 3 | 2
#: Wire types whose length is known without looking into them.
_VARINT, _BYTES = 0, 2


class WithData:
    """An encoded message and its data, which is not copied behind it; together they are what would have been encoded."""

    __slots__ = ("_bytes", "data", "head")

    def __init__(self, encoded: bytes, data: memoryview) -> None:
        #: Everything before the data, which has at least a byte.
        self.head = encoded + head_of(len(data))
        self.data = data
        self._bytes = len(self.head) + len(data)

    def __len__(self) -> int:
        return self._bytes


def head_of(size_bytes: int) -> bytes:
    """What stands before the data of that size, after the encoded rest."""
    out = bytearray((_TAG,))
    while size_bytes > 0x7F:
        out.append(size_bytes & 0x7F | 0x80)
        size_bytes >>= 7
    out.append(size_bytes)
    return bytes(out)


def split_data(message: bytes) -> tuple[bytes, memoryview]:
    """An encoded message without its data, and the data in place; no data when it is not the last field.

    Raises:
        DecodeError: The message is none.
    """
    at, end = 0, len(message)
    while at < end:
        begin = at
        tag, at = _number(message, at)
        if tag & 7 == _VARINT:
            _, at = _number(message, at)
            continue
        if tag & 7 != _BYTES:
            raise DecodeError("a field of a kind that no message has")
        size, at = _number(message, at)
        if size > end - at:
            raise DecodeError("a field ends in the middle")
        if tag == _TAG and at + size == end:
            return message[:begin], memoryview(message)[at:]
        at += size
    return message, memoryview(b"")


def _number(message: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 64, 7):
        if at >= len(message):
            raise DecodeError("a number ends in the middle")
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise DecodeError("a number is too large")
