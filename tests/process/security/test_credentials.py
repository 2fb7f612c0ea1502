"""No door answers without the credential it wants: every gRPC method and every route, with every credential that is not enough.

The rows come from the descriptors and from the table of routes; a new service, method, route or listener without one fails.
"""

from __future__ import annotations

import datetime
import http.client
import stat
from typing import Any

import grpc
import psutil
import pytest

from manta.transport import auth
from manta.transport.addresses import parse_door
from manta.transport.credentials import make
from manta.transport.tls import TlsFiles
from manta.transport.tokens import TokenRole
from tests.support.heads import SERVERS
from tests.support.surface import ENDLESS, filled, grpc_methods, http_routes
from tests.support.waiting import wait_until

pytestmark = pytest.mark.shared_cluster

METHODS, ROUTES = grpc_methods(), http_routes()

#: Which services there are, and how they are reached.
CONTROL, GATEWAY, RAYLET = "ControlService", "GatewayService", "RayletService"

#: Whom a method of a service lets in on TCP, of those who can show something.
ENOUGH = {CONTROL: {"join token"}, GATEWAY: {"submitter", "admin"}}


#: Routes that anybody may ask; all others take a token or a session.
OPEN = {("GET", "/sign-in"), ("POST", "/sign-in"), ("POST", "/sign-out")}


def service_of(path: str) -> str:
    return path.split("/")[1].rpartition(".")[2]


@pytest.fixture(scope="module")
def expired(head):
    """A submitter's token that was valid until 2020."""
    token, file = auth.new_token(), head.credentials / "tokens"
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC).isoformat()
    auth.write_private(str(file), file.read_bytes() + f"submitter {token} {past}\n".encode())
    wait_until(
        lambda: b"has expired" in head.ask("GET", "/api/version", token=token)[1], what="the file to be read again"
    )
    return token


@pytest.fixture(scope="module")
def shown(head, expired):
    """Every kind of credential that somebody might try, by its name."""
    return {
        "nothing": "", "a wrong token": auth.new_token(), "half a token": head.token("admin")[:32],
        "an expired token": expired, "join token": head.join_token,
        **{role: head.token(role) for role in ("viewer", "submitter", "admin")},
    }  # fmt: skip


def status_of(channel: grpc.Channel, path: str, token: str) -> grpc.StatusCode:
    """How a call with an empty request ends."""
    options: Any = {"metadata": auth.metadata(token), "timeout": 10}
    stream: Any = channel.stream_stream(path)
    unary: Any = channel.unary_unary(path)
    try:
        if METHODS[path].server_streaming:
            for _ in stream(iter([b""]), **options):
                pass
        else:
            unary(b"", **options)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_every_service_is_one_of_those_that_are_tested_here():
    assert {service_of(path) for path in METHODS} == {CONTROL, GATEWAY, RAYLET}


@pytest.mark.parametrize("path", sorted(path for path in METHODS if service_of(path) in ENOUGH))
def test_a_method_lets_nobody_in_whose_credential_is_not_enough(head, shown, path):
    service = service_of(path)
    with head.control_channel() if service == CONTROL else head.gateway_channel() as channel:
        answers = {name: status_of(channel, path, token) for name, token in shown.items()}
    refused = {name for name, code in answers.items() if code is grpc.StatusCode.UNAUTHENTICATED}
    assert refused == set(shown) - ENOUGH[service]


def test_control_speaks_to_nobody_without_a_certificate_of_this_cluster(head, tmp_path):
    """However good the token is."""
    make(str(tmp_path), "another")
    mine = head.files()
    strangers = {
        "none": head.control_channel(shown=False),
        "another cluster's": head.control_channel(
            TlsFiles(mine.authority, str(tmp_path / "worker.crt"), str(tmp_path / "worker.key"), mine.cluster)
        ),
    }
    for what, channel in strangers.items():
        with channel:
            for path in sorted(path for path in METHODS if service_of(path) == CONTROL)[:3]:
                assert status_of(channel, path, head.join_token) is grpc.StatusCode.UNAVAILABLE, what


def test_a_users_certificate_of_another_authority_is_not_asked_for_at_the_gateway_but_its_own_is_checked(
    head, tmp_path
):
    make(str(tmp_path), "another")
    with head.gateway_channel((tmp_path / "ca.crt").read_bytes()) as channel:
        (path,) = (path for path in METHODS if service_of(path) == GATEWAY)
        assert status_of(channel, path, head.token("admin")) is grpc.StatusCode.UNAVAILABLE


