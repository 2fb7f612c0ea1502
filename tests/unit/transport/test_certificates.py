"""A cluster's certificates: what they say, and whom TLS lets in with them."""

from __future__ import annotations

import datetime
import os
import socket
import ssl
import stat

import pytest
from cryptography import x509

from manta.core.errors import AuthenticationError
from manta.transport.certificates import Role, make_authority, make_leaf, write_pair
from manta.transport.tls import Tls, TlsFiles

NOW = datetime.datetime.now(datetime.UTC)


def credentials(folder, cluster="c1", role=Role.WORKER, authority=None, now=NOW):
    """A folder with an authority's certificate and one role's pair; returns its files and the authority."""
    folder.mkdir(exist_ok=True)
    authority = authority or make_authority(cluster, now=now)
    (folder / "ca.crt").write_bytes(authority.certificate)
    pair = make_leaf(authority, role, cluster, now=now)
    write_pair(pair, str(folder / f"{role}.crt"), str(folder / f"{role}.key"))
    return TlsFiles.of_role(str(folder), role, cluster), authority


def shake(server: Tls, client: Tls, name: str) -> tuple[BaseException | None, BaseException | None]:
    """One handshake over a socket pair, byte by byte in one thread: what each side ended with, None for well."""
    one, other = socket.socketpair()
    with one, other:
        ends = {}
        incoming = {key: (ssl.MemoryBIO(), ssl.MemoryBIO()) for key in ("server", "client")}
        objects = {
            "server": server.server().wrap_bio(*incoming["server"], server_side=True),
            "client": client.client().wrap_bio(*incoming["client"], server_hostname=name),
        }
        for _ in range(10):
            for key, peer in (("client", "server"), ("server", "client")):
                if key not in ends:
                    try:
                        objects[key].do_handshake()
                        objects[key].write(b"hello")
                        ends[key] = None
                    except ssl.SSLWantReadError:
                        pass
                    except ssl.SSLError as error:
                        ends[key] = error
                incoming[peer][0].write(incoming[key][1].read())
        for key in ("client", "server"):
            if ends.get(key) is None:
                try:
                    assert objects[key].read() == b"hello"
                except ssl.SSLError as error:
                    ends[key] = error
        return ends["server"], ends["client"]


def test_two_nodes_of_a_cluster_trust_each_other(tmp_path):
    """Both show a leaf of the same authority; the client looks at the role's name."""
    files, authority = credentials(tmp_path / "a")
    others, _ = credentials(tmp_path / "b", authority=authority)
    assert shake(Tls(files), Tls(others), "worker.c1.manta") == (None, None)


def test_a_node_of_another_cluster_is_refused(tmp_path):
    """Each cluster has an authority of its own, whatever it is called."""
    files, _ = credentials(tmp_path / "a")
    others, _ = credentials(tmp_path / "b")
    _, client = shake(Tls(files), Tls(others), "worker.c1.manta")
    assert isinstance(client, ssl.SSLCertVerificationError)


def test_a_role_cannot_speak_for_another(tmp_path):
    """A worker's certificate does not make control."""
    files, authority = credentials(tmp_path / "a")
    others, _ = credentials(tmp_path / "b", authority=authority)
    _, client = shake(Tls(files), Tls(others), "control.c1.manta")
    assert isinstance(client, ssl.SSLCertVerificationError)


def test_a_certificate_out_of_its_time_is_refused(tmp_path):
    """Leaves end after 825 days."""
    past = NOW - datetime.timedelta(days=1000)
    files, authority = credentials(tmp_path / "a", now=past)
    fresh, _ = credentials(tmp_path / "b", authority=authority)
    _, client = shake(Tls(files), Tls(fresh), "worker.c1.manta")
    assert "expired" in str(client)


def test_a_renewed_certificate_is_used_without_a_restart(tmp_path):
    """The context is made anew when a file changed, and only then."""
    files, authority = credentials(tmp_path / "a")
    tls = Tls(files)
    first = tls.server()
    assert tls.server() is first
    credentials(tmp_path / "a", authority=authority)
    assert tls.server() is not first


def test_a_missing_or_foreign_key_is_named(tmp_path):
    """The message says which files do not fit."""
    files, _ = credentials(tmp_path / "a")
    others, _ = credentials(tmp_path / "b")
    mixed = TlsFiles(files.authority, files.certificate, others.key, "c1")
    with pytest.raises(AuthenticationError, match="cannot be used together"):
        Tls(mixed).client()
    os.unlink(files.key)
    with pytest.raises(AuthenticationError, match=r"worker\.key cannot be read"):
        Tls(files).client()


def test_keys_are_for_their_owner_alone(tmp_path):
    """0600 for the key; the certificate may be read by all."""
    files, _ = credentials(tmp_path / "a")
    assert stat.S_IMODE(os.stat(files.key).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(files.certificate).st_mode) == 0o644
    assert sorted(os.listdir(tmp_path / "a")) == ["ca.crt", "worker.crt", "worker.key"]


def test_leaves_say_what_strict_verifiers_want_to_read():
    """Python 3.13 and browsers ask for key identifiers, usages and basic constraints."""
    authority = make_authority("c1", now=NOW)
    leaf = x509.load_pem_x509_certificate(
        make_leaf(authority, Role.DASHBOARD, "c1", now=NOW, extra_names=["localhost", "10.0.0.3", "::1"]).certificate
    )
    root = x509.load_pem_x509_certificate(authority.certificate)
    issuer_id = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert issuer_id == root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert not leaf.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["dashboard.c1.manta", "localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.3", "::1"]
