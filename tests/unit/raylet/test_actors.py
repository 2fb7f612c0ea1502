"""Control's orders and what is reported of each: exactly one end, and nothing of an incarnation that was fenced."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from manta.raylet import events as ev
from manta.raylet.actors import Actors
from manta.raylet.clients import Client, Clients
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.rpc.v1 import control_pb2 as cpb
from manta.rpc.v1 import raylet_pb2 as rpb

Response = rpb.StartActorAnswer


class Desk:
    """The book, one worker, and the reports."""

    def __init__(self) -> None:
        self.reports: list[cpb.ReportActorRequest] = []
        self.sent: list[Any] = []
        clients = Clients()
        connection: Any = SimpleNamespace(send=self.sent.append)
        self.worker = Client(connection, pb.ROLE_WORKER, b"w1", 42, "unix:/w1", b"job")
        clients.add(self.worker)
        self.book = Actors(clients, b"node", self.reports.append)

    def order(self, incarnation: int = 0, **more: Any) -> rpb.StartActorAnswer.Verdict:
        order = rpb.StartActorOrder(actor_id=b"a", incarnation=incarnation, spec=b"spec", class_name="C", **more)
        return self.book.admit(order)[0]

    def begin(self, incarnation: int = 0) -> None:
        self.book.begin(ev.BecomeActor(1, b"a", incarnation, b"w1", {"CPU": 1}, ("0",), ""))

    def start(self, incarnation: int = 0) -> None:
        assert Response.VERDICT_ACCEPTED == self.order(incarnation)
        self.begin(incarnation)
        self.book.started(self.worker, pb.ActorStarted(actor_id=b"a", incarnation=incarnation))

    def die(self, incarnation: int = 0, status: int | None = -9, worker: bytes = b"w1", oom: bool = False) -> None:
        self.book.died(ev.ReportActorDied(b"a", incarnation, worker, status, "killed by signal 9 (SIGKILL)", oom, ""))

    def outcomes(self) -> list[str | None]:
        return [report.WhichOneof("outcome") for report in self.reports]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_worker_gets_the_spec_and_control_the_address(desk):
    desk.start()

    (start,) = desk.sent
    assert (b"a", 0, b"spec", ["0"]) == (start.actor_id, start.incarnation, start.spec, list(start.gpu_ids))
    (report,) = desk.reports
    assert (b"w1", 42) == (report.started.address.worker_id, report.started.pid)


def test_an_order_said_twice_is_one_order(desk):
    assert Response.VERDICT_ACCEPTED == desk.order()
    assert Response.VERDICT_ACCEPTED == desk.order()
    assert 1 == len(desk.book)


def test_an_incarnation_that_was_killed_before_its_order_came_never_starts(desk):
    assert desk.book.unwanted(b"a", 0, "killed", graceful=False) is None

    assert Response.VERDICT_STALE == desk.order(0)
    assert Response.VERDICT_ACCEPTED == desk.order(1)


def test_an_incarnation_that_ended_does_not_start_again(desk):
    desk.start(3)
    desk.die(3)

    assert Response.VERDICT_STALE == desk.order(3)


def test_an_order_of_a_control_that_was_replaced_is_stale(desk):
    assert Response.VERDICT_ACCEPTED == desk.order(0, epoch=5)

    assert Response.VERDICT_STALE == desk.order(1, epoch=4)


def test_a_refused_order_may_come_again(desk):
    desk.order(0)
    desk.book.refuse(b"a")

    assert Response.VERDICT_ACCEPTED == desk.order(0)


def test_a_constructor_that_failed_is_reported_once_and_its_exit_is_not_news(desk):
    desk.order()
    desk.begin()
    failure = pb.TaskFailure(message="boom", traceback="Traceback: boom", cause=b"pickled")
    desk.book.started(desk.worker, pb.ActorStarted(actor_id=b"a", failure=failure))
    desk.die(status=1)

    (report,) = desk.reports
    cause = report.creation_failed
    assert (cpb.DEATH_KIND_CREATION_FAILED, "Traceback: boom") == (cause.kind, cause.message)
    assert failure == pb.TaskFailure.FromString(cause.error.blobs["failure"])


@pytest.mark.parametrize(
    ("status", "oom", "kind"),
    [
        (-9, False, cpb.DEATH_KIND_SYSTEM_ERROR),
        (1, False, cpb.DEATH_KIND_SYSTEM_ERROR),
        (0, False, cpb.DEATH_KIND_INTENDED_USER_EXIT),
        (-9, True, cpb.DEATH_KIND_OUT_OF_MEMORY),
    ],
)
def test_a_death_is_named_after_how_the_process_ended(desk, status, oom, kind):
    desk.start()
    desk.die(status=status, oom=oom)

    assert ["started", "died"] == desk.outcomes()
    assert kind == desk.reports[-1].died.kind


def test_what_the_actor_said_when_it_left_is_its_cause(desk):
    desk.start()
    error = common.ErrorInfo(code="INTENDED_USER_EXIT", message="User requested to exit the actor")
    desk.book.exiting(desk.worker, pb.ActorExiting(actor_id=b"a", cause=error))
    desk.die(status=0)

    died = desk.reports[-1].died
    assert (cpb.DEATH_KIND_INTENDED_USER_EXIT, "User requested to exit the actor") == (died.kind, died.message)


def test_control_s_reason_wins_over_the_actor_s(desk):
    desk.start()
    desk.book.unwanted(b"a", 0, "all references to the actor were removed", graceful=True)
    desk.book.exiting(desk.worker, pb.ActorExiting(actor_id=b"a", cause=common.ErrorInfo(code="INTENDED_USER_EXIT")))
    desk.die(status=0)

    assert cpb.DEATH_KIND_OUT_OF_SCOPE == desk.reports[-1].died.kind


def test_an_actor_that_never_got_a_worker_failed_for_its_environment(desk):
    desk.order()
    desk.die(status=None, worker=b"")

    assert cpb.DEATH_KIND_ENVIRONMENT_FAILED == desk.reports[-1].died.kind


def test_another_worker_cannot_speak_for_the_actor(desk):
    desk.order()
    desk.begin()
    stranger = Client(desk.worker.connection, pb.ROLE_WORKER, b"w2", 43, "", b"job")

    desk.book.started(stranger, pb.ActorStarted(actor_id=b"a"))

    assert [] == desk.reports


def test_a_registration_lists_who_lives_and_who_is_being_born(desk):
    desk.order()
    (young,) = desk.book.running()
    assert not young.HasField("address")
    desk.begin()
    desk.book.started(desk.worker, pb.ActorStarted(actor_id=b"a"))

    (grown,) = desk.book.running()
    assert (42, b"w1") == (grown.pid, grown.address.worker_id)
