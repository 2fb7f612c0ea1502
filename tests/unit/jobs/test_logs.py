"""A job's log is a plain file, or nothing: whatever the job puts in its place."""

from __future__ import annotations

import os

from manta.jobs.logs import Part, read


def test_parts_by_place_and_from_the_end(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"0123456789")
    assert Part(b"234", 2, 10) == read(path, 2, 3)
    assert read(path, 2, 3).more
    assert Part(b"789", 7, 10) == read(path, -3, 3)
    assert Part(b"0123456789", 0, 10) == read(path, -100, 100)
    assert not read(path, -100, 100).more
    assert Part(b"", 12, 10) == read(path, 12, 3)
    assert not read(path, 12, 3).more


def test_what_is_no_plain_file_is_nothing(tmp_path):
    """A pipe without a writer would be waited for, a link would show somebody else's file."""
    secret, link, pipe, folder = (tmp_path / name for name in ("secret", "link", "pipe", "folder"))
    secret.write_text("secret")
    link.symlink_to(secret)
    os.mkfifo(pipe)
    folder.mkdir()
    for path in (link, pipe, folder, tmp_path / "none"):
        assert Part(b"", 0, 0) == read(path, 0, 10)
        assert Part(b"", 0, 0) == read(path, -10, 10)
