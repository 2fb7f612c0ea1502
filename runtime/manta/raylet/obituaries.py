"""Nodes that control has declared dead, told to the processes of this node; and what is refused to a dead one that comes back.

Links between processes of two nodes say nothing when a node is paused, or cut off: control's word does. What a dead node had here
ends with it, so that nothing is ever held for one that is only late.
"""

from __future__ import annotations

import asyncio
from typing import Final

from manta.raylet.clients import Client, Clients
from manta.rpc.v1 import channel_pb2 as pb

#: The last so many are told to who joins.
_TOLD_LATER: Final = 100
#: And so many are remembered, as their processes may still come.
_REMEMBERED: Final = 4096

_OWNERS: Final = (pb.ROLE_DRIVER, pb.ROLE_WORKER)


class Obituaries:
    """See the module.

    Args:
        clients: The processes of this node, and those of others that lease here.
    """

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._dead: dict[bytes, str] = {}

    def node_died(self, node_id: bytes, reason: str) -> None:
        """Control says so."""
        self._dead[node_id] = reason
        if len(self._dead) > _REMEMBERED:
            del self._dead[next(iter(self._dead))]
        news = pb.NodesDied(node_ids=[node_id], reasons=[reason])
        for client in self._clients:
            if client.node_id == node_id:
                client.connection.close(f"its node is dead: {reason}")
            elif client.welcomed and client.role in _OWNERS:
                client.connection.send(news)

    def process_died(self, worker_id: bytes) -> None:
        """A process of another node is gone, says its raylet: what it leased here is free."""
        client = self._clients.get(worker_id)
        if client is not None and client.role == pb.ROLE_LEASER:
            client.connection.close("its process is gone")

    def reason(self, node_id: bytes) -> str | None:
        """Why a node is dead; None for one that is not."""
        return self._dead.get(node_id)

    def joined(self, client: Client) -> None:
        """A process was let in: it hears, after its welcome, of the last who died."""
        if not self._dead or client.role not in _OWNERS:
            return
        last = list(self._dead.items())[-_TOLD_LATER:]
        news = pb.NodesDied(node_ids=[node_id for node_id, _ in last], reasons=[reason for _, reason in last])
        asyncio.get_running_loop().call_soon(client.connection.send, news)
