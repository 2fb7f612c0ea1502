"""Whatever comes in at a door, by whomever, gets a typed refusal or loses its connection; the process lives on and keeps nothing.

The rows come from the descriptors and the table of routes.
"""

from __future__ import annotations

import functools
import json
import random
import socket
import ssl
from contextlib import suppress
from typing import Any

import grpc
import pytest

from manta.transport import auth
from tests.support.heads import SERVERS, Picture
from tests.support.surface import ENDLESS, filled, grpc_methods, http_routes
from tests.support.waiting import wait_until

pytestmark = pytest.mark.shared_cluster

METHODS, ROUTES = grpc_methods(), http_routes()

#: What a hostile request may be answered with: a type, and what the caller does next. INTERNAL and UNKNOWN say neither.
TYPED = set(grpc.StatusCode) - {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNIMPLEMENTED}


@pytest.fixture(scope="module", autouse=True)
def lives_and_keeps_nothing(head):
    """Around all tests of this module."""
    assert head.ask("GET", "/api/jobs/", token="viewer")[0] == 200
    before = {module: (pid := head.pid(module), Picture.of(pid)) for module in SERVERS}
    yield
    assert head.ask("GET", "/api/jobs/", token="viewer")[0] == 200
    for module, (pid, picture) in before.items():
        assert head.pid(module) == pid, f"{module} was started again"
        picture.came_back(pid)
    for log in (head.session_dir / "logs").glob("*.log"):
        assert "Traceback" not in (text := log.read_text(errors="replace")), f"{log.name}: {text[-3000:]}"


def hostile_messages() -> list[bytes]:
    """Bytes that are no message, or one of no use."""
    chance = random.Random(11)
    nested = b""
    for _ in range(2000):
        nested = b"\x0a" + varint(len(nested)) + nested
    return [
        b"",
        b"\xff" * 100,
        b"\x0a\xff\xff\xff\xff\x0f",  # a field that is longer than everything
        b"\x0a\x05abc",  # cut off
        nested,
        b"\x08" + b"\x80" * 20,  # a number without an end
        b"\x0b" * 1000,  # groups that are never closed
        b"\xfa\xff\xff\xff\x0f\x03abc",  # a field that there is not
        b"\x0a" + varint(1 << 20) + bytes(1 << 20),
        *(bytes(chance.randrange(256) for _ in range(chance.randrange(1, 200))) for _ in range(20)),
    ]


def varint(number: int) -> bytes:
    data = b""
    while number > 0x7F:
        data, number = data + bytes([number & 0x7F | 0x80]), number >> 7
    return data + bytes([number])


MESSAGES = hostile_messages()


def answers(channel: grpc.Channel, path: str, token: str) -> list[grpc.RpcError | None]:
    """How calls with hostile messages end, all at once; None for well."""
    options: Any = {"metadata": auth.metadata(token), "timeout": 3}
    stream: Any = channel.stream_stream(path)
    unary: Any = channel.unary_unary(path)
    if METHODS[path].server_streaming:
        calls = [stream(iter([data]), **options) for data in MESSAGES]
    else:
        calls = [unary.future(data, **options) for data in MESSAGES]
    ends: list[grpc.RpcError | None] = []
    for call in calls:
        try:
            if METHODS[path].server_streaming:
                for _ in call:
                    pass
            else:
                call.result()
            ends.append(None)
        except grpc.RpcError as error:
            ends.append(error)
    return ends


def who_speaks(head, path: str) -> tuple[grpc.Channel, str]:
    """A channel to where the method is, and a token that is enough."""
    if "ControlService" in path:
        return head.control_channel(), head.join_token
    if "GatewayService" in path:
        return head.gateway_channel(), head.token("submitter")
    (socket_path,) = head.session_dir.glob("*grpc*.sock")
    return grpc.insecure_channel(f"unix:{socket_path}"), ""


@pytest.mark.parametrize("path", sorted(METHODS))
def test_a_method_refuses_hostile_messages_by_type(head, path):
    channel, token = who_speaks(head, path)
    with channel:
        for data, error in zip(MESSAGES, answers(channel, path, token), strict=True):
            if error is not None:
                assert error.code() in TYPED, (data[:40], error)


@pytest.mark.parametrize("path", [path for path in METHODS if path.endswith(("/KvPut", "/Attach", "/Connect"))])
def test_a_method_takes_no_endless_metadata(head, path):
    channel, token = who_speaks(head, path)
    metadata = (*auth.metadata(token), ("x-long", "a" * 200_000))
    with channel, pytest.raises(grpc.RpcError) as refused:
        if METHODS[path].server_streaming:
            list(channel.stream_stream(path)(iter([b""]), metadata=metadata, timeout=5))
        else:
            channel.unary_unary(path)(b"", metadata=metadata, timeout=5)
    assert refused.value.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)


# ---- HTTP


@functools.cache
def trusting(head) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(head.credentials / "ca.crt"))


