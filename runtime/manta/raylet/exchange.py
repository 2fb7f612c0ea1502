"""A node's store among others: transfers and neighbours wired to the node's objects, and the frames between raylets to each."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from manta.raylet.clients import Clients
from manta.raylet.moving import Moving
from manta.raylet.neighbours import Neighbours, Peer
from manta.raylet.obituaries import Obituaries
from manta.raylet.object_service import ObjectService
from manta.raylet.transfers import Transfers
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import control_pb2 as cpb
from manta.shm.client import Arena
from manta.transport.channel_aio import AsyncConnection
from manta.transport.tls import Tls


class Exchange:
    """Lets a node's objects be fetched by others, and theirs by its processes.

    Args:
        node_id: This node.
        objects: The node's objects; their `transfers` and `neighbours` are set here.
        capacity: Bytes of the store.
        arena: The raylet's own mapping of it.
        clients: The processes of this node.
        tls: This node's certificates; None in a cluster without.
    """

    def __init__(
        self, *, node_id: bytes, objects: ObjectService, capacity: int, arena: Arena, clients: Clients, tls: Tls | None
    ) -> None:
        self._objects = objects
        self.obituaries = Obituaries(clients)
        self.neighbours = objects.neighbours = Neighbours(
            node_id=node_id,
            tls=tls,
            clients=clients,
            free=objects.free,
            drop=objects.drop_copies,
            owner_died=self._owner_died,
            node_died=self._node_died,
        )
        self.transfers = objects.transfers = Transfers(
            node_id=node_id,
            table=objects.table,
            capacity=capacity,
            arena=arena,
            perform=objects.perform,
            fail=objects.cannot_fetch,
            dial=self.neighbours.dial,
        )
        self.transfers.tell_copies = self.neighbours.drop_copies
        objects.table.owners_elsewhere = self.neighbours.far.owners
        self.moving = objects.moving = self.neighbours.moving = Moving(
            node_id=node_id,
            objects=objects,
            transfers=self.transfers,
            neighbours=self.neighbours,
            clients=clients,
        )
        self.transfers.tell_moves, self.transfers.tell_owner = self.moving.told, self.moving.copied

    def takes(self, connection: AsyncConnection, message: Message) -> bool:
        """Take a frame that another raylet has sent; False when it is none of those.

        Raises:
            ProtocolError: It must not send it.
        """
        peer = connection.peer
        if isinstance(peer, Peer):
            self.neighbours.said(connection, peer, message)
        elif peer is not None:
            return False
        elif isinstance(message, pb.PullObject):
            self.transfers.asked(connection, message)
        elif isinstance(message, pb.PeerHello):
            self.neighbours.hello(connection, message)
        else:
            return False
        return True

    def news(self, news: cpb.ClusterNews) -> None:
        """Control tells of other nodes. One that is merely not named in a new list may be on its way back to a new control."""
        for node in news.nodes:
            if node.HasField("facts"):
                self.neighbours.seen(node.node_id, node.facts.raylet.door)
                reached = node.facts.raylet.door or node.node_id == self.moving.node_id
                self.moving.seen(node.node_id, draining=node.facts.draining or not reached)
        reasons = [*news.gone_reasons, *[""] * len(news.gone)]
        for node_id, reason in zip(news.gone, reasons, strict=False):
            self.neighbours.gone(node_id, reason or "control has given it up")

    def _owner_died(self, worker_id: bytes) -> None:
        self._objects.owner_died(worker_id)
        self.obituaries.process_died(worker_id)

    def _node_died(self, node_id: bytes, reason: str) -> None:
        # First: who reads what was there has heard why it fails, and looks for another copy.
        self.obituaries.node_died(node_id, reason)
        self.transfers.node_died(node_id, reason)
        self.moving.node_died(node_id, reason)

    def closed(self, connection: AsyncConnection) -> None:
        """A connection is gone."""
        if isinstance(connection.peer, Peer):
            self.neighbours.incoming_closed(connection)

    def close(self) -> None:
        """End every transfer and link."""
        self.moving.close()
        self.neighbours.close()
        self.transfers.close()

    def statistics(self) -> dict[str, Any]:
        """Sizes and totals."""
        return {**self.transfers.statistics(), **self.neighbours.statistics(), **self.moving.statistics()}
