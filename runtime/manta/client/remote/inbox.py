"""What the session process tells: values, items, answers, parts of large values, lines. Under the session's lock."""

from __future__ import annotations

import gc

from manta.client.generators import item_id
from manta.client.values import Failure, Stored
from manta.client.waiter import Waiter
from manta.core import errors
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import gateway_pb2 as gw
from manta.transport.convert import error_from_proto, error_to_proto
from manta.transport.message_data import split_data

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from google.protobuf.message import Message

    from manta.client.remote.session import RemoteSession

#: Messages of workers' lines that may wait to be printed.
MAX_TO_PRINT = 10_000

#: A message of this size holds a part of a large value, which is not to be copied by decoding it.
LARGE_BYTES = 64 << 10


class Inbox:
    """Takes the session's messages, each once."""

    def __init__(self, session: RemoteSession) -> None:
        self._session = session
        self._known = session.values.known
        self._do: dict[str, Callable[[Any], None]] = {
            "values": self._values,
            "value": self._value,
            "item": self._item,
            "ended": self._ended,
            "reply": session.requests.answered,
            "chunk": self._chunk,
            "lines": self._lines,
            "notice": lambda notice: session.on_infeasible(notice.text),
            "over": self._over,
            "collect": lambda collect: session.background.run(self._collect),
            "put_started": session.store.put_started,
            "put_done": session.store.put_done,
        }
        self._data: bytes | memoryview = b""

    def message(self, data: bytes) -> None:
        """One encoded ConnectResponse."""
        tail: memoryview | bytes = b""
        if len(data) >= LARGE_BYTES:
            head, tail = split_data(data)
            message = gw.ConnectResponse.FromString(head)
        else:
            message = gw.ConnectResponse.FromString(data)
        outbox = self._session.outbox
        outbox.acknowledged(message.received)
        if message.number and outbox.log.take(message.number, len(data)):
            self._data = tail or message.data
            for action in message.actions:
                kind = action.WhichOneof("kind")
                if kind is None:
                    raise errors.ProtocolError("the gateway tells something that this driver does not know")
                self._do[kind](getattr(action, kind))
        outbox.acknowledge()

    def _values(self, told: gw.SmallValues) -> None:
        session = self._session
        ids = told.object_ids
        counts, known, watchers = session.ownership.counts, self._known, session.values.watchers
        at = 0
        for value in told.values:
            oid = ids[at : at + 28]
            at += 28
            if oid in counts:
                known[oid] = value
                if oid in watchers:
                    session.values.set(oid, value)

    def _value(self, told: pb.ObjectValue) -> None:
        oid = told.object_id
        if oid not in self._session.ownership.counts:
            return
        if told.HasField("failure"):
            self._session.values.set(oid, Failure(told.failure))
        else:
            self._session.values.set(oid, Stored(told.value.size, told.value.node_id))

    def _item(self, item: pb.StreamItem) -> None:
        session = self._session
        reader = session.streams.get(item.task_id)
        if reader is None or reader.closed:
            session.say(gw.DriverAction(release=gw.ReleaseRefs(object_ids=[item_id(item.task_id, item.index)])))
            session.say(gw.DriverAction(consumed=pb.StreamConsumed(task_id=item.task_id, stop=True)))
            return
        reader.item(session.line_link, item)

    def _ended(self, ended: gw.StreamEnded) -> None:
        session = self._session
        reader = session.streams.get(ended.task_id)
        if reader is None:
            return
        if not ended.HasField("failure"):
            reader.ended(ended.length)
            return
        if reader.closed:
            error = item_id(ended.task_id, reader.come)
            session.say(gw.DriverAction(release=gw.ReleaseRefs(object_ids=[error])))
        reader.failed(Failure(ended.failure))

    def _chunk(self, chunk: gw.FetchedChunk) -> None:
        self._session.store.chunk(chunk, self._data)

    def _lines(self, lines: pb.LogLines) -> None:
        session = self._session
        if session.background.waiting < MAX_TO_PRINT:
            session.background.run(lambda: session.print_lines(lines))

    def _collect(self) -> None:
        gc.collect()
        self._session.pump.attend()  # what was dropped is counted there

    def _over(self, over: gw.SessionEnded) -> None:
        session = self._session
        if over.HasField("error"):
            session.ended(error_from_proto(over.error))
        else:
            session.ended(errors.NotConnectedError("the gateway has ended the session"))


class Reply(Waiter):
    """Waits for an answer."""

    __slots__ = ("frame",)

    def __init__(self) -> None:
        super().__init__()
        self.frame: pb.ControlReply | None = None


class Requests:
    """What was asked and is not answered. Under the session's lock."""

    def __init__(self, session: RemoteSession) -> None:
        self._session = session
        self._last = 0
        self._open: dict[int, Callable[[pb.ControlReply], None]] = {}
        self._waiters: dict[int, Reply] = {}
        #: Of those that nobody waits for.
        self._posts: set[int] = set()

    def number(self, then: Callable[[pb.ControlReply], None]) -> int:
        """The id of a new request; `then` takes its answer."""
        self._last += 1
        self._open[self._last] = then
        return self._last

    def waited_for(self) -> tuple[int, Reply]:
        """The id of a new request, and what waits for its answer."""
        reply = Reply()

        def then(frame: pb.ControlReply) -> None:
            self._waiters.pop(number, None)
            reply.frame = frame
            self._session.pump.finish(reply)

        number = self.number(then)
        self._waiters[number] = reply
        return number, reply

    def post(self, method: str, request: Message, then: Callable[[pb.ControlReply], None]) -> None:
        """See `Session.post`."""
        session = self._session
        if session.outbox.log.full:
            session.await_room()
        with session.lock:
            session.check()
            payload, number = request.SerializeToString(), self.number(then)
            self._posts.add(number)
            session.say(gw.DriverAction(control=pb.ControlCall(request_id=number, method=method, payload=payload)))

    def forget(self, number: int) -> None:
        """Nobody waits for the answer any more."""
        self._open.pop(number, None)
        self._waiters.pop(number, None)

    def answered(self, frame: pb.ControlReply) -> None:
        """An answer came."""
        then = self._open.pop(frame.request_id, None)
        self._posts.discard(frame.request_id)
        if then is not None:
            then(frame)

    def lost(self, reason: errors.MantaError) -> None:
        """No answer will come any more: every wait ends, and what was posted gets that error."""
        posts = [self._open[number] for number in sorted(self._posts)]
        self._posts.clear()
        self._open.clear()
        for then in posts:
            then(pb.ControlReply(error=error_to_proto(reason)))
        for reply in self._waiters.values():
            self._session.pump.finish(reply)
        self._waiters.clear()
