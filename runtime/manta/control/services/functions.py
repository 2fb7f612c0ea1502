"""RPCs about the code of actor classes."""

# The methods are named as the RPCs, and what each promises is stated once: in control.proto.
# ruff: noqa: D102, N802

from __future__ import annotations

from manta.control import convert, events
from manta.control.errors import InvalidRequestError
from manta.control.runner import Runner
from manta.control.services.requests import request_id
from manta.rpc.v1 import control_pb2 as pb


class FunctionRpcs:
    """PutFunction and GetFunction."""

    def __init__(self, runner: Runner) -> None:
        self._runner, self._state = runner, runner.state

    def PutFunction(self, request: pb.PutFunctionRequest, cause: str) -> pb.PutFunctionResponse:
        if not 16 <= len(request.function_hash) <= 64:
            raise InvalidRequestError(f"function_hash must have 16 to 64 bytes, not {len(request.function_hash)}")
        self._runner.decide(
            events.PutFunction(
                cause=cause,
                request_id=request_id(request.request_id),
                job_id=convert.job_id(request.job_id),
                function_hash=request.function_hash,
                blob=request.blob,
            )
        )
        return pb.PutFunctionResponse()

    def GetFunction(self, request: pb.GetFunctionRequest, cause: str) -> pb.GetFunctionResponse:
        return pb.GetFunctionResponse(blob=self._state.functions.get(request.function_hash))
