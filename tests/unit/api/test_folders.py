"""Where a cluster's files go, and what is said when they cannot."""

from __future__ import annotations

import os

import pytest

from manta.api import driver, embedded


def test_the_folder_of_sessions_is_private(tmp_path):
    path = embedded.root(str(tmp_path / "new"))
    assert path == str(tmp_path / "new" / f"manta-{os.getuid()}")
    assert os.stat(path).st_mode & 0o777 == 0o700
    assert embedded.root(str(tmp_path / "new")) == path


def test_a_folder_that_others_may_enter_is_refused(tmp_path):
    os.mkdir(tmp_path / f"manta-{os.getuid()}")
    os.chmod(tmp_path / f"manta-{os.getuid()}", 0o755)
    with pytest.raises(PermissionError, match=r"mode 0700.*it has mode 0755.*MANTA_TMPDIR"):
        embedded.root(str(tmp_path))


@pytest.mark.parametrize("base", ["/proc/no/such/place", "a file"])
def test_a_place_where_no_folder_can_be_is_named_with_what_to_do(base, tmp_path):
    (tmp_path / "a file").touch()
    with pytest.raises(OSError, match=r"no folder for the files of clusters can be there.*MANTA_TMPDIR") as refused:
        embedded.root(base if base.startswith("/") else str(tmp_path / base))
    assert refused.value.filename.endswith(f"manta-{os.getuid()}")


def test_a_driver_whose_folder_was_deleted_has_an_import_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path) in driver._import_path()
    os.mkdir("gone")
    os.chdir("gone")
    os.rmdir(tmp_path / "gone")
    monkeypatch.syspath_prepend("relative")
    path = driver._import_path()
    assert path
    assert all(map(os.path.isabs, path))


def test_logs_of_dead_sessions_go_after_a_day_and_nothing_else_does(tmp_path):
    now = 1_000_000_000.0

    def session(name, age_s, *files):
        folder = tmp_path / name
        (folder / "logs").mkdir(parents=True)
        (folder / "logs" / "raylet.log").write_text("why")
        for file in files:
            (folder / file).touch()
        os.utime(folder, (now - age_s, now - age_s))

    session("session_dead", 2 * embedded.LOGS_KEPT_S)
    session("session_dead_lately", embedded.LOGS_KEPT_S / 2)
    session("session_alive", 10 * embedded.LOGS_KEPT_S, "raylet-0.sock", "address.json")
    session("something_else", 10 * embedded.LOGS_KEPT_S)
    (tmp_path / "session_file").touch()
    embedded.sweep(str(tmp_path), now)
    assert sorted(os.listdir(tmp_path)) == ["session_alive", "session_dead_lately", "session_file", "something_else"]
