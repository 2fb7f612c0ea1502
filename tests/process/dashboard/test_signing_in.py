"""Browsers' sessions over HTTP: how one begins, what it is good for, and what every answer forbids."""

from __future__ import annotations

import http.client
import os
import re
import socket
import time
import urllib.parse
from dataclasses import dataclass

import pytest

from manta.transport import tickets
from manta.transport.auth import write_private

pytestmark = pytest.mark.shared_cluster


@dataclass
class Answer:
    """One answer."""

    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def cookie(self):
        """As a browser would send it back."""
        return (self.headers["Set-Cookie"] or "").partition(";")[0]


def ask(page, method, path, fields=None, **headers):
    """One request of a browser."""
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=30)
    sent = {"Accept": "text/html"} | {name.replace("_", "-"): value for name, value in headers.items()}
    body = None
    if fields is not None:
        body = fields if isinstance(fields, bytes) else urllib.parse.urlencode(fields).encode()
        sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
    try:
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read().decode())
    finally:
        connection.close()


def signed_in(page, role="viewer"):
    answer = ask(page, "POST", "/sign-in", {"token": page.tokens[role]}, Origin=page.address)
    assert answer.status == 303
    return answer.cookie


def test_a_token_gives_a_session_that_only_this_server_can_read(page):
    answer = ask(page, "POST", "/sign-in", {"token": f" {page.tokens['viewer']}\n", "next": "/jobs/a"})
    assert answer.status == 303
    assert answer.headers["Location"] == "/jobs/a"
    said = answer.headers["Set-Cookie"]
    assert re.match(r"manta-\d+=[0-9a-f]{64};", said)
    assert set(said.split("; ")[1:]) == {"HttpOnly", "Max-Age=43200", "Path=/", "SameSite=Strict"}
    assert page.tokens["viewer"] not in said
    assert "Nodes" in ask(page, "GET", "/", Cookie=answer.cookie).text


def test_a_wrong_token_is_told_to_people_and_gives_nothing(page):
    answer = ask(page, "POST", "/sign-in", {"token": "0" * 64})
    assert answer.status == 401
    assert "The token is not this cluster&#x27;s." in answer.text
    assert answer.headers["Set-Cookie"] is None


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 401),
        (b"token=", {}, 401),
        (b"token=%ff%00&next=//evil", {}, 401),
        (b"ticket=" + b"a" * 1000, {}, 401),
        (b"a=1&" * 100, {}, 400),
        (b"token=" + b"a" * 3000, {}, 413),
        (b"{}", {"Content_Type": "application/json"}, 415),
        (b"token=a", {"Content_Encoding": "gzip"}, 415),
        (b"token=a", {"Origin": "https://evil.example"}, 403),
        (b"token=a", {"Origin": "null"}, 403),
        (b"token=a", {"Sec_Fetch_Site": "cross-site"}, 403),
        (b"token=a", {"Host": "evil.example"}, 421),
    ],
)
def test_malformed_sign_ins_are_refused(page, body, headers, status):
    answer = ask(page, "POST", "/sign-in", body, **headers)
    assert answer.status == status
    assert answer.headers["Set-Cookie"] is None


def test_a_body_in_chunks_has_the_same_bound(page):
    with socket.create_connection(("127.0.0.1", page.port), 10) as stranger:
        head = "POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        stranger.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\nfff\r\n{'a' * 0xFFF}\r\n".encode())
        assert b" 413 " in stranger.recv(1 << 16).partition(b"\r\n")[0]


def test_a_session_reads_and_changes_nothing(page):
    cookie = signed_in(page, "admin")
    assert ask(page, "GET", "/api/jobs/", Cookie=cookie).status == 200
    for method, path in (("POST", "/api/jobs/"), ("POST", "/api/jobs/a/stop"), ("DELETE", "/api/jobs/a")):
        assert ask(page, method, path, b"{}", Cookie=cookie).status == 401
    assert ask(page, "PUT", "/api/packages/gcs/a.zip", b"x", Cookie=cookie).status == 401


