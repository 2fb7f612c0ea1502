"""Headers of HTTP/2 (RFC 7541), as far as one gRPC call needs them.

Written without a table of its own: a reader that announces a table of no bytes is sent nothing that refers to one, and a writer
need not use any. So encoding is literals, and decoding knows the static table alone.
"""

from __future__ import annotations

from typing import Final

from manta.core.errors import ProtocolError

#: The static table: names, and values where it has them. Index 1 is the first.
_STATIC: Final = (
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"), (":scheme", "http"),
    (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"), (":status", "304"), (":status", "400"),
    (":status", "404"), (":status", "500"), ("accept-charset", ""), ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""), ("accept-ranges", ""), ("accept", ""), ("access-control-allow-origin", ""), ("age", ""),
    ("allow", ""), ("authorization", ""), ("cache-control", ""), ("content-disposition", ""), ("content-encoding", ""),
    ("content-language", ""), ("content-length", ""), ("content-location", ""), ("content-range", ""), ("content-type", ""),
    ("cookie", ""), ("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""),
    ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""),
    ("link", ""), ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""),
    ("range", ""), ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
)  # fmt: skip

#: Bits of each byte's Huffman code, and last of the end's (RFC 7541, appendix B). The code is canonical: lengths say all of it.
_LENGTHS: Final = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c060a0a0c0d06080b0a0a080b08060606050505060606060606060708"
    "0f060c0a0d06070707070707070707070707070707070707070707070807080d130d0e060f0506050605060606050707060606050607060505060707"
    "0707070f0b0e0d1c14161414161616171617171717171817181816171817171717151617161717181615141616171715171616181516171715151615"
    "1716171714161616171616171a1a1413161716191a1a1a1b1b1a181913151a1b1b1a1b1815151a1a1c1b1b1b14181415161515171616191918181a17"
    "1a1b1a1a1b1b1b1b1b1c1b1b1b1b1b1a1e"
)
#: The symbol that ends a text, which none may hold.
_END: Final = 256

#: Longest text that a header may hold, in bytes after decoding.
MAX_TEXT_BYTES: Final = 64 << 10

Headers = list[tuple[str, bytes]]


def _codes() -> dict[tuple[int, int], int]:
    found: dict[tuple[int, int], int] = {}
    code = before = 0
    for symbol in sorted(range(_END + 1), key=lambda symbol: (_LENGTHS[symbol], symbol)):
        code <<= _LENGTHS[symbol] - before
        before = _LENGTHS[symbol]
        found[before, code] = symbol
        code += 1
    return found


#: Symbols by length and bits of their code; made when the first Huffman text comes, as gRPC itself sends few.
_by_code: dict[tuple[int, int], int] = {}


def huffman(data: bytes) -> bytes:
    """A Huffman-coded text.

    Raises:
        ProtocolError: It is none.
    """
    if not _by_code:
        _by_code.update(_codes())
    out = bytearray()
    code = length = 0
    for byte in data:
        for bit in range(7, -1, -1):
            code = code << 1 | byte >> bit & 1
            length += 1
            symbol = _by_code.get((length, code))
            if symbol is None:
                if length > 30:
                    raise ProtocolError("a header is not coded as HTTP/2 says")
                continue
            if symbol == _END:
                raise ProtocolError("a header's code goes on after its end")
            out.append(symbol)
            code = length = 0
    # The last byte is filled with the beginning of the end's code, which is all ones.
    if length > 7 or code != (1 << length) - 1:
        raise ProtocolError("a header's code ends in the middle")
    return bytes(out)


def decode(block: bytes) -> Headers:
    """The headers of a block, in order; names as text, values as bytes.

    Raises:
        ProtocolError: It is no block of headers, or refers to a table that there is not.
    """
    headers: Headers = []
    at, end = 0, len(block)
    while at < end:
        first = block[at]
        if first & 0x80:
            index, at = _number(block, at, 7)
            name, value = _static(index)
            headers.append((name, value.encode()))
        elif first & 0xE0 == 0x20:
            size, at = _number(block, at, 5)
            if size:
                raise ProtocolError("a header block wants a larger table than it may")
        else:
            # With or without indexing: a table of no bytes keeps neither.
            index, at = _number(block, at, 6 if first & 0x40 else 4)
            if index:
                name = _static(index)[0]
            else:
                text, at = _text(block, at)
                name = text.decode("latin-1")
            raw, at = _text(block, at)
            headers.append((name, raw))
    return headers


def _static(index: int) -> tuple[str, str]:
    if not 0 < index <= len(_STATIC):
        raise ProtocolError(f"a header refers to entry {index} of a table that has {len(_STATIC)}")
    return _STATIC[index - 1]


def _number(block: bytes, at: int, bits: int) -> tuple[int, int]:
    most = (1 << bits) - 1
    number = block[at] & most
    at += 1
    if number < most:
        return number, at
    for shift in range(0, 28, 7):
        if at >= len(block):
            raise ProtocolError("a header block ends in the middle")
        byte = block[at]
        at += 1
        number += (byte & 0x7F) << shift
        if not byte & 0x80:
            return number, at
    raise ProtocolError("a number in a header block is too large")


def _text(block: bytes, at: int) -> tuple[bytes, int]:
    if at >= len(block):
        raise ProtocolError("a header block ends in the middle")
    coded = block[at] & 0x80
    size, at = _number(block, at, 7)
    if size > MAX_TEXT_BYTES or at + size > len(block):
        raise ProtocolError(f"a header of {size} bytes is too long, or ends in the middle")
    text = block[at : at + size]
    return huffman(text) if coded else text, at + size


def encode(headers: Headers) -> bytes:
    """A block of headers, as literals that nobody on the way is to remember: one of them is a token."""
    out = bytearray()
    for name, value in headers:
        out.append(0x10)
        _put(out, name.encode("latin-1"))
        _put(out, value)
    return bytes(out)


def _put(out: bytearray, text: bytes) -> None:
    size = len(text)
    if size < 0x7F:
        out.append(size)
    else:
        out.append(0x7F)
        size -= 0x7F
        while size > 0x7F:
            out.append(size & 0x7F | 0x80)
            size >>= 7
        out.append(size)
    out += text
