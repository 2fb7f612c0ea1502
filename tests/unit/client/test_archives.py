"""Folders as archives: the same files give the same bytes, and what is left out is left out."""

from __future__ import annotations

import io
import random
import tracemalloc
import zipfile

import pytest

from manta.client import archives
from manta.client.archives import archive, left_out, read


@pytest.fixture
def folder(tmp_path):
    for name in ("a.py", "data/big.csv", "data/small.txt", ".git/config", "sub/__pycache__/a.pyc", "sub/b.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def names(data: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(data)).namelist()


def test_it_holds_the_files_without_what_no_task_needs(folder):
    assert names(archive(str(folder), "")) == ["a.py", "data/big.csv", "data/small.txt", "sub/b.py"]
    assert archive(str(folder), "") == archive(str(folder), "")
    assert names(read(str(folder), ["data", "b.py"], named=True)) == [f"{folder.name}/a.py"]
    assert names(read(str(folder / "a.py"), named=True)) == ["a.py"]


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [("data", True), ("./data/", True), ("data/big.csv", True), ("*.csv", True), ("data/*", True), ("big.csv", True),
     ("*.py", False), ("dat", False), ("ata/big.csv", False)],
)  # fmt: skip
def test_what_an_exclude_means(pattern, fits):
    assert left_out("data/big.csv", [pattern]) is fits


def test_an_archive_is_taken_as_it_is_and_anything_else_is_refused(folder, monkeypatch):
    (folder / "made.zip").write_bytes(b"as it is")
    assert read(str(folder / "made.zip")) == b"as it is"
    for wrong in ("a.py", "none", "none.zip"):
        with pytest.raises(ValueError, match=f"{wrong}', which is neither a folder here nor a .zip file"):
            read(str(folder / wrong))
    monkeypatch.setattr("manta.client.archives.MOST_BYTES", 5)
    with pytest.raises(ValueError, match="more than 5 bytes"):
        read(str(folder / "made.zip"))
    with pytest.raises(ValueError, match="leave out what its tasks do not need"):
        read(str(folder))


def test_a_large_file_is_refused_before_all_of_it_is_read(tmp_path, monkeypatch):
    """It may be larger than memory."""
    (tmp_path / "large").write_bytes(random.Random(0).randbytes(8 << 20))
    monkeypatch.setattr(archives, "MOST_BYTES", 1 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"has more than 1048576 bytes: leave out"):
            archive(str(tmp_path), "")
        assert tracemalloc.get_traced_memory()[1] < 6 << 20
    finally:
        tracemalloc.stop()
