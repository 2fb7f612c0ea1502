"""A growing log, cut anywhere, is the same text as the whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.dashboard.pages.log_text import Piece, begin_of_tail, clean, piece


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x\x1b]8;;http://a\x1b\\y", "xy"),
        ("a\x1b(Bb\x1bMc", "abc"),
        ("one\r\ntwo\r 50%\r100%\n", "one\ntwo\n 50%\n100%\n"),
        ("\x00\x07\x08\x7f\tx", "\u2400\u2407\u2408\u2421\tx"),
        ("\x9b31m", "\ufffd31m"),
        ("\u202egpj.exe\u2066", "\ufffdgpj.exe\ufffd"),
        ("<b>&amp;", "<b>&amp;"),
        ("\x1b", "\u241b"),
    ],
)
def test_what_a_terminal_would_act_on_is_not_shown(text, shown):
    assert clean(text) == shown


def in_pieces(data, cuts):
    """As a page follows it: every piece from where the last one ended."""
    text, at = "", 0
    for end in [*sorted(cut for cut in cuts if cut <= len(data)), len(data)]:
        if end < at:
            continue
        found = piece(data[at:end], at, last=end == len(data))
        text, at = text + found.text, found.next
    assert at == len(data)
    return text


ESCAPES = (b"\x1b[31m", b"\x1b[0m", b"\x1b]0;t\x07", b"\x1b]8;;h\x1b\\", b"\x1bP1q\x1b\\")
LOGS = st.lists(st.sampled_from([*ESCAPES, "é".encode(), "🦈".encode(), b"a", b"\n", b"\xff", b"x" * 50])).map(b"".join)


@given(LOGS, st.lists(st.integers(0, 400), max_size=6))
def test_pieces_are_the_whole(data, cuts):
    assert in_pieces(data, cuts) == clean(data.decode(errors="replace"))


def test_half_a_character_and_half_an_escape_wait_for_the_rest():
    assert piece("aé".encode()[:2], 5, last=False) == Piece("a", 6)
    assert piece(b"a\x1b[3", 0, last=False) == Piece("a", 1)
    assert piece(b"a\x1b[3", 0, last=True) == Piece("a\u241b[3", 4)


def test_an_escape_that_never_ends_is_none():
    data = b"\x1b]" + b"x" * 1000
    assert piece(data, 0, last=False) == Piece("\u241b]" + "x" * 1000, 1002)


def test_a_tail_begins_with_a_line():
    assert begin_of_tail(b"half\nwhole\n", 100) == 105
    assert begin_of_tail(b"no end", 100) == 100
    assert begin_of_tail(b"first\nline", 0) == 0
