"""The node's own gRPC service, for whoever dials it. Control's orders do not come this way: see `orders.py`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc.aio

from manta.core.errors import MantaError
from manta.raylet.config import RayletConfig
from manta.rpc.v1 import raylet_pb2 as rpb
from manta.rpc.v1 import raylet_pb2_grpc
from manta.transport import grpc as transport
from manta.transport import status
from manta.transport.auth import JoinTokens
from manta.transport.requests import handlers

#: Calls under way may take so much longer when it ends.
_STOP_S: Final = 0.2

_Context = grpc.aio.ServicerContext[Any, Any]


class WrongNodeError(MantaError):
    """The call was meant for another node, perhaps for one that lived at this address before."""

    code = "NODE_DEAD"


class RayletService(raylet_pb2_grpc.RayletServiceServicer):
    """See raylet.proto for what each call guarantees.

    Args:
        node_id: This node.
        describe: The node's numbers as a JSON-able object.
    """

    def __init__(self, *, node_id: bytes, describe: Callable[[], dict[str, Any]]) -> None:
        self._node_id = node_id
        self._describe = describe

    async def Ping(self, request: rpb.PingRequest, context: _Context) -> rpb.PingResponse:  # noqa: N802
        """Answer, if it is us who are meant."""
        if request.node_id and request.node_id != self._node_id:
            wrong = WrongNodeError(f"this is node {self._node_id.hex()}, not {request.node_id.hex()}")
            await status.abort(context, wrong)
        return rpb.PingResponse()

    async def GetStats(self, request: rpb.GetStatsRequest, context: _Context) -> rpb.GetStatsResponse:  # noqa: N802
        """The node's numbers."""
        return rpb.GetStatsResponse(json=json.dumps(self._describe(), sort_keys=True))


@asynccontextmanager
async def serving(config: RayletConfig, describe: Callable[[], dict[str, Any]]) -> AsyncIterator[None]:
    """Answer on the node's socket while the block runs."""
    service = RayletService(node_id=config.node_id, describe=describe)
    server = transport.server(None if config.token_file is None else JoinTokens(str(config.token_file)))
    server.add_generic_rpc_handlers((handlers(rpb.DESCRIPTOR.services_by_name["RayletService"], service),))
    server.add_insecure_port(transport.unix_target(config.grpc_path))
    await server.start()
    try:
        yield
    finally:
        await server.stop(_STOP_S)
