"""A MantaCluster with `tls.enabled: false`: drivers and jobs come through the API server all the same."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import manta
from manta.api import embedded
from manta.core import errors
from manta.transport.auth import new_token, write_private
from tests.process.forwarding.conftest import ADDRESS
from tests.support import dashboard, gateway, kube_api
from tests.support.waiting import wait_until

pytestmark = pytest.mark.shared_cluster


@pytest.fixture(scope="module")
def plain(module_sandbox):
    """A gateway and a dashboard without certificates, to a cluster of one node."""
    folder = module_sandbox.path / "plain"
    folder.mkdir()
    home = embedded.start(
        temp_dir=str(folder), num_cpus=2, num_gpus=0, resources={}, labels={}, object_store_bytes=100 << 20,
        memory_bytes=None, node_name=None,
    )  # fmt: skip
    viewer, submitter = new_token(), new_token()
    write_private(str(folder / "tokens"), f"viewer {viewer}\nsubmitter {submitter}\n".encode())
    try:
        embedded.record(home, b"\0" * 28)
        door = gateway.launch(folder, home.raylet, viewer, submitter, tls=False)
        try:
            page = dashboard.launch(folder, Path(home.session_dir), {"submitter": submitter}, "--plain")
            try:
                yield door, page
            finally:
                dashboard.stop(page)
        finally:
            gateway.stop(door)
    finally:
        home.stop()
    shutil.rmtree(folder)


@pytest.fixture
def api(plain, module_sandbox, monkeypatch):
    door, page = plain
    folder = module_sandbox.path / "api"
    folder.mkdir()
    for name in ("MANTA_ADDRESS", "MANTA_API_SERVER_ADDRESS", "MANTA_TOKEN", "MANTA_CA_FILE"):
        monkeypatch.delenv(name, raising=False)
    with kube_api.running(folder, {7620: door.port, 8265: page.port}) as server:
        # The operator makes an authority in any case; nothing is checked by it here.
        server.put_cluster(kube_api.available(), token=door.submitter, authority=b"none", tls={"enabled": False})
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig()))
        yield server
    shutil.rmtree(folder)


@manta.remote
def double(x):
    return 2 * x


def test_a_program(api):
    """Tasks and values, over a cut of its connections, and a wrong token is a wrong token."""
    manta.init(ADDRESS)
    assert manta.get([double.remote(n) for n in range(20)]) == [2 * n for n in range(20)]
    api.cut()
    assert manta.get(double.remote(manta.put(bytes(1 << 20)))) == bytes(2 << 20)
    manta.shutdown()
    wait_until(lambda: api.connections == 0, what="the API server to be left")
    with pytest.raises(errors.ForwardedTokenError, match="does not take the token"):
        manta.init(ADDRESS, token=new_token())


def test_a_job(api):
    """By the dashboard, in plain HTTP through the forward."""
    words = ("job", "submit", "--address", ADDRESS, "--", sys.executable, "-c", "print(6 * 7)")
    done = subprocess.run(
        [sys.executable, "-m", "manta.cli", *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr
    listed = subprocess.run(
        [sys.executable, "-m", "manta.cli", "list", "nodes", "--address", ADDRESS, "-o", "json"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert [node["state"] for node in json.loads(listed.stdout)] == ["ALIVE"], listed.stderr
