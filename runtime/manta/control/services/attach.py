"""The nodes' lines: calls in, replies and orders and news out, everything that there is at a time in one message."""

# The methods are named as the RPCs, and what each promises is stated once: in control.proto.
# ruff: noqa: D102, N802

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

from manta.aio.bell import Bell
from manta.control import convert, events
from manta.control.model import NodeId
from manta.control.orders import Line, Orders
from manta.control.runner import Runner
from manta.control.services.cluster import ClusterTeller
from manta.control.services.rpcs import Rpcs
from manta.control.services.shortage import HELD
from manta.control.services.watch import Subscription
from manta.control.watching import News
from manta.core.errors import MantaError, OverloadedError, StorageUnwritableError
from manta.rpc.v1 import control_pb2 as pb
from manta.transport.convert import error_to_proto

#: A reply that nobody waits for is held back so long, to travel with something else, seconds.
PATIENCE_S = 0.005
#: A message is closed when it has so many bytes; one large thing may still be larger.
MESSAGE_BYTES = 1 << 20
#: Replies that may wait on one line before no more calls are read from it.
UNSENT_REPLIES = 10_000
#: Calls of one line that may wait for others.
SLOW_CALLS = 64


class AttachRpcs:
    """Attach.

    Args:
        runner: Decides and performs.
        orders: What nodes have to do.
        rpcs: Answers calls by their name.
    """

    def __init__(self, runner: Runner, orders: Orders, rpcs: Rpcs) -> None:
        self._runner, self._orders, self._rpcs = runner, orders, rpcs
        self._cluster = ClusterTeller(runner, asyncio.get_running_loop())
        self._streams = 0
        self._loop = asyncio.get_running_loop()

    async def Attach(self, requests: AsyncIterator[pb.AttachRequest], cause: str) -> AsyncIterator[pb.AttachResponse]:
        runner, orders = self._runner, self._orders
        first = await anext(requests, None)
        if first is None:
            return
        node_id = convert.node_id(first.node_id)
        runner.state.nodes.require_alive(node_id)
        self._streams += 1
        stream = self._streams
        news, room = Bell(), Bell()
        line = Line(news.ring)
        runner.on_shortage[news.ring] = None
        reader: asyncio.Task[None] | None = None
        slow: set[asyncio.Task[None]] = set()
        runner.decide(events.NodeConnected(cause=cause, node_id=node_id, stream=stream))
        subscription: Subscription | None = None
        told = self._cluster.join(first.cluster if first.HasField("cluster") else None, news.ring)
        try:
            orders.opened(node_id, line)
            self._calls(node_id, first, line, slow)
            subscription = Subscription(runner, first.watch, news.ring)
            reader = asyncio.ensure_future(self._read(requests, node_id, line, subscription, room, slow))
            reader.add_done_callback(lambda _: news.ring())
            while not line.ended:
                await news.heard()
                some = line.replies or line.free or line.orders or line.questions
                if not (some or subscription.unread or self._cluster.unread(told)):
                    if reader.done() and not slow:
                        # The node closed its side; what it asked for has been sent.
                        reader.result()
                        return
                    continue
                replies, free, numbers, tidings = (
                    list(line.replies),
                    list(line.free),
                    list(line.orders),
                    subscription.take(),
                )
                picture = self._cluster.take(told)
                line.replies.clear()
                line.free.clear()
                line.orders.clear()
                room.ring()
                # All of it was decided; before it is on disk nobody may see it. While the disk is full, what claims nothing
                # new is said all the same: a node whose heartbeats were not answered would give up its work.
                held = False
                while not await runner.settled_or_stuck():
                    held = True
                    for response in self._messages(node_id, free, [], subscription, []):
                        yield response
                    if reader.done():
                        return
                    await news.heard()
                    free = list(line.free)
                    line.free.clear()
                    room.ring()
                responses = self._messages(node_id, replies + free, numbers, subscription, tidings)
                if picture:
                    responses = responses or [pb.AttachResponse()]
                    responses[-1].cluster = picture
                if line.questions:
                    responses.append(pb.AttachResponse(questions=line.questions))
                    line.questions.clear()
                for response in responses:
                    yield response
                if subscription.unread or reader.done() or held:
                    news.ring()
        finally:
            for call in slow:
                call.cancel()
            if reader is not None:
                reader.cancel()
            if subscription is not None:
                subscription.close()
            self._cluster.leave(told)
            orders.closed(node_id, line)
            runner.on_shortage.pop(news.ring, None)
            if not runner.failure.done():
                runner.decide(events.NodeDisconnected(cause=cause, node_id=node_id, stream=stream))

    async def _read(
        self,
        requests: AsyncIterator[pb.AttachRequest],
        node_id: NodeId,
        line: Line,
        subscription: Subscription,
        room: Bell,
        slow: set[asyncio.Task[None]],
    ) -> None:
        async for request in requests:
            self._calls(node_id, request, line, slow)
            if request.HasField("watch"):
                subscription.change(request.watch)
            while len(line.replies) + len(line.free) > UNSENT_REPLIES:
                await room.heard()

    def _calls(self, node_id: NodeId, request: pb.AttachRequest, line: Line, slow: set[asyncio.Task[None]]) -> None:
        for answer in request.answers:
            self._orders.answered(node_id, answer)
        for call in request.calls:
            reply = pb.LineReply(number=call.number)
            if call.method in self._rpcs.slow and len(slow) < SLOW_CALLS:
                waits = asyncio.create_task(self._call_later(call, reply, line), name=call.method)
                slow.add(waits)
                waits.add_done_callback(partial(_called, slow, line))
                continue
            held = call.method in HELD
            try:
                if call.method in self._rpcs.slow:
                    raise OverloadedError(
                        f"{SLOW_CALLS} such calls of this node are open already: ask again in a moment"
                    )
                reply.payload = self._rpcs.answer(call.method, call.payload)
            except MantaError as error:
                reply.error.CopyFrom(error_to_proto(error))
                held = held and type(error) is not StorageUnwritableError
            (line.replies if held else line.free).append(reply)
        if not all(call.patient for call in request.calls):
            line.wake()
        elif request.calls:
            self._loop.call_later(PATIENCE_S, line.wake)

    async def _call_later(self, call: pb.LineCall, reply: pb.LineReply, line: Line) -> None:
        try:
            reply.payload = await self._rpcs.answer_later(call.method, call.payload)
        except MantaError as error:
            reply.error.CopyFrom(error_to_proto(error))
        (line.replies if call.method in HELD else line.free).append(reply)

    def _messages(
        self,
        node_id: NodeId,
        replies: list[pb.LineReply],
        numbers: list[int],
        subscription: Subscription,
        tidings: list[tuple[int, News]],
    ) -> list[pb.AttachResponse]:
        messages = [pb.AttachResponse()]
        size = 0

        def room_for(more: int) -> pb.AttachResponse:
            nonlocal size
            if size and size + more > MESSAGE_BYTES:
                messages.append(pb.AttachResponse())
                size = 0
            size += more
            return messages[-1]

        for reply in replies:
            room_for(reply.ByteSize()).replies.append(reply)
        for number in numbers:
            order = self._orders.encode(node_id, number)
            if order is not None:
                room_for(order.ByteSize()).orders.append(order)
        for position, item in tidings:
            event = subscription.encode(position, item)
            room_for(event.ByteSize()).events.append(event)
        return messages if size else []


def _called(slow: set[asyncio.Task[None]], line: Line, call: asyncio.Task[None]) -> None:
    """A call that waited for others is over."""
    slow.discard(call)
    line.wake()
