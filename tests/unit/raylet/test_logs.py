"""Bytes that workers write become lines with a source; files are read with bounds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.core.log_marks import source_line, source_of
from manta.raylet.logs import BATCH_LINES, LINE_BYTES, Lines, LogTail
from manta.rpc.v1 import channel_pb2 as pb


def test_a_line_is_whole_when_its_end_is_there():
    lines = Lines()

    assert [] == lines.feed(b"hel")
    assert [("", "hello")] == lines.feed(b"lo\nwor")
    assert [("", "wor")] == lines.end()
    assert [] == lines.end()


def test_a_mark_names_the_lines_after_it_and_is_not_shown():
    lines = Lines()
    data = b"before\n" + source_line("f").encode() + b"in f\n" + source_line("g").encode() + b"in g\n"

    assert [("", "before"), ("f", "in f"), ("g", "in g")] == lines.feed(data)


def test_a_mark_cannot_be_broken_by_the_name_in_it():
    assert "\x01manta:source:a?b??c\n" == source_line("a\nb\r\x1bc")
    assert 200 == len(source_of(source_line("x" * 1000).rstrip("\n")) or "")


def test_a_line_without_an_end_is_cut():
    lines = Lines()

    got = lines.feed(b"x" * (2 * LINE_BYTES + 3))

    assert [LINE_BYTES, LINE_BYTES] == [len(line) for _, line in got]
    assert [("", "xxx")] == lines.end()


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_where_reads_cut_does_not_matter(data, cuts):
    """And no bytes make it fail."""
    whole, parts = Lines(), Lines()
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})

    expected = whole.feed(data) + whole.end()
    got = [line for start, end in zip(edges, edges[1:], strict=False) for line in parts.feed(data[start:end])]

    assert expected == got + parts.end()


class Desk:
    """A LogTail whose lines land in a list."""

    def __init__(self, path: Path) -> None:
        self.sent: list[tuple[bytes, pb.LogLines]] = []
        self.takes = True
        self.out, self.err = path / "w.out", path / "w.err"
        self.out.touch()
        self.err.touch()
        self.tail = LogTail(
            node_ip="10.0.0.1",
            send=lambda job, lines: self.sent.append((job, lines)),
            wanted=lambda _job: self.takes,
            busy=list,
        )
        self.tail.follow(b"w", b"job", self.out, self.err)


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.tail.close()


def test_a_flush_sends_what_is_there_in_batches_by_source_and_stream(desk):
    desk.out.write_text("".join(f"{n}\n" for n in range(BATCH_LINES + 1)) + source_line("f") + "in f\n")
    desk.err.write_text("oops\n")

    desk.tail.flush(b"job")

    assert [("", BATCH_LINES, False), ("", 1, False), ("f", 1, False), ("", 1, True)] == [
        (lines.source, len(lines.lines), lines.stderr) for _, lines in desk.sent
    ]
    assert {"10.0.0.1"} == {lines.node_ip for _, lines in desk.sent}


def test_lines_wait_in_their_file_while_nobody_takes_them(desk):
    desk.takes = False
    desk.out.write_text("later\n")
    desk.tail.flush(b"job")
    assert [] == desk.sent

    desk.takes = True
    desk.tail.flush(b"job")

    assert ["later"] == list(desk.sent[0][1].lines)


def test_the_end_of_a_worker_sends_its_last_words_and_removes_empty_files(desk):
    desk.out.write_text("unfinished")

    desk.tail.ended(b"w")

    assert ["unfinished"] == list(desk.sent[0][1].lines)
    assert (True, False) == (desk.out.exists(), desk.err.exists())
