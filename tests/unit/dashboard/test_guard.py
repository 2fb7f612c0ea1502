"""Who is answered by the HTTP server, decided by a request's head."""

from __future__ import annotations

import pytest

from manta.core.errors import AuthenticationError
from manta.dashboard.guard import Guard, Head
from manta.dashboard.routes import Routes
from manta.transport.tokens import Everybody, TokenRole


def role_of(shown):
    if shown not in ("viewer", "submitter", "admin"):
        raise AuthenticationError("the token is not this cluster's")
    return TokenRole[shown.upper()]


guard = Guard(role_of, "https", {"head.example"}, {"open": "viewer", "revoked": "gone"}.get)


def head(**fields):
    return Head(**{"method": "GET", "path": "/api/jobs/", "host": "10.0.0.1:8265", **fields})


@pytest.mark.parametrize("host", ["10.0.0.1:8265", "[::1]:8265", "localhost", "head.example:8265", "HEAD.example"])
def test_addresses_and_known_names_are_answered(host):
    assert guard.stranger(head(host=host)) is None


@pytest.mark.parametrize("host", ["", "evil.example", "10.0.0.1.evil.example", "localhost.evil.example", "[::1", "a b"])
def test_a_name_that_was_rebound_to_our_address_is_not_answered(host):
    """CVE-2025-62593: a page that has our address under its own name."""
    refusal = guard.stranger(head(host=host))
    if host == "[::1":  # an address without its bracket is no name of anybody else
        assert refusal is None
        return
    assert refusal.status == 421


@pytest.mark.parametrize(
    "fields",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://10.0.0.1:8265"},
        {"origin": "https://10.0.0.1:8266"},
        {"fetch_site": "cross-site"},
        {"fetch_site": "same-site"},
        {"fetch_site": "nonsense"},
    ],
)
def test_other_sites_pages_are_not_answered(fields):
    assert guard.stranger(head(**fields)).status == 403


def test_a_page_of_this_server_is_answered():
    assert guard.stranger(head(origin="https://10.0.0.1:8265", fetch_site="same-origin")) is None


@pytest.mark.parametrize("shown", ["", "Bearer", "Bearer ", "Basic admin", "admin", "Bearer wrong", "Bearer ä"])
def test_nobody_is_let_in_without_a_token(shown):
    """CVE-2023-48022: jobs without authentication."""
    assert guard.credential(head(authorization=shown), TokenRole.VIEWER).status == 401


def test_a_role_includes_those_before_it_and_no_other():
    for role in TokenRole:
        for needed in TokenRole:
            refusal = guard.credential(head(authorization=f"Bearer {role.name.lower()}"), needed)
            assert (refusal is None) == (role >= needed)
            assert refusal is None or refusal.status == 403


def test_a_body_too_large_is_refused_by_its_head():
    assert guard.body(head(content_length=11), 10).status == 413
    assert guard.body(head(content_length=10), 10) is None


def test_a_compressed_body_is_not_unpacked():
    assert guard.body(head(content_encoding="gzip"), 10).status == 415


def test_two_handlers_for_one_route_are_a_mistake():
    routes = Routes()
    routes.get("/x", role_of)
    with pytest.raises(ValueError, match="GET /x has two handlers"):
        routes.get("/x", role_of)


def test_a_session_reads_and_changes_nothing():
    """A forged request carries the cookie, and cannot carry a token."""
    assert guard.credential(head(session="open"), TokenRole.VIEWER) is None
    assert guard.credential(head(session="open", method="HEAD"), TokenRole.VIEWER) is None
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "get", "CONNECT", "TRACE", ""):
        assert guard.credential(head(session="open", method=method), TokenRole.VIEWER).status == 401


def test_a_session_is_worth_what_its_token_is_now():
    assert guard.credential(head(session="open"), TokenRole.SUBMITTER).status == 403
    assert guard.credential(head(session="revoked"), TokenRole.VIEWER).status == 401
    assert guard.credential(head(session="over"), TokenRole.VIEWER).message == "the session is over; sign in again"


def test_a_token_goes_before_a_session():
    assert guard.credential(head(session="open", authorization="Bearer wrong"), TokenRole.VIEWER).status == 401
    assert guard.credential(head(session="over", method="POST", authorization="Bearer admin"), TokenRole.ADMIN) is None


def test_where_nobody_is_asked_for_a_token_other_sites_are_refused_all_the_same():
    """A page in somebody's browser must not run jobs there either."""
    free = Guard(role_of, "http", open_to_all=True)
    for shown in ("", "Bearer nonsense"):
        assert free.credential(head(method="POST", authorization=shown), TokenRole.SUBMITTER) is None
    assert free.stranger(head(host="evil.example")).status == 421
    assert free.stranger(head(fetch_site="cross-site")).status == 403
    assert free.stranger(head(origin="http://evil.example")).status == 403


def test_where_nobody_is_asked_for_a_token_an_administrator_is():
    """Who gets there may run things, and no more: draining the nodes under everybody else's work takes an admin's token."""
    free = Guard(role_of, "http", token_of={"open": "admin"}.get, open_to_all=True)

    def refusal(**fields):
        return free.credential(head(method="POST", **fields), TokenRole.ADMIN)

    assert refusal(authorization="Bearer admin") is None
    assert refusal().status == 401
    assert "admin's token" in refusal().message
    assert refusal(authorization="Bearer nonsense").status == 401
    assert (refusal(authorization="Bearer submitter").status, refusal(session="open").status) == (403, 401)


def test_without_a_file_of_tokens_nobody_is_an_administrator():
    free = Guard(Everybody().role_of, "http", open_to_all=True)
    refusal = free.credential(head(method="POST", authorization="Bearer admin"), TokenRole.ADMIN)
    assert (refusal.status, refusal.code) == (403, "FORBIDDEN")
    assert refusal.message == "a token of the role submitter may not do this; it takes admin or above"
