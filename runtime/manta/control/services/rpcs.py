"""What all RPCs have in common: found by name, decided at once, answered after the commit, refused in one way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from manta.control.logs import EventLog
from manta.control.runner import Runner
from manta.core.errors import MantaError
from manta.rpc.v1 import control_pb2 as pb
from manta.transport import status

SERVICE = "manta.rpc.v1.ControlService"

_METHODS = pb.DESCRIPTOR.services_by_name["ControlService"].methods

_Context = grpc.aio.ServicerContext[Any, Any]
_Stream = Callable[[AsyncIterator[Any], str], AsyncIterator[Any]]


class Rpcs:
    """Every RPC of the service's descriptor; one without a method is a mistake at start.

    Args:
        faces: Objects whose methods are named as RPCs: `(request, cause) -> response`, for streams an async generator.
        runner: Knows when what was decided is on disk.
        log: For what goes wrong.
        failed: Called with an error of our own making: control can't be trusted any more and must stop.
    """

    def __init__(
        self, faces: Iterable[object], runner: Runner, log: EventLog, failed: Callable[[BaseException], None]
    ) -> None:
        self._runner, self._log, self._failed = runner, log, failed
        faces = tuple(faces)
        self._runs: dict[str, Callable[[Any, str], Any]] = {}
        for method in _METHODS:
            (run,) = (getattr(face, method.name) for face in faces if hasattr(face, method.name))
            self._runs[method.name] = run

    def handlers(self) -> grpc.GenericRpcHandler:
        """What a gRPC server needs to serve them."""
        made: dict[str, Any] = {}
        for method in _METHODS:
            decode = GetMessageClass(method.input_type).FromString
            encode = GetMessageClass(method.output_type).SerializeToString
            if method.server_streaming:
                made[method.name] = grpc.stream_stream_rpc_method_handler(self._streaming(method.name), decode, encode)
            else:
                made[method.name] = grpc.unary_unary_rpc_method_handler(self._unary(method.name), decode, encode)
        return grpc.method_handlers_generic_handler(SERVICE, made)

    def decide(self, name: str, request: Message) -> Message:
        """Handle one request; nobody may see the response, or the refusal, before `Runner.settled`.

        Raises:
            MantaError: It is refused; nothing has changed.
        """
        request_id: bytes = getattr(request, "request_id", b"")
        self._runner.check_room()
        response: Message = self._runs[name](request, f"{name} {request_id.hex()}" if request_id else name)
        return response

    def _unary(self, name: str) -> Callable[[Any, _Context], Any]:
        async def answer(request: Any, context: _Context) -> Any:
            try:
                try:
                    response = self.decide(name, request)
                finally:
                    # A refusal shows a state too, and must be as durable.
                    await self._runner.settled()
            except MantaError as error:
                await status.abort(context, error)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - a defect of ours: say so and stop, whatever it is
                self._defect(name, error)
                await status.abort(context, error)
            return response

        return answer

    def _streaming(self, name: str) -> Callable[[AsyncIterator[Any], _Context], AsyncIterator[Any]]:
        run: _Stream = self._runs[name]

        async def answer(requests: AsyncIterator[Any], context: _Context) -> AsyncIterator[Any]:
            stream = run(requests, name)
            try:
                async for response in stream:
                    yield response
            except MantaError as error:
                await status.abort(context, error)
            except Exception as error:  # noqa: BLE001 - as above
                self._defect(name, error)
                await status.abort(context, error)
            finally:
                # Now, not when the collector finds it: a node's sign of life ends with it.
                await stream.aclose()  # type: ignore[attr-defined]

        return answer

    def _defect(self, name: str, error: Exception) -> None:
        self._log.event("defect", rpc=name, error=repr(error))
        self._failed(error)
