"""Certificates of a running head are renewed by replacing their files; half a renewal or one out of its time is of no use."""

from __future__ import annotations

import datetime
import hashlib
import shutil
import socket
import ssl
from pathlib import Path
from typing import Any

import grpc
import pytest

import manta
from manta.core import errors
from manta.transport import auth, credentials
from manta.transport.certificates import KeyPair, Role, make_leaf, write_pair
from manta.transport.tcp import Answer, Preamble, Wish
from manta.transport.tls import TlsFiles, read_cluster
from tests.support.heads import Head
from tests.support.waiting import wait_until

pytestmark = pytest.mark.shared_cluster

#: Each door's role.
DOORS = {"control": Role.CONTROL, "gateway": Role.GATEWAY, "dashboard": Role.DASHBOARD, "door": Role.WORKER}
#: Those of servers. A node reads both files for each connection, and its certificate is the one with which these tests dial it:
#: what it makes of half a renewal and of an expired one is in tests/unit/transport/test_certificates.py.
SERVERS = [door for door, role in DOORS.items() if role is not Role.WORKER]


def leaf(head: Head, role: Role, *, expired: bool = False) -> KeyPair:
    """Another certificate of this cluster's own authority, which may have been valid until a minute ago."""
    folder = head.credentials
    authority = KeyPair((folder / "ca.crt").read_bytes(), (folder / "ca.key").read_bytes())
    names = ("127.0.0.1", "localhost") if role in (Role.GATEWAY, Role.DASHBOARD) else ()
    lasts = datetime.timedelta(minutes=-1) if expired else datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.UTC)
    return make_leaf(authority, role, read_cluster(str(folder)), now=now, extra_names=names, lasts=lasts)


def files_of(head: Head, role: Role) -> tuple[Path, Path]:
    return head.credentials / f"{role}.crt", head.credentials / f"{role}.key"


def renew(head: Head, role: Role, pair: KeyPair) -> None:
    certificate, key = files_of(head, role)
    write_pair(pair, str(certificate), str(key))


def shown(head: Head, door: str) -> str:
    """Fingerprint of the certificate that a door shows to who dials it now."""
    context = ssl.create_default_context(cafile=str(head.credentials / "ca.crt"))
    context.check_hostname = False
    context.load_cert_chain(*map(str, files_of(head, Role.WORKER)))
    with socket.create_connection(("127.0.0.1", head.port_of(door)), 10) as plain:
        if door == "door":
            plain.sendall(Preamble(bytes.fromhex(head.node_id), wish=Wish.RAYLET).encode())
            assert plain.recv(1) == bytes([Answer.OK])
        with context.wrap_socket(plain) as sock:
            der = sock.getpeercert(binary_form=True)
    assert der is not None
    return hashlib.sha256(der).hexdigest()


def print_of(pair: KeyPair) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pair.certificate.decode())).hexdigest()


@pytest.fixture(params=list(DOORS))
def door(request, head):
    """A door whose certificate is as good as before afterwards."""
    yield request.param
    role = DOORS[request.param]
    pair = leaf(head, role)
    renew(head, role, pair)
    wait_until(lambda: shown(head, request.param) == print_of(pair))


def test_a_renewed_certificate_is_shown_without_a_restart(head, door):
    role = DOORS[door]
    before, pair = shown(head, door), leaf(head, role)
    assert before != print_of(pair)
    renew(head, role, pair)
    wait_until(lambda: shown(head, door) == print_of(pair), what="the new certificate")


@pytest.mark.parametrize("door", SERVERS, indirect=True)
def test_half_a_renewal_is_not_used(head, door):
    """A certificate whose key has not come yet, then one that is none: who dials sees the old one, or gets in later."""
    before, (certificate, _) = shown(head, door), files_of(head, DOORS[door])
    for content in (leaf(head, DOORS[door]).certificate, b"-----BEGIN CERTIFICATE-----\nhalf", b""):
        auth.write_private(str(certificate), content, mode=0o644)
        assert shown(head, door) == before


@pytest.mark.parametrize("door", SERVERS, indirect=True)
def test_a_door_whose_certificate_has_expired_is_believed_by_nobody(head, door):
    role = DOORS[door]
    renew(head, role, leaf(head, role, expired=True))

    wait_until(lambda: is_refused(head, door), what="the expired certificate to be shown, and refused")


def is_refused(head: Head, door: str) -> bool:
    """As what has expired."""
    try:
        shown(head, door)
    except ssl.SSLCertVerificationError as wrong:
        return "expired" in str(wrong)
    return False


def test_a_driver_says_what_is_wrong_with_the_gateways_certificate(head, monkeypatch):
    good = leaf(head, Role.GATEWAY)
    renew(head, Role.GATEWAY, leaf(head, Role.GATEWAY, expired=True))
    wait_until(lambda: is_refused(head, "gateway"), what="the expired certificate to be shown")
    monkeypatch.setenv("MANTA_TOKEN", head.token("submitter"))
    monkeypatch.setenv("MANTA_CA_FILE", str(head.credentials / "ca.crt"))
    with pytest.raises(errors.AuthenticationError, match="certificate"):
        manta.init(head.gateway)
    renew(head, Role.GATEWAY, good)


def call(channel: grpc.Channel, token: str) -> grpc.StatusCode:
    with channel:
        method: Any = channel.unary_unary("/manta.rpc.v1.ControlService/ClusterResources")
        try:
            method(b"", metadata=auth.metadata(token), timeout=20)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def test_a_node_whose_certificate_has_expired_or_is_anothers_is_not_let_in(head, tmp_path):
    """With the right token; with a good certificate it is."""
    mine = head.files()
    assert call(head.control_channel(mine), head.join_token) is grpc.StatusCode.OK
    for pair in (
        leaf(head, Role.WORKER, expired=True),
        other(tmp_path, read_cluster(str(head.credentials))),
    ):
        write_pair(pair, str(tmp_path / "x.crt"), str(tmp_path / "x.key"))
        files = TlsFiles(mine.authority, str(tmp_path / "x.crt"), str(tmp_path / "x.key"), mine.cluster)
        assert call(head.control_channel(files), head.join_token) is grpc.StatusCode.UNAVAILABLE


def other(folder: Path, cluster: str) -> KeyPair:
    """A node's certificate of another cluster, which calls itself by this one's name."""
    there = folder / "other"
    credentials.make(str(there), cluster)
    pair = KeyPair((there / "worker.crt").read_bytes(), (there / "worker.key").read_bytes())
    shutil.rmtree(there)
    return pair
