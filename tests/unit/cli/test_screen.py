"""Text for people."""

import pytest

from manta.cli.screen import Screen, amount, bar, duration, harmless, size, visible


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (10_000_000, "9.5 MiB"),
        (192 << 20, "192 MiB"),
        (3 << 50, "3072 TiB"),
    ],
)
def test_sizes(count, text):
    assert text == size(count)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (303, "5 min 3 s"),
        (7500, "2 h 5 min"),
        (86400 * 3 + 4 * 3600, "3 d 4 h"),
    ],
)
def test_durations(seconds, text):
    assert text == duration(seconds)


@pytest.mark.parametrize(
    ("number", "text"), [(2.0, "2"), (0.5, "0.5"), (0.0001, "0.0001"), (1000.0, "1000"), (0.0, "0")]
)
def test_amounts(number, text):
    assert text == amount(number)


@pytest.mark.parametrize(
    ("parts", "whole", "drawn"),
    [
        ([], 10, ".........."),
        ([("#", 5)], 10, "#####....."),
        ([("#", 5), ("+", 5)], 10, "#####+++++"),
        ([("#", 15)], 10, "##########"),  # more than all is all
        ([("#", 0.001), ("+", 0.001)], 10, "#+........"),  # what is there is seen
        ([("#", 10), ("+", 0.001)], 10, "##########"),  # but the bar does not grow
        ([("#", 1)], 0, ".........."),  # nothing of nothing
    ],
)
def test_bars(parts, whole, drawn):
    assert drawn == bar(parts, whole, 10)


def test_columns_are_aligned_whatever_their_colour():
    screen = Screen(color=True)
    screen.table([(screen.paint("green", "a"), "b", "end"), ("long", "c", "")])
    assert ["  a     b  end", "  long  c"] == [plain(line) for line in screen.lines]


def plain(text):
    for code in ("\x1b[32m", "\x1b[0m"):
        text = text.replace(code, "")
    return text


def test_without_colour_there_are_no_codes():
    assert "x" == Screen(color=False).paint("red", "x")
    assert 1 == visible(Screen(color=True).paint("red", "x"))


def test_what_others_named_cannot_touch_the_terminal():
    assert "a?[31mb?c" == harmless("a\x1b[31mb\nc")
    assert 10 == len(harmless("x" * 1000, 10))
