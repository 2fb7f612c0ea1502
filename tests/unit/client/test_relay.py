"""Calls to control that nobody waits for: each ends once, whatever becomes of its answer."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from manta.client import relay
from manta.client.actors import ActorClients
from manta.client.ownership import Ownership
from manta.client.relay import ASYNC_S, GRACE_S, Relay
from manta.client.submit import Submitter
from manta.client.templates import Templates
from manta.client.values import Failure, Values
from manta.core.errors import LocalRayletDiedError
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.rpc.v1 import control_pb2 as ctl

DEADLINE_S = ASYNC_S + GRACE_S


class Session(SimpleNamespace):
    """As much of a session as a relay looks at, with a clock that is set."""

    def __init__(self):
        super().__init__(time=100.0, sent=[], due=[], broken=None, answers=[])
        self.now = lambda: self.time
        self.raylet_send = self.sent.append
        self.pump = SimpleNamespace(schedule=self.due.append)
        self.relay = Relay(self)

    def call(self, name="KillActor"):
        number = len(self.answers)
        self.answers.append([])
        self.relay.control_async(
            name, ctl.KillActorRequest(actor_id=bytes([number % 256])), self.answers[number].append
        )
        return number

    def answer(self, call):
        self.relay.answered(pb.ControlReply(request_id=call.request_id, payload=b"answer"))

    def codes(self):
        return [[frame.error.code for frame in frames] for frames in self.answers]


@pytest.fixture
def session():
    return Session()


def test_an_answer_goes_to_its_call(session):
    session.call()
    session.call()

    session.answer(session.sent[1])

    assert [[frame.payload for frame in frames] for frames in session.answers] == [[], [b"answer"]]


def test_a_call_whose_answer_is_lost_ends_at_its_deadline_and_only_once(session):
    session.call("CreateActor")
    assert session.due == [100.0 + DEADLINE_S], "the pump is told when to look"
    assert session.relay.tick(100.0 + DEADLINE_S - 0.1) == 100.0 + DEADLINE_S
    assert session.codes() == [[]]

    assert session.relay.tick(100.0 + DEADLINE_S) is None
    session.answer(session.sent[0])

    assert session.codes() == [["RPC_TIMEOUT"]]
    assert "CreateActor" in session.answers[0][0].error.message


def test_the_client_gives_up_after_the_raylet_would_have(session):
    session.call()

    assert session.sent[0].timeout_s < DEADLINE_S


def test_more_calls_than_may_be_open_wait_in_order(session, monkeypatch):
    monkeypatch.setattr(relay, "MAX_OPEN", 2)
    for _ in range(4):
        session.call()
    assert len(session.sent) == 2

    session.time += 1
    session.answer(session.sent[0])
    session.relay.tick(100.0 + DEADLINE_S)

    requests = [ctl.KillActorRequest.FromString(call.payload).actor_id for call in session.sent]
    assert requests == [bytes([number]) for number in range(4)]
    assert session.codes() == [[""], ["RPC_TIMEOUT"], [], []], "their time begins when they are sent"


def test_what_is_beyond_the_bound_is_refused_at_once(session, monkeypatch):
    monkeypatch.setattr(relay, "MAX_OPEN", 1)
    monkeypatch.setattr(relay, "MAX_QUEUED", 1)

    for _ in range(3):
        session.call()

    assert session.codes() == [[], [], ["OVERLOADED"]]
    assert session.relay.statistics() == {"waited_for": 0, "open": 1, "queued": 1}


def test_when_the_raylet_is_lost_every_call_hears_of_it(session, monkeypatch):
    monkeypatch.setattr(relay, "MAX_OPEN", 1)
    session.call()
    session.call()

    session.broken = LocalRayletDiedError()
    session.relay.raylet_lost(session.broken)
    session.call()

    assert session.codes() == [["LOCAL_RAYLET_DIED"]] * 3
    assert not any(session.relay.statistics().values())


def test_a_session_that_is_closed_tells_nobody(session):
    session.call()

    session.relay.close()

    assert session.relay.tick(1e9) is None
    assert session.codes() == [[]]


def test_an_actor_whose_creation_was_not_answered_is_dead_and_ended_should_it_exist():
    asked = []
    session = SimpleNamespace(
        values=Values(),
        ownership=Ownership(),
        templates=Templates(),
        raylet_send=lambda message: None,
        perform=lambda: None,
        control_async=lambda method, request, then: asked.append((method, request.actor_id, request.no_restart)),
    )
    session.submitter = Submitter(session)
    actors = ActorClients(session)
    client = actors.know(b"a" * 16, "A", counted=False, ordered=True)
    late = pb.ControlReply(error=common.ErrorInfo(code="RPC_TIMEOUT", message="late"))

    actors.creation._create_answered(client, late)

    assert asked == [("KillActor", b"a" * 16, True)]
    assert isinstance(client.cause, Failure)
    assert client.cause.fields.error.code == "RPC_TIMEOUT"
