"""What a server says first is what its starter hears: where it serves, why it never will, or nothing."""

from __future__ import annotations

import os

import pytest

from manta.core.errors import MantaError, SettingError
from manta.transport import first_word
from manta.transport.first_word import Starter


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    yield reader, writer
    for fd in (reader, writer):
        try:
            os.close(fd)
        except OSError:
            pass  # the test has


def heard(reader: int) -> bytes:
    return os.read(reader, first_word.LONGEST_BYTES)


@pytest.mark.parametrize("where", ["", "7620\n8092\n", '{"address": "höst:7600"}'])
def test_where_it_serves(pipe, where):
    reader, writer = pipe
    Starter(writer).ready(where)

    assert first_word.understand(heard(reader)) == where
    assert heard(reader) == b"", "the pipe is closed behind it"


def test_why_it_never_will_be_ready(pipe):
    reader, writer = pipe
    Starter(writer).failed(SettingError("bind", "x:1", "a free port"))

    with pytest.raises(SettingError, match="a free port") as caught:
        first_word.understand(heard(reader))
    assert caught.value.name == "bind"


def test_errors_that_are_not_ours_are_told_too(pipe):
    reader, writer = pipe
    Starter(writer).failed(PermissionError(13, "not yours", "/x"))

    with pytest.raises(MantaError, match="not yours"):
        first_word.understand(heard(reader))


def test_who_ends_without_a_word():
    for word in (b"", b"\0"):
        with pytest.raises(EOFError):
            first_word.understand(word)


def test_nobody_waits(pipe):
    reader, writer = pipe
    Starter().ready("7620")
    Starter().failed(SettingError("bind", "x", "y"))
    os.close(reader)
    Starter(writer).ready("who waited has gone")


def test_only_the_first_word_counts(pipe):
    """A server that fails later says nothing to whoever has the descriptor's number by then."""
    reader, writer = pipe
    other, theirs = os.pipe()
    starter = Starter(writer)
    starter.ready()
    os.dup2(theirs, writer)
    os.close(theirs)
    starter.failed(SettingError("bind", "x", "y"))
    os.close(writer)

    assert first_word.understand(heard(reader)) == ""
    assert heard(other) == b""
    os.close(other)
