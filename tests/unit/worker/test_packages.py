"""Unpacked folders of a node: those that nobody uses go when there are too many, those in use stay."""

from __future__ import annotations

import fcntl
import os

from manta.worker.packages import make_room


def kept(folder, name, size, age_s):
    (folder / name).mkdir()
    (folder / name / "file").write_text(name)
    lock = folder / f"{name}.lock"
    lock.write_text(str(size))
    os.utime(lock, (1000 - age_s, 1000 - age_s))


def test_the_longest_unused_go_first_and_none_that_somebody_is_in(tmp_path):
    for name, age_s in (("used", 9), ("old", 8), ("older", 8.5), ("new", 1)):
        kept(tmp_path, name, 10, age_s)
    with open(tmp_path / "used.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        make_room(tmp_path, 40)
        assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["new", "old", "older", "used"]
        make_room(tmp_path, 20)
        assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["new", "used"]
    make_room(tmp_path, 0)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
