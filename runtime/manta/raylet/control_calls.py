"""Calls to control that are not answered: each goes out once per line, and again on the next when a line broke."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeAlias

import grpc

from manta.core.errors import RpcTimeoutError, StorageUnwritableError
from manta.rpc.v1 import common_pb2 as common
from manta.rpc.v1 import control_pb2 as cpb
from manta.transport import grpc as transport
from manta.transport import status
from manta.transport.convert import error_to_proto

#: Who made a call hears of its end: once, by a reply of control's or by one that we made up.
Done: TypeAlias = Callable[[cpb.LineReply], None]

#: Pause before a call that control could not take is said again, seconds.
AGAIN_S: Final = 0.02
#: And before one that it cannot take while its disk is full.
ROOM_AGAIN_S: Final = 1.0


class _Call:
    __slots__ = ("done", "method", "patient", "payload", "timer")

    def __init__(self, method: str, payload: bytes, done: Done, patient: bool) -> None:
        self.method, self.payload, self.done, self.patient = method, payload, done, patient
        #: Ends it when its time is up; None for one that has to arrive.
        self.timer: asyncio.TimerHandle | None = None


class ControlCalls:
    """Calls by number.

    Args:
        wake: Called when there is something to say.
        wake_later: Called when there is something to say that can wait for company.
    """

    def __init__(self, wake: Callable[[], None], wake_later: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._wake = wake
        self._wake_later = wake_later
        self._last = 0
        #: Not answered yet, in the order in which they were made.
        self._open: dict[int, _Call] = {}
        #: Of those, what has not been said on the present line.
        self._unsaid: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, method: str, payload: bytes, done: Done, timeout_s: float | None, *, patient: bool = False) -> None:
        """Make a call. Without a time it is said until control has answered it, and it may be refused for good only."""
        self._last += 1
        call = self._open[self._last] = _Call(method, payload, done, patient)
        if timeout_s is not None:
            call.timer = self._loop.call_later(timeout_s, self._timed_out, self._last, timeout_s)
        self._unsaid[self._last] = None
        if patient:
            self._wake_later()
        else:
            self._wake()

    def _timed_out(self, number: int, timeout_s: float) -> None:
        call = self._open.pop(number)
        self._unsaid.pop(number, None)
        late = RpcTimeoutError(f"control was away for {timeout_s:g} s", grpc.StatusCode.DEADLINE_EXCEEDED.value[0])
        call.done(cpb.LineReply(error=error_to_proto(late)))

    def answered(self, reply: cpb.LineReply) -> None:
        """Control has answered one; one whose time was up means nothing any more."""
        call = self._open.get(reply.number)
        if call is None:
            return
        if reply.HasField("error"):
            code = status.status_of_code(reply.error.code)
            if code is grpc.StatusCode.UNAVAILABLE or (call.timer is None and code in transport.REPEATABLE):
                pause = ROOM_AGAIN_S if reply.error.code == StorageUnwritableError.code else AGAIN_S
                self._loop.call_later(pause, self._again, reply.number)
                return
        del self._open[reply.number]
        if call.timer is not None:
            call.timer.cancel()
        call.done(reply)

    def _again(self, number: int) -> None:
        if number in self._open:
            self._unsaid[number] = None
            self._wake()

    def new_line(self) -> None:
        """A line broke: of what was said on it nobody knows what was executed, and every call is safe to repeat."""
        self._unsaid = dict.fromkeys(self._open)

    def take(self, limit_bytes: int) -> list[cpb.LineCall]:
        """What is to be said next; more than `limit_bytes` only if one call alone is larger."""
        said: list[cpb.LineCall] = []
        size = 0
        for number in self._unsaid:
            call = self._open[number]
            size += len(call.payload)
            if said and size > limit_bytes:
                break
            said.append(cpb.LineCall(number=number, method=call.method, payload=call.payload, patient=call.patient))
        if len(said) == len(self._unsaid):
            self._unsaid.clear()
        else:
            for each in said:
                del self._unsaid[each.number]
            self._wake()
        return said

    def close(self) -> None:
        """The node stops: whoever waits is told."""
        while self._open:
            call = self._open.pop(next(iter(self._open)))
            if call.timer is not None:
                call.timer.cancel()
            call.done(cpb.LineReply(error=common.ErrorInfo(code="LOCAL_RAYLET_DIED", message="the node stops")))
        self._unsaid.clear()
