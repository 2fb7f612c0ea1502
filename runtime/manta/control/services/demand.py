"""RPCs about what the cluster waits for, and taking nodes out of service."""

# The methods are named as the RPCs, and what each promises is stated once: in control.proto.
# ruff: noqa: D102, N802

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from manta.control import convert, events
from manta.control.demand import demand
from manta.control.errors import InvalidRequestError, LimitExceededError
from manta.control.runner import Runner
from manta.control.services.requests import request_id
from manta.rpc.v1 import control_pb2 as pb

#: Longest grace of a drain: a day.
MOST_GRACE_MS = 24 * 3600 * 1000
#: Changes are told together: looks at the picture, which go over every node and actor, are so far apart at least, seconds.
PERIOD_S = 0.2
#: Streams at a time.
MOST_STREAMS = 100


class DemandRpcs:
    """DrainNode, GetDemand, WatchDemand."""

    def __init__(self, runner: Runner) -> None:
        self._runner, self._state = runner, runner.state
        self._streams = 0
        #: What all streams tell; set, and replaced, when that is another one.
        self._seen = pb.Demand()
        self._news = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._looked_at = 0.0

    def DrainNode(self, request: pb.DrainNodeRequest, cause: str) -> pb.DrainNodeResponse:
        if request.grace_ms > MOST_GRACE_MS:
            raise InvalidRequestError(
                f"grace_ms is {request.grace_ms}; a drain may take {MOST_GRACE_MS}, a day, at most"
            )
        node_id = convert.node_id(request.node_id)
        self._runner.decide(
            events.DrainNode(
                cause=cause,
                request_id=request_id(request.request_id),
                node_id=node_id,
                grace_ms=request.grace_ms,
                reason=convert.name(request.reason, "reason"),
                leaving=request.leaving,
            )
        )
        row = self._state.nodes.rows.get(node_id)
        if row is None:
            # Forgotten since it was first asked for.
            return pb.DrainNodeResponse(drain=pb.NodeDrain(state=pb.DRAIN_STATE_DRAINED))
        drain = convert.to_drain(row) or pb.NodeDrain(state=pb.DRAIN_STATE_DRAINED)
        if drain.state == pb.DRAIN_STATE_DRAINED:
            return pb.DrainNodeResponse(drain=drain)
        return pb.DrainNodeResponse(drain=drain, holds=convert.to_load(self._state.nodes.load(node_id)))

    def GetDemand(self, request: pb.GetDemandRequest, cause: str) -> pb.GetDemandResponse:
        return pb.GetDemandResponse(demand=demand(self._state))

    async def WatchDemand(
        self, requests: AsyncIterator[pb.WatchDemandRequest], cause: str
    ) -> AsyncIterator[pb.WatchDemandResponse]:
        if self._streams >= MOST_STREAMS:
            raise LimitExceededError(f"{MOST_STREAMS} streams of WatchDemand are open; close some")
        self._streams += 1
        self._runner.on_changed = self._changed
        reader = asyncio.ensure_future(_read(requests))
        changed: asyncio.Task[None] | None = None
        try:
            self._look()
            told: pb.Demand | None = None
            while told is None or not reader.done():
                changed = asyncio.ensure_future(_set(self._news))
                seen = self._seen
                if seen != told:
                    await self._runner.settled()
                    told = seen
                    yield pb.WatchDemandResponse(demand=seen)
                await asyncio.wait((reader, changed), return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
        finally:
            reader.cancel()
            if changed is not None:
                changed.cancel()
            self._streams -= 1
            if not self._streams:
                self._runner.on_changed = None
                if self._timer is not None:
                    self._timer.cancel()
                    self._timer = None

    def _changed(self) -> None:
        """Something did: look, unless that is about to be done."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(loop.time(), self._looked_at + PERIOD_S), self._look)

    def _look(self) -> None:
        """One look serves all streams."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._looked_at = asyncio.get_running_loop().time()
        seen = demand(self._state)
        if seen != self._seen:
            self._seen = seen
            self._news.set()
            self._news = asyncio.Event()


async def _set(news: asyncio.Event) -> None:
    await news.wait()


async def _read(requests: AsyncIterator[pb.WatchDemandRequest]) -> None:
    """Until the caller closes its side."""
    async for _ in requests:
        pass
