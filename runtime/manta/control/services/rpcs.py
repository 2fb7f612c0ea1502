"""What all RPCs have in common: found by name, decided at once, answered after the commit, refused in one way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from manta.control.errors import InvalidRequestError
from manta.control.logs import EventLog
from manta.control.runner import Runner
from manta.control.services import shortage
from manta.core.errors import MantaError, StorageUnwritableError
from manta.metrics.histogram import Histogram
from manta.rpc.v1 import control_pb2 as pb
from manta.transport import status
from manta.transport.requests import Undecodable, checked, decoder

SERVICE = "manta.rpc.v1.ControlService"

_METHODS_BY_NAME = pb.DESCRIPTOR.services_by_name["ControlService"].methods_by_name
_METHODS = tuple(_METHODS_BY_NAME.values())
#: A node has registered before it has a line.
_NOT_ON_A_LINE = frozenset({"RegisterNode"})


class Calls:
    """Counts of RPCs, for whoever wants to know how busy control is.

    Attributes:
        answered: By name, how often it was decided.
        refused: And how often refused.
        seconds: From a call's arrival to its answer; nodes' lines, whose answers leave together, are not in it.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.answered = dict.fromkeys(names, 0)
        self.refused = dict(self.answered)
        self.seconds = Histogram()


_Context = grpc.aio.ServicerContext[Any, Any]
_Stream = Callable[[AsyncIterator[Any], str], AsyncIterator[Any]]


class Rpcs:
    """Every RPC of the service's descriptor with one request and one response; one without a method is a mistake at start.

    Args:
        faces: Objects whose methods are named as RPCs: `(request, cause) -> response`; those that wait for others are coroutines.
        runner: Knows when what was decided is on disk.
        log: For what goes wrong.
        failed: Called with an error of our own making: control can't be trusted any more and must stop.
        shown: Called with the peer of each call: what gets as far as here has shown a token.
    """

    def __init__(
        self,
        *faces: object,
        runner: Runner,
        log: EventLog,
        failed: Callable[[BaseException], None],
        shown: Callable[[str], None],
    ) -> None:
        self._runner, self._log, self._failed, self._shown = runner, log, failed, shown
        self._runs = {method.name: _run(method.name, faces) for method in _METHODS if not method.server_streaming}
        self.calls = Calls(self._runs)
        #: Names of RPCs that are answered later.
        self.slow = frozenset(name for name, run in self._runs.items() if asyncio.iscoroutinefunction(run))
        self._requests = {name: GetMessageClass(_METHODS_BY_NAME[name].input_type) for name in self._runs}

    def handlers(self, *streams: object) -> grpc.GenericRpcHandler:
        """What a gRPC server needs to serve them.

        Args:
            streams: Objects whose methods are named as the streams: `(requests, cause)` to an async generator of responses.
        """
        made: dict[str, Any] = {}
        for method in _METHODS:
            decode = decoder(method)
            encode = GetMessageClass(method.output_type).SerializeToString
            if method.server_streaming:
                run = self._streaming(method.name, _run(method.name, streams))
                made[method.name] = grpc.stream_stream_rpc_method_handler(run, decode, encode)
            else:
                made[method.name] = grpc.unary_unary_rpc_method_handler(self._unary(method.name), decode, encode)
        return grpc.method_handlers_generic_handler(SERVICE, made)

    def answer(self, name: str, payload: bytes) -> bytes:
        """Handle one encoded request; nobody may see the encoded response, or the refusal, before `Runner.settled`.

        Raises:
            MantaError: It is refused; nothing has changed.
        """
        response: Message = self._decide(name, self._decoded(name, payload))
        return response.SerializeToString()

    async def answer_later(self, name: str, payload: bytes) -> bytes:
        """`answer` for one of `slow`."""
        response: Message = await self._decide(name, self._decoded(name, payload))
        return response.SerializeToString()

    def _decoded(self, name: str, payload: bytes) -> Message:
        kind = self._requests.get(name)
        if kind is None or name in _NOT_ON_A_LINE:
            raise InvalidRequestError(f"{name[:80]!r} is no RPC for a node's line")
        try:
            request: Message = kind.FromString(payload)
        except DecodeError:
            raise InvalidRequestError(f"the payload of {len(payload)} bytes is no {name} request") from None
        return request

    def _decide(self, name: str, request: Message | Undecodable) -> Any:
        """The response, or of a slow one what waits for it."""
        calls = self.calls
        calls.answered[name] += 1
        if type(request) is Undecodable:
            calls.refused[name] += 1
            raise request.error
        request_id: bytes = getattr(request, "request_id", b"")
        try:
            self._runner.check_room()
            if self._runner.shortage is not None:
                shortage.check(self._runner.shortage, name, request, self._runner.state)
            return self._runs[name](request, f"{name} {request_id.hex()}" if request_id else name)
        except MantaError:
            calls.refused[name] += 1
            raise

    def _unary(self, name: str) -> Callable[[Any, _Context], Any]:
        async def answer(request: Any, context: _Context) -> Any:
            began = time.monotonic()
            self._shown(context.peer())
            settled = (
                self._runner.settled if shortage.insists(name, self._runner.shortage) else self._runner.settled_or_stuck
            )
            try:
                try:
                    response = self._decide(name, request)
                    if name in self.slow:
                        response = await response
                except StorageUnwritableError:
                    settled = self._runner.settled_or_stuck
                    raise
                finally:
                    # A refusal shows a state too, and must be as durable.
                    await settled()
            except MantaError as error:
                await status.abort(context, error)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - a defect of ours: say so and stop, whatever it is
                self._defect(name, error)
                await status.abort(context, error)
            self.calls.seconds.observe(time.monotonic() - began)
            return response

        return answer

    def _streaming(self, name: str, run: _Stream) -> Callable[[AsyncIterator[Any], _Context], AsyncIterator[Any]]:
        async def answer(requests: AsyncIterator[Any], context: _Context) -> AsyncIterator[Any]:
            self._shown(context.peer())
            stream = run(checked(requests), name)
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


def _run(name: str, faces: tuple[object, ...]) -> Callable[[Any, str], Any]:
    """The method of that name; exactly one object has it."""
    run: Callable[[Any, str], Any]
    (run,) = (getattr(face, name) for face in faces if hasattr(face, name))
    return run
