"""A node asks control on another machine to be let in: what is wrong ends it with a clear text, within seconds."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from manta.rpc.v1 import common_pb2
from manta.transport import auth, credentials
from tests.process.cluster.machines import START_S, machines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.process.cluster.machines import Machines

CLUSTER = None


@pytest.fixture
def head(tmp_path: Path) -> Iterator[Machines]:
    with machines(tmp_path) as cluster:
        yield cluster


def refused(cluster: Machines, folder: Path, session: Path, *flags: str) -> common_pb2.ErrorInfo:
    """Why a node with these credentials was not let in."""
    session.mkdir(mode=0o700)
    mine, theirs = os.pipe()
    words = [
        "--session-dir", str(session), "--control", cluster.control_target, "--door", "127.0.0.1:0", "--credentials", str(folder),
        "--token-file", str(folder / "join.token"), "--ready-fd", str(theirs), "--parent-pid", str(os.getpid()), *flags,
    ]  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", "manta.raylet", *words], pass_fds=(theirs,))
    os.close(theirs)
    try:
        assert select.select([mine], [], [], START_S)[0], "the node says nothing"
        said = os.read(mine, 65536)
    finally:
        os.close(mine)
    assert process.wait(START_S) == 70
    assert said[:1] == b"\0"
    return common_pb2.ErrorInfo.FromString(said[1:])


def test_the_wrong_token(head, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(head.credentials, folder)
    auth.write_token(str(folder / "join.token"), auth.new_token())
    error = refused(head, folder, tmp_path / "node")
    assert (error.code, "the token is not this cluster's" in error.message) == ("AUTHENTICATION_FAILED", True)


def test_another_clusters_credentials(head, tmp_path):
    credentials.make(str(tmp_path / "other"), "c1")
    error = refused(head, tmp_path / "other", tmp_path / "node")
    assert error.code == "CERTIFICATE_REFUSED"
    assert "do not trust each other" in error.message


def test_another_clusters_name(head, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(head.credentials, folder)
    (folder / "cluster").write_text("c2")
    error = refused(head, folder, tmp_path / "node")
    assert error.code == "CERTIFICATE_REFUSED"


def test_a_port_that_is_taken(head, tmp_path):
    machine = head.add("first")
    error = refused(head, tmp_path / "credentials", tmp_path / "node", "--door", machine.door)
    assert error.code == "BAD_SETTING"
    assert "a port that is free" in error.message
