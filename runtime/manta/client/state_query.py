"""Asking the raylet of this process for lists of what is on its node."""

from __future__ import annotations

from manta.client.waiter import Waiter
from manta.core import errors
from manta.rpc.v1 import channel_pb2 as pb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manta.client.direct import DirectSession


class StateQuery:
    """One question at a time may be many: each has its number. Runs under the process's lock, but for `ask`, which takes it."""

    def __init__(self, session: DirectSession) -> None:
        self._session = session
        self._last = 0
        self._waiting: dict[int, tuple[Waiter, list[pb.StateReply]]] = {}

    def ask(self, what: str, *, limit: int = 0, timeout_s: float = 30.0) -> list[pb.StateReply]:
        """Every part of the answer.

        Raises:
            RpcTimeoutError: It did not come in time.
        """
        session = self._session
        waiter, parts = Waiter(), list[pb.StateReply]()
        with session.lock:
            session.check()
            self._last += 1
            number = self._last
            self._waiting[number] = (waiter, parts)
            session.raylet_send(pb.StateRequest(request_id=number, what=what, limit=limit))
        try:
            done = session.wait_for(waiter, f"the raylet's list of {what}", session.now() + timeout_s)
        finally:
            with session.lock:
                self._waiting.pop(number, None)
        session.check()
        if not done:
            raise errors.RpcTimeoutError(f"the raylet did not list its {what} within {timeout_s:g} s")
        return parts

    def part(self, link: Any, frame: pb.StateReply, raw: bytes) -> None:
        """A part of an answer has come."""
        found = self._waiting.get(frame.request_id)
        if found is not None:
            found[1].append(frame)
            if frame.last:
                self._session.pump.finish(found[0])
