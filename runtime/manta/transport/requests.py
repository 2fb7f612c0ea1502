"""Requests that cannot be decoded, refused by a typed error: gRPC by itself answers INTERNAL, and logs a traceback for each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from manta.core.errors import MantaError, ProtocolError
from manta.transport import status


class Undecodable:
    """Stands for a request that is none; `error` says so."""

    __slots__ = ("error",)

    def __init__(self, error: MantaError) -> None:
        self.error = error


def decoder(method: MethodDescriptor) -> Callable[[bytes], Any]:
    """Makes a method's request of bytes, or an Undecodable: never raises."""
    decode, name = GetMessageClass(method.input_type).FromString, method.name

    def run(data: bytes) -> Any:
        try:
            return decode(data)
        except DecodeError:
            return Undecodable(ProtocolError(f"the {len(data)} bytes that came are no request of {name}"))

    return run


async def checked(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """A stream's requests.

    Raises:
        ProtocolError: One cannot be decoded.
    """
    async for request in requests:
        if type(request) is Undecodable:
            raise request.error
        yield request


def handlers(service: ServiceDescriptor, servicer: object) -> grpc.GenericRpcHandler:
    """What a gRPC server needs to serve an object whose methods are the service's calls, one request and one response each."""
    made = {
        method.name: grpc.unary_unary_rpc_method_handler(
            _refusing(getattr(servicer, method.name)),
            decoder(method),
            GetMessageClass(method.output_type).SerializeToString,
        )
        for method in service.methods
    }
    return grpc.method_handlers_generic_handler(service.full_name, made)


def _refusing(run: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
    async def answer(request: Any, context: Any) -> Any:
        if type(request) is Undecodable:
            await status.abort(context, request.error)
        return await run(request, context)

    return answer
