"""The gateway's calls x {deadline, cancelled, cut before, cut after, said twice}: a session is there once or not at all.

Rows come from the descriptors: a method without one fails. Control's rows are in tests/unit/control, a node's in
tests/unit/raylet (`test_repeats.py`); what becomes of numbered messages on the way is `test_cut_off.py`'s.
"""

from __future__ import annotations

import itertools
import shutil
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from manta.core.errors import MantaError
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import gateway_pb2 as gw
from manta.transport import auth, status
from manta.transport.convert import error_from_proto
from tests.support import gateway
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.shared_cluster

SERVICE = gw.DESCRIPTOR.services_by_name["GatewayService"]


@pytest.fixture(scope="module")
def door(module_sandbox) -> Iterator[gateway.Door]:
    """A gateway that waits not long for who is gone: each row is over when nothing is left."""
    folder = module_sandbox.path / "door"
    folder.mkdir()
    # Longer than a busy machine needs to come back.
    with gateway.cluster(folder, "--grace", "6") as door:
        yield door
    shutil.rmtree(folder)


class Line:
    """One connection of a driver that says what a test says."""

    def __init__(self, door, first: gw.ConnectRequest, timeout_s: float = 20.0) -> None:
        ca = (door.folder / "ca.pem").read_bytes()
        options = [("grpc.ssl_target_name_override", "gateway.test.manta"), ("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.secure_channel(f"127.0.0.1:{door.port}", grpc.ssl_channel_credentials(ca), options=options)
        self._said = threading.Semaphore(0)
        self._messages: list[bytes | None] = [first.SerializeToString()]
        self._said.release()
        method: Any = self.channel.stream_stream(f"/{SERVICE.full_name}/Connect")
        self.call = method(self._stream(), metadata=auth.metadata(door.submitter), timeout=timeout_s)

    def _stream(self):
        for at in itertools.count():
            self._said.acquire()
            if self._messages[at] is None:
                return
            yield self._messages[at]

    def say(self, message: gw.ConnectRequest | None) -> None:
        self._messages.append(None if message is None else message.SerializeToString())
        self._said.release()

    def next(self) -> gw.ConnectResponse:
        return gw.ConnectResponse.FromString(next(self.call))

    def cut(self) -> None:
        """As when the network goes."""
        self.call.cancel()
        self.say(None)
        self.channel.close()


@contextmanager
def line(door, first, timeout_s=20.0):
    one = Line(door, first, timeout_s)
    try:
        yield one
    finally:
        one.cut()


def opening() -> gw.ConnectRequest:
    job = pb.JobConfig().SerializeToString()
    return gw.ConnectRequest(
        open=gw.OpenSession(protocol=1, python=".".join(map(str, sys.version_info[:3])), job_config=job)
    )


def resuming(opened: gw.SessionOpened, received: int = 0) -> gw.ConnectRequest:
    resume = gw.ResumeSession(session_id=opened.session_id, secret=opened.secret, received=received, protocol=1)
    return gw.ConnectRequest(resume=resume)


def oid(number: int) -> bytes:
    return number.to_bytes(28, "little")


def put(number: int) -> gw.ConnectRequest:
    """A numbered message with an effect that is told back."""
    actions = [
        gw.DriverAction(put=gw.PutObject(object_id=oid(number), value=b"x")),
        gw.DriverAction(want=pb.WantObject(object_ids=[oid(number)])),
    ]
    return gw.ConnectRequest(number=number, actions=actions)


def told(one: Line, number: int) -> None:
    """Wait until that message's effect is told back."""
    while True:
        for action in one.next().actions:
            assert not action.HasField("over"), error_from_proto(action.over.error)
            if oid(number) in action.SerializeToString():
                return


def sessions(door) -> int:
    return len(gateway.session_processes(door))


def deadline(door) -> int:
    """The caller gives up before it is answered."""
    with line(door, opening(), timeout_s=0.05) as one, pytest.raises(grpc.RpcError) as failed:
        list(one.call)  # on a fast machine the answer comes first
    assert failed.value.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
    return 0


def cancelled(door) -> int:
    """The caller cancels while its session starts."""
    with line(door, opening()) as one:
        wait_until(lambda: sessions(door) == 1)
        one.call.cancel()
    return 0


def cut_before(door) -> int:
    """The connection goes before anything was said."""
    ca = (door.folder / "ca.pem").read_bytes()
    with grpc.secure_channel(f"127.0.0.1:{door.port}", grpc.ssl_channel_credentials(ca)) as channel:
        channel.stream_stream(f"/{SERVICE.full_name}/Connect")(iter(()), metadata=auth.metadata(door.submitter))
    return 0


def cut_after(door) -> int:
    """It goes when the session is open; the driver goes on where it was, also where its last word was lost on the way."""
    with line(door, opening()) as one:
        opened = one.next().opened
        one.say(put(1))
    with line(door, resuming(opened)) as again:
        at = again.next().resumed.received
        if at == 0:
            again.say(put(1))
        again.say(put(2))
        told(again, 2)
        assert sessions(door) == 1
    return 1


def said_twice(door) -> int:
    """Opening twice is two sessions, resuming twice is one, and a numbered message counts once."""
    with line(door, opening()) as one:
        opened = one.next().opened
        one.say(put(1))
        one.say(put(1))
        one.say(put(2))
        told(one, 2)
        with line(door, resuming(opened)) as first:
            first.next()
            second = Line(door, resuming(opened))
            second.next()
            assert sessions(door) == 1
            with pytest.raises((grpc.RpcError, StopIteration)):
                while True:
                    first.next()  # the older one ends
            with line(door, opening()) as other:
                other.next()
                assert sessions(door) == 2
                other.say(gw.ConnectRequest(number=1, actions=[gw.DriverAction(goodbye=pb.Goodbye())]))
                wait_until(lambda: sessions(door) == 1, what="the end of the other")
            second.cut()
    return 1


ROWS = {"Connect": (deadline, cancelled, cut_before, cut_after, said_twice)}


def test_every_method_has_a_row():
    assert set(ROWS) == {method.name for method in SERVICE.methods}


@pytest.mark.parametrize(
    ("name", "fault"),
    [(name, fault) for name, faults in ROWS.items() for fault in faults],
    ids=lambda it: getattr(it, "__name__", it),
)
def test_what_a_fault_leaves_is_what_its_row_says(door, name, fault):
    """And when the grace is over, nothing."""
    left = fault(door)
    if left:
        assert sessions(door) >= left
    wait_until(lambda: sessions(door) == 0, timeout_s=30, what="the end of what nobody resumes")
    with line(door, opening()) as one:
        assert one.next().opened.session_id
        one.say(gw.ConnectRequest(number=1, actions=[gw.DriverAction(goodbye=pb.Goodbye())]))
        wait_until(lambda: sessions(door) == 0, timeout_s=30)
    wait_until(lambda: sessions(door) == 0, timeout_s=30)
    assert door.process.poll() is None


def test_a_session_is_not_resumed_by_who_was_not_told_its_secret(door):
    with line(door, opening()) as one:
        opened = one.next().opened
        for secret in (b"", bytes(32), opened.secret[:-1]):
            lie = gw.SessionOpened(session_id=opened.session_id, secret=secret)
            with line(door, resuming(lie)) as other, pytest.raises(grpc.RpcError) as refused:
                other.next()
            error = status.error_from(refused.value)
            assert isinstance(error, MantaError)
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    wait_until(lambda: sessions(door) == 0, timeout_s=30)
