"""The folder that a pod's containers share."""

from __future__ import annotations

import json
import os
import socket
import stat

import pytest

from manta.core.errors import SettingError
from manta.pod import session
from manta.pod.places import make_private


def test_the_folder_is_for_its_user_alone_and_made_once(tmp_path):
    path = str(tmp_path / "manta-0" / "demo")
    for _ in range(2):
        session.make(path)
    assert {stat.S_IMODE(os.stat(each).st_mode) for each in (path, os.path.dirname(path), f"{path}/logs")} == {0o700}


def test_a_folder_that_others_could_enter_is_closed_to_them(tmp_path):
    """So the kubelet makes a volume."""
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume").chmod(0o2777)
    make_private(str(tmp_path / "volume"))
    assert stat.S_IMODE((tmp_path / "volume").stat().st_mode) & 0o777 == 0o700


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match=r"file/x.*a volume that user \d+ may write to"):
        make_private(str(tmp_path / "file" / "x"))


def test_sockets_on_which_nobody_listens_go(tmp_path):
    """Those of a gateway that lives stay, and so does what is no socket."""
    alive = socket.socket(socket.AF_UNIX)
    alive.bind(str(tmp_path / "alive.sock"))
    alive.listen()
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(tmp_path / "dead.sock"))
    dead.close()
    (tmp_path / "raylet.sock").symlink_to("dead.sock")
    (tmp_path / "address.json").touch()

    assert session.sweep(str(tmp_path)) == ["dead.sock", "raylet.sock"]

    assert sorted(os.listdir(tmp_path)) == ["address.json", "alive.sock"]
    alive.close()


def test_whichever_raylet_runs_is_found_under_one_name(tmp_path):
    for name in ("one", "two"):
        about = {"channel": str(tmp_path / f"raylet-{name}.sock"), "node_id": name}
        session.raylet_is_ready(str(tmp_path), about, "127.0.0.1:7600")
        assert os.readlink(tmp_path / "raylet.sock") == f"raylet-{name}.sock"
    assert json.loads((tmp_path / "address.json").read_text())["node_id"] == "two"
