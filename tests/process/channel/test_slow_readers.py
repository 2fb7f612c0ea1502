"""A peer that does not read holds up what is pushed to it, and nothing is lost, doubled or out of order when it reads.

The owner is a session of this process without a cluster; the peers are plain sockets.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from manta.client import leasing
from manta.client.arguments import Extra
from manta.client.lease import BATCH_BYTES, FLOOR_US
from manta.client.links import HIGH_BYTES, LOW_BYTES, Link
from manta.client.user import UserSession
from manta.core.errors import LocalRayletDiedError
from manta.core.ids import IdMaker
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.rpc.v1 import control_pb2 as ctl
from manta.transport.channel import Connection, FrameDecoder, encode, listen

#: An argument just below what becomes an object of its own.
ARGUMENT = b"x" * 90_000

#: So many of them are several times what a link may hold.
MANY = 4 * HIGH_BYTES // len(ARGUMENT)

#: The most that may wait: the mark, one batch that was begun below it, and the frames' own bytes.
LIMIT = HIGH_BYTES + BATCH_BYTES + 2 * len(ARGUMENT)


class Peer:
    """The other end of the owner's link: it reads when it is told to."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.decoder = FrameDecoder()
        self.frames: list[Any] = []

    def read(self) -> int:
        """Read what is there; how many bytes that was."""
        try:
            data = self.sock.recv(1 << 20)
        except BlockingIOError:
            return 0
        self.frames.extend(message for _, message, _ in self.decoder.feed(data))
        return len(data)

    def said(self, kind: type) -> list[Any]:
        return [frame for frame in self.frames if type(frame) is kind]

    def send(self, message: Any) -> None:
        self.sock.sendall(encode(message))


@pytest.fixture
def session() -> Iterator[UserSession]:
    """A driver's session with a raylet that never says anything."""
    session = UserSession(pb.ROLE_DRIVER, os.urandom(28))
    mine, theirs = socket.socketpair()
    session.raylet = Link(Connection(mine))
    session.store = SimpleNamespace(link_closed=lambda worker_id: None, release=lambda: None, close=lambda: None)  # type: ignore[assignment]
    session.ids = IdMaker(b"jobs", os.urandom(12))
    session._install_handlers()
    session.links.adopt(session.raylet)
    yield session
    session.broken = LocalRayletDiedError()  # nobody to say goodbye to
    session.close()
    theirs.close()


@pytest.fixture
def peer(session: UserSession, tmp_path, monkeypatch) -> Iterator[Callable[[Callable[[str], None]], Peer]]:
    """A peer that `connect(endpoint)` makes the session dial."""
    monkeypatch.setattr(leasing, "STALL_S", 1e9)  # the peer is slow on purpose: its tasks stay with it
    path = str(tmp_path / "peer.sock")
    listener = listen(path)
    peers = []

    def make(connect: Callable[[str], None]) -> Peer:
        connect(path)
        sock, _ = listener.accept()
        sock.setblocking(False)
        peers.append(sock)
        return Peer(sock)

    yield make
    for sock in peers:
        sock.close()
    listener.close()


def ids_in(frames: list[Any]) -> list[bytes]:
    """Tasks or calls in the order they were pushed."""
    return [frame.ids[at : at + 28] for frame in frames for at in range(0, len(frame.ids), 28)]


def read_all(session: UserSession, peer: Peer, done: Callable[[], bool]) -> None:
    """Let the peer read, and the owner go on, until it is done; a round without progress fails."""
    still = 0
    while not done():
        read = peer.read()
        session.pump.poll_once()
        still = 0 if read else still + 1
        assert still < 100, f"nothing comes any more after {len(peer.frames)} frames"


def leased(session: UserSession, peer) -> tuple[Peer, Any, Any]:
    """A leased worker, its lease, and the template of tasks known to be short."""
    demand = pb.LeaseDemand(name="f")
    template = session.task_template(
        b"f", demand, pb.DefineTemplate(name="f", num_returns=1), max_retries=0, function_blob=b""
    )
    template.estimate.us = FLOOR_US
    template.key.demand_sent = 1

    def grant(path: str) -> None:
        worker = common.Address(worker_id=b"w" * 28, endpoint=f"unix:{path}")
        with session.lock:
            frame = pb.LeaseGranted(lease_id=7, key=template.key.number, worker=worker)
            session.leasing.granted(frame, session.raylet)

    worker = peer(grant)
    return worker, session.leasing.leases[7], template


