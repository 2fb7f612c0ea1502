"""A growing log as text for a page: whole characters, no colours, nothing that turns lines around. Pure."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Final

from manta.core.terminal import plain, whole

#: Marks that turn the order of what follows around.
_TURNS: Final = dict.fromkeys(
    (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\N{REPLACEMENT CHARACTER}"
)
#: Control characters are shown as their pictures.
_PICTURES: Final = (
    {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}
    | {127: "\u2421"}
    | dict.fromkeys(range(128, 160), "�")
)


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a log.

    Attributes:
        text: Fit for a page.
        next: Where what comes after it begins, in bytes.
    """

    text: str
    next: int


def piece(data: bytes, at: int, *, last: bool) -> Piece:
    """What of `data` can be shown now.

    Args:
        data: Bytes of the log from `at` on.
        at: Their place in it.
        last: Nothing will be written after them: what is unfinished stays so.
    """
    used = len(data)
    if not last:
        used = whole(data)
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    text = decoder.decode(data[:used], final=last)
    if not last:
        used -= len(decoder.getstate()[0])
    return Piece(clean(text), at + used)


def clean(text: str) -> str:
    """A log's text for a page."""
    lines = plain(text).replace("\r\n", "\n").replace("\r", "\n")
    return lines.translate(_PICTURES).translate(_TURNS)


def begin_of_tail(data: bytes, at: int) -> int:
    """Where the first whole line begins in what is the end of a log, from `at` on; `at` itself if it is all of it."""
    if at == 0:
        return 0
    newline = data.find(b"\n")
    return at + newline + 1 if 0 <= newline < len(data) - 1 else at
