"""What the driver says: gathered into messages, numbered, and kept until the session has it. Under the session's lock.

Calls are gathered in columns, and go out at once when nothing went out lately: a loop of calls costs a message each, a burst of a
thousand costs a few.
"""

from __future__ import annotations

import time

from manta.rpc.v1 import gateway_pb2 as gw
from manta.transport.message_data import WithData
from manta.transport.message_log import MessageLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from manta.client.waiter import Waiter

#: What has gathered goes out after this long.
GATHER_S = 0.001

#: Or when it is so much.
GATHER_CALLS = 512
GATHER_BYTES = 256 << 10


class Outbox:
    """The driver's voice."""

    def __init__(self, later: Callable[[], None], finish: Callable[[Waiter], None]) -> None:
        #: Puts one encoded message on the present connection, if there is one.
        self.pass_on: Callable[[bytes | WithData], None] = lambda data: None
        self.log = MessageLog()
        self._later = later
        self._actions: list[gw.DriverAction] = []
        self._actor = b""
        self._ids: list[bytes] = []
        self._numbers: list[int] = []
        self._args: list[bytes] = []
        self._extras: list[gw.SubmitExtra] = []
        #: Objects of which the driver has no refs any more. They were let go of before the calls above were made.
        self._released: list[bytes] = []
        self._bytes = 0
        self._sent_at = 0.0
        self._poked = False
        self._finish = finish
        #: Threads that wait until a full window has room again, or the session is over.
        self.waiters: list[Waiter] = []

    def call(
        self, actor: bytes, number: int, task_id: bytes, payload: bytes, extra: gw.SubmitExtra | None = None
    ) -> None:
        """One more call, of an actor or of none."""
        ids = self._ids
        if actor != self._actor and ids:
            self._close()
        self._actor = actor
        if extra is not None:
            extra.index = len(ids)
            self._extras.append(extra)
        ids.append(task_id)
        self._numbers.append(number)
        self._args.append(payload)
        self._bytes += len(payload) + 64
        if len(ids) >= GATHER_CALLS or self._bytes >= GATHER_BYTES or time.monotonic() - self._sent_at > GATHER_S:
            self.flush()
        elif not self._poked:
            self._poked = True
            self._later()

    def _close(self) -> None:
        """What was gathered takes its place among the actions."""
        if self._released:
            self._actions.append(gw.DriverAction(release=gw.ReleaseRefs(object_ids=self._released)))
            self._released.clear()
        if self._ids:
            action = gw.DriverAction()
            self._fill(action.submit)
            self._actions.append(action)

    def _fill(self, calls: gw.SubmitCalls) -> None:
        """Put what was gathered of calls there, in its place: a message that is put into another is copied."""
        numbers = self._numbers
        if numbers.count(numbers[0]) == len(numbers):
            numbers = numbers[:1]
        calls.actor_id = self._actor
        calls.task_ids = b"".join(self._ids)
        calls.templates.extend(numbers)
        calls.args.extend(self._args)
        if self._extras:
            calls.extras.extend(self._extras)
            self._extras.clear()
        self._ids.clear()
        self._numbers.clear()
        self._args.clear()

    def say(self, action: gw.DriverAction) -> None:
        """Something, after what was said before."""
        self._close()
        self._actions.append(action)
        self._said(action.ByteSize())

    def release(self, oids: list[bytes]) -> None:
        """Objects of which the driver has no refs any more, after what was said before."""
        if self._ids:
            self._close()
        self._released += oids
        self._said(32 * len(oids))

    def _said(self, size: int) -> None:
        self._bytes += size
        if self._bytes >= GATHER_BYTES:
            self.flush()
        elif not self._poked:
            self._poked = True
            self._later()

    def flush(self) -> None:
        """Send what was gathered."""
        self._poked = False
        if not (self._ids or self._actions or self._released):
            return
        log = self.log
        message = gw.ConnectRequest(number=log.next_number(), received=log.received, actions=self._actions)
        self._actions.clear()
        if self._released:
            message.actions.add().release.object_ids.extend(self._released)
            self._released.clear()
        if self._ids:
            self._fill(message.actions.add().submit)
        self._bytes = 0
        self._sent_at = time.monotonic()
        self._send(message.SerializeToString())

    def chunk(self, action: gw.DriverAction, data: memoryview) -> None:
        """A part of a large value, at once. It is not copied: whoever puts the value waits until the session has it, and has then
        been told that it need not be sent again.
        """
        self.flush()
        log = self.log
        head = gw.ConnectRequest(number=log.next_number(), received=log.received, actions=[action]).SerializeToString()
        self._send(WithData(head, data))

    def _send(self, data: bytes | WithData) -> None:
        self.log.add(data)
        self.pass_on(data)

    def acknowledge(self) -> None:
        """Tell the session what has come, if it should hear of it and nothing else is said."""
        if self.log.should_acknowledge:
            self.log.said()
            self.pass_on(gw.ConnectRequest(received=self.log.received).SerializeToString())

    def acknowledged(self, number: int) -> None:
        """The session has the messages up to this one."""
        if self.log.acknowledged(number):
            self.let_go()

    def let_go(self) -> None:
        """Whoever waits for room looks again."""
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            self._finish(waiter)
