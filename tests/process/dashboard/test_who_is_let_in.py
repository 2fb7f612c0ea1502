"""The HTTP server as a process: tokens, other sites' pages, limits, and strangers that say nothing."""

from __future__ import annotations

import contextlib
import socket

import pytest

from tests.support.waiting import wait_until

pytestmark = pytest.mark.shared_cluster


def test_health_takes_no_token_and_everything_else_does(page):
    assert (200, b"ok\n") == page.ask("GET", "/healthz", role=None)
    assert (200, b"ok\n") == page.ask("GET", "/readyz", role=None)
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        for path in ("/", "/api/version", "/api/jobs/", "/nothing", "/healthz/../api/version", "//healthz"):
            assert 401 == page.ask(method, path, role=None)[0], (method, path)
            assert 401 == page.ask(method, path, role="0" * 64)[0], (method, path)


def test_the_version_is_one_that_rays_clients_accept(page):
    status, about = page.ask("GET", "/api/version")
    assert status == 200
    assert about["version"] == "4"
    assert about["ray_version"] == "2.60.0"
    assert about["session_name"] == page.session_dir.name


def test_unknown_paths_and_methods_are_told_to_those_let_in(page):
    assert 404 == page.ask("GET", "/nothing")[0]
    assert 405 == page.ask("POST", "/api/version")[0]


def test_requests_of_other_sites_pages_are_not_answered(page):
    assert 421 == page.ask("GET", "/api/version", Host="evil.example")[0]
    assert 403 == page.ask("GET", "/api/version", Origin="https://evil.example")[0]
    assert 403 == page.ask("GET", "/api/version", Sec_Fetch_Site="cross-site")[0]


def test_a_large_body_is_refused_before_the_token(page):
    assert 413 == page.ask("POST", "/api/version", bytes(2 << 20), role=None)[0]


@pytest.mark.parametrize(
    "hostile",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 1000 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
    ],
)
def test_hostile_bytes_end_their_connection_only(page, hostile):
    with socket.create_connection(("127.0.0.1", page.port), 10) as stranger:
        said = b""
        with contextlib.suppress(OSError):  # it may hang up before it has read all of them
            stranger.sendall(hostile)
            stranger.shutdown(socket.SHUT_WR)
            said = stranger.recv(1 << 16)
        assert b" 200 " not in said.partition(b"\r\n")[0]
    assert 200 == page.ask("GET", "/healthz", role=None)[0]


def test_strangers_that_say_nothing_keep_nobody_out_and_do_not_stay(page):
    """More of them than may be connected at once."""
    strangers = [socket.create_connection(("127.0.0.1", page.port), 10) for _ in range(20)]
    try:
        assert 200 == page.ask("GET", "/api/version")[0]

        def gone(stranger):
            stranger.setblocking(False)
            try:
                return stranger.recv(1) == b""
            except BlockingIOError:
                return False
            except ConnectionResetError:
                return True

        wait_until(lambda: all(gone(stranger) for stranger in strangers))
    finally:
        for stranger in strangers:
            stranger.close()
