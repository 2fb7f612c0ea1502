"""Text without what steers a terminal: colours, cursor movements, titles, links. Pure."""

from __future__ import annotations

import re

#: ECMA-48: control sequences, commands with a text of their own, and the short ones.
_SEQUENCE = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[ -/]*[0-OQ-WYZ\\`-~])"
_OF_TEXT = re.compile(_SEQUENCE)
_OF_BYTES = re.compile(_SEQUENCE.encode())
#: The beginning of one, at the end of what there is.
_BEGUN = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?|[PX^_][^\x1b]*\x1b?|[ -/]*)\Z")
#: Bytes that one may have; a longer one is text.
LONGEST = 256


def plain(text: str) -> str:
    """The text without them."""
    return _OF_TEXT.sub("", text)


def whole(data: bytes) -> int:
    """How many bytes of the data come before a sequence that has begun at its end and may go on."""
    begun = _BEGUN.search(data, max(0, len(data) - LONGEST))
    return len(data) if begun is None else begun.start()


class Plain:
    """Leaves them out of a text that comes in pieces, also those that lie across two."""

    def __init__(self) -> None:
        self._kept = b""

    def feed(self, piece: bytes) -> bytes:
        """The next piece, without them. The beginning of one at its end is kept until the rest comes."""
        text = _OF_BYTES.sub(b"", self._kept + piece)
        end = whole(text)
        self._kept = text[end:]
        return text[:end]