def test_the_raylets_own_service_is_for_its_user_alone(head):
    """It has no port; the folder of its socket is the credential."""
    assert stat.S_IMODE(head.session_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE(head.session_dir.parent.stat().st_mode) == 0o700
    assert head.session_dir.stat().st_uid == psutil.Process().uids().real


def test_routes_that_take_no_credential_are_those_of_signing_in():
    """Whoever opens another says here what it gives to strangers."""
    assert {key for key, route in ROUTES.items() if route.role is None} == OPEN


@pytest.mark.parametrize(("method", "path"), sorted(set(ROUTES) - OPEN), ids=lambda part: part)
def test_a_route_lets_nobody_in_whose_credential_is_not_enough(head, shown, method, path):
    role = ROUTES[method, path].role
    assert role is not None
    for name, token in shown.items():
        status, body = head.ask(method, filled(path), token=token or None, endless=path in ENDLESS)
        if name not in ("viewer", "submitter", "admin"):
            assert status == 401, name
        elif TokenRole[name.upper()] < role:
            assert status == 403, name
            assert b"FORBIDDEN" in body
        else:
            assert status not in (401, 403), name


def test_a_token_in_another_place_or_form_is_none(head):
    token = head.token("admin")
    tries = [
        {"Authorization": token}, {"Authorization": f"Basic {token}"}, {"Authorization": f"Bearer {token} {token}"},
        {"Authorization": f"Bearer {token.upper()}"}, {"X-Auth-Token": token}, {"Cookie": f"token={token}"},
        {"Proxy-Authorization": f"Bearer {token}"},
    ]  # fmt: skip
    for headers in tries:
        assert head.ask("GET", "/api/jobs/", headers=headers)[0] == 401, headers
    assert head.ask("GET", f"/api/jobs/?token={token}&access_token={token}")[0] == 401


def test_every_listener_of_a_head_is_one_of_the_doors(head):
    """Whoever opens another port says here what it asks of strangers."""
    known = {head.port_of(name) for name in ("control", "door", "gateway", "dashboard")}
    known |= {parse_door(address.rpartition("/")[2])[1] for address in head.metrics.values()}
    found = {}
    for module in SERVERS:
        process = psutil.Process(head.pid(module))
        for one in (process, *process.children(recursive=True)):
            for connection in one.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    found[connection.laddr.port] = one.cmdline()
    assert set(found) == known, found


def test_a_metrics_port_tells_strangers_no_more_than_that_it_lives(head, shown):
    assert set(head.metrics) == {"control", "raylet", "gateway", "dashboard"}
    for process, address in head.metrics.items():
        for path, name, status in (
            ("/healthz", "nothing", 200), ("/readyz", "nothing", 200), ("/metrics", "viewer", 200), ("/metrics", "nothing", 401),
            ("/metrics", "a wrong token", 401), ("/metrics", "an expired token", 401),
        ):  # fmt: skip
            connection = http.client.HTTPConnection("127.0.0.1", parse_door(address.rpartition("/")[2])[1], timeout=20)
            connection.request("GET", path, headers={"Authorization": f"Bearer {shown[name]}"} if shown[name] else {})
            assert connection.getresponse().status == status, (process, path, name)
            connection.close()


def test_a_browsers_session_changes_nothing_whatever_its_role(head):
    """So a page that gets a browser to send something (CSRF) gets nothing, were it from this very site."""
    connection = head.http()
    body = f"token={head.token('admin')}"
    connection.request("POST", "/sign-in", body, {"Content-Type": "application/x-www-form-urlencoded"})
    answer = connection.getresponse()
    answer.read()
    cookie = str(answer.headers["Set-Cookie"])
    assert answer.status == 303
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict", "Secure"))
    connection.close()
    shown = {"Cookie": cookie.partition(";")[0]}
    assert head.ask("GET", "/api/jobs/", headers=shown)[0] == 200
    for method, path in sorted(set(ROUTES) - OPEN):
        if method != "GET":
            assert head.ask(method, filled(path), headers=shown)[0] == 401, (method, path)
    assert head.ask("GET", "/api/jobs/", headers={"Cookie": shown["Cookie"][:-3] + "abc"})[0] == 401
