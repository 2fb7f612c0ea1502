"""Asking whether control is there and would trust us: each thing that can be wrong has a name."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import errno
import os
import shutil
import socket
import ssl
import threading

import pytest

from manta.core.errors import AuthenticationError, CertificateError, ClusterNotFoundError
from manta.transport import credentials, tls
from manta.transport import grpc as wire
from manta.transport.probe import probe
from manta.transport.tls import TlsFiles

NOW = datetime.datetime.now(datetime.UTC)


def files_of(folder, role="worker", cluster="c1", now=NOW):
    """A folder of a cluster's credentials; the files of one role in it."""
    credentials.make(str(folder), cluster, now=now)
    return TlsFiles.of_role(str(folder), role, cluster)


@contextlib.asynccontextmanager
async def control(files):
    """A gRPC server as control's is; its address."""
    server = wire.server(())
    port = server.add_secure_port("127.0.0.1:0", wire.server_credentials(files))
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


def asked(server_files, client_files):
    """What a probe of such a control ends with; None for well."""

    async def main():
        async with control(server_files) as address:
            try:
                await asyncio.to_thread(probe, address, client_files)
            except (CertificateError, ClusterNotFoundError) as error:
                return error

    return asyncio.run(main())


@pytest.fixture
def files(tmp_path):
    """Control's, and a node's of the same cluster."""
    worker = files_of(tmp_path / "head")
    return TlsFiles.of_role(str(tmp_path / "head"), "control", "c1"), worker


def test_a_node_of_the_cluster_is_let_in(files):
    assert asked(*files) is None


def test_another_clusters_files_are_refused(files, tmp_path):
    error = asked(files[0], files_of(tmp_path / "other"))
    assert isinstance(error, CertificateError)
    assert "its certificate is not this cluster's" in str(error)
    assert "token" not in str(error)


def test_a_file_that_names_another_cluster_is_refused(files):
    """The authority is right, the name is not."""
    error = asked(files[0], TlsFiles(files[1].authority, files[1].certificate, files[1].key, "c2"))
    assert isinstance(error, CertificateError)
    assert "control.c2.manta" in str(error)


def test_control_refuses_a_certificate_that_is_not_its_clusters(files, tmp_path):
    """Who knows the authority's certificate but has no leaf of it is not let in."""
    other = files_of(tmp_path / "other")
    error = asked(files[0], TlsFiles(files[1].authority, other.certificate, other.key, "c1"))
    assert isinstance(error, CertificateError | ClusterNotFoundError)
    assert error is not None


def test_clocks_that_differ_are_named(tmp_path):
    later = NOW + datetime.timedelta(days=2)
    worker = files_of(tmp_path / "head", now=later)
    error = asked(TlsFiles.of_role(str(tmp_path / "head"), "control", "c1"), worker)
    assert isinstance(error, CertificateError)
    assert "not valid yet by this machine's clock" in str(error)


def test_nobody_there_is_said(files):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with pytest.raises(ClusterNotFoundError, match=f"nobody listens on port {port}"):
        probe(f"127.0.0.1:{port}", files[1])


def test_one_who_says_nothing_is_not_waited_for_long(files):
    with (
        socket.create_server(("127.0.0.1", 0)) as sock,
        pytest.raises(ClusterNotFoundError, match=r"did not answer within 0\.2 s"),
    ):
        probe(f"127.0.0.1:{sock.getsockname()[1]}", files[1], timeout_s=0.2)


def test_one_who_speaks_something_else_is_named(files):
    with socket.create_server(("127.0.0.1", 0)) as sock:

        def greet():
            with sock.accept()[0] as visitor:
                visitor.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                visitor.recv(4096)

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(CertificateError, match="does not speak TLS"):
            probe(f"127.0.0.1:{sock.getsockname()[1]}", files[1])
        thread.join()


def test_a_host_that_is_none_is_named(files):
    with pytest.raises(ClusterNotFoundError, match=r"HOST:PORT"):
        probe("nowhere", files[1])


