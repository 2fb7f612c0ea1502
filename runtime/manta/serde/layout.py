"""How a pickle stream and its buffers lie in memory: written once, read in place.

A value without buffers *is* its pickle stream; the stream's first byte, 0x80, says so and no header is spent on it.
With buffers:

    0    tag           4 bytes   01 'm' 't' 'a'; the 01 is the layout's version
    4    checksum      u32       CRC-32 of everything in the header after this field
    8    stream size   u64
    16   buffer count  u64
    24   buffer sizes  u64 each
    ...  the pickle stream, then each buffer at the next multiple of 64 from the start

Little endian. Gaps are zero. Bytes after the last buffer are ignored, so a reader may be given a rounded-up range.
"""

from __future__ import annotations

from binascii import crc32
from struct import Struct

from manta.serde.errors import DeserializationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Chunk = bytes | memoryview

#: First byte of a bare pickle stream: the PROTO opcode.
PICKLE_TAG = 0x80
#: Buffers start at multiples of this: a cache line, and what AVX-512 loads want.
ALIGNMENT = 64

_TAG = int.from_bytes(b"\x01mta", "little")
_HEAD = Struct("<IIQQ")
_CHECKED_FROM = 8
_PADDING = bytes(ALIGNMENT)


def lay_out(stream: Sequence[bytes], buffers: Sequence[memoryview]) -> tuple[list[Chunk], int]:
    """Chunks that, written one after the other, are the value; and their total size in bytes.

    Args:
        stream: The pickle stream in pieces.
        buffers: Its out-of-band buffers in order, each one-dimensional and of bytes.
    """
    stream_size = sum(map(len, stream))
    lengths = [len(buffer) for buffer in buffers]
    sizes = Struct(f"<QQ{len(lengths)}Q").pack(stream_size, len(lengths), *lengths)
    header = _HEAD.pack(_TAG, crc32(sizes), 0, 0)[:_CHECKED_FROM] + sizes
    chunks: list[Chunk] = [header, *stream]
    position = len(header) + stream_size
    for buffer, length in zip(buffers, lengths, strict=True):
        gap = -position % ALIGNMENT
        if gap:
            chunks.append(_PADDING[:gap])
        chunks.append(buffer)
        position += gap + length
    return chunks, position


def take_apart(view: memoryview) -> tuple[memoryview, list[memoryview]]:
    """The pickle stream and the buffers inside `view`, as slices of it; nothing is copied.

    Args:
        view: One-dimensional view of bytes that starts with the header.

    Raises:
        DeserializationError: The header contradicts itself or the size of `view`. Nothing was allocated by its word.
    """
    size = len(view)
    if size < _HEAD.size:
        raise DeserializationError(f"serialized value is cut off: {size} bytes, its header alone takes {_HEAD.size}")
    tag, checksum, stream_size, count = _HEAD.unpack_from(view)
    if tag != _TAG:
        raise DeserializationError(
            f"not a serialized value: it starts with {bytes(view[:4]).hex(' ')}, expected a pickle stream (80 05) or "
            f"layout version 1 ({_TAG.to_bytes(4, 'little').hex(' ')})"
        )
    if count > (size - _HEAD.size) // 8:
        raise DeserializationError(f"serialized value is cut off: {count} buffers announced in {size} bytes")
    position = _HEAD.size + 8 * count
    if crc32(view[_CHECKED_FROM:position]) != checksum:
        raise DeserializationError("serialized value is damaged: its header does not match its checksum")
    end = position + stream_size
    if end > size:
        raise DeserializationError(
            f"serialized value is cut off: a pickle stream of {stream_size} bytes, {size} in all"
        )
    stream = view[position:end]
    buffers = []
    for number, length in enumerate(Struct(f"<{count}Q").unpack_from(view, _HEAD.size)):
        start = end + -end % ALIGNMENT
        end = start + length
        if end > size:
            raise DeserializationError(
                f"serialized value is cut off: buffer {number} of {count} ends at {end}, {size} bytes in all"
            )
        buffers.append(view[start:end])
    return stream, buffers
