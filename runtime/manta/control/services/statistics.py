"""What control tells about itself."""

# The methods are named as the RPCs, and what each promises is stated once: in control.proto.
# ruff: noqa: D102, N802

from __future__ import annotations

import json
from collections.abc import Callable

from manta.control.runner import Runner
from manta.rpc.v1 import control_pb2 as pb


class StatisticsRpcs:
    """GetStatistics.

    Args:
        runner: Counts.
        more: Counts of others.
    """

    def __init__(self, runner: Runner, more: Callable[[], dict[str, int]] = dict) -> None:
        self._runner, self._state, self._more = runner, runner.state, more

    def GetStatistics(self, request: pb.GetStatisticsRequest, cause: str) -> pb.GetStatisticsResponse:
        counts: dict[str, int | str] = {**self._runner.statistics(), **self._more()}
        if self._runner.shortage is not None:
            counts["problem"] = str(self._runner.shortage.error)
        story = self._state.story(request.id) if request.id else []
        return pb.GetStatisticsResponse(json=json.dumps(counts, sort_keys=True), story=story)
