"""Errors of ours as HTTP answers: a status and JSON with a code and a sentence."""

from __future__ import annotations

from typing import Final

import grpc
from aiohttp import web

from manta.core.errors import MantaError
from manta.transport import status
from manta.transport.convert import error_to_proto

_HTTP: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
#: What only HTTP refuses, or what it says more exactly.
_BY_CODE: Final = {
    "PACKAGE_REFUSED": 400,
    "PACKAGE_TOO_LARGE": 413,
    "PACKAGE_NOT_FOUND": 404,
    "PACKAGES_FULL": 507,
    "PACKAGES_UNWRITABLE": 507,
    "JOB_EXISTS": 400,
    "INVALID_RUNTIME_ENV": 400,
    "RPC_ERROR": 503,
    "STORAGE_UNWRITABLE": 507,
}


def refused(number: int, code: str, message: str) -> web.Response:
    """A refusal."""
    headers = {"WWW-Authenticate": 'Bearer realm="manta"'} if number == 401 else None
    return web.json_response({"code": code, "message": message}, status=number, headers=headers)


def of_error(error: MantaError) -> web.Response:
    """What an error of ours is answered as."""
    info = error_to_proto(error)
    code = info.code
    return refused(_BY_CODE.get(code) or _HTTP.get(status.status_of_code(code), 500), code, info.message)
