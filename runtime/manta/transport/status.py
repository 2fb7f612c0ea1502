"""Our errors as gRPC statuses and back: the one table between `MantaError.code` and status codes."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.message import DecodeError

from manta.core.errors import MantaError
from manta.rpc.v1 import common_pb2
from manta.transport.convert import error_from_proto, error_to_proto
from manta.transport.statuses import METADATA_KEY, error_of_status

#: Metadata is meant to be small, and gRPC refuses more than 8 KiB of it by default.
DETAIL_LIMIT = 2000
INFO_LIMIT = 5000

_STATUS = grpc.StatusCode
#: What a caller does next is the status: repeat (UNAVAILABLE, RESOURCE_EXHAUSTED), look again (NOT_FOUND), stop (others).
STATUS_BY_CODE: dict[str, grpc.StatusCode] = {
    "INVALID_REQUEST": _STATUS.INVALID_ARGUMENT,
    "BAD_SETTING": _STATUS.INVALID_ARGUMENT,
    "PROTOCOL_ERROR": _STATUS.INVALID_ARGUMENT,
    "NODE_NOT_FOUND": _STATUS.NOT_FOUND,
    "JOB_NOT_FOUND": _STATUS.NOT_FOUND,
    "ACTOR_NOT_FOUND": _STATUS.NOT_FOUND,
    "ACTOR_HANDLE_NOT_FOUND": _STATUS.NOT_FOUND,
    "FUNCTION_NOT_FOUND": _STATUS.NOT_FOUND,
    "PLACEMENT_GROUP_NOT_FOUND": _STATUS.NOT_FOUND,
    "PLACEMENT_GROUP_ALREADY_EXISTS": _STATUS.ALREADY_EXISTS,
    "SESSION_NOT_FOUND": _STATUS.NOT_FOUND,
    "ACTOR_ALREADY_EXISTS": _STATUS.ALREADY_EXISTS,
    "NODE_DEAD": _STATUS.FAILED_PRECONDITION,
    "NODE_DRAINING": _STATUS.FAILED_PRECONDITION,
    "DRAIN_REFUSED": _STATUS.FAILED_PRECONDITION,
    "JOB_FINISHED": _STATUS.FAILED_PRECONDITION,
    "VERSION_MISMATCH": _STATUS.FAILED_PRECONDITION,
    "LIMIT_EXCEEDED": _STATUS.RESOURCE_EXHAUSTED,
    "OVERLOADED": _STATUS.RESOURCE_EXHAUSTED,
    "CONTROL_STOPPING": _STATUS.UNAVAILABLE,
    # A failed store stops control: whoever asks finds the next one.
    "STORAGE_FAILED": _STATUS.UNAVAILABLE,
    "STORAGE_FULL": _STATUS.UNAVAILABLE,
    "STORAGE_LOCKED": _STATUS.UNAVAILABLE,
    # Who waits is told at once, who has to arrive says it again.
    "STORAGE_UNWRITABLE": _STATUS.RESOURCE_EXHAUSTED,
    "AUTHENTICATION_FAILED": _STATUS.UNAUTHENTICATED,
    "CERTIFICATE_REFUSED": _STATUS.UNAUTHENTICATED,
    "RPC_TIMEOUT": _STATUS.DEADLINE_EXCEEDED,
    "OBJECT_LOST": _STATUS.DATA_LOSS,
}


def status_of(error: BaseException) -> grpc.StatusCode:
    """The status that an error of ours is sent as; INTERNAL for everything else."""
    return status_of_code(getattr(error, "code", ""))


def status_of_code(code: str) -> grpc.StatusCode:
    """The status that an error's code is sent as; INTERNAL for an unknown one."""
    return STATUS_BY_CODE.get(code, _STATUS.INTERNAL)


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: BaseException) -> None:
    """End a call with an error; never returns normally."""
    info = error_to_proto(error)
    if info.ByteSize() > INFO_LIMIT:
        info = common_pb2.ErrorInfo(code=info.code, message=info.message[:DETAIL_LIMIT])
    await context.abort(status_of(error), info.message[:DETAIL_LIMIT], ((METADATA_KEY, info.SerializeToString()),))


def info_from(error: grpc.RpcError) -> common_pb2.ErrorInfo:
    """What a failed call tells, in plain fields; made up from the status if the other side sent none."""
    sent: Any = error.trailing_metadata() or ()
    for key, value in sent:
        if key == METADATA_KEY and isinstance(value, bytes):
            try:
                return common_pb2.ErrorInfo.FromString(value)
            except DecodeError:
                break
    return error_to_proto(error_of_status(error.code().value[0], error.details() or ""))


def error_from(error: grpc.RpcError) -> MantaError:
    """The error of ours that a failed call means."""
    return error_from_proto(info_from(error))
