"""What the driver outside is told: numbered, gathered, and no more at once than it takes.

What does not fit the window stays where it is, as an object's id: values are in this process's memory or the store anyway.
"""

from __future__ import annotations

from manta.client.values import Failure, Stored
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import gateway_pb2 as gw
from manta.transport.message_data import head_of
from manta.transport.message_log import MessageLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from manta.client.links import Link
    from manta.client.values import Value
    from manta.gateway.owner.session import OutsideSession
    from manta.gateway.owner.streams import ForwardedStream

#: Bytes of values in one message.
MESSAGE_BYTES = 256 << 10


class Speaker:
    """The session's voice, and a watcher of objects. Runs under the process's lock."""

    def __init__(self, session: OutsideSession, link: Link) -> None:
        self._session = session
        self._known = session.values.known
        self._link = link
        self.log = MessageLog()
        #: Number of the driver's present connection; 0 while there is none.
        self.connection = 0
        self._ids: list[bytes] = []
        self._values: list[bytes] = []
        self._bytes = 0
        self._actions: list[gw.SessionAction] = []
        #: Objects to be told of once there is room.
        self._untold: dict[bytes, None] = {}
        #: Streams with items to be told of once there is room.
        self._late: dict[ForwardedStream, None] = {}
        #: Called once there is room again.
        self.on_room: Callable[[], None] = lambda: None

    @property
    def full(self) -> bool:
        """The driver is behind: what can wait, waits."""
        return self.log.full or self._link.full

    # -- what is told

    def ready(self, oid: bytes, value: Value) -> None:
        """An object is there: the driver hears of it."""
        if self.full:
            self._untold[oid] = None
        elif type(value) is bytes:
            self._ids.append(oid)
            self._values.append(value)
            self._bytes += len(value) + 64
            if self._bytes >= MESSAGE_BYTES:
                self.flush()
        elif type(value) is Stored:
            told = pb.ObjectValue(object_id=oid, value=pb.ReturnValue(size=value.size, node_id=value.node_id))
            self.say(gw.SessionAction(value=told))
        elif type(value) is Failure:
            value.read = True
            self.say(gw.SessionAction(value=pb.ObjectValue(object_id=oid, failure=value.fields)))

    def late(self, stream: ForwardedStream) -> None:
        """A stream has items that do not fit now."""
        self._late[stream] = None

    def say(self, action: gw.SessionAction) -> None:
        """Tell something, after what was told before."""
        if self._ids:
            told = gw.SessionAction()
            self._fill(told.values)
            self._actions.append(told)
        self._actions.append(action)
        self._bytes += action.ByteSize()
        if self._bytes >= MESSAGE_BYTES:
            self.flush()

    def answer(self, request_id: int, payload: bytes = b"", error: Any = None) -> None:
        """Answer a request."""
        self.say(gw.SessionAction(reply=pb.ControlReply(request_id=request_id, payload=payload, error=error)))

    def chunk(self, action: gw.SessionAction, data: memoryview) -> None:
        """Tell a part of a large value, at once."""
        self.flush()
        log = self.log
        head = gw.ConnectResponse(number=log.next_number(), received=log.received, actions=[action]).SerializeToString()
        self._keep(b"".join((head, head_of(len(data)), data)))

    def _fill(self, values: gw.SmallValues) -> None:
        """Put what was gathered of values there, in its place: a message that is put into another is copied."""
        values.object_ids = b"".join(self._ids)
        values.values.extend(self._values)
        self._ids.clear()
        self._values.clear()

    def flush(self) -> None:
        """Send what was gathered."""
        if self._ids or self._actions:
            message = gw.ConnectResponse(actions=self._actions)
            self._actions.clear()
            if self._ids:
                self._fill(message.actions.add().values)
            self._bytes = 0
            self._send(message)
        elif self.log.should_acknowledge and self.connection:
            self.log.said()
            self._pass(gw.ConnectResponse(received=self.log.received).SerializeToString())

    def _send(self, message: gw.ConnectResponse) -> None:
        message.number = self.log.next_number()
        message.received = self.log.received
        self._keep(message.SerializeToString())

    def _keep(self, data: bytes) -> None:
        self.log.add(data)
        if self.connection:
            self._pass(data)

    def _pass(self, data: bytes) -> None:
        self._session.links.send(self._link, pb.GatewayData(), data)

    # -- connections

    def attached(self, connection: int, received: int) -> None:
        """A connection of the driver's begins; it has this session's messages up to `received`."""
        again = self.log.resume(received)
        self.connection = connection
        self._session.links.send(self._link, pb.GatewayAttached(connection=connection, received=self.log.received))
        for data in again:
            self._pass(data)
        self.room()

    def detached(self) -> None:
        """The driver's connection is gone."""
        self.connection = 0

    def acknowledged(self, number: int) -> None:
        """The driver has the messages up to this one."""
        if self.log.acknowledged(number):
            self.room()

    def room(self) -> None:
        """There is room, perhaps: tell what waited."""
        if self.full:
            return
        untold, self._untold = self._untold, {}
        for oid in untold:
            value = self._known.get(oid)
            if value is not None:
                self.ready(oid, value)
        late, self._late = self._late, {}
        for stream in late:
            stream.tell()
        self.flush()
        self.on_room()
