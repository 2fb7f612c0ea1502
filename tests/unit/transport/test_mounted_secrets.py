"""Which files may hold a secret although others than their owner can read them: those that a kubelet has mounted."""

from __future__ import annotations

import os

import pytest

from manta.transport import auth


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Root's, readable for a group; whoever runs the tests."""
    path = tmp_path / "token"
    path.write_text("x")
    path.chmod(0o440)
    descriptor = os.open(path, os.O_RDONLY)
    real = os.fstat(descriptor)
    monkeypatch.setattr(auth.os, "fstat", lambda fd: os.stat_result((*real[:4], 0, *real[5:10])))
    yield descriptor
    os.close(descriptor)


def mounts(tmp_path, *rows: str) -> str:
    path = tmp_path / "mountinfo"
    path.write_text("".join(f"{row}\n" for row in rows))
    return str(path)


def row(descriptor: int, *, kind: str = "tmpfs", options: str = "ro,relatime") -> str:
    device = os.stat(descriptor).st_dev
    return f"36 35 {os.major(device)}:{os.minor(device)} / /etc/token {options} master:1 - {kind} tmpfs rw,size=8k"


OTHER = "1 0 999:1 / / rw - overlay overlay rw"


def test_a_mounted_secret_passes(file, tmp_path):
    assert auth.is_private(file, mounts(tmp_path, OTHER, row(file)))
    assert auth.is_private(file, mounts(tmp_path, row(file), row(file)))


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "ext4"},
        {"kind": "overlay"},
        {"options": "rw,relatime"},
        {"options": "relatime"},
        {"options": "rows,nro"},
    ],
)
def test_what_no_kubelet_mounts_does_not(file, tmp_path, changed):
    """A read-only disk that everybody can read is no place for a secret, and neither is memory that can be written to."""
    assert not auth.is_private(file, mounts(tmp_path, OTHER, row(file, **changed)))
    assert not auth.is_private(file, mounts(tmp_path, row(file), row(file, **changed)))


def test_of_mounts_that_do_not_tell_nothing_is_believed(file, tmp_path):
    assert not auth.is_private(file, mounts(tmp_path, OTHER))
    assert not auth.is_private(file, mounts(tmp_path, "", "garbage", "1 2 3"))
    assert not auth.is_private(file, str(tmp_path / "nothing"))


@pytest.mark.parametrize("mode", [0o460, 0o446, 0o660])
def test_a_file_that_others_can_write_never_passes(tmp_path, monkeypatch, mode, file):
    real = auth.os.fstat(file)
    monkeypatch.setattr(auth.os, "fstat", lambda fd: os.stat_result((mode, *real[1:10])))
    assert not auth.is_private(file, mounts(tmp_path, row(file)))


def test_a_file_of_ours_is_for_us_alone(tmp_path):
    path = tmp_path / "token"
    path.touch(mode=0o600)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert auth.is_private(descriptor, str(tmp_path / "nothing"))
    finally:
        os.close(descriptor)
