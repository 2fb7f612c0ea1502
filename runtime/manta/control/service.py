"""The wire face of control: decode, decide, wait for the commit, encode. Decisions live in `state`, effects in `runner`."""

# The methods are named as the RPCs, and what each promises is stated once: in control.proto.
# ruff: noqa: D102, N802

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any
from uuid import uuid4

import grpc

from manta.control import convert, events
from manta.control.errors import FunctionNotFoundError, InvalidRequestError
from manta.control.logs import EventLog
from manta.control.model import (
    Actor,
    ActorId,
    ActorState,
    Job,
    JobState,
    Node,
    NodeState,
    WorkerId,
)
from manta.control.runner import Runner
from manta.control.state import ControlState
from manta.control.watching import News, Ready, Resync, UnknownActor, Watcher
from manta.core.errors import MantaError
from manta.rpc.v1 import control_pb2 as pb
from manta.transport import status

REQUEST_ID_BYTES = 16
#: How often nodes should be heard of, ms. A tenth of the silence that counts as death.
HEARTBEAT_PERIOD_MS = 1000
KEY_LIMIT = 64 << 10
LIST_LIMIT = 10_000

SERVICE = "manta.rpc.v1.ControlService"

Context = grpc.aio.ServicerContext[Any, Any]


class ControlService:
    """One method per RPC of control.proto, which states what each promises.

    Args:
        runner: Decides and performs.
        log: For what goes wrong.
        failed: Called with an error of our own making: control can't be trusted any more and must stop.
        more_statistics: Counts of others, for GetStatistics.
    """

    def __init__(
        self,
        runner: Runner,
        log: EventLog,
        failed: Callable[[BaseException], None],
        more_statistics: Callable[[], dict[str, int]] = dict,
    ) -> None:
        self._runner, self._log, self._failed, self._more = runner, log, failed, more_statistics
        self._state = runner.state
        self._streams = 0

    # ---- nodes

    async def RegisterNode(self, request: pb.RegisterNodeRequest, cause: str) -> pb.RegisterNodeResponse:
        info = request.node
        running = tuple(map(convert.running_actor, request.actors))
        job_ids = tuple(convert.job_id(each, "job_ids") for each in request.job_ids)
        event = events.RegisterNode(
            cause=cause,
            request_id=_request_id(request.request_id),
            node=convert.node(info),
            available=convert.amounts(info.available, "node.available") if info.HasField("available") else None,
            actors=running,
            driver_ids=frozenset(map(WorkerId, request.driver_ids)),
            job_ids=job_ids,
        )
        self._runner.decide(event)
        response = pb.RegisterNodeResponse(
            epoch=self._state.epoch,
            cluster_id=self._state.cluster_id,
            heartbeat_period_ms=HEARTBEAT_PERIOD_MS,
            kill_actors=[
                pb.ActorIncarnation(actor_id=actor_id, incarnation=incarnation)
                for actor_id, incarnation in self._state.unwanted(event.node.node_id, running)
            ],
            finished_job_ids=self._state.over(job_ids),
        )
        await self._runner.settled()
        return response

    async def Heartbeat(self, request: pb.HeartbeatRequest, cause: str) -> pb.HeartbeatResponse:
        event = events.Heartbeat(
            cause=cause,
            node_id=convert.node_id(request.node_id),
            number=request.number,
            available=convert.amounts(request.available, "available"),
            gauges=convert.text_map(request.gauges),
        )
        await self._runner.ask(event)
        return pb.HeartbeatResponse(epoch=self._state.epoch, wanted=self._state.actors.wanting)

    async def UnregisterNode(self, request: pb.UnregisterNodeRequest, cause: str) -> pb.UnregisterNodeResponse:
        await self._runner.ask(
            events.UnregisterNode(
                cause=cause,
                request_id=_request_id(request.request_id),
                node_id=convert.node_id(request.node_id),
                reason=convert.name(request.reason, "reason"),
            )
        )
        return pb.UnregisterNodeResponse()

    async def ListNodes(self, request: pb.ListNodesRequest, cause: str) -> pb.ListNodesResponse:
        rows = self._state.nodes.rows.values()
        wanted = [row for row in rows if row.state is NodeState.ALIVE or not request.alive_only]
        response = pb.ListNodesResponse(nodes=[self._node(row) for row in wanted])
        await self._runner.settled()
        return response

    def _node(self, row: Node) -> pb.NodeInfo:
        return convert.to_node(row, self._state.nodes.available(row.node_id))

    async def ClusterResources(self, request: pb.ClusterResourcesRequest, cause: str) -> pb.ClusterResourcesResponse:
        total, available = self._state.resources()
        await self._runner.settled()
        return pb.ClusterResourcesResponse(total=convert.to_amounts(total), available=convert.to_amounts(available))

    async def ReportWorkersDied(self, request: pb.ReportWorkersDiedRequest, cause: str) -> pb.ReportWorkersDiedResponse:
        await self._runner.ask(
            events.WorkersDied(
                cause=cause,
                request_id=_request_id(request.request_id),
                node_id=convert.node_id(request.node_id),
                worker_ids=tuple(map(WorkerId, request.worker_ids)),
            )
        )
        return pb.ReportWorkersDiedResponse()

    # ---- jobs

    async def RegisterJob(self, request: pb.RegisterJobRequest, cause: str) -> pb.RegisterJobResponse:
        event = events.RegisterJob(
            cause=cause,
            request_id=_request_id(request.request_id),
            driver=convert.address(request.driver, "driver"),
            driver_pid=request.driver_pid,
            entrypoint=request.entrypoint[: convert.NAME_LIMIT],
            config=request.config,
            namespace=convert.name(request.namespace, "namespace"),
            anonymous_namespace=str(uuid4()),
        )
        job = self._state.jobs.get(self._runner.decide(event))
        await self._runner.settled()
        return pb.RegisterJobResponse(
            job=convert.to_job(job), cluster_id=self._state.cluster_id, epoch=self._state.epoch
        )

    async def FinishJob(self, request: pb.FinishJobRequest, cause: str) -> pb.FinishJobResponse:
        job_id = convert.job_id(request.job_id)
        if request.state not in (pb.JOB_STATE_SUCCEEDED, pb.JOB_STATE_FAILED):
            raise InvalidRequestError("state must be SUCCEEDED or FAILED")
        self._runner.decide(
            events.FinishJob(
                cause=cause,
                request_id=_request_id(request.request_id),
                job_id=job_id,
                state=JobState(request.state),
                message=convert.name(request.message, "message"),
            )
        )
        job = self._state.jobs.get(job_id)
        await self._runner.settled()
        return pb.FinishJobResponse(job=convert.to_job(job))

    async def ListJobs(self, request: pb.ListJobsRequest, cause: str) -> pb.ListJobsResponse:
        rows = self._state.jobs.rows.values()
        wanted = [row for row in rows if row.state is JobState.RUNNING or not request.running_only]
        await self._runner.settled()
        return pb.ListJobsResponse(jobs=map(convert.to_job, wanted))

    # ---- actors

    async def CreateActor(self, request: pb.CreateActorRequest, cause: str) -> pb.CreateActorResponse:
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
                request_id=_request_id(request.request_id),
                spec=convert.actor_spec(request),
                get_if_exists=request.get_if_exists,
                dependencies_unready=request.dependencies_unready,
                known=known,
            )
        )
        actor = self._state.actors.get(ActorId(answer[1:]))
        await self._runner.settled()
        return pb.CreateActorResponse(actor=convert.to_actor(actor), created=answer[:1] == b"\1")

    async def ActorDependenciesReady(
        self, request: pb.ActorDependenciesReadyRequest, cause: str
    ) -> pb.ActorDependenciesReadyResponse:
        await self._runner.ask(
            events.DependenciesReady(
                cause=cause,
                request_id=_request_id(request.request_id),
                actor_id=convert.actor_id(request.actor_id),
                spec=request.spec,
            )
        )
        return pb.ActorDependenciesReadyResponse()

    async def GetActor(self, request: pb.GetActorRequest, cause: str) -> pb.GetActorResponse:
        actor = self._state.actors.get(convert.actor_id(request.actor_id))
        await self._runner.settled()
        return pb.GetActorResponse(actor=convert.to_actor(actor))

    async def GetNamedActor(self, request: pb.GetNamedActorRequest, cause: str) -> pb.GetNamedActorResponse:
        if not request.name:
            raise InvalidRequestError("name is empty")
        try:
            actor = self._state.actors.named(request.name, request.namespace)
        finally:
            # That there is none is an answer too, and must be as durable.
            await self._runner.settled()
        return pb.GetNamedActorResponse(actor=convert.to_actor(actor))

    async def ListNamedActors(self, request: pb.ListNamedActorsRequest, cause: str) -> pb.ListNamedActorsResponse:
        rows = self._state.actors.names(None if request.all_namespaces else request.namespace)
        await self._runner.settled()
        return pb.ListNamedActorsResponse(
            names=[
                pb.ActorName(name=row.spec.name, namespace=row.spec.namespace, actor_id=row.actor_id) for row in rows
            ]
        )

    async def ListActors(self, request: pb.ListActorsRequest, cause: str) -> pb.ListActorsResponse:
        rows = [
            row
            for row in reversed(self._state.actors.rows.values())
            if not request.job_id or row.spec.job_id == request.job_id
        ]
        shown = rows[: min(request.limit or LIST_LIMIT, LIST_LIMIT)]
        await self._runner.settled()
        return pb.ListActorsResponse(actors=map(convert.to_actor, shown), total=len(rows))

    async def KillActor(self, request: pb.KillActorRequest, cause: str) -> pb.KillActorResponse:
        await self._runner.ask(
            events.KillActor(
                cause=cause,
                request_id=_request_id(request.request_id),
                actor_id=convert.actor_id(request.actor_id),
                no_restart=request.no_restart,
            )
        )
        return pb.KillActorResponse()

    async def ReleaseActor(self, request: pb.ReleaseActorRequest, cause: str) -> pb.ReleaseActorResponse:
        await self._runner.ask(
            events.ReleaseActor(
                cause=cause,
                request_id=_request_id(request.request_id),
                actor_id=convert.actor_id(request.actor_id),
            )
        )
        return pb.ReleaseActorResponse()

    async def ReportActor(self, request: pb.ReportActorRequest, cause: str) -> pb.ReportActorResponse:
        which = request.WhichOneof("outcome")
        if which is None:
            raise InvalidRequestError("outcome is unset; it must be started, creation_failed or died")
        started = which == "started"
        keep: bool = await self._runner.ask(
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

    # ---- key-value

    async def KvPut(self, request: pb.KvPutRequest, cause: str) -> pb.KvPutResponse:
        answer = await self._runner.ask(
            events.KvPut(
                cause=cause,
                request_id=_request_id(request.request_id),
                namespace=convert.name(request.namespace, "namespace"),
                key=_key(request.key),
                value=request.value,
                overwrite=request.overwrite,
            )
        )
        return pb.KvPutResponse(added=answer == b"\1")

    async def KvGet(self, request: pb.KvGetRequest, cause: str) -> pb.KvGetResponse:
        value = self._state.kv.get(request.namespace, request.key)
        await self._runner.settled()
        return pb.KvGetResponse(found=value is not None, value=value or b"")

    async def KvDel(self, request: pb.KvDelRequest, cause: str) -> pb.KvDelResponse:
        answer: bytes = await self._runner.ask(
            events.KvDel(
                cause=cause,
                request_id=_request_id(request.request_id),
                namespace=convert.name(request.namespace, "namespace"),
                key=_key(request.key),
                prefix=request.prefix,
            )
        )
        return pb.KvDelResponse(deleted=int.from_bytes(answer, "big"))

    async def KvKeys(self, request: pb.KvKeysRequest, cause: str) -> pb.KvKeysResponse:
        keys = self._state.kv.keys(request.namespace, request.prefix)
        await self._runner.settled()
        return pb.KvKeysResponse(keys=keys)

    async def KvExists(self, request: pb.KvExistsRequest, cause: str) -> pb.KvExistsResponse:
        exists = self._state.kv.exists(request.namespace, request.key)
        await self._runner.settled()
        return pb.KvExistsResponse(exists=exists)

    # ---- functions

    async def PutFunction(self, request: pb.PutFunctionRequest, cause: str) -> pb.PutFunctionResponse:
        if not 16 <= len(request.function_hash) <= 64:
            raise InvalidRequestError(f"function_hash must have 16 to 64 bytes, not {len(request.function_hash)}")
        await self._runner.ask(
            events.PutFunction(
                cause=cause,
                request_id=_request_id(request.request_id),
                job_id=convert.job_id(request.job_id),
                function_hash=request.function_hash,
                blob=request.blob,
            )
        )
        return pb.PutFunctionResponse()

    async def GetFunction(self, request: pb.GetFunctionRequest, cause: str) -> pb.GetFunctionResponse:
        try:
            blob = self._state.functions.get(request.function_hash)
        except FunctionNotFoundError:
            await self._runner.settled()
            raise
        await self._runner.settled()
        return pb.GetFunctionResponse(blob=blob)

    # ---- watching

    async def Watch(self, requests: AsyncIterator[pb.WatchRequest], cause: str) -> AsyncIterator[pb.WatchResponse]:
        first = await anext(requests, None)
        if first is None:
            return
        self._streams += 1
        stream = self._streams
        node_id = convert.node_id(first.node_id) if first.node_id else None
        if node_id is not None:
            self._state.nodes.require_alive(node_id)
        unread = asyncio.Event()
        watcher = Watcher(unread.set, nodes=first.nodes, jobs=first.jobs, all_actors=first.all_actors)
        after: int | None = None
        lost = ""
        if first.HasField("after"):
            after = first.after.number
            if first.after.epoch != self._state.epoch:
                lost = "control was restarted"
        watchers = self._runner.watchers
        watchers.join(watcher, _actor_ids(first.actor_ids), after, lost)
        reader: asyncio.Task[None] | None = None
        try:
            if node_id is not None:
                self._runner.decide(events.NodeConnected(cause=cause, node_id=node_id, stream=stream))
            reader = asyncio.ensure_future(self._read_interests(requests, watcher))
            reader.add_done_callback(lambda _: unread.set())
            while True:
                while not watcher.unread:
                    if reader.done():
                        # The caller closed its side; what it asked for has been sent.
                        reader.result()
                        return
                    unread.clear()
                    await unread.wait()
                news = [watcher.unread.popleft() for _ in range(min(len(watcher.unread), 256))]
                # What is told was decided; before it is on disk nobody may see it.
                await self._runner.settled()
                for number, item in news:
                    yield self._news(number, watcher, item)
        finally:
            if reader is not None:
                reader.cancel()
            watchers.leave(watcher)
            if node_id is not None and not self._runner.failure.done():
                self._runner.decide(events.NodeDisconnected(cause=cause, node_id=node_id, stream=stream))

    async def _read_interests(self, requests: AsyncIterator[pb.WatchRequest], watcher: Watcher) -> None:
        async for request in requests:
            if request.remove_actor_ids:
                self._runner.watchers.remove(watcher, _actor_ids(request.remove_actor_ids))
            self._runner.watchers.add(watcher, _actor_ids(request.actor_ids))

    def _news(self, number: int, watcher: Watcher, item: News) -> pb.WatchResponse:
        response = pb.WatchResponse(
            position=pb.WatchPosition(epoch=self._state.epoch, number=number), previous=watcher.previous
        )
        watcher.previous = number
        match item:
            case Resync(reason):
                response.resync.reason = reason
            case UnknownActor(actor_id):
                response.unknown_actor.actor_id = actor_id
            case Ready():
                response.ready.SetInParent()
            case Node():
                response.node.CopyFrom(self._node(item))
            case Job():
                response.job.CopyFrom(convert.to_job(item))
            case Actor():
                response.actor.CopyFrom(convert.to_actor(item))
        return response

    # ---- about itself

    async def GetStatistics(self, request: pb.GetStatisticsRequest, cause: str) -> pb.GetStatisticsResponse:
        counts = self._runner.statistics() | self._more()
        story = self._state.story(request.id) if request.id else []
        await self._runner.settled()
        return pb.GetStatisticsResponse(json=json.dumps(counts, sort_keys=True), story=story)

    # ---- wiring

    def handlers(self) -> grpc.GenericRpcHandler:
        """One handler per RPC of the service's descriptor: an RPC without a method here is a mistake at start."""
        from google.protobuf.message_factory import GetMessageClass

        made: dict[str, Any] = {}
        for method in pb.DESCRIPTOR.services_by_name["ControlService"].methods:
            decode = GetMessageClass(method.input_type).FromString
            encode = GetMessageClass(method.output_type).SerializeToString
            run = getattr(self, method.name)
            if method.server_streaming:
                made[method.name] = grpc.stream_stream_rpc_method_handler(self._streaming(run), decode, encode)
            else:
                made[method.name] = grpc.unary_unary_rpc_method_handler(self._unary(method.name, run), decode, encode)
        return grpc.method_handlers_generic_handler(SERVICE, made)

    def _unary(self, name: str, run: Callable[[Any, str], Awaitable[Any]]) -> Callable[[Any, Context], Awaitable[Any]]:
        async def answer(request: Any, context: Context) -> Any:
            request_id: bytes = getattr(request, "request_id", b"")
            try:
                return await run(request, f"{name} {request_id.hex()}" if request_id else name)
            except MantaError as error:
                await status.abort(context, error)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - a defect of ours: say so and stop, whatever it is
                self._defect(name, error)
                await status.abort(context, error)

        return answer

    def _defect(self, name: str, error: Exception) -> None:
        self._log.event("defect", rpc=name, error=repr(error))
        self._failed(error)

    def _streaming(
        self, run: Callable[[AsyncIterator[Any], str], AsyncIterator[Any]]
    ) -> Callable[[AsyncIterator[Any], Context], AsyncIterator[Any]]:
        async def answer(requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
            stream = run(requests, "Watch")
            try:
                async for response in stream:
                    yield response
            except MantaError as error:
                await status.abort(context, error)
            except Exception as error:  # noqa: BLE001 - as above
                self._defect("Watch", error)
                await status.abort(context, error)
            finally:
                # Now, not when the collector finds it: a node's sign of life ends with it.
                await stream.aclose()  # type: ignore[attr-defined]

        return answer


def present(state: ControlState) -> Callable[[bool, bool, bool, Iterable[ActorId]], list[News]]:
    """How watchers read the present state."""

    def read(nodes: bool, jobs: bool, all_actors: bool, actors: Iterable[ActorId]) -> list[News]:
        news: list[News] = []
        if nodes:
            news += state.nodes.rows.values()
        if jobs:
            news += state.jobs.rows.values()
        if all_actors:
            news += [row for row in state.actors.rows.values() if row.state is not ActorState.DEAD]
        for actor_id in sorted(actors):
            news.append(state.actors.rows.get(actor_id) or UnknownActor(actor_id))
        return news

    return read


def _request_id(value: bytes) -> bytes:
    if len(value) != REQUEST_ID_BYTES:
        raise InvalidRequestError(
            f"request_id must have {REQUEST_ID_BYTES} bytes, not {len(value)}: it is what makes repeating safe"
        )
    return value


def _key(value: bytes) -> bytes:
    if len(value) > KEY_LIMIT:
        raise InvalidRequestError(f"the key has {len(value)} bytes, at most {KEY_LIMIT} are allowed")
    return value


def _actor_ids(values: Iterable[bytes]) -> list[ActorId]:
    return [convert.actor_id(value) for value in values]
