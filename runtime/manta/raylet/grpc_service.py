"""What control asks of this node: the gRPC face. Decode, note, let the scheduler decide, answer."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import grpc.aio

from manta.core.errors import MantaError
from manta.raylet import events as ev
from manta.raylet.actors import Actors
from manta.raylet.admission import settings_of, variables_of
from manta.raylet.clients import Clients, Job
from manta.raylet.runner import Runner
from manta.raylet.workers.pool import WorkerProcesses
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.rpc.v1 import raylet_pb2 as rpb
from manta.rpc.v1 import raylet_pb2_grpc
from manta.transport import status
from manta.transport.convert import resources_from_proto

log = logging.getLogger(__name__)

_Context = grpc.aio.ServicerContext[Any, Any]


class WrongNodeError(MantaError):
    """The call was meant for another node, perhaps for one that lived at this address before."""

    code = "NODE_DEAD"


class RayletService(raylet_pb2_grpc.RayletServiceServicer):
    """See raylet.proto for what each call guarantees.

    Args:
        describe: The node's numbers as a JSON-able object.
        job_over: Frees what a job holds here.
    """

    def __init__(
        self,
        *,
        node_id: bytes,
        runner: Runner,
        actors: Actors,
        clients: Clients,
        jobs: dict[bytes, Job],
        processes: WorkerProcesses,
        describe: Callable[[], dict[str, Any]],
        job_over: Callable[[bytes], None],
    ) -> None:
        self._node_id = node_id
        self._runner = runner
        self._actors = actors
        self._clients = clients
        self._jobs = jobs
        self._processes = processes
        self._describe = describe
        self._job_over = job_over

    async def StartActor(self, request: rpb.StartActorRequest, context: _Context) -> rpb.StartActorResponse:  # noqa: N802
        """Note the order and queue it; what becomes of it is reported to control."""
        await self._check(request.node_id, context)
        verdict, reason = self._actors.admit(request)
        if (
            verdict == rpb.StartActorResponse.VERDICT_ACCEPTED
            and self._runner.scheduler.actor(request.actor_id) is None
        ):
            job = self._jobs.get(request.job_id)
            if job is None:
                # Its driver is elsewhere, or gone: what its workers need comes with the order.
                job = self._jobs[request.job_id] = Job(request.job_id, request.job_config, request.namespace)
                self._processes.job_variables(job.job_id, variables_of(settings_of(job.config)))
            if not self._runner.scheduler.ledger.feasible(resources_from_proto(request.place)):
                self._actors.refuse(request.actor_id)
                verdict, reason = rpb.StartActorResponse.VERDICT_REFUSED, "the node does not have what it asks for"
            else:
                self._runner.tell(
                    ev.ActorWanted(
                        actor_id=request.actor_id,
                        incarnation=request.incarnation,
                        job=request.job_id,
                        place=resources_from_proto(request.place),
                        hold=resources_from_proto(request.hold),
                        environment=request.env_hash,
                        name=request.class_name,
                        detached=request.detached,
                    )
                )
        available = common.Resources(amounts=self._runner.scheduler.available())
        return rpb.StartActorResponse(verdict=verdict, reason=reason, available=available)

    async def KillActorOnNode(  # noqa: N802
        self, request: rpb.KillActorOnNodeRequest, context: _Context
    ) -> rpb.KillActorOnNodeResponse:
        """End one incarnation: queued, starting or running."""
        await self._check(request.node_id, context)
        life = self._actors.unwanted(request.actor_id, request.incarnation, request.reason, graceful=request.graceful)
        if life is not None:
            if request.graceful and life.started:
                self._clients.send(
                    life.worker_id, pb.Exit(reason=request.reason or "nobody refers to the actor any more")
                )
            else:
                self._runner.tell(ev.ActorUnwanted(request.actor_id, request.incarnation, request.reason))
        return rpb.KillActorOnNodeResponse()

    async def FinishJobOnNode(  # noqa: N802
        self, request: rpb.FinishJobOnNodeRequest, context: _Context
    ) -> rpb.FinishJobOnNodeResponse:
        """Free what the job holds here."""
        await self._check(request.node_id, context)
        self._job_over(request.job_id)
        return rpb.FinishJobOnNodeResponse()

    async def Ping(self, request: rpb.PingRequest, context: _Context) -> rpb.PingResponse:  # noqa: N802
        """Answer, if it is us who are meant."""
        await self._check(request.node_id, context)
        return rpb.PingResponse()

    async def GetStats(self, request: rpb.GetStatsRequest, context: _Context) -> rpb.GetStatsResponse:  # noqa: N802
        """The node's numbers."""
        return rpb.GetStatsResponse(json=json.dumps(self._describe(), sort_keys=True))

    async def _check(self, node_id: bytes, context: _Context) -> None:
        if node_id and node_id != self._node_id:
            await status.abort(context, WrongNodeError(f"this is node {self._node_id.hex()}, not {node_id.hex()}"))
