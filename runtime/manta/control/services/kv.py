"""RPCs about key-value pairs."""

# The methods are named as the RPCs, and what each promises is stated once: in control.proto.
# ruff: noqa: D102, N802

from __future__ import annotations

from manta.control import convert, events
from manta.control.errors import InvalidRequestError
from manta.control.runner import Runner
from manta.control.services.requests import request_id
from manta.rpc.v1 import control_pb2 as pb

KEY_LIMIT = 64 << 10
#: Of keys and values in one answer.
SCAN_BYTES = 8 << 20


class KvRpcs:
    """KvPut to KvExists."""

    def __init__(self, runner: Runner) -> None:
        self._runner, self._state = runner, runner.state

    def KvPut(self, request: pb.KvPutRequest, cause: str) -> pb.KvPutResponse:
        answer = self._runner.decide(
            events.KvPut(
                cause=cause,
                request_id=request_id(request.request_id),
                namespace=convert.name(request.namespace, "namespace"),
                key=_key(request.key),
                value=request.value,
                overwrite=request.overwrite,
            )
        )
        return pb.KvPutResponse(added=answer == b"\1")

    def KvGet(self, request: pb.KvGetRequest, cause: str) -> pb.KvGetResponse:
        value = self._state.kv.get(request.namespace, request.key)
        return pb.KvGetResponse(found=value is not None, value=value or b"")

    def KvDel(self, request: pb.KvDelRequest, cause: str) -> pb.KvDelResponse:
        answer: bytes = self._runner.decide(
            events.KvDel(
                cause=cause,
                request_id=request_id(request.request_id),
                namespace=convert.name(request.namespace, "namespace"),
                key=_key(request.key),
                prefix=request.prefix,
            )
        )
        return pb.KvDelResponse(deleted=int.from_bytes(answer, "big"))

    def KvKeys(self, request: pb.KvKeysRequest, cause: str) -> pb.KvKeysResponse:
        keys = self._state.kv.keys(request.namespace, request.prefix)
        return pb.KvKeysResponse(keys=keys)

    def KvScan(self, request: pb.KvScanRequest, cause: str) -> pb.KvScanResponse:
        response, size = pb.KvScanResponse(), 0
        for key in self._state.kv.keys(request.namespace, request.prefix):
            if key <= request.after and request.after:
                continue
            value = self._state.kv.get(request.namespace, key) or b""
            size += len(key) + len(value)
            if response.pairs and size > SCAN_BYTES:
                response.more = True
                break
            response.pairs.add(key=key, value=value)
        return response

    def KvExists(self, request: pb.KvExistsRequest, cause: str) -> pb.KvExistsResponse:
        exists = self._state.kv.exists(request.namespace, request.key)
        return pb.KvExistsResponse(exists=exists)


def _key(value: bytes) -> bytes:
    if len(value) > KEY_LIMIT:
        raise InvalidRequestError(f"the key has {len(value)} bytes, at most {KEY_LIMIT} are allowed")
    return value
