"""Streaming generators of a driver outside: their items are passed on as they come, and no further than the driver follows."""

from __future__ import annotations

from manta.client.generators import StreamReader, item_id
from manta.client.values import Failure, Stored
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import gateway_pb2 as gw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.gateway.owner.session import OutsideSession
    from manta.gateway.owner.speaker import Speaker


class ForwardedStream(StreamReader):
    """The owner's end of a stream whose reader is outside: it counts as read what that one was told of."""

    __slots__ = ("_over", "_speaker")

    def __init__(self, session: OutsideSession, speaker: Speaker, task_id: bytes, backpressure: int) -> None:
        super().__init__(session, task_id, backpressure)
        self._speaker = speaker
        self._over = False
        session.forwarded[task_id] = self

    def _wake(self) -> None:
        self.tell()

    def tell(self) -> None:
        """Pass on what has come."""
        known = self._session.values.known
        while self.read < self.come and not self.closed:
            if self._speaker.full:
                self._speaker.late(self)
                return
            value = known.get(item_id(self.task_id, self.read))
            if type(value) is Failure:
                value.read = True
                self.read += 1
                self._end_told(gw.StreamEnded(task_id=self.task_id, failure=value.fields))
                return
            told = pb.StreamItem(task_id=self.task_id, index=self.read)
            if type(value) is Stored:
                told.value.size, told.value.node_id = value.size, value.node_id
            elif type(value) is bytes:
                told.value.value = value
            self.read += 1
            self._speaker.say(gw.SessionAction(item=told))
        if self.length is not None:
            self._end_told(gw.StreamEnded(task_id=self.task_id, length=self.length))

    def _end_told(self, ended: gw.StreamEnded) -> None:
        if not self._over:
            self._over = True
            self._speaker.say(gw.SessionAction(ended=ended))
            session = self._session
            session.forwarded.pop(self.task_id, None)  # type: ignore[attr-defined]  # the session it was made with

    def consumed(self, frame: pb.StreamConsumed) -> None:
        """The driver says how far it has read, or that it will not read on."""
        if frame.stop:
            self.close()
        elif self.backpressure and self.link is not None:
            self._session.send(self.link, frame)
