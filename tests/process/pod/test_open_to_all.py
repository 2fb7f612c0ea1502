"""A cluster that was made without tokens and without TLS at its doors: MANTA_AUTH=none, MANTA_TLS=0."""

from __future__ import annotations

import contextlib
import json
import subprocess

import pytest

from tests.process.pod import programs
from tests.support import pods

pytestmark = [pytest.mark.shared_cluster, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def cluster(module_sandbox):
    folder = module_sandbox.path / "pods"
    folder.mkdir()
    with pods.cluster(folder, MANTA_AUTH="none", MANTA_TLS="0") as made:
        made.start()
        made.wait_ready()
        yield made
    folder.rmdir()


def test_everybody_is_let_in_and_told_so_in_the_log(cluster):
    line = cluster.driver(programs.TOUR, MANTA_TOKEN="", MANTA_CA_FILE="", MANTA_AUTH="none", MANTA_TLS="0")
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["counts"] == [[1, 2, 3], [1, 2, 3]]

    for container in cluster.containers():
        assert container.ask("/metrics")[0] == 200
    host = cluster.head.host
    assert pods.ask_from(host, host.address, 8265, "/api/jobs/") == (200, "[]")
    assert "Sign in" not in pods.ask_from(host, host.address, 8265, "/")[1]
    for role in ("gateway", "dashboard"):
        log = cluster.head.containers[role].log()
        assert "nobody is asked for a token" in log
        assert "TLS" in log or "plain HTTP" in log


def test_what_changes_the_cluster_takes_an_administrators_token_all_the_same(cluster):
    """Anybody runs things, and nobody without that token takes the nodes away under them."""
    host = cluster.head.host
    drain = f"/api/nodes/{'0' * 56}/drain"

    def ask(token=""):
        return pods.ask_from(host, host.address, 8265, drain, token, method="POST")

    status, text = ask()
    assert (status, "an admin's token" in text) == (401, True), text
    assert ask("0" * 64)[0] == 401
    assert ask(cluster.token("submitter"))[0] == 403
    status, text = ask(cluster.token("admin"))
    # Let in, and told what is wrong with it.
    assert (status, "NODE_NOT_FOUND" in text) == (404, True), text


def test_between_pods_a_certificate_is_wanted_all_the_same(cluster):
    """Whoever reaches control could be a node, and so run code with the cluster's name."""
    with pods.connected(cluster.worker.host, cluster.head.host.address, 7600) as sock:
        sock.settimeout(20)
        said = b""
        with contextlib.suppress(ConnectionError):  # it may hang up at the first of it
            sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            said = sock.recv(100)
        assert not said.startswith(b"\0\0")