def test_signing_out_ends_the_session_at_the_server(page):
    cookie = signed_in(page)
    assert ask(page, "POST", "/sign-out", b"", Cookie=cookie, Origin="https://evil.example").status == 403
    answer = ask(page, "POST", "/sign-out", b"", Cookie=cookie, Origin=page.address)
    assert answer.status == 303
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert ask(page, "GET", "/", Cookie=cookie).status == 401
    assert ask(page, "POST", "/sign-out", b"", Cookie=cookie).status == 401


def test_a_link_signs_in_once(page):
    ticket = tickets.make(page.tokens["viewer"], time.time(), os.urandom(16))
    shown = ask(page, "GET", f"/sign-in?ticket={ticket}")
    assert shown.status == 200
    assert shown.headers["Set-Cookie"] is None
    answer = ask(page, "POST", "/sign-in", {"ticket": ticket})
    assert answer.status == 303
    assert ask(page, "GET", "/", Cookie=answer.cookie).status == 200
    again = ask(page, "POST", "/sign-in", {"ticket": ticket})
    assert again.status == 401
    assert "used already" in again.text


def test_a_session_ends_with_its_token(page):
    """Who takes a token out of the file need not look for who has signed in with it."""
    path = page.folder / "tokens"
    before = path.read_bytes()
    token = "c" * 64
    write_private(str(path), before + f"viewer {token}\n".encode())
    deadline = time.monotonic() + 60
    while (answer := ask(page, "POST", "/sign-in", {"token": token})).status != 303:
        assert time.monotonic() < deadline
    write_private(str(path), before)
    while ask(page, "GET", "/", Cookie=answer.cookie).status != 401:
        assert time.monotonic() < deadline


def test_strangers_get_a_sign_in_page_or_json_and_nothing_else(page):
    for path in ("/", "/jobs/a", "/jobs/../../etc/passwd"):
        answer = ask(page, "GET", path)
        assert answer.status == 401
        assert page.session_dir.name not in answer.text
    assert 'name="next" value="/jobs/a"' in ask(page, "GET", "/jobs/a").text
    assert ask(page, "GET", "/jobs/a/log?from=0").headers.get_content_type() == "application/json"
    assert ask(page, "GET", "/", Accept="*/*").headers.get_content_type() == "application/json"
    assert ask(page, "GET", "/", Cookie="manta-1=x").status == 401
    assert "session is over" in ask(page, "GET", "/", Cookie=f"manta-{page.port}=x").text


def test_who_comes_by_another_sites_link_sees_a_link_only(page):
    cookie = signed_in(page)
    answer = ask(page, "GET", "/jobs/a", Cookie=cookie, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")
    assert answer.status == 403
    assert 'href="/jobs/a"' in answer.text
    assert page.session_dir.name not in answer.text


@pytest.mark.parametrize("path", ["/", "/?part=main", "/sign-in", "/jobs/none", "/nothing", "/healthz", "/api/version"])
@pytest.mark.parametrize("known", [True, False])
def test_every_answer_forbids_what_it_does_not_need(page, path, known):
    answer = ask(page, "GET", path, **({"Cookie": signed_in(page)} if known else {}))
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in policy
    assert "base-uri 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] in ("no-referrer", "same-origin")
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["Server"] is None
    # No program of somebody else's, no picture, no font; and none of ours but by its hash.
    assert not re.findall(r'(?:src|href)="(?!/|data:,")', answer.text)


def test_pages_of_what_is_not_there_say_so(page):
    cookie = signed_in(page)
    assert ask(page, "GET", "/jobs/none", Cookie=cookie).status == 404
    assert ask(page, "GET", "/jobs/-a", Cookie=cookie).status == 400
    for where in ("", "-1", "x", "9" * 30, "%d9%a1"):
        assert ask(page, "GET", f"/jobs/none/log?from={where}", Cookie=cookie).status == 400
    assert ask(page, "GET", "/jobs/none/log?from=0", Cookie=cookie).status == 404
