"""What a reader of logs sees of colours when it wants none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.core.terminal import Plain

TEXT = b"\x1bPq#1~-\x1b\\\x1b[1;31mred\x1b[0m plain \x1b]0;title\x07after \x1b]8;;http://x\x1b\\link \x1b(Bset \x1bMup"


def test_colours_titles_and_links_are_left_out():
    assert b"red plain after link set up" == Plain().feed(TEXT)


@given(st.lists(st.integers(0, len(TEXT)), max_size=6))
def test_however_the_text_is_cut(cuts: list[int]):
    at = [0, *sorted(cuts), len(TEXT)]
    plain = Plain()
    pieces = [plain.feed(TEXT[begin:end]) for begin, end in zip(at, at[1:], strict=False)]
    assert b"red plain after link set up" == b"".join(pieces)


@pytest.mark.parametrize("text", [b"a [31m b", "täxt €".encode(), b"tab\tline\r\n"])
def test_the_rest_is_left_as_it_is(text: bytes):
    assert text == Plain().feed(text)


def test_one_that_never_ends_is_text_and_keeps_no_memory():
    plain = Plain()
    sent = b"\x1b]" + b"x" * 100_000
    assert sent == plain.feed(sent) + plain.feed(b"")