def test_tasks_wait_with_their_owner_while_their_worker_does_not_read(session, peer):
    worker, lease, template = leased(session, peer)

    refs = []
    for _ in range(MANY):
        refs.append(session.submit(template, (ARGUMENT,), {}))
        assert lease.connection.connection.unsent_bytes < LIMIT
    with session.lock:
        session.flush()

    assert lease.connection.connection.unsent_bytes < LIMIT
    assert lease.clogged
    assert len(template.key.pending) > MANY // 4, "accepted and not pushed"

    read_all(session, worker, lambda: len(ids_in(worker.said(pb.PushTasks))) == MANY)

    assert ids_in(worker.said(pb.PushTasks)) == [ref.binary() for ref in refs]
    assert not lease.clogged


def test_a_task_can_be_cancelled_while_its_worker_does_not_read(session, peer):
    """Frames that steer go also when nothing is pushed; here also the one that takes the tail back."""
    worker, lease, template = leased(session, peer)
    refs = [session.submit(template, (ARGUMENT,), {}) for _ in range(MANY)]
    assert lease.clogged
    assert lease.tokens.take(1) == 1  # the worker has begun the first

    session.cancel(refs[0].binary(), force=False, recursive=True)
    session.cancel(refs[-1].binary(), force=False, recursive=True)

    read_all(session, worker, lambda: bool(worker.said(pb.CancelTask)))
    assert worker.said(pb.CancelTask)[0].task_id == refs[0].binary()[:24]
    assert worker.said(pb.TakeBack)
    assert refs[-1].binary() in session.values.known, "it never runs, and its failure is there"