def test_a_renewed_certificate_is_shown_without_a_restart(files, tmp_path):
    """And half a renewal, whose key does not fit yet, is not."""

    def shown(address):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(files[1].authority)
        context.load_cert_chain(files[1].certificate, files[1].key)
        context.set_alpn_protocols(["h2"])
        host, port = address.split(":")
        with (
            socket.create_connection((host, int(port))) as sock,
            context.wrap_socket(sock, server_hostname="control.c1.manta") as secure,
        ):
            return secure.getpeercert()["serialNumber"]

    async def main():
        async with control(files[0]) as address:
            first = await asyncio.to_thread(shown, address)
            from manta.transport.certificates import KeyPair, Role, make_leaf, write_pair

            read = tls.read_pems
            authority = KeyPair(read(files[0])[0], (tmp_path / "head" / "ca.key").read_bytes())
            again = make_leaf(authority, Role.CONTROL, "c1", now=NOW)
            old_key = tmp_path / "old.key"
            shutil.copy(files[0].key, old_key)
            write_pair(again, files[0].certificate, files[0].key)
            new_key = (tmp_path / "head" / "control.key").read_bytes()
            shutil.copy(old_key, files[0].key)
            assert await asyncio.to_thread(shown, address) == first
            (tmp_path / "head" / "control.key").write_bytes(new_key)
            assert await asyncio.to_thread(shown, address) != first

    asyncio.run(main())


def test_a_join_file_that_says_the_same_is_left_and_one_that_cannot_be_written_names_its_file(tmp_path, monkeypatch):
    """A head that starts again on a full disk has nothing to write."""
    head = str(tmp_path / "head")
    credentials.make(head, "c1")
    path = credentials.write_join_file(head, "10.0.0.1:7600")

    def full(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert credentials.write_join_file(head, "10.0.0.1:7600") == path
    with pytest.raises(CertificateError, match=r"join.json cannot be written: No space left on device.*--port"):
        credentials.write_join_file(head, "10.0.0.1:7601")
    assert credentials.read_join_file(path).control == "10.0.0.1:7600"
    with pytest.raises(OSError, match=r"driver\.token"):
        credentials.make_tokens(head)


def test_a_join_file_brings_what_a_node_needs(tmp_path):
    head, node = str(tmp_path / "head"), str(tmp_path / "node")
    credentials.make(head, "c1")
    joining = credentials.read_join_file(credentials.write_join_file(head, "10.0.0.1:7600"))
    credentials.unpack(joining, node)
    assert (joining.control, tls.read_cluster(node)) == ("10.0.0.1:7600", "c1")
    assert sorted(path.name for path in (tmp_path / "node").iterdir()) == [
        "ca.crt",
        "cluster",
        "join.token",
        "tokens",
        "worker.crt",
        "worker.key",
    ]
    # Who may look at the head may look at the node, and no stronger token leaves the head.
    (viewer,) = (line for line in (tmp_path / "head" / "tokens").read_text().splitlines() if line.startswith("viewer "))
    assert (tmp_path / "node" / "tokens").read_text() == f"{viewer}\n"
    assert asked(TlsFiles.of_role(head, "control", "c1"), TlsFiles.of_role(node, "worker", "c1")) is None


@pytest.mark.parametrize(
    ("content", "mode", "match"),
    [
        (b"{}", 0o600, "has format None"),
        (b"[]", 0o600, "is no join file"),
        (b"not json", 0o600, "is no join file"),
        (b"[" * 70_000, 0o600, "is no join file"),
        (b'{"version": 9}', 0o600, "has format 9; this version of manta reads 1"),
        (b'{"version": 1, "control": 5}', 0o600, "is no join file"),
        (b'{"version": 1, "control": "", "cluster": "c", "authority": "a", "certificate": "c", "key": "k", "token": "t"}',
         0o600, "is no join file"),
        (b"{}", 0o644, "can be read by others"),
    ],
)  # fmt: skip
def test_a_wrong_join_file_is_named(tmp_path, content, mode, match):
    path = tmp_path / "join.json"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(AuthenticationError, match=match):
        credentials.read_join_file(str(path))


def test_a_join_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(AuthenticationError, match="cannot be read: No such file"):
        credentials.read_join_file(str(tmp_path / "join.json"))
