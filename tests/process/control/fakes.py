"""A raylet that does what a test says, over the real wire, and a client of control that speaks like one."""

import asyncio
import itertools
import os
from contextlib import asynccontextmanager, suppress
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
    """Records what control orders and answers as told; nothing happens by itself.

    Attributes:
        asked: Every order, in order.
        verdict: Answer to a start.
        silent: Orders are not answered.
    """

    def __init__(self, client: Client, socket: str, cpus: float = 2) -> None:
        self.client = client
        self.target = wire.unix_target(socket)
        self.node_id = os.urandom(28)
        self.total = common_pb2.Resources(amounts={"CPU": int(cpus * 10000)})
        self.asked: list[Any] = []
        self.news = asyncio.Event()
        self.verdict = raylet_pb2.StartActorAnswer.VERDICT_ACCEPTED
        self.silent = False
        self.replies: dict[int, control_pb2.LineReply] = {}
        self.events: list[control_pb2.WatchResponse] = []
        self.line_ended = asyncio.Event()
        self._serving = False
        self._line: Any = None
        self._listener: Any = None

    @asynccontextmanager
    async def serving(self):
        """Within the block each registration opens a line, on which orders are taken."""
        self._serving = True
        try:
            yield self
        finally:
            self._serving = False
            self.hang_up()

    async def register(self, **fields):
        self.hang_up()
        response = await self.client.RegisterNode(node=self.info(), **fields)
        if self._serving:
            self._line = self.client.raw("Attach")(metadata=auth.metadata(self.client.token))
            await self.say(node_id=self.node_id)
            self._listener = asyncio.ensure_future(self._listen(self._line))
        return response

    async def say(self, **fields):
        """One message on the line."""
        await self._line.write(control_pb2.AttachRequest(**fields))

    def hang_up(self):
        """Close the line, as a process that dies does."""
        if self._line is not None:
            self._line.cancel()
            self._listener.cancel()
            self._line = None

    async def _listen(self, line):
        with suppress(grpc.aio.AioRpcError):
            while (response := await line.read()) is not grpc.aio.EOF:
                self.replies.update({reply.number: reply for reply in response.replies})
                self.events.extend(response.events)
                for order in response.orders:
                    self.asked.append(asked := getattr(order, order.WhichOneof("order")))
                    answer = raylet_pb2.OrderAnswer(number=order.number)
                    self.fill(asked, answer)
                    if not self.silent:
                        await line.write(control_pb2.AttachRequest(answers=[answer]))
                self.news.set()
        self.line_ended.set()

    def fill(self, asked, answer):
        """Answer an order."""
        if isinstance(asked, raylet_pb2.StartActorOrder):
            answer.start_actor.verdict = self.verdict
            answer.start_actor.reason = "as the test says"

    def info(self):
        return control_pb2.NodeInfo(node_id=self.node_id, raylet_target=self.target, total=self.total, host="here")

    async def asks(self, kind, fits=lambda request: True):
        """Wait until control has asked for something of this kind."""
        while True:
            for request in self.asked:
                if isinstance(request, kind) and fits(request):
                    return request
            self.news.clear()
            await asyncio.wait_for(self.news.wait(), 10)

    async def _until(self, fits):
        async with asyncio.timeout(10):
            while not fits():
                self.news.clear()
                await self.news.wait()

    async def reply(self, number):
        """Wait for the reply to a call on the line."""
        await self._until(lambda: number in self.replies)
        return self.replies[number]

    async def news_until(self, kind):
        """Wait for an event of this kind; everything that was heard on the line so far."""
        await self._until(lambda: any(event.WhichOneof("event") == kind for event in self.events))
        return self.events

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
