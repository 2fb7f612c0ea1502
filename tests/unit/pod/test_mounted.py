"""A Secret as the kubelet lays it out, and its private copies."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from manta.core.errors import CertificateError
from manta.pod.mounted import Mounted, read, stamp


def lay_out(folder: Path, number: int, files: dict[str, bytes]) -> None:
    """As the kubelet does: files in a folder of this moment, names that lead through one link, which is swapped."""
    folder.mkdir(exist_ok=True)
    data = folder / f"..{number}"
    data.mkdir()
    for name, content in files.items():
        (data / name).write_bytes(content)
        (data / name).chmod(0o644)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    beside = folder / "..data_tmp"
    beside.symlink_to(data.name)
    beside.rename(folder / "..data")


def copies(link: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in link.iterdir()}


def test_copies_are_private(tmp_path):
    lay_out(tmp_path / "secret", 1, {"a": b"1", "b": b"2"})
    Mounted(str(tmp_path / "secret"), str(tmp_path / "link"), ("a",))

    assert copies(tmp_path / "link") == {"a": b"1", "b": b"2"}
    assert stat.S_IMODE((tmp_path / "link").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "link").iterdir()} == {0o600}


def test_a_swap_reaches_the_copies_and_changes_what_readers_look_at(tmp_path):
    lay_out(tmp_path / "secret", 1, {"a": b"1", "b": b"2"})
    mounted = Mounted(str(tmp_path / "secret"), str(tmp_path / "link"), ("a",))
    before = (tmp_path / "link" / "a").stat()
    assert not mounted.look()

    lay_out(tmp_path / "secret", 2, {"a": b"1", "b": b"3"})

    assert mounted.look()
    assert copies(tmp_path / "link") == {"a": b"1", "b": b"3"}
    after = (tmp_path / "link" / "a").stat()
    assert (before.st_mtime_ns, before.st_ino) != (after.st_mtime_ns, after.st_ino)
    assert not mounted.look()


def test_a_file_that_was_dropped_has_no_copy(tmp_path):
    lay_out(tmp_path / "secret", 1, {"a": b"1", "ca-old.crt": b"2"})
    mounted = Mounted(str(tmp_path / "secret"), str(tmp_path / "link"), ("a",))
    lay_out(tmp_path / "secret", 2, {"a": b"1"})
    os.unlink(tmp_path / "secret" / "ca-old.crt")
    assert mounted.look()
    assert copies(tmp_path / "link") == {"a": b"1"}


def test_a_change_that_lacks_something_is_told_and_not_taken(tmp_path):
    lay_out(tmp_path / "secret", 1, {"a": b"1"})
    mounted = Mounted(str(tmp_path / "secret"), str(tmp_path / "link"), ("a",))
    lay_out(tmp_path / "secret", 2, {"a": b""})

    assert not mounted.look()
    assert "lacks a" in mounted.failure
    assert copies(tmp_path / "link") == {"a": b"1"}

    lay_out(tmp_path / "secret", 3, {"a": b"3"})
    assert mounted.look()
    assert mounted.failure == ""


def test_old_copies_go(tmp_path):
    """However often it changes; and what the container left before it was started again goes too."""
    lay_out(tmp_path / "secret", 0, {"a": b"0"})
    for _ in range(2):
        mounted = Mounted(str(tmp_path / "secret"), str(tmp_path / "link"), ("a",))
    for number in range(1, 9):
        lay_out(tmp_path / "secret", number, {"a": b"%d" % number})
        assert mounted.look()
    assert len([path for path in tmp_path.iterdir() if path.name.startswith("link-")]) == 2
    assert copies(tmp_path / "link") == {"a": b"8"}


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(CertificateError, match="cannot be read: No such file"):
        read(str(tmp_path / "nothing"), ("a",))
    (tmp_path / "empty").mkdir()
    with pytest.raises(CertificateError, match="is empty or not mounted; it has to have a"):
        read(str(tmp_path / "empty"), ("a",))
    lay_out(tmp_path / "secret", 1, {"a": b"1"})
    with pytest.raises(CertificateError, match=r"lacks b, c; it has to have a, b, c"):
        read(str(tmp_path / "secret"), ("c", "b", "a"))


def test_a_folder_that_somebody_fills_by_hand_is_followed_too(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    before = stamp(str(tmp_path))
    (tmp_path / "new").write_bytes(b"2")
    os.replace(tmp_path / "new", tmp_path / "a")
    assert before != stamp(str(tmp_path))
    assert stamp(str(tmp_path / "nothing")) == ()


def test_what_is_no_file_is_left_out(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert read(str(tmp_path), ("a",))[1] == {"a": b"1"}
