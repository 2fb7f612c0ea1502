"""Calls to control, relayed by the raylet: answers that a thread waits for, and answers that a handler takes.

Every call has a deadline here too, a little after the raylet's: an answer that is lost on the way ends its call as one that
never came. No more calls are with the raylet than it takes from one process; others wait here, in order.
"""

from __future__ import annotations

from collections import deque

from manta.client.waiter import Waiter
from manta.core import errors
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.convert import error_from_proto, error_to_proto

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from google.protobuf.message import Message

    from manta.client.direct import DirectSession

#: How long control may take to answer what nobody waits for.
ASYNC_S = 60.0

#: The raylet ends a call in time and says so; after this long beyond it the answer is lost.
GRACE_S = 5.0

#: Calls that nobody waits for, with the raylet at once. It takes 10,000 from one process; the others are for threads that wait.
MAX_OPEN = 5_000

#: And so many may wait to be sent. What comes beyond that is refused at once.
MAX_QUEUED = 100_000


class Reply(Waiter):
    """Waits for the answer to a relayed call."""

    __slots__ = ("frame",)

    def __init__(self) -> None:
        super().__init__()
        self.frame: Any = None


#: A call that nobody waits for: its name, its encoded request, and who takes the answer.
Call = tuple[str, bytes, "Callable[[pb.ControlReply], None]"]


class Relay:
    """The process's calls to control. Runs under the process's lock, but for `control`, which takes it."""

    def __init__(self, session: DirectSession) -> None:
        self._session = session
        self._requests = 0
        self._waiting: dict[int, Reply] = {}
        #: Calls that nobody waits for, each with the time it is given up; the earliest first.
        self.open: dict[int, tuple[float, Call]] = {}
        self._queued: deque[Call] = deque()

    def control(self, method: str, request: Message, reply: Any, timeout_s: float = 30.0) -> Any:
        """Call control through the raylet and return its decoded answer.

        Raises:
            MantaError: As control said; RpcTimeoutError when it did not answer in time.
        """
        session = self._session
        waiter = Reply()
        with session.lock:
            session.check()
            self._requests += 1
            number = self._requests
            self._waiting[number] = waiter
            self._send(number, method, request.SerializeToString(), timeout_s)
        try:
            done = session.wait_for(waiter, f"control's answer to {method}", session.now() + timeout_s + 1.0)
        finally:
            with session.lock:
                self._waiting.pop(number, None)
        session.check()
        if not done or waiter.frame is None:
            raise errors.RpcTimeoutError(f"control did not answer {method} within {timeout_s} s")
        if waiter.frame.HasField("error"):
            raise error_from_proto(waiter.frame.error)
        return reply.FromString(waiter.frame.payload)

    def control_async(self, method: str, request: Message, then: Callable[[pb.ControlReply], None]) -> None:
        """Call control; `then(frame)` under the lock, exactly once: with its answer, or with an error if none came.

        Only a session that is closed calls nothing any more. Called under the lock.
        """
        self.pass_on(method, request.SerializeToString(), then)

    def post(self, method: str, request: Message, then: Callable[[pb.ControlReply], None]) -> None:
        """See `Session.post`."""
        with self._session.lock:
            self._session.check()
            self.control_async(method, request, then)

    def pass_on(self, method: str, payload: bytes, then: Callable[[pb.ControlReply], None]) -> None:
        """`control_async` for a request that is encoded already."""
        if self._session.broken is not None:
            then(pb.ControlReply(error=error_to_proto(self._session.broken)))
            return
        call = (method, payload, then)
        if len(self.open) < MAX_OPEN:
            self._begin(call)
        elif len(self._queued) < MAX_QUEUED:
            self._queued.append(call)
        else:
            refusal = f"{MAX_QUEUED} calls to control wait already; wait for some of what was asked for"
            then(pb.ControlReply(error=error_to_proto(errors.OverloadedError(refusal))))

    def _begin(self, call: Call) -> None:
        session = self._session
        self._requests += 1
        due = session.now() + ASYNC_S + GRACE_S
        self.open[self._requests] = (due, call)
        self._send(self._requests, call[0], call[1], ASYNC_S)
        session.pump.schedule(due)

    def _send(self, number: int, method: str, payload: bytes, timeout_s: float) -> None:
        self._session.raylet_send(
            pb.ControlCall(request_id=number, method=method, payload=payload, timeout_s=timeout_s)
        )

    def answered(self, frame: pb.ControlReply) -> None:
        """Control answered, or the raylet in its place."""
        waiter = self._waiting.get(frame.request_id)
        if waiter is not None:
            waiter.frame = frame
            self._session.pump.finish(waiter)
            return
        entry = self.open.pop(frame.request_id, None)
        if entry is not None:
            self._begin_queued()
            entry[1][2](frame)

    def _begin_queued(self) -> None:
        while self._queued and len(self.open) < MAX_OPEN:
            self._begin(self._queued.popleft())

    def tick(self, now: float) -> float | None:
        """Give up what nobody answered in time. Returns when to be called again."""
        while self.open:
            number = next(iter(self.open))
            due, (method, _, then) = self.open[number]
            if now < due:
                return due
            del self.open[number]
            self._begin_queued()
            late = errors.RpcTimeoutError(f"control did not answer {method} within {ASYNC_S} s")
            then(pb.ControlReply(request_id=number, error=error_to_proto(late)))
        return None

    def raylet_lost(self, error: errors.MantaError) -> None:
        """Nobody will answer any more: every wait ends, and every other call gets that error."""
        for waiter in self._waiting.values():
            self._session.pump.finish(waiter)
        calls = [*(call for _, call in self.open.values()), *self._queued]
        self.close()
        frame = pb.ControlReply(error=error_to_proto(error))
        for _, _, then in calls:
            then(frame)

    def close(self) -> None:
        """The session ends: nobody is told."""
        self.open.clear()
        self._queued.clear()

    def statistics(self) -> dict[str, int]:
        """Sizes, for status and leak checks."""
        return {"waited_for": len(self._waiting), "open": len(self.open), "queued": len(self._queued)}
