"""Text without what steers a terminal."""

from __future__ import annotations

import re

#: ECMA-48: control sequences, commands with a text of their own (titles, links), and the short ones.
_STEERING = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^_`-~])")
#: One that may go on in the next piece.
_BEGUN = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)\Z")
#: Bytes that one such may have; a longer one is text.
_LONGEST = 4096


class Plain:
    """Leaves sequences out of a text that comes in pieces, also those that lie across two."""

    def __init__(self) -> None:
        self._kept = b""

    def feed(self, piece: bytes) -> bytes:
        """The next piece, without them. The beginning of a sequence at its end is kept until the rest comes."""
        text = _STEERING.sub(b"", self._kept + piece)
        begun = _BEGUN.search(text, max(0, len(text) - _LONGEST))
        self._kept = text[begun.start() :] if begun else b""
        return text[: begun.start()] if begun else text
