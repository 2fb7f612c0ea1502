"""RPCs about actors."""

# The methods are named as the RPCs, and what each promises is stated once: in control.proto.
# ruff: noqa: D102, N802

from __future__ import annotations

from manta.control import convert, events
from manta.control.errors import InvalidRequestError
from manta.control.model import ActorId
from manta.control.runner import Runner
from manta.control.services.requests import request_id
from manta.rpc.v1 import control_pb2 as pb

LIST_LIMIT = 10_000


class ActorRpcs:
    """CreateActor to ReportActor."""

    def __init__(self, runner: Runner) -> None:
        self._runner, self._state = runner, runner.state

    def CreateActor(self, request: pb.CreateActorRequest, cause: str) -> pb.CreateActorResponse:
        known = None
        if request.HasField("known"):
            known = events.KnownActor(
                incarnation=request.known.incarnation,
                num_restarts=request.known_num_restarts,
                address=convert.address(request.known_address, "known_address")
                if request.HasField("known_address")
                else None,
            )
        answer: bytes = self._runner.decide(
            events.CreateActor(
                cause=cause,
                request_id=request_id(request.request_id),
                spec=convert.actor_spec(request),
                get_if_exists=request.get_if_exists,
                dependencies_unready=request.dependencies_unready,
                known=known,
            )
        )
        actor = self._state.actors.get(ActorId(answer[1:]))
        return pb.CreateActorResponse(actor=convert.to_actor(actor), created=answer[:1] == b"\1")

    def ActorDependenciesReady(
        self, request: pb.ActorDependenciesReadyRequest, cause: str
    ) -> pb.ActorDependenciesReadyResponse:
        self._runner.decide(
            events.DependenciesReady(
                cause=cause,
                request_id=request_id(request.request_id),
                actor_id=convert.actor_id(request.actor_id),
                spec=request.spec,
            )
        )
        return pb.ActorDependenciesReadyResponse()

    def GetActor(self, request: pb.GetActorRequest, cause: str) -> pb.GetActorResponse:
        actor = self._state.actors.get(convert.actor_id(request.actor_id))
        return pb.GetActorResponse(actor=convert.to_actor(actor))

    def GetNamedActor(self, request: pb.GetNamedActorRequest, cause: str) -> pb.GetNamedActorResponse:
        if not request.name:
            raise InvalidRequestError("name is empty")
        actor = self._state.actors.named(request.name, request.namespace)
        return pb.GetNamedActorResponse(actor=convert.to_actor(actor))

    def ListNamedActors(self, request: pb.ListNamedActorsRequest, cause: str) -> pb.ListNamedActorsResponse:
        rows = self._state.actors.names(None if request.all_namespaces else request.namespace)
        return pb.ListNamedActorsResponse(
            names=[
                pb.ActorName(name=row.spec.name, namespace=row.spec.namespace, actor_id=row.actor_id) for row in rows
            ]
        )

    def ListActors(self, request: pb.ListActorsRequest, cause: str) -> pb.ListActorsResponse:
        rows = [
            row
            for row in reversed(self._state.actors.rows.values())
            if not request.job_id or row.spec.job_id == request.job_id
        ]
        shown = rows[: min(request.limit or LIST_LIMIT, LIST_LIMIT)]
        return pb.ListActorsResponse(actors=map(convert.to_actor, shown), total=len(rows))

    def KillActor(self, request: pb.KillActorRequest, cause: str) -> pb.KillActorResponse:
        self._runner.decide(
            events.KillActor(
                cause=cause,
                request_id=request_id(request.request_id),
                actor_id=convert.actor_id(request.actor_id),
                no_restart=request.no_restart,
            )
        )
        return pb.KillActorResponse()

    def ReleaseActor(self, request: pb.ReleaseActorRequest, cause: str) -> pb.ReleaseActorResponse:
        self._runner.decide(
            events.ReleaseActor(
                cause=cause,
                request_id=request_id(request.request_id),
                actor_id=convert.actor_id(request.actor_id),
            )
        )
        return pb.ReleaseActorResponse()

    def ReportActor(self, request: pb.ReportActorRequest, cause: str) -> pb.ReportActorResponse:
        which = request.WhichOneof("outcome")
        if which is None:
            raise InvalidRequestError("outcome is unset; it must be started, creation_failed or died")
        started = which == "started"
        keep: bool = self._runner.decide(
            events.ReportActor(
                cause=cause,
                node_id=convert.node_id(request.node_id),
                actor_id=convert.actor_id(request.actor_id),
                incarnation=request.incarnation,
                outcome={
                    "started": events.Outcome.STARTED,
                    "creation_failed": events.Outcome.CREATION_FAILED,
                    "died": events.Outcome.DIED,
                }[which],
                address=convert.address(request.started.address) if started else None,
                pid=request.started.pid,
                death=None if started else convert.death(getattr(request, which)),
                available=convert.amounts(request.available) if request.HasField("available") else None,
            )
        )
        return pb.ReportActorResponse(keep=keep)
