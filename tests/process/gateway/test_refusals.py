"""Who is not let in hears within seconds what was wrong and what would be right."""

from __future__ import annotations

import datetime
import socket
import threading
from contextlib import suppress

import pytest

import manta
from manta.client.remote import session as remote
from manta.core import errors
from manta.transport.auth import new_token, write_private
from tests.support import gateway
from tests.support.waiting import wait_until

pytestmark = pytest.mark.shared_cluster


@pytest.fixture
def environment(door, monkeypatch):
    """What a driver needs; a test takes some of it away."""
    for name, text in door.environment.items():
        monkeypatch.setenv(name, text)
    return monkeypatch


def test_a_driver_with_all_it_needs_is_let_in(door, environment):
    assert manta.init().address_info["address"] == door.address
    assert manta.get(manta.put(1)) == 1


def test_a_wrong_token_is_refused(environment):
    environment.setenv("MANTA_TOKEN", new_token())
    with pytest.raises(errors.AuthenticationError, match="not this cluster's"):
        manta.init()


@pytest.mark.parametrize("token", ["", "not a token", "ä", "x\ny"])
def test_what_is_no_token_is_refused_here(environment, token):
    environment.setenv("MANTA_TOKEN", token)
    with pytest.raises(errors.AuthenticationError, match="token"):
        manta.init()


def test_a_driver_without_a_token_is_told_how_to_give_one(environment):
    environment.delenv("MANTA_TOKEN")
    with pytest.raises(errors.AuthenticationError, match="MANTA_TOKEN_FILE"):
        manta.init()


def test_a_viewers_token_opens_no_session(door, environment):
    environment.setenv("MANTA_TOKEN", door.viewer)
    with pytest.raises(errors.AuthenticationError, match="role viewer may look"):
        manta.init()


def test_an_expired_token_is_refused_and_a_new_one_needs_no_restart(door, environment):
    file, old, new = door.folder / "tokens", new_token(), new_token()
    before = file.read_bytes()
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC).isoformat()
    write_private(str(file), before + f"submitter {old} {past}\nsubmitter {new}\n".encode())
    try:
        environment.setenv("MANTA_TOKEN", old)

        def expired() -> bool:
            try:
                manta.init()
            except errors.AuthenticationError as refused:
                return "has expired" in str(refused)
            return False

        wait_until(expired, what="the file to be read again")
        environment.setenv("MANTA_TOKEN", new)
        manta.init()
    finally:
        write_private(str(file), before)


def test_a_token_can_come_from_a_file(door, environment, tmp_path):
    environment.delenv("MANTA_TOKEN")
    write_private(str(tmp_path / "token"), door.submitter.encode())
    environment.setenv("MANTA_TOKEN_FILE", str(tmp_path / "token"))
    manta.init()


def test_another_clusters_authority_does_not_prove_this_gateway(environment, tmp_path):
    gateway.prepare(tmp_path, cluster="test")
    environment.setenv("MANTA_CA_FILE", str(tmp_path / "ca.pem"))
    with pytest.raises(errors.AuthenticationError, match="this very cluster's authority"):
        manta.init()


def test_without_an_authority_the_machines_are_asked_and_know_nothing_of_it(environment):
    environment.delenv("MANTA_CA_FILE")
    with pytest.raises(errors.AuthenticationError, match="set MANTA_CA_FILE"):
        manta.init()


@pytest.mark.parametrize(("content", "words"), [(None, "cannot be read"), (b"nothing", "holds no certificate")])
def test_a_file_of_authorities_that_is_none_is_named(environment, tmp_path, content, words):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    environment.setenv("MANTA_CA_FILE", str(path))
    with pytest.raises(errors.AuthenticationError, match=words):
        manta.init()


def test_nothing_listens(environment):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address = f"manta://127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(errors.ClusterNotFoundError, match="no gateway listens there"):
            manta.init(address)


def test_what_listens_is_no_gateway(environment):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            while True:
                try:
                    sock, _ = server.accept()
                except OSError:
                    return
                with sock, suppress(OSError):  # who came may have left
                    sock.recv(1000)
                    sock.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        with pytest.raises(errors.ClusterNotFoundError, match="no gateway"):
            manta.init(f"manta://127.0.0.1:{server.getsockname()[1]}")
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize("address", ["manta://", "manta://host:port", "manta://host:0", "manta://a/b", "manta://u@h:1"])
def test_an_address_that_is_none_is_refused(environment, address):
    with pytest.raises(errors.ClusterNotFoundError, match="manta://HOST"):
        manta.init(address)


def test_another_protocol_is_refused_by_name_of_both(environment):
    environment.setattr(remote, "PROTOCOL", 99)
    with pytest.raises(errors.VersionMismatchError, match=r"speaks version 99 .* version 1"):
        manta.init()


def test_another_python_is_refused_by_name_of_both(environment):
    from manta.api import driver

    environment.setattr(driver, "_python", lambda: "2.7.18")
    with pytest.raises(errors.VersionMismatchError, match=r"Python 2\.7\.18, the cluster Python 3\."):
        manta.init()


def test_what_describes_a_new_cluster_is_refused_for_one_that_exists(environment):
    with pytest.raises(ValueError, match="num_cpus"):
        manta.init(num_cpus=2)
