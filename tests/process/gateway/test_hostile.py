"""Strangers and hostile drivers: nothing unauthenticated costs much, nothing hostile ends the gateway or another's session."""

from __future__ import annotations

import random
import socket
import ssl
import threading
from contextlib import suppress

import grpc
import psutil
import pytest

import manta
from manta.core.errors import MantaError
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import gateway_pb2 as gw
from manta.transport import auth
from manta.transport.convert import error_from_proto
from tests.support.waiting import wait_until

pytestmark = pytest.mark.shared_cluster

METHOD = "/manta.rpc.v1.GatewayService/Connect"


@pytest.fixture
def channel(door):
    ca = (door.folder / "ca.pem").read_bytes()
    options = [("grpc.ssl_target_name_override", "gateway.test.manta"), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(f"127.0.0.1:{door.port}", grpc.ssl_channel_credentials(ca), options=options) as channel:
        yield channel


@pytest.fixture
def healthy(door, monkeypatch):
    """After whatever the test does, a driver still gets its work done."""
    yield
    for name, text in door.environment.items():
        monkeypatch.setenv(name, text)
    manta.init()
    assert manta.get(manta.remote(lambda: 1).remote()) == 1
    assert door.process.poll() is None


def code_of(call) -> grpc.StatusCode:
    """How a call ends that ends in an error."""
    with pytest.raises(grpc.RpcError) as failed:
        for _ in call:
            pass
    return failed.value.code()


def opening(**fields) -> gw.ConnectRequest:
    import sys

    job = pb.JobConfig().SerializeToString()
    return gw.ConnectRequest(
        open=gw.OpenSession(protocol=1, python=".".join(map(str, sys.version_info[:3])), job_config=job, **fields)
    )


def hostile() -> list[bytes]:
    """First messages that are none."""
    chance = random.Random(7)
    good = opening().SerializeToString()
    return [
        b"",
        b"\xff" * 100,
        good[:-1],
        good + b"\x0a\xff\xff\xff\xff\x0f",
        gw.ConnectRequest(
            resume=gw.ResumeSession(session_id=b"x" * 16, secret=b"y" * 32, protocol=1)
        ).SerializeToString(),
        gw.ConnectRequest(number=1).SerializeToString(),
        bytes(5 << 20),
        *(bytes(chance.randrange(256) for _ in range(chance.randrange(1, 200))) for _ in range(30)),
    ]


def test_bytes_that_are_no_message_are_refused_by_a_typed_error(door, channel, healthy):
    allowed = {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
    }
    for data in hostile():
        call = channel.stream_stream(METHOD)(iter([data]), metadata=auth.metadata(door.submitter), timeout=20)
        assert code_of(call) in allowed, data[:50]


def test_without_a_token_the_same_bytes_are_not_looked_at(channel, healthy):
    for data in hostile():
        assert code_of(channel.stream_stream(METHOD)(iter([data]), timeout=20)) is grpc.StatusCode.UNAUTHENTICATED


def test_methods_that_there_are_not_are_refused(door, channel, healthy):
    for method in ("/manta.rpc.v1.GatewayService/Other", "/manta.rpc.v1.ControlService/ListNodes", "/x/y", "/"):
        with pytest.raises(grpc.RpcError) as failed:
            channel.unary_unary(method)(b"x", metadata=auth.metadata(door.submitter), timeout=20)
        assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED


ACTIONS = [
    gw.DriverAction(),
    gw.DriverAction(submit=gw.SubmitCalls(task_ids=b"x" * 24, templates=[7], args=[b"x"])),
    gw.DriverAction(submit=gw.SubmitCalls(task_ids=b"x" * 23, templates=[7], args=[b"x"])),
    gw.DriverAction(submit=gw.SubmitCalls(actor_id=b"x" * 16, task_ids=b"", templates=[7])),
    gw.DriverAction(put=gw.PutObject(object_id=b"x")),
    gw.DriverAction(put=gw.PutObject(object_id=b"x" * 28, value=b"x", contained=[b"y" * 28])),
    gw.DriverAction(hold=gw.HoldObjects(object_ids=[b"x" * 28])),
    gw.DriverAction(watch_actor=gw.WatchActor(actor_id=b"x")),
    gw.DriverAction(end_actor=gw.EndActor(actor_id=b"x" * 16)),
    gw.DriverAction(make_actor=gw.MakeActor(held=[b"x" * 28])),
]


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: str(action)[:30].replace("\n", " "))
def test_an_action_that_cannot_be_ends_its_session_with_a_reason(door, channel, healthy, action):
    message, done = gw.ConnectRequest(number=1, actions=[action]), threading.Event()

    def said():
        yield opening().SerializeToString()
        yield message.SerializeToString()
        done.wait(20)

    call = channel.stream_stream(METHOD)(said(), metadata=auth.metadata(door.submitter), timeout=20)
    reasons = []
    for data in call:
        actions = gw.ConnectResponse.FromString(data).actions
        reasons += [error_from_proto(told.over.error) for told in actions if told.HasField("over")]
        if reasons:
            break
    done.set()
    call.cancel()
    assert isinstance(reasons[0], MantaError)
    assert reasons[0].code == "PROTOCOL_ERROR"


