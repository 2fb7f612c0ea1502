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
#: The picture is looked at so often, seconds: so long after a change at most it is told.
PERIOD_S = 0.25
#: Streams at a time.
MOST_STREAMS = 100


class DemandRpcs:
    """DrainNode, GetDemand, WatchDemand."""

    def __init__(self, runner: Runner) -> None:
        self._runner, self._state = runner, runner.state
        self._streams = 0
        #: What all streams tell, and the loop's time of that look.
        self._seen: tuple[pb.Demand, float] | None = None

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
        told: pb.Demand | None = None
        reader = asyncio.ensure_future(_read(requests))
        try:
            while told is None or not reader.done():
                seen = self._look()
                if seen != told:
                    await self._runner.settled()
                    told = seen
                    yield pb.WatchDemandResponse(demand=seen)
                await asyncio.wait((reader,), timeout=PERIOD_S)
        finally:
            reader.cancel()
            self._streams -= 1

    def _look(self) -> pb.Demand:
        """One look serves all streams for a period: it goes over every node and actor."""
        now = asyncio.get_running_loop().time()
        if self._seen is None or now >= self._seen[1] + PERIOD_S:
            self._seen = demand(self._state), now
        return self._seen[0]


async def _read(requests: AsyncIterator[pb.WatchDemandRequest]) -> None:
    """Until the caller closes its side."""
    async for _ in requests:
        pass