def test_calls_wait_with_their_owner_while_the_actor_does_not_read(session, peer):
    actor_id = b"a" * 12 + b"jobs"
    with session.lock:
        client = session.know_actor(actor_id, "A", counted=False, ordered=True)
    template = session.method_template(pb.DefineTemplate(name="A.f", method="f", num_returns=1), max_retries=0)

    def alive(path: str) -> None:
        address = common.Address(worker_id=b"w" * 28, endpoint=f"unix:{path}")
        with session.lock:
            session.actors.state_info(
                ctl.ActorInfo(actor_id=actor_id, state=ctl.ACTOR_PHASE_ALIVE, incarnation=1, address=address)
            )

    actor = peer(alive)

    refs = []
    for _ in range(MANY):
        refs.append(session.call_actor(client, template, (ARGUMENT,), {}))
        assert client.link.connection.unsent_bytes < LIMIT
    with session.lock:
        session.flush()

    assert client.link.connection.unsent_bytes < LIMIT
    assert client.link.full
    assert len(client.queue) > MANY // 4, "accepted and not pushed"

    read_all(session, actor, lambda: len(ids_in(actor.said(pb.PushCalls))) == MANY)

    assert ids_in(actor.said(pb.PushCalls)) == [ref.binary() for ref in refs]
    firsts = [(frame.first, len(frame.ids) // 28) for frame in actor.said(pb.PushCalls)]
    assert [first for first, _ in firsts] == [sum(count for _, count in firsts[:at]) for at in range(len(firsts))]


def borrower(session: UserSession) -> tuple[Peer, Link]:
    mine, theirs = socket.socketpair()
    theirs.setblocking(False)
    link = Link(Connection(mine), worker_id=b"b" * 28)
    session.links.adopt(link)
    return Peer(theirs), link


def test_values_are_told_to_a_borrower_as_it_reads(session):
    reader, link = borrower(session)
    refs = [session.put(ARGUMENT) for _ in range(MANY)]
    ids = [ref.binary() for ref in refs]

    reader.send(pb.WantObject(object_ids=ids))
    session.pump.poll_once()

    assert link.full
    assert link.connection.unsent_bytes < LIMIT

    read_all(session, reader, lambda: len(reader.said(pb.ObjectValue)) == MANY)

    assert [frame.object_id for frame in reader.said(pb.ObjectValue)] == ids
    assert all(frame.value.value for frame in reader.said(pb.ObjectValue))
    reader.sock.close()


def test_what_a_borrower_that_is_gone_had_not_been_told_is_forgotten(session):
    reader, link = borrower(session)
    refs = [session.put(ARGUMENT) for _ in range(MANY)]
    reader.send(pb.WantObject(object_ids=[ref.binary() for ref in refs]))
    session.pump.poll_once()
    assert session.borrowing._untold[link]

    reader.sock.close()
    session.pump.poll_once()

    assert not session.borrowing._untold


def test_a_link_is_full_until_little_is_left(session):
    """Between the marks nothing changes: pushing does not flutter."""
    reader, link = borrower(session)
    heartbeat = pb.LogLines(lines=["x" * 60_000])
    with session.lock:
        while not link.full:
            session.send(link, heartbeat)
            assert link.connection.unsent_bytes <= HIGH_BYTES or link.full
    while link.full:
        before = link.connection.unsent_bytes
        reader.read()
        session.pump.poll_once()
        assert link.full == (link.connection.unsent_bytes > LOW_BYTES), before
    reader.sock.close()


def test_argument_objects_count_in_what_one_frame_carries(session, peer):
    """Ten tasks with twenty small objects each would be one frame of eighteen megabytes."""
    worker, _, template = leased(session, peer)
    objects = [session.put(ARGUMENT) for _ in range(20)]

    refs = [session.submit(template, (*objects,), {}) for _ in range(10)]
    with session.lock:
        session.flush()
    read_all(session, worker, lambda: len(ids_in(worker.said(pb.PushTasks))) == 10)

    assert ids_in(worker.said(pb.PushTasks)) == [ref.binary() for ref in refs]
    assert max(frame.ByteSize() for frame in worker.said(pb.PushTasks)) < BATCH_BYTES + 21 * len(ARGUMENT)


def living_actor(session: UserSession, peer) -> tuple[Peer, Any, Any]:
    """An actor that was just found alive, its client, and a template of its method."""
    actor_id = b"a" * 12 + b"jobs"
    with session.lock:
        client = session.know_actor(actor_id, "A", counted=False, ordered=True)

    def alive(path: str) -> None:
        address = common.Address(worker_id=b"w" * 28, endpoint=f"unix:{path}")
        with session.lock:
            session.actors.state_info(
                ctl.ActorInfo(actor_id=actor_id, state=ctl.ACTOR_PHASE_ALIVE, incarnation=1, address=address)
            )

    template = session.method_template(pb.DefineTemplate(name="A.f", method="f", num_returns=1), max_retries=-1)
    return peer(alive), client, template


def test_of_calls_that_an_actor_had_when_the_connection_broke_none_runs_twice(session, peer):
    """One has ended and its result is lost, one runs, one never arrived. The first fails, although it may be retried."""
    actor, client, template = living_actor(session, peer)
    refs = [session.call_actor(client, template, (number,), {}) for number in range(3)]
    with session.lock:
        session.flush()
    ended, runs, never = [ref.binary() for ref in refs]
    read_all(session, actor, lambda: len(ids_in(actor.said(pb.PushCalls))) == 3)

    def breaks(path: str) -> None:
        actor.sock.close()
        session.pump.poll_once()

    again = peer(breaks)
    late = session.call_actor(client, template, (3,), {})
    read_all(session, again, lambda: bool(again.said(pb.ResumeCalls)))
    assert not again.said(pb.PushCalls), "not before it is known which"
    again.send(pb.CallsResumed(actor_id=client.actor_id, incarnation=1, next=2, ids=runs))
    session.pump.poll_once()
    read_all(session, again, lambda: len(ids_in(again.said(pb.PushCalls))) == 2)

    assert ids_in(again.said(pb.PushCalls)) == [never, late.binary()]
    assert again.said(pb.PushCalls)[0].first == 2
    assert again.said(pb.DefineTemplate), "it is another connection"
    assert "the actor lives" in session.values.known[ended].fields.error.message
    assert runs not in session.values.known
    again.send(pb.TaskResults(ids=runs + never, values=[b"1", b"2"], micros=[1, 1]))
    session.pump.poll_once()
    assert (session.values.known[runs], session.values.known[never]) == (b"1", b"2")


def test_an_actor_is_not_announced_twice_because_the_question_for_it_came_first(session):
    """What watches it may reach control before what creates it."""
    said: list[str] = []
    answers: list[Any] = []
    session.control_async = lambda method, request, then: (said.append(method), answers.append(then))
    actor_id = b"a" * 12 + b"jobs"
    with session.lock:
        client = session.know_actor(actor_id, "A", counted=True, ordered=True)
        request = ctl.CreateActorRequest(actor_id=actor_id)
        session.actors.creation.create(request, Extra(), (), pb.ActorSpec())
        unknown = ctl.ActorInfo(actor_id=actor_id)
        session.actors.state_info(unknown)
        assert said == ["CreateActor"]

        actor = ctl.ActorInfo(actor_id=actor_id, state=ctl.ACTOR_PHASE_PENDING_CREATION)
        answers[0](pb.ControlReply(payload=ctl.CreateActorResponse(actor=actor).SerializeToString()))
        session.actors.state_info(unknown)
    assert said == ["CreateActor", "CreateActor"], "this time control has forgotten it"
    assert client.phase == ctl.ACTOR_PHASE_PENDING_CREATION