def test_more_bytes_than_were_announced_end_the_session(door, channel, healthy):
    oid = b"x" * 28
    messages = [
        opening(),
        gw.ConnectRequest(number=1, actions=[gw.DriverAction(put=gw.PutObject(object_id=oid, size=200_000))]),
        gw.ConnectRequest(number=2, actions=[gw.DriverAction(chunk=gw.PutChunk(object_id=oid))], data=bytes(200_001)),
    ]
    done = threading.Event()

    def said():
        for message in messages:
            yield message.SerializeToString()
        done.wait(20)

    call = channel.stream_stream(METHOD)(said(), metadata=auth.metadata(door.submitter), timeout=20)
    over = next(
        told.over for data in call for told in gw.ConnectResponse.FromString(data).actions if told.HasField("over")
    )
    done.set()
    call.cancel()
    assert error_from_proto(over.error).code == "PROTOCOL_ERROR"


def test_connections_that_say_nothing_are_bounded_and_closed(door, healthy):
    """Ten times as many as are let in: memory and descriptors of the gateway stay, and when they go others get in."""
    process = psutil.Process(door.process.pid)
    before, descriptors = process.memory_info().rss, process.num_fds()
    sockets = []
    try:
        for _ in range(600):
            with suppress(OSError):
                sockets.append(socket.create_connection(("127.0.0.1", door.port), timeout=5))
        assert process.num_fds() < 60 + 100
        assert process.memory_info().rss - before < 100 << 20
    finally:
        for sock in sockets:
            sock.close()
    # With some of them left it may yet be full.
    wait_until(lambda: process.num_fds() <= descriptors + 5, what="the gateway to close them all", timeout_s=40)


def test_a_connection_that_is_let_in_and_asks_nothing_is_closed(door):
    context = ssl.create_default_context(cafile=str(door.folder / "ca.pem"))
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", door.port), timeout=20) as sock,
        context.wrap_socket(sock, server_hostname="gateway.test.manta") as tls,
        suppress(ConnectionError),  # it may be closed already
    ):
        tls.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        while tls.recv(65536):
            pass


def test_a_driver_that_does_not_read_costs_a_bounded_amount_and_only_itself(door, channel, healthy):
    """It fetches what it never reads: the gateway keeps no more than one window."""
    all_said, done = threading.Event(), threading.Event()

    def said():
        yield opening().SerializeToString()
        puts = [
            gw.DriverAction(put=gw.PutObject(object_id=number.to_bytes(28, "little"), value=bytes(90_000)))
            for number in range(1, 40)
        ]
        yield gw.ConnectRequest(number=1, actions=puts).SerializeToString()
        for number in range(2, 40):
            wants = [
                gw.DriverAction(want=pb.WantObject(object_ids=[one.to_bytes(28, "little") for one in range(1, 40)]))
            ]
            yield gw.ConnectRequest(number=number, actions=wants).SerializeToString()
        all_said.set()
        done.wait(30)

    before = psutil.Process(door.process.pid).memory_info().rss
    call = channel.stream_stream(METHOD)(said(), metadata=auth.metadata(door.submitter), timeout=30)
    next(call)
    assert all_said.wait(20)
    grown = psutil.Process(door.process.pid).memory_info().rss - before
    assert grown < 100 << 20
    done.set()
    call.cancel()
