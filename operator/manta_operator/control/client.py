"""Calls to one cluster's control, each with a deadline."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import grpc
import grpc.aio

from manta.core.errors import ProtocolError
from manta.rpc.v1 import control_pb2 as pb
from manta.rpc.v1 import control_pb2_grpc
from manta.transport import auth, status
from manta.transport.grpc import CHANNEL_OPTIONS, call
from manta_operator.control.access import Access
from manta_operator.control.nodes import Draining, Node, node_of

#: One call.
CALL_S = 5.0
#: The question who is idle: a decision waits for it, and can do without.
IDLE_S = 1.0
#: Longest grace of a drain that control takes: a day.
MOST_GRACE_S = 24 * 3600.0


class ControlClient:
    """One channel to control. Made by `connect`.

    Args:
        channel: Not yet connected, perhaps: it dials with its first call.
        token: What lets the caller in.
    """

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self._stub = control_pb2_grpc.ControlServiceStub(channel)
        self._token = token

    async def idle(self) -> dict[bytes, bool]:
        """Which nodes have no task, no actor, no owner and no driver, as far as control says.

        Raises:
            MantaError: Control cannot be reached in a moment, or refuses.
        """
        response: pb.GetDemandResponse = await call(
            self._stub.GetDemand, pb.GetDemandRequest(), token=self._token, timeout_s=IDLE_S
        )
        return {node.node_id: node.idle_since_unix_ms > 0 for node in response.demand.nodes}

    async def drain(self, node_id: bytes, *, grace_s: float, reason: str) -> Draining:
        """Begin to take a node out of service, or ask how far that is: doing it again changes nothing.

        Args:
            node_id: Which.
            grace_s: How long what runs there may take.
            reason: For people.

        Raises:
            MantaError: Control cannot be reached, does not know the node (NODE_NOT_FOUND), or will not (DRAIN_REFUSED).
        """
        request = pb.DrainNodeRequest(
            request_id=os.urandom(16),
            node_id=node_id,
            grace_ms=int(min(grace_s, MOST_GRACE_S) * 1000),
            reason=reason[:256],
        )
        response: pb.DrainNodeResponse = await call(self._stub.DrainNode, request, token=self._token, timeout_s=CALL_S)
        return Draining.DRAINED if response.drain.state == pb.DRAIN_STATE_DRAINED else Draining.DRAINING

    async def watch_nodes(self) -> AsyncIterator[Iterable[Node] | Node]:
        """First all nodes there are, together; then each that changed.

        Raises:
            MantaError: Control cannot be reached or refuses; the stream is over.
        """
        stream = self._stub.Watch(metadata=auth.metadata(self._token))
        try:
            await stream.write(pb.WatchRequest(nodes=True))
            known: list[Node] | None = []
            last = 0
            while True:
                # The first answers come at once from a control that lives. Changes may take for ever; keepalive finds the dead.
                async with asyncio.timeout(CALL_S if known is not None else None):
                    response = await stream.read()
                if response is grpc.aio.EOF:
                    return
                if response.previous != last:
                    raise ProtocolError(f"events between {last} and {response.previous} were lost")
                last = response.position.number
                match response.WhichOneof("event"):
                    case "node":
                        node = node_of(response.node)
                        if known is None:
                            yield node
                        else:
                            known.append(node)
                    case "resync":
                        known = []
                    case "ready" if known is not None:
                        yield known
                        known = None
        except grpc.aio.AioRpcError as error:
            raise status.error_from(error) from error
        except (asyncio.InvalidStateError, TimeoutError) as error:
            raise ProtocolError("control ended the stream of nodes, or never began it") from error
        finally:
            stream.cancel()


@asynccontextmanager
async def connect(access: Access) -> AsyncIterator[ControlClient]:
    """A client for a block; nothing is dialled before its first call.

    Args:
        access: Where, and with what.
    """
    shown = access.shown
    if access.tls:
        credentials = grpc.ssl_channel_credentials(shown.roots, shown.key, shown.certificate)
        name = (("grpc.ssl_target_name_override", access.server_name),)
        channel = grpc.aio.secure_channel(access.target, credentials, options=(*CHANNEL_OPTIONS, *name))
    else:
        channel = grpc.aio.insecure_channel(access.target, options=CHANNEL_OPTIONS)
    try:
        yield ControlClient(channel, shown.join_token)
    finally:
        await channel.close(grace=None)
