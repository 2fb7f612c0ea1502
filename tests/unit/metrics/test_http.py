"""Who is answered what on a health and metrics port."""

import pytest

from manta.metrics.http import Door

TOKEN = "ab" * 32


def _ask(head: str, *, ready: str = "", tokens=(TOKEN,), private: bool = False, hosts=(), remark=""):
    door = Door(lambda: b"numbers", "text/plain", lambda: ready, tokens, private, hosts, remark=lambda: remark)
    response, _ = door.answer(head.encode("latin-1"))
    return response.status, response.body


def _get(path: str, *headers: str, host: str = "10.0.0.7:8090") -> str:
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *headers])


def test_health_is_told_without_a_credential():
    assert (200, b"ok\n") == _ask(_get("/healthz"))
    assert (200, b"ok\n") == _ask(_get("/readyz"))
    assert (503, b"not registered\n") == _ask(_get("/readyz"), ready="not registered")
    assert (200, b"ok, but its disk is full\n") == _ask(_get("/readyz"), remark="its disk is full")


@pytest.mark.parametrize(
    "headers",
    [(), ("Authorization: Bearer",), (f"Authorization: Basic {TOKEN}",), (f"Authorization: Bearer {TOKEN[:-1]}",)],
)
def test_metrics_want_a_token(headers):
    status, body = _ask(_get("/metrics", *headers))

    assert 401 == status
    assert b"numbers" not in body


def test_metrics_are_told_to_who_has_the_token():
    assert (200, b"numbers") == _ask(_get("/metrics", f"Authorization: Bearer {TOKEN}"))
    assert (200, b"numbers") == _ask(_get("/metrics?a=b", f"authorization: bearer {TOKEN}"))


def test_a_port_without_tokens_tells_nobody():
    """The empty token is nobody's."""
    assert 401 == _ask(_get("/metrics", "Authorization: Bearer "), tokens=())[0]


def test_a_private_socket_needs_no_token_and_no_name():
    assert (200, b"numbers") == _ask("GET /metrics HTTP/1.0", private=True)


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "10.0.0.7.nip.io:8090"])
def test_a_name_that_is_not_ours_is_refused(host):
    """A page whose name was rebound to our address asks with its own name."""
    assert 421 == _ask(_get("/metrics", f"Authorization: Bearer {TOKEN}", host=host))[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]:8090", "localhost:8090", "head.svc", "HEAD.svc:8090"])
def test_addresses_and_known_names_are_fine(host):
    assert 200 == _ask(_get("/healthz", host=host), hosts=("head.svc",))[0]


@pytest.mark.parametrize("header", ["Sec-Fetch-Site: cross-site", "Origin: https://evil.example"])
def test_other_sites_pages_are_refused(header):
    assert 403 == _ask(_get("/metrics", header, f"Authorization: Bearer {TOKEN}"))[0]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("POST /metrics HTTP/1.1\r\nHost: 127.0.0.1", 405),
        ("GET /nothing HTTP/1.1\r\nHost: 127.0.0.1", 404),
        ("GET http://127.0.0.1/metrics HTTP/1.1", 400),
        ("GET /metrics", 400),
        ("GET /metrics HTTP/2", 400),
        ("", 400),
        ("\xff", 400),
        ("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil", 400),
        ("GET /healthz HTTP/1.1\r\nHost : 127.0.0.1", 400),
        ("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5", 400),
        ("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked", 400),
        ("GET /healthz HTTP/1.1\r\n" + "\r\n".join(f"a{number}: b" for number in range(65)), 400),
    ],
)
def test_what_is_no_request_of_ours_gets_an_answer_too(head, status):
    assert status == _ask(head)[0]


def test_where_nobody_is_asked_for_a_token_other_sites_are_refused_all_the_same():
    door = Door(lambda: b"numbers", "text/plain", str, open_to_all=True)
    for head, status in (
        (_get("/metrics"), 200),
        (_get("/metrics", "Authorization: Bearer nonsense"), 200),
        (_get("/metrics", host="evil.example"), 421),
        (_get("/metrics", "Origin: http://evil.example"), 403),
    ):
        assert door.answer(head.encode())[0].status == status


def test_tokens_may_change_while_the_port_is_open():
    valid = [TOKEN]
    door = Door(lambda: b"numbers", "text/plain", str, lambda: valid)
    head = _get("/metrics", f"Authorization: Bearer {TOKEN}").encode()
    assert door.answer(head)[0].status == 200
    valid[:] = ["cd" * 32]
    assert door.answer(head)[0].status == 401
