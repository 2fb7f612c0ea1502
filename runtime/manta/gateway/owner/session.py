"""The driver of the cluster that stands in for one outside."""

from __future__ import annotations

import os

from manta.client.direct import DirectSession
from manta.client.generators import open_stream
from manta.client.waiter import Waiter
from manta.core import errors
from manta.gateway.owner.actions import Actions
from manta.gateway.owner.speaker import Speaker
from manta.gateway.owner.streams import ForwardedStream
from manta.gateway.owner.transfers import Transfers
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import gateway_pb2 as gw
from manta.transport.convert import error_to_proto

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.client.arguments import Extra
    from manta.client.links import Link
    from manta.client.values import Value

#: How long the last words may take to reach the gateway.
LAST_WORDS_S = 5.0

#: So many bytes may be under way when a line is printed; the driver misses what comes beyond. The session's files have it all.
MAX_LINES_KEPT_BYTES = 8 << 20


class OutsideSession(DirectSession):
    """A driver's session that does what the driver outside says, and tells it what becomes of it.

    Ownership: `connect` and `serve` open everything, `close` closes it. `over` is done when there is nothing left to do.
    """

    speaker: Speaker
    actions: Actions
    transfers: Transfers

    def __init__(self) -> None:
        super().__init__(pb.ROLE_DRIVER, os.urandom(28))
        #: Streams whose reader is outside, by task.
        self.forwarded: dict[bytes, ForwardedStream] = {}
        #: The session is over: the driver said so, or is gone, or the cluster is.
        self.over = Waiter()
        #: Why, if it was not the driver's wish.
        self.reason: errors.MantaError | None = None
        self._gateway: Link | None = None
        self.on_exit = lambda reason: self.end(errors.LocalRayletDiedError())
        self.on_infeasible = self._infeasible

    def serve(self, gateway: Link) -> None:
        """Do what comes from the gateway, from now on."""
        self._gateway = gateway
        self.speaker = Speaker(self, gateway)
        self.transfers = Transfers(self, self.speaker)
        self.actions = Actions(self, self.speaker, self.transfers)
        on = self.links.on
        on(pb.GatewayAttached, self._attached)
        on(pb.GatewayData, self._data)
        on(pb.GatewayDetached, lambda link, frame, raw: self.speaker.detached())
        with self.lock:
            self.links.adopt(gateway)
            self.links.send(gateway, pb.GatewayReady(welcome=self.welcome, address=self.address_bytes))

    def end(self, reason: errors.MantaError | None = None) -> None:
        """The session is over. From any thread but the pump's own may it be closed then."""
        if self.reason is None:
            self.reason = reason
        self.pump.finish(self.over)

    # -- from the gateway, under the lock

    def _attached(self, link: Link, frame: pb.GatewayAttached, raw: bytes) -> None:
        try:
            self.speaker.attached(frame.connection, frame.received)
        except errors.ProtocolError as wrong:
            self.end(wrong)

    def _data(self, link: Link, frame: pb.GatewayData, raw: bytes) -> None:
        try:
            self.actions.message(raw)
        except errors.ProtocolError as wrong:
            self.end(wrong)

    def on_link_closed(self, link: Link) -> None:
        """The gateway is gone: so are all ways to the driver."""
        if link is self._gateway:
            self.end(errors.RpcError("the gateway is gone"))

    # -- what other sessions print, or give to user code

    def _round(self, now: float) -> float | None:
        due = super()._round(now)
        if self._gateway is not None and not self.closed:
            self.speaker.flush()
        return due

    def _log_lines(self, link: Link, frame: pb.LogLines, raw: bytes) -> None:
        if self._gateway is not None and self.speaker.log.kept_bytes < MAX_LINES_KEPT_BYTES:
            self.speaker.say(gw.SessionAction(lines=frame))

    def _install_handlers(self) -> None:
        super()._install_handlers()
        self.links.on(pb.RecallBlocks, self._recall)

    def _recall(self, link: Link, frame: pb.RecallBlocks, raw: bytes) -> None:
        """The store is tight: what the driver's collector would find, only the driver can find."""
        self.store.recall()
        if frame.collect_garbage and self._gateway is not None:
            self.speaker.say(gw.SessionAction(collect=gw.CollectGarbage()))

    def _infeasible(self, text: str) -> None:
        if self._gateway is not None:
            self.speaker.say(gw.SessionAction(notice=gw.Notice(text=text)))

    def open_stream(self, task_id: bytes, extra: Extra, backpressure: int) -> None:
        """See `DirectSession.open_stream`: what comes is passed on."""
        open_stream(ForwardedStream(self, self.speaker, task_id, backpressure), extra)

    def put_arrived(self, oid: bytes, value: Value) -> None:
        """A large value of the driver's is in the store. Called under the lock."""
        if self.ownership.alive(oid):
            self.values.set(oid, value)
        else:
            self.raylet_send(pb.FreeObjects(object_ids=[oid]))

    # -- the end

    def _say_goodbye(self) -> None:
        if self.reason is None:
            super()._say_goodbye()

    def left(self) -> None:
        """See `DirectSession.left`: the driver hears that this was all."""
        gateway = self._gateway
        if gateway is None:
            return
        with self.lock:
            self.transfers.close()
            error = None if self.reason is None else error_to_proto(self.reason)
            self.speaker.say(gw.SessionAction(over=gw.SessionEnded(error=error)))
            self.speaker.flush()
        self._gateway = None
        end = self.now() + LAST_WORDS_S
        while gateway.connection.unsent_bytes and not gateway.connection.closed and self.now() < end:
            self.pump.wait(Waiter(), self.now() + 0.01)
