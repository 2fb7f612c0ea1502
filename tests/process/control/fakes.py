"""A raylet that does what a test says, over the real wire, and a client of control that speaks like one."""

import asyncio
import itertools
import os
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.message_factory import GetMessageClass

from manta.rpc.v1 import common_pb2, control_pb2, raylet_pb2
from manta.transport import auth
from manta.transport import grpc as wire

_ids = itertools.count(1)


def fresh(size: int) -> bytes:
    """An id that no other in this run has."""
    return next(_ids).to_bytes(size, "big")


class Client:
    """Every RPC of control by its name: `await client.KvPut(...)` takes the request's fields."""

    def __init__(self, channel: grpc.aio.Channel, token: str = "") -> None:
        self.channel = channel
        self.token = token
        self.methods = {
            method.name: method for method in control_pb2.DESCRIPTOR.services_by_name["ControlService"].methods
        }

    def raw(self, name):
        method = self.methods[name]
        kind = self.channel.stream_stream if method.server_streaming else self.channel.unary_unary
        return kind(
            f"/manta.rpc.v1.ControlService/{name}",
            request_serializer=GetMessageClass(method.input_type).SerializeToString,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )

    def request(self, name, /, **fields):
        message = GetMessageClass(self.methods[name].input_type)(**fields)
        if "request_id" in message.DESCRIPTOR.fields_by_name and not message.request_id:
            message.request_id = os.urandom(16)
        return message

    def __getattr__(self, name):
        async def call(request=None, **fields):
            return await wire.call(
                self.raw(name), request or self.request(name, **fields), token=self.token, timeout_s=10.0
            )

        return call

    def watch(self, **fields):
        """An open watch: `send` more requests, `anext` events."""
        call = self.raw("Watch")(metadata=auth.metadata(self.token))
        return Watch(call, control_pb2.WatchRequest(**fields))


class Watch:
    def __init__(self, call, first) -> None:
        self.call = call
        self.first = first
        self.events: list[control_pb2.WatchResponse] = []

    async def __aenter__(self):
        await self.call.write(self.first)
        return self

    async def __aexit__(self, *exc):
        self.call.cancel()

    async def send(self, **fields):
        await self.call.write(control_pb2.WatchRequest(**fields))

    async def next(self):
        event = await asyncio.wait_for(self.call.read(), 10)
        assert event is not grpc.aio.EOF
        self.events.append(event)
        return event

    async def until(self, fits):
        """Read until an event for which `fits(event)` holds."""
        while True:
            event = await self.next()
            if fits(event):
                return event

    async def actor(self, actor_id, state):
        event = await self.until(
            lambda event: (
                event.WhichOneof("event") == "actor" and event.actor.actor_id == actor_id and event.actor.state == state
            )
        )
        return event.actor


@asynccontextmanager
async def client_of(target: str, token: str = ""):
    channel = wire.channel(target)
    try:
        yield Client(channel, token)
    finally:
        await channel.close(None)


class FakeRaylet:
    """Records what control asks and answers as told; nothing happens by itself.

    Attributes:
        asked: Every request, in order.
        verdict: Answer to StartActor.
        on_start: Awaitable run before StartActor is answered, with the request.
    """

    def __init__(self, client: Client, socket: str, cpus: float = 2) -> None:
        self.client = client
        self.target = wire.unix_target(socket)
        self.node_id = os.urandom(28)
        self.total = common_pb2.Resources(amounts={"CPU": int(cpus * 10000)})
        self.asked: list[Any] = []
        self.news = asyncio.Event()
        self.verdict = raylet_pb2.StartActorResponse.VERDICT_ACCEPTED
        self.on_start = None

    @asynccontextmanager
    async def serving(self):
        server = wire.server(None)
        made = {}
        for method in raylet_pb2.DESCRIPTOR.services_by_name["RayletService"].methods:
            made[method.name] = grpc.unary_unary_rpc_method_handler(
                self._handler(method),
                GetMessageClass(method.input_type).FromString,
                GetMessageClass(method.output_type).SerializeToString,
            )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("manta.rpc.v1.RayletService", made),))
        server.add_insecure_port(self.target)
        await server.start()
        try:
            yield self
        finally:
            await server.stop(0)

    def _handler(self, method):
        async def answer(request, context):
            self.asked.append(request)
            self.news.set()
            if method.name == "StartActor":
                if self.on_start is not None:
                    await self.on_start(request)
                return raylet_pb2.StartActorResponse(verdict=self.verdict, reason="as the test says")
            return GetMessageClass(method.output_type)()

        return answer

    def info(self):
        return control_pb2.NodeInfo(node_id=self.node_id, raylet_target=self.target, total=self.total, host="here")

    async def register(self, **fields):
        return await self.client.RegisterNode(node=self.info(), **fields)

    async def asks(self, kind, fits=lambda request: True):
        """Wait until control has asked for something of this kind."""
        while True:
            for request in self.asked:
                if isinstance(request, kind) and fits(request):
                    return request
            self.news.clear()
            await asyncio.wait_for(self.news.wait(), 10)

    def address(self):
        return common_pb2.Address(node_id=self.node_id, worker_id=os.urandom(28), endpoint="unix:/nowhere")

    async def started(self, start, address=None):
        return await self.client.ReportActor(
            node_id=self.node_id,
            actor_id=start.actor_id,
            incarnation=start.incarnation,
            started=control_pb2.ActorStartedReport(address=address or self.address(), pid=4711),
        )

    async def died(self, start, kind=control_pb2.DEATH_KIND_SYSTEM_ERROR, message="The worker died."):
        return await self.client.ReportActor(
            node_id=self.node_id,
            actor_id=start.actor_id,
            incarnation=start.incarnation,
            died=control_pb2.DeathCause(kind=kind, message=message),
        )

    async def job(self, **fields):
        """Register a job of a driver on this node; returns (job id, driver's address)."""
        driver = self.address()
        response = await self.client.RegisterJob(driver=driver, driver_pid=1, **fields)
        return response.job.job_id, driver

    async def create(self, job_id, owner, **fields):
        fields.setdefault("actor_id", os.urandom(12) + job_id)
        fields.setdefault("class_name", "Counter")
        fields.setdefault("spec", b"\x80opaque, never unpickled")
        fields.setdefault("place", common_pb2.Resources(amounts={"CPU": 10000}))
        return await self.client.CreateActor(job_id=job_id, owner=owner, **fields)
