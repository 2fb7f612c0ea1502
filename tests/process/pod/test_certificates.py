"""A cluster changes its authority and its join token while it runs: both for a while, then the new ones alone."""

from __future__ import annotations

import datetime
import json
import subprocess

import pytest
from cryptography import x509

from manta.transport.auth import new_token
from manta.transport.certificates import Role, make_authority, make_leaf, write_pair
from manta.transport.tls import Tls, TlsFiles
from tests.process.pod import programs
from tests.support import pods
from tests.support.pods import wait_until

pytestmark = [pytest.mark.shared_cluster, pytest.mark.timeout(300)]


def shown(cluster, port, context, name):
    """The serial number of the certificate that a port of the head shows; 0 where it is not trusted."""
    try:
        with (
            pods.connected(cluster.worker.host, cluster.head.host.address, port) as sock,
            context.wrap_socket(sock, server_hostname=name) as secure,
        ):
            return int(secure.getpeercert()["serialNumber"], 16)
    except OSError:
        return 0


def test_every_server_takes_new_certificates_without_a_restart(cluster):
    firsts = {container: container.first for container in cluster.containers()}
    before = {path.name: path.read_bytes() for path in cluster.made.iterdir()}
    folder, now = cluster.made, datetime.datetime.now(datetime.UTC)
    renewed = make_authority("c1", now=now)

    (folder / "ca.crt").write_bytes(renewed.certificate + before["ca.crt"])
    join = new_token()
    pods.private_file(folder / "join.token", f"{join}\n{before['join.token'].decode()}\n")
    cluster.republish()
    bundle = TlsFiles.of_role(str(folder), "worker", "c1")
    for role in Role:
        names = (cluster.head.host.address,) if role in (Role.GATEWAY, Role.DASHBOARD) else ()
        pair = make_leaf(renewed, role, "c1", now=now, extra_names=names)
        write_pair(pair, str(folder / f"{role}.crt"), str(folder / f"{role}.key"))
    cluster.republish()

    wanted = {
        role: x509.load_pem_x509_certificate((folder / f"{role}.crt").read_bytes()).serial_number
        for role in ("control", "gateway", "dashboard")
    }
    h2 = Tls(bundle).client()
    h2.set_alpn_protocols(["h2"])
    for role, port in (("control", 7600), ("gateway", 7620), ("dashboard", 8265)):
        wait_until(
            lambda role=role, port=port: shown(cluster, port, h2, f"{role}.c1.manta") == wanted[role],
            what=f"{role} to show its new certificate",
        )

    (folder / "ca.crt").write_bytes(renewed.certificate)
    pods.private_file(folder / "join.token", f"{join}\n")
    cluster.republish()
    # What shows the old authority's certificate is nobody's any more.
    for name in ("worker.crt", "worker.key", "ca.crt"):
        (cluster.folder / f"old-{name}").write_bytes(before[name])
    stranger = Tls(
        TlsFiles(
            str(folder / "ca.crt"), str(cluster.folder / "old-worker.crt"), str(cluster.folder / "old-worker.key"), "c1"
        )
    ).client()
    stranger.set_alpn_protocols(["h2"])
    wait_until(lambda: refused(cluster, stranger), what="control to refuse certificates of the old authority")

    # All links are made anew, by new certificates and the new token: of nodes, of the gateway's sessions, of the dashboard.
    control = cluster.head.containers["control"]
    control.kill()
    control.start()
    cluster.wait_ready()
    done = subprocess.run(cluster.driver(programs.TOUR), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["counts"] == [[1, 2, 3], [1, 2, 3]]
    assert cluster.rest("GET", "/api/jobs/")[0] == 200
    del firsts[control]
    assert {container: container.first for container in firsts} == firsts
    for path in cluster.folder.glob("old-*"):
        path.unlink()


def refused(cluster, context):
    """Whether control hangs up on who shows that certificate."""
    try:
        with (
            pods.connected(cluster.worker.host, cluster.head.host.address, 7600) as sock,
            context.wrap_socket(sock, server_hostname="control.c1.manta") as secure,
        ):
            return not secure.recv(1)
    except OSError:
        return True
