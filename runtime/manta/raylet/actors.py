"""Actors of this node: from control's order to the report of their end. Which worker becomes one is the scheduler's choice."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from manta.core.errors.actor import worker_died
from manta.raylet import events as ev
from manta.raylet.clients import Client, Clients
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.rpc.v1 import control_pb2 as cpb
from manta.rpc.v1 import raylet_pb2 as rpb

log = logging.getLogger(__name__)

#: Fences remembered. Older ones matter only to messages that are hours late.
_MAX_FENCES = 100_000

#: How control names a death, from the code that a leaving worker gives.
_LEAVING = {
    "INTENDED_USER_EXIT": cpb.DEATH_KIND_INTENDED_USER_EXIT,
    "USER_ERROR": cpb.DEATH_KIND_USER_ERROR,
    "OUT_OF_SCOPE": cpb.DEATH_KIND_OUT_OF_SCOPE,
}


@dataclass(slots=True)
class Life:
    """One incarnation of an actor on this node."""

    order: rpb.StartActorOrder
    worker_id: bytes = b""
    #: Its constructor ended well, or control heard that it did not.
    started: bool = False
    failed: bool = False
    #: Why it leaves, from control or from itself.
    cause: cpb.DeathCause | None = None


class Actors:
    """Keeps control's orders, and answers each with exactly one of started, creation failed and died.

    Args:
        clients: Who is connected.
        node_id: This node.
        report: Delivers a report to control however long that takes; the answer says whether the actor is still wanted.
    """

    def __init__(self, clients: Clients, node_id: bytes, report: Callable[[cpb.ReportActorRequest], None]) -> None:
        self._clients = clients
        self._node_id = node_id
        self._report = report
        self._lives: dict[bytes, Life] = {}
        #: Highest incarnation of each actor that was started or killed here.
        self._fences: dict[bytes, int] = {}
        #: Highest start number of control that was seen.
        self._epoch = 0

    # ---- control's orders

    def admit(self, order: rpb.StartActorOrder) -> tuple[rpb.StartActorAnswer.Verdict, str]:
        """Note an order to start an incarnation; (verdict, why not)."""
        if order.epoch < self._epoch:
            return (
                rpb.StartActorAnswer.VERDICT_STALE,
                f"control's start {self._epoch} has taken over from {order.epoch}",
            )
        self._epoch = order.epoch
        life = self._lives.get(order.actor_id)
        if life is not None and life.order.incarnation == order.incarnation:
            return rpb.StartActorAnswer.VERDICT_ACCEPTED, ""
        if order.incarnation <= self._fences.get(order.actor_id, -1):
            return rpb.StartActorAnswer.VERDICT_STALE, "this incarnation, or a later one, was started or killed here"
        if life is not None:
            return rpb.StartActorAnswer.VERDICT_REFUSED, "its previous incarnation has not ended here yet"
        self._fence(order.actor_id, order.incarnation)
        self._lives[order.actor_id] = Life(order)
        return rpb.StartActorAnswer.VERDICT_ACCEPTED, ""

    def refuse(self, actor_id: bytes) -> None:
        """The order that was just admitted cannot be met: as if it had never come."""
        life = self._lives.pop(actor_id, None)
        if life is not None:
            self._fences[actor_id] = life.order.incarnation - 1

    def unwanted(self, actor_id: bytes, incarnation: int, reason: str, *, graceful: bool) -> Life | None:
        """Note that an incarnation has to end; the life to end, if it is here."""
        self._fence(actor_id, incarnation)
        life = self._lives.get(actor_id)
        if life is None or life.order.incarnation != incarnation:
            return None
        if life.cause is None or not graceful:
            kind = cpb.DEATH_KIND_OUT_OF_SCOPE if graceful else cpb.DEATH_KIND_KILLED
            life.cause = cpb.DeathCause(kind=kind, message=reason or "it was killed")
        return life

    def running(self) -> list[cpb.RunningActor]:
        """Every life, for a registration."""
        found = []
        for life in self._lives.values():
            order = life.order
            running = cpb.RunningActor(
                actor_id=order.actor_id,
                incarnation=order.incarnation,
                job_id=order.job_id,
                owner=order.owner,
                detached=order.detached,
                hold=order.hold,
                class_name=order.class_name,
            )
            client = self._clients.get(life.worker_id)
            if life.started and client is not None:
                running.address.CopyFrom(client.address(self._node_id))
                running.pid = client.pid
            found.append(running)
        return found

    def find(self, actor_id: bytes) -> Life | None:
        """The life of an actor here."""
        return self._lives.get(actor_id)

    def of_worker(self, worker_id: bytes) -> Life | None:
        """What a worker has become."""
        return next((life for life in self._lives.values() if life.worker_id == worker_id), None)

    def jobs(self) -> set[bytes]:
        """Jobs that have an actor here."""
        return {life.order.job_id for life in self._lives.values()}

    def __len__(self) -> int:
        return len(self._lives)

    # ---- what became of them

    def begin(self, command: ev.BecomeActor) -> None:
        """A worker becomes the actor."""
        life = self._lives[command.actor_id]
        life.worker_id = command.worker_id
        self._clients.send(
            command.worker_id,
            pb.StartActor(
                actor_id=command.actor_id,
                incarnation=command.incarnation,
                spec=life.order.spec,
                resources=common.Resources(amounts=command.amounts),
                gpu_ids=command.gpu_ids,
            ),
        )

    def started(self, client: Client, message: pb.ActorStarted) -> None:
        """The constructor has ended, says the worker."""
        life = self._of(client, message.actor_id, message.incarnation)
        if life is None or life.started or life.failed:
            return
        request = self._request(life)
        if message.HasField("failure"):
            life.failed = True
            failure = message.failure
            request.creation_failed.CopyFrom(
                cpb.DeathCause(
                    kind=cpb.DEATH_KIND_CREATION_FAILED,
                    message=failure.traceback or failure.message,
                    error=common.ErrorInfo(
                        code="ACTOR_DIED",
                        message=failure.message,
                        # Whoever reads it makes the exception from this; nobody on the way does.
                        blobs={"failure": failure.SerializeToString()},
                    ),
                )
            )
        else:
            life.started = True
            request.started.CopyFrom(cpb.ActorStartedReport(address=client.address(self._node_id), pid=client.pid))
        self._report(request)

    def exiting(self, client: Client, message: pb.ActorExiting) -> None:
        """The actor leaves by itself: its end, soon, has this cause."""
        life = self._of(client, message.actor_id, message.incarnation)
        if life is None or life.cause is not None:
            # Control wanted it; that is why it leaves.
            return
        kind = _LEAVING.get(message.cause.code, cpb.DEATH_KIND_INTENDED_USER_EXIT)
        life.cause = cpb.DeathCause(kind=kind, message=message.cause.message, error=message.cause)

    def died(self, command: ev.ReportActorDied) -> None:
        """Its process has ended, or it never got one."""
        life = self._lives.get(command.actor_id)
        if life is None or life.order.incarnation != command.incarnation:
            return
        del self._lives[command.actor_id]
        if life.failed:
            return
        request = self._request(life)
        request.died.CopyFrom(life.cause or self._cause_of(command))
        self._report(request)

    def forget_job(self, job: bytes) -> None:
        """The job is over: nothing has to be said about actors of it that never began."""
        for actor_id, life in list(self._lives.items()):
            if life.order.job_id == job and not life.order.detached and not life.worker_id:
                del self._lives[actor_id]

    @staticmethod
    def _cause_of(command: ev.ReportActorDied) -> cpb.DeathCause:
        if command.out_of_memory:
            return cpb.DeathCause(kind=cpb.DEATH_KIND_OUT_OF_MEMORY, message=command.text)
        if command.status is None and not command.worker_id:
            return cpb.DeathCause(kind=cpb.DEATH_KIND_ENVIRONMENT_FAILED, message=command.text)
        if command.status == 0:
            return cpb.DeathCause(kind=cpb.DEATH_KIND_INTENDED_USER_EXIT, message=command.text)
        return cpb.DeathCause(
            kind=cpb.DEATH_KIND_SYSTEM_ERROR,
            message=worker_died("SYSTEM_ERROR", f"The actor's worker process died: {command.text}."),
        )

    def _of(self, client: Client, actor_id: bytes, incarnation: int) -> Life | None:
        life = self._lives.get(actor_id)
        if life is None or life.worker_id != client.worker_id or life.order.incarnation != incarnation:
            return None
        return life

    def _request(self, life: Life) -> cpb.ReportActorRequest:
        return cpb.ReportActorRequest(
            node_id=self._node_id, actor_id=life.order.actor_id, incarnation=life.order.incarnation
        )

    def _fence(self, actor_id: bytes, incarnation: int) -> None:
        known = self._fences.pop(actor_id, -1)
        self._fences[actor_id] = max(known, incarnation)
        if len(self._fences) > _MAX_FENCES:
            del self._fences[next(iter(self._fences))]