def speak(head, data: bytes, *, end: bool = True) -> bytes:
    """Send bytes to the HTTP server inside TLS; everything it answers until it closes or says no more for a moment."""
    context = trusting(head)
    said = b""
    with (
        socket.create_connection(("127.0.0.1", head.port_of("dashboard")), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as sock,
    ):
        with suppress(OSError):
            sock.sendall(data)
        sock.settimeout(10 if end else 0.1)
        with suppress(TimeoutError, OSError):
            while more := sock.recv(1 << 16):
                said += more
    return said


def request(head, method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """A request that a viewer, submitter and admin may make, as bytes; the connection ends with it."""
    lines = [
        f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {head.token('admin')}", "Connection: close",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]  # fmt: skip
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def first_status(said: bytes) -> int:
    """Of the first answer; 0 for none."""
    words = said.split(b" ", 2)
    return int(words[1]) if len(words) > 2 and words[0].startswith(b"HTTP/1.") else 0


BODIES = [
    b"", b"\x00", b"\xff" * 1000, b"null", b"true", b"1e999", b"-Infinity", b"NaN", b'"text"', b"[]", b"[{}]", b"{}",
    b"[" * 200_000, b'{"a":' * 50_000, b'{"entrypoint": ' + b"9" * 10_000 + b"}", b'{"entrypoint": "\\ud800"}',
    b'{"entrypoint": {"a": 1}}', b'{"entrypoint": "x", "runtime_env": 5}', b'{"entrypoint": "x", "metadata": [1]}',
    b'{"entrypoint": "x", "runtime_env": {"env_vars": {"A": {}}}}', b'{"entrypoint": "x", "submission_id": ["y"]}',
    b'{"entrypoint": "x", "runtime_env": {"py_modules": "gcs://a.zip"}}', '{"entrypoint": "ä"}'.encode("utf-16"),
    b'{"entrypoint": "x", "runtime_env": {"working_dir": ["gcs://a.zip"]}}', b"--x\r\nContent-Disposition: form-data\r\n\r\n",
]  # fmt: skip
TYPES = [
    "application/json",
    "text/plain",
    "multipart/form-data",
    "application/x-www-form-urlencoded; charset=\xff",
    "\x01",
    "",
]


@pytest.mark.parametrize(("method", "path"), sorted(ROUTES), ids=lambda part: part)
def test_a_route_refuses_hostile_bodies_by_type(head, method, path):
    chance = random.Random(5)
    for number, body in enumerate(BODIES):
        kind = TYPES[number % len(TYPES)]
        said = speak(
            head,
            request(
                head,
                method,
                filled(path, f"j{chance.random()}.zip"),
                body,
                Content_Length=str(len(body)),
                Content_Type=kind,
            ),
            end=path not in ENDLESS,
        )
        status_code = first_status(said)
        assert status_code < 500, (body[:50], said[-300:])
        if 400 <= status_code and b"application/json" in said:
            assert json.loads(said.rpartition(b"\r\n\r\n")[2])["code"]


PLACES = [
    "..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%00", "a%00.zip", "%ff%fe", "a" * 5000, "%0d%0aX:1", "<script>", "a;b", "-rf",
    "%2e", "*", "{}", "${HOME}", "%u2215", "\x7f", "..\\..\\windows", "a%2fb", "%252e%252e%252f",
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), sorted(key for key in ROUTES if "{" in key[1]), ids=lambda part: part)
def test_a_place_in_a_path_takes_names_only(head, method, path):
    for place in PLACES:
        said = speak(head, request(head, method, filled(path, place), Content_Length="0"))
        assert 400 <= first_status(said) < 500, (place, said[:300])
        assert b"root:" not in said


def lies(head, method: str, path: str) -> dict[str, bytes]:
    """Requests that say one thing about themselves and are another."""
    with_token = request(head, method, path)[:-2]
    smuggled = request(head, "GET", "/api/jobs/")
    return {
        "two lengths": with_token + b"Content-Length: 3\r\nContent-Length: 7\r\n\r\nabc",
        "a negative length": with_token + b"Content-Length: -1\r\n\r\n",
        "a length that is no number": with_token + b"Content-Length: 0x10\r\n\r\n" + bytes(16),
        "length and chunks": with_token + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
        "an unknown transfer": with_token + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "chunked twice": with_token + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "a chunk of no size": with_token + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        "a chunk of endless size": with_token + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc",
        "a chunk of negative size": with_token + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n",
        "a chunk longer than it says": with_token + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabcdef\r\n0\r\n\r\n",
        "a chunk with a long tail": with_token + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"a" * 50_000 + b"\r\na\r\n0\r\n\r\n",
        "a packed body": with_token + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00",
        "a body too large": with_token + b"Content-Length: 99999999999999999999\r\n\r\n",
        "a folded header": with_token + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        "a header without a name": with_token + b": a\r\n\r\n",
        "a space in a name": with_token + b"X y: a\r\n\r\n",
        "a NUL": with_token + b"X: a\0b\r\n\r\n",
        "a bare line feed": with_token.replace(b"\r\n", b"\n") + b"\n",
        "headers without an end": with_token + b"X: a\r\n" * 2000 + b"\r\n",
        "a header without an end": with_token + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
        "two hosts": with_token + b"Host: evil.example\r\n\r\n",
        "no version": f"{method} {path}\r\n\r\n".encode(),
        "another version": with_token.replace(b"HTTP/1.1", b"HTTP/9.9") + b"\r\n",
        "a whole address": with_token.replace(path.encode(), b"http://evil.example/" + path.encode(), 1) + b"\r\n",
        "a method that is none": with_token.replace(method.encode(), b"\x01" + method.encode(), 1) + b"\r\n",
    }  # fmt: skip


@pytest.mark.parametrize(("method", "path"), sorted(ROUTES), ids=lambda part: part)
def test_a_request_that_lies_about_itself_is_refused_or_answered_once(head, method, path):
    for what, data in lies(head, method, filled(path)).items():
        said = speak(head, data, end=False)
        assert first_status(said) < 500, (what, said[:300])
        assert said.count(b"HTTP/1.1 200") <= 1, f"{what}: what was smuggled behind it was answered"
    # And cut off in the middle, wherever that is.
    whole = request(head, method, filled(path), b'{"entrypoint": "true"}', Content_Length="22")
    for at in range(1, len(whole) - 1, 61):
        with suppress(OSError):
            assert b" 200 " not in speak(head, whole[:at], end=False)[:15] or method == "GET"


# ---- what is no protocol of ours at all


GARBAGE = [
    b"\x00" * 1000, b"\xff" * 1000, b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", b"\x16\x03\x01\xff\xff" + bytes(70_000),
    b"\x16\x03\x01\x00\x05\x01\x00\xff\xff\xff", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 1000, b"MNTA" + b"\xff" * 100,
    random.Random(3).randbytes(100_000),
]  # fmt: skip


@pytest.mark.parametrize("door", ["control", "door", "gateway", "dashboard"])
def test_garbage_in_the_clear_ends_its_connection(head, door):
    for data in GARBAGE:
        with socket.create_connection(("127.0.0.1", head.port_of(door)), timeout=15) as sock:
            with suppress(OSError):
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                while sock.recv(1 << 16):
                    pass


@pytest.mark.parametrize("door", ["gateway", "dashboard"])
@pytest.mark.parametrize("data", [
    b"\xff" * 70_000, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 70_000,
    # Settings without an end, and headers that go on and on (the "CONTINUATION flood").
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" * 20_000,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04\x00" + bytes(4) + b"\x00\x00\x01\x01\x00\x00\x00\x00\x01\x82"
    + (b"\x00\x40\x00\x09\x00\x00\x00\x00\x01" + b"\x00" * 0x4000) * 300,
    # Streams that are begun and reset at once ("rapid reset", CVE-2023-44487).
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04\x00" + bytes(4) + b"".join(
        b"\x00\x00\x01\x01\x05" + n.to_bytes(4, "big") + b"\x82" + b"\x00\x00\x04\x03\x00" + n.to_bytes(4, "big") + bytes(4)
        for n in range(1, 10_000, 2)
    ),
], ids=["noise", "noise in frames", "settings", "continuation", "rapid reset"])  # fmt: skip
def test_garbage_inside_tls_ends_its_connection(head, door, data):
    before = Picture.of(pid := head.pid(f"manta.{door}"))
    context = ssl.create_default_context(cafile=str(head.credentials / "ca.crt"))
    context.check_hostname = False
    context.set_alpn_protocols(["h2"] if door == "gateway" else [])
    with (
        socket.create_connection(("127.0.0.1", head.port_of(door)), timeout=20) as plain,
        context.wrap_socket(plain) as sock,
    ):
        sock.settimeout(2)
        with suppress(OSError):
            sock.sendall(data)
        with suppress(OSError):
            while sock.recv(1 << 16):
                pass
    before.came_back(pid)


def test_a_job_with_a_hostile_name_or_command_leaves_nothing_outside_its_folders(head, tmp_path):
    """Entrypoints are shell commands; everything else about a job is data."""
    marker = tmp_path / "pwned"
    evil = f"$(touch {marker}) `touch {marker}`; touch {marker} | touch {marker} && '\n\"--id=x"
    body = {
        "entrypoint": "true", "metadata": {evil: evil},
        "runtime_env": {"env_vars": {"EVIL": evil}},
    }  # fmt: skip
    code, said = head.ask("POST", "/api/jobs/", body, token="submitter")
    assert code == 200, said
    job_id = json.loads(said)["submission_id"]

    def over() -> bool:
        return bool(json.loads(head.ask("GET", f"/api/jobs/{job_id}", token="viewer")[1])["status"] == "SUCCEEDED")

    wait_until(over, timeout_s=20)
    assert not marker.exists()
