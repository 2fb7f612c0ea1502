"""Folders of runtime_env on a node: fetched once whoever asks, whole or not there; unused ones go when there is too much."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import io
import json
import os
import sys
import threading
import time
import zipfile
from types import SimpleNamespace

import pytest

from manta.core import errors
from manta.core.environment import PY_MODULES, SETUP_TIMEOUT, WORKING_DIR
from manta.worker import packages
from manta.worker.packages import make_room, set_up


class Session:
    """Of a worker: its node's folder, and a driver that answers, late or never."""

    now = staticmethod(time.monotonic)

    def __init__(self, folder, answers):
        self.welcome = SimpleNamespace(session_dir=str(folder))
        self.answers, self.asked = answers, []

    def get_one(self, ref, deadline):
        self.asked.append((ref, deadline))
        if ref not in self.answers:
            raise errors.GetTimeoutError("too late")
        return self.answers[ref]


def archive(**files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as made:
        for name, text in files.items():
            made.writestr(name, text)
    return data.getvalue()


def entry(data, ref=b"r" * 28):
    return {"hash": hashlib.sha256(data).hexdigest(), "ref": base64.b64encode(ref + b"owner").decode()}


@pytest.fixture(autouse=True)
def this_process(monkeypatch):
    """Its folder and import path are as before afterwards, and no lock stays."""
    monkeypatch.setattr(packages, "rebuild", lambda oid, owner: oid)
    monkeypatch.setattr(packages, "_held", held := [])
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "/before")
    here = os.getcwd()
    yield
    os.chdir(here)
    for lock in held:
        os.close(lock)


def asked_for(monkeypatch, working_dir=None, py_modules=(), seconds=None):
    if working_dir is not None:
        monkeypatch.setenv(WORKING_DIR, json.dumps([working_dir]))
    monkeypatch.setenv(PY_MODULES, json.dumps(list(py_modules)))
    if seconds is not None:
        monkeypatch.setenv(SETUP_TIMEOUT, str(seconds))


def test_a_worker_is_in_its_folder_and_imports_from_all_of_them(tmp_path, monkeypatch):
    code, module = archive(**{"a.txt": "a"}), archive(**{"mod/__init__.py": ""})
    session = Session(tmp_path, {b"r" * 28: code, b"m" * 28: module})
    asked_for(monkeypatch, entry(code), [entry(module, b"m" * 28)])
    assert set_up(session, "/somewhere/else") == ""
    places = [str(tmp_path / "runtime_resources" / entry(data)["hash"]) for data in (code, module)]
    assert (os.getcwd(), sys.path[:2]) == (places[0], places)
    assert os.environ["PYTHONPATH"] == os.pathsep.join([*places, "/before"])
    assert not {WORKING_DIR, PY_MODULES, SETUP_TIMEOUT} & set(os.environ)
    assert sorted(os.listdir(tmp_path / "runtime_resources")) == sorted(
        name for data in (code, module) for name in (entry(data)["hash"], entry(data)["hash"] + ".lock")
    )


def test_a_jobs_own_folder_is_taken_if_it_is_the_same_upload(tmp_path, monkeypatch):
    data, own = archive(**{"a.txt": "a"}), tmp_path / "jobs" / "one" / "working_dir"
    own.mkdir(parents=True)
    session = Session(tmp_path, {b"r" * 28: data})
    for written, where in (("another", "runtime_resources"), (entry(data)["hash"], "jobs")):
        (own.parent / "working_dir.sha256").write_text(written)
        asked_for(monkeypatch, entry(data))
        assert set_up(session, str(own)) == ""
        assert os.path.relpath(os.getcwd(), tmp_path).split("/")[0] == where
    assert len(session.asked) == 1, "it is on the node already"


def test_what_does_not_come_in_time_or_is_not_what_it_should_be_is_said(tmp_path, monkeypatch):
    data, evil = archive(a="a"), archive(**{"../a": "a"})
    before = time.monotonic()
    for seconds, most in ((7, 7), (None, 600)):
        session = Session(tmp_path, {})
        asked_for(monkeypatch, entry(data), seconds=seconds)
        assert f"not here {most} s after" in set_up(session, "")
        ((_, deadline),) = session.asked
        assert before + most <= deadline <= time.monotonic() + most
    session = Session(tmp_path, {})
    asked_for(monkeypatch, entry(data), seconds=-1)
    set_up(session, "")
    assert session.asked[0][1] is None
    for told, said in ((archive(b="b"), "not what was put"), (evil, "would leave the folder")):
        asked_for(monkeypatch, entry(data if said.startswith("not") else evil))
        assert said in set_up(Session(tmp_path, {b"r" * 28: told}), "")
    assert {name for name in os.listdir(tmp_path / "runtime_resources") if not name.endswith(".lock")} == set()


def test_many_at_once_fetch_it_once(tmp_path):
    data = archive(**{f"{number}.txt": "x" * 1000 for number in range(50)})
    session, keep = Session(tmp_path, {b"r" * 28: data}), tmp_path / "keep"
    keep.mkdir()
    found = []

    def place():
        path = packages._place(session, keep, entry(data), None)
        found.append(len(os.listdir(path)))

    threads = [threading.Thread(target=place) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == [50] * 8
    assert len(session.asked) == 1


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
