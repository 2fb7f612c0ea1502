"""Tells raylets what was decided for them, again and again until each has confirmed or is dead."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import grpc

from manta.aio.backoff import Backoff
from manta.aio.supervisor import Supervisor
from manta.control import convert, failpoints
from manta.control.commands import FinishJobOnNode, KillOnNode, StartOnNode
from manta.control.events import StartAnswered, Verdict
from manta.control.logs import EventLog
from manta.control.model import NodeId
from manta.control.runner import OnNode, Runner
from manta.core.errors import MantaError
from manta.rpc.v1 import raylet_pb2
from manta.transport import auth
from manta.transport import grpc as wire

#: Seconds a raylet has to answer one call: it only writes down what is wanted.
CALL_S = 5.0
#: Calls in flight per node.
AT_ONCE = 32

_SERVICE = "/manta.rpc.v1.RayletService/"


class Raylets:
    """One connection and one queue per living node.

    Args:
        token: Shown to raylets.
        log: For what fails.
        unit: Randomness in [0, 1) for pauses.
    """

    def __init__(self, token: str, log: EventLog, unit: Callable[[], float]) -> None:
        self._token, self._log, self._unit = token, log, unit
        self._runner: Runner | None = None
        self._tasks: Supervisor | None = None
        self._channels: dict[NodeId, grpc.aio.Channel] = {}
        self._queues: dict[NodeId, deque[OnNode]] = {}
        self._senders: dict[NodeId, int] = {}
        self._backoff = Backoff(0.05, 2.0, 1.0, 0.5)

    def attach(self, runner: Runner, tasks: Supervisor) -> None:
        """Where answers go and liveness is read; who is the senders' parent."""
        self._runner, self._tasks = runner, tasks

    def tell(self, command: OnNode) -> None:
        """Queue a command for its node."""
        assert self._tasks is not None
        node_id = command.node_id
        self._queues.setdefault(node_id, deque()).append(command)
        # As many senders as there is work, up to the bound: starts of many actors overlap.
        if self._senders.get(node_id, 0) < AT_ONCE:
            self._senders[node_id] = self._senders.get(node_id, 0) + 1
            _ = self._tasks.start(self._send(node_id), name=f"raylet {node_id.hex()[:8]}")

    async def _send(self, node_id: NodeId) -> None:
        queue = self._queues[node_id]
        try:
            while queue:
                await self._until_done(queue.popleft())
        finally:
            self._senders[node_id] -= 1
            if not self._senders[node_id]:
                del self._senders[node_id]
                if not queue:
                    self._queues.pop(node_id, None)
                await self._drop_if_dead(node_id)

    async def _drop_if_dead(self, node_id: NodeId) -> None:
        assert self._runner is not None
        if not self._runner.state.nodes.is_alive(node_id):
            channel = self._channels.pop(node_id, None)
            if channel is not None:
                await channel.close(None)

    async def _until_done(self, command: OnNode) -> None:
        runner = self._runner
        assert runner is not None
        # Nothing leaves before it is on disk: after a crash nobody would know why that actor runs.
        await runner.settled()
        attempt = 0
        while runner.state.nodes.is_alive(command.node_id):
            try:
                await self._call(command, runner)
                return
            except grpc.aio.AioRpcError as error:
                if error.code() in wire.REPEATABLE or error.code() is grpc.StatusCode.CANCELLED:
                    pass
                elif isinstance(command, StartOnNode):
                    self._answered(command, runner, Verdict.REFUSED, error.details() or error.code().name)
                    return
                else:
                    self._log.event(
                        "raylet_refused",
                        command=type(command).__name__,
                        node=command.node_id,
                        error=str(error.details()),
                    )
                if attempt in (3, 10):
                    self._log.event(
                        "raylet_unreachable", node=command.node_id, attempt=attempt, status=error.code().name
                    )
            await asyncio.sleep(self._backoff.delay_s(attempt, self._unit()))
            attempt += 1

    async def _call(self, command: OnNode, runner: Runner) -> None:
        match command:
            case StartOnNode(actor=actor):
                if not runner.state.actors.wanted_there(command.node_id, actor.actor_id, actor.incarnation):
                    return
                failpoints.reached("before-start-on-node")
                spec = actor.spec
                job = runner.state.jobs.rows.get(spec.job_id)
                response = await self._method(
                    command.node_id, "StartActor", raylet_pb2.StartActorRequest, raylet_pb2.StartActorResponse
                )(
                    raylet_pb2.StartActorRequest(
                        node_id=command.node_id,
                        actor_id=spec.actor_id,
                        incarnation=actor.incarnation,
                        job_id=spec.job_id,
                        owner=convert.to_address(spec.owner),
                        spec=spec.spec,
                        place=convert.to_amounts(spec.place),
                        hold=convert.to_amounts(spec.hold),
                        env_hash=spec.env_hash,
                        class_name=spec.class_name,
                        function_hash=spec.function_hash,
                        detached=command.outlives_job,
                        name=spec.name,
                        namespace=spec.namespace,
                        job_config=job.config if job else b"",
                        epoch=runner.state.epoch,
                        num_restarts=actor.num_restarts,
                    ),
                    timeout=CALL_S,
                    metadata=auth.metadata(self._token),
                )
                failpoints.reached("after-start-on-node")
                self._answered(command, runner, Verdict(response.verdict or Verdict.REFUSED), response.reason, response)
            case KillOnNode():
                await self._method(
                    command.node_id,
                    "KillActorOnNode",
                    raylet_pb2.KillActorOnNodeRequest,
                    raylet_pb2.KillActorOnNodeResponse,
                )(
                    raylet_pb2.KillActorOnNodeRequest(
                        node_id=command.node_id,
                        actor_id=command.actor_id,
                        incarnation=command.incarnation,
                        graceful=command.graceful,
                        reason=command.reason,
                        epoch=runner.state.epoch,
                    ),
                    timeout=CALL_S,
                    metadata=auth.metadata(self._token),
                )
            case FinishJobOnNode():
                await self._method(
                    command.node_id,
                    "FinishJobOnNode",
                    raylet_pb2.FinishJobOnNodeRequest,
                    raylet_pb2.FinishJobOnNodeResponse,
                )(
                    raylet_pb2.FinishJobOnNodeRequest(
                        node_id=command.node_id, job_id=command.job_id, epoch=runner.state.epoch
                    ),
                    timeout=CALL_S,
                    metadata=auth.metadata(self._token),
                )

    def _answered(
        self,
        command: StartOnNode,
        runner: Runner,
        verdict: Verdict,
        reason: str,
        response: raylet_pb2.StartActorResponse | None = None,
    ) -> None:
        available = None
        if response is not None and response.HasField("available"):
            available = dict(response.available.amounts)
        try:
            runner.decide(
                StartAnswered(
                    node_id=command.node_id,
                    actor_id=command.actor.actor_id,
                    incarnation=command.actor.incarnation,
                    verdict=verdict,
                    reason=reason,
                    available=available,
                    cause=command.cause,
                )
            )
        except MantaError as error:
            self._log.event("answer_dropped", error=str(error))

    def _method(self, node_id: NodeId, name: str, request: type, response: type):  # type: ignore[no-untyped-def]  # noqa: ANN202
        assert self._runner is not None
        channel = self._channels.get(node_id)
        if channel is None:
            target = self._runner.state.nodes.rows[node_id].raylet_target
            channel = self._channels[node_id] = wire.channel(target)
        return channel.unary_unary(
            _SERVICE + name,
            request_serializer=request.SerializeToString,  # type: ignore[attr-defined]
            response_deserializer=response.FromString,  # type: ignore[attr-defined]
        )

    async def close(self) -> None:
        """Close every connection."""
        while self._channels:
            await self._channels.popitem()[1].close(None)

    def statistics(self) -> dict[str, int]:
        """Counts for people and tests."""
        return {
            "raylet_channels": len(self._channels),
            "raylet_commands_queued": sum(map(len, self._queues.values())),
            "raylet_senders": sum(self._senders.values()),
        }
