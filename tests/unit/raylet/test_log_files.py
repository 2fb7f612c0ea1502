"""The folder of logs is read, and nothing else."""

import os

import pytest

from manta.raylet.log_files import LogNotFoundError, listed, read

ROOM = 1 << 20


@pytest.fixture
def folder(tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    (tmp_path / "secret").write_text("token")
    (logs / "worker-1.out").write_text("one\ntwo\nthree\n")
    (logs / "empty.log").touch()
    (logs / "link.log").symlink_to(tmp_path / "secret")
    (logs / "inner").mkdir()
    (logs / "inner" / "file").write_text("inside")
    os.mkfifo(logs / "pipe.log")
    return logs


def test_plain_files_are_listed_by_name_and_pattern(folder):
    assert ["empty.log", "worker-1.out"] == [file.name for file in listed(folder, "", ROOM).files]
    assert ["worker-1.out"] == [file.name for file in listed(folder, "worker-*", ROOM).files]
    assert 1 == listed(folder, "", 60).untold


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../secret",
        "/etc/passwd",
        "inner/file",
        "inner",
        "link.log",
        "pipe.log",
        "x\0y",
        "a" * 5000,
        "nothing",
    ],
)
def test_nothing_outside_of_the_folder_is_read(folder, name):
    with pytest.raises(LogNotFoundError):
        read(folder, name, offset=0, lines=0, room=ROOM)


@pytest.mark.parametrize(
    ("lines", "begin"), [(1, "three\n"), (2, "two\nthree\n"), (3, "one\ntwo\nthree\n"), (99, "one\ntwo\nthree\n")]
)
def test_the_last_lines_are_found(folder, lines, begin):
    assert begin.encode() == read(folder, "worker-1.out", offset=0, lines=lines, room=ROOM).data


def test_a_piece_has_as_much_as_there_is_room_for_and_says_where_to_go_on(folder):
    first = read(folder, "worker-1.out", offset=0, lines=0, room=5)
    rest = read(folder, "worker-1.out", offset=first.offset + len(first.data), lines=0, room=ROOM)

    assert (b"one\nt", b"wo\nthree\n", 14) == (first.data, rest.data, rest.size)
    assert b"" == read(folder, "worker-1.out", offset=14, lines=0, room=ROOM).data
