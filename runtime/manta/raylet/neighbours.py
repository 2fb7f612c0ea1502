"""The other nodes' raylets, as far as objects are concerned: where they are, and a link to each that something is owed to.

A link is dialled by whoever has something to say, carries what that one says and the other's answers, and is dialled again while
anything is owed. What is owed is decided in `objects.far`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from google.protobuf.message import Message

from manta.core.errors import MantaError, ProtocolError
from manta.raylet.clients import Clients
from manta.raylet.objects.far import Far, Free
from manta.raylet.objects.pull_commands import Trouble
from manta.raylet.objects.transfer import Unreachable
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.channel import PROTOCOL, Frame
from manta.transport.channel_aio import AsyncConnection
from manta.transport.tcp import FarSocket, Preamble, Wish
from manta.transport.tls import Tls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.raylet.moving import Moving

log = logging.getLogger(__name__)

#: Pauses before a link is dialled again: doubled from the first to the last, seconds.
_AGAIN_S: Final = 0.05
_AGAIN_CAP_S: Final = 2.0

#: Dead nodes remembered, so that what was there is called lost at once.
_DEAD: Final = 4096


class Peer:
    """What is known of whoever dialled: the node that it says it is."""

    __slots__ = ("node_id",)

    def __init__(self, node_id: bytes) -> None:
        self.node_id = node_id


class Neighbours:
    """See the module.

    Args:
        node_id: This node.
        tls: This node's certificates; None in a cluster without.
        clients: The processes of this node.
        free: Frees objects here: (ids, the node that says so, creator or empty).
        drop: Drops copies of objects that were freed where they came from: (ids).
        owner_died: An owner elsewhere is gone: (worker id).
        node_died: A node is gone: (node id, reason).
    """

    def __init__(
        self,
        *,
        node_id: bytes,
        tls: Tls | None,
        clients: Clients,
        free: Callable[[Sequence[bytes], bytes, bytes], None],
        drop: Callable[[Sequence[bytes]], None],
        owner_died: Callable[[bytes], None],
        node_died: Callable[[bytes, str], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._node_id, self._tls, self._clients = node_id, tls, clients
        self._free, self._drop, self._owner_died, self._node_died = free, drop, owner_died, node_died
        #: Told of lines that another node has for a driver of this one: (job, lines).
        self.on_lines: Callable[[bytes, pb.LogLines], None] = lambda _job, _lines: None
        self.far = Far()
        #: Moves objects from nodes that are drained, by these links; set by whoever wires the node.
        self.moving: Moving | None = None
        self._doors: dict[bytes, str] = {}
        self._dead: dict[bytes, str] = {}
        self._links: dict[bytes, AsyncConnection] = {}
        self._pauses: dict[bytes, float] = {}
        self._timers: dict[bytes, asyncio.TimerHandle] = {}
        self._incoming: set[AsyncConnection] = set()
        self._closed = False

    def close(self) -> None:
        """Close every link."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        for connection in [*self._links.values(), *self._incoming]:
            connection.close("the node stops")

    # ---- who is there

    def seen(self, node_id: bytes, door: str) -> None:
        """A node lives, and is dialled there; an empty door means that it is not to be reached."""
        if node_id == self._node_id or node_id in self._dead:
            return
        if door:
            self._doors[node_id] = door
        if self._wants(node_id):
            self._want_link(node_id)

    def gone(self, node_id: bytes, reason: str) -> None:
        """A node is dead."""
        if node_id in self._dead:
            return
        self._dead[node_id] = reason
        if len(self._dead) > _DEAD:
            del self._dead[next(iter(self._dead))]
        self._doors.pop(node_id, None)
        self._pauses.pop(node_id, None)
        timer = self._timers.pop(node_id, None)
        if timer is not None:
            timer.cancel()
        owners = self.far.node_died(node_id)
        link = self._links.pop(node_id, None)
        if link is not None:
            link.close("the node is dead")
        for connection in list(self._incoming):
            if isinstance(connection.peer, Peer) and connection.peer.node_id == node_id:
                connection.close("the node is dead")
        for owner in owners:
            self._owner_died(owner)
        self._node_died(node_id, reason)

    def dial(self, node_id: bytes) -> FarSocket:
        """Begin a connection to a node's raylet. From any thread.

        Raises:
            Unreachable: The node is dead, or not known (yet).
            OSError, MantaError: There is no way to it, or our certificates cannot be read.
        """
        door = self._doors.get(node_id)
        if door is None:
            reason = self._dead.get(node_id)
            if reason is not None:
                raise Unreachable(Trouble.DEAD, reason)
            raise Unreachable(Trouble.UNKNOWN, "no node of that id is known here")
        return FarSocket.dial(door, Preamble(node_id, wish=Wish.RAYLET), self._tls)

    # ---- what is said

    def free(self, node_id: bytes, ids: Iterable[bytes], creator: bytes = b"") -> None:
        """Objects on another node are not referred to any more."""
        if node_id in self._dead:
            return
        frees = self.far.free(node_id, ids, creator)
        link = self._links.get(node_id)
        if link is None:
            self._want_link(node_id)
            return
        for one in frees:
            link.send(_frame(one))

    def drop_copies(self, node_id: bytes, ids: list[bytes]) -> None:
        """A node may have copies of what was freed here. Said once: see `objects.chains`."""
        if node_id in self._doors:
            link = self._links.get(node_id) or self._dial_link(node_id)
            if link is not None:
                link.send(pb.PeerFree(object_ids=ids))

    def takes(self, node_id: bytes, most: int) -> bool:
        """Whether a node can be sent more now: it can be reached, and has left no more than so many bytes unread."""
        link = self._links.get(node_id)
        return link.unsent_bytes < most if link is not None else self._may_dial(node_id)

    def lines(self, node_id: bytes, job_id: bytes, lines: pb.LogLines) -> None:
        """Lines for a driver of another node. Said once: what gets lost is in its file."""
        link = self._links.get(node_id)
        if link is None and self._may_dial(node_id):
            link = self._dial_link(node_id)
        if link is not None:
            link.send(pb.JobLines(job_id=job_id, lines=lines))

    def owner(self, worker_id: bytes, node_id: bytes) -> None:
        """Objects of this node belong to a process of another one."""
        if node_id in self._dead:
            self._owner_died(worker_id)
            return
        if not self.far.owner(worker_id, node_id):
            return
        link = self._links.get(node_id)
        if link is None:
            self._want_link(node_id)
        else:
            link.send(pb.WatchOwners(add=[worker_id]))

    def say(self, node_id: bytes, message: Message) -> None:
        """Ask a node what `moving` asks. Without a link one is dialled, and all that is owed is said there."""
        link = self._links.get(node_id)
        if link is None:
            self._want_link(node_id)
        else:
            link.send(message)

    def tell(self, node_id: bytes, message: Message) -> None:
        """Say what need not arrive: lost where there is no link."""
        link = self._links.get(node_id)
        if link is not None:
            link.send(message)

    def reply(self, node_id: bytes, message: Message) -> None:
        """Answer a node that has asked. Lost with its link, it asks again on the next."""
        for connection in self._incoming:
            if isinstance(connection.peer, Peer) and connection.peer.node_id == node_id:
                connection.send(message)

    def left(self, owner: bytes, creator: bytes, ids: Iterable[bytes]) -> bool:
        """A process of this node died that had made objects for a process elsewhere. False: it is not elsewhere."""
        node_id = self.far.node_of(owner)
        if node_id is None:
            return False
        link = self._links.get(node_id)
        if link is not None:
            # Lost with the link, they go with their owner.
            link.send(pb.ObjectsLeft(owner=owner, creator=creator, object_ids=ids))
        return True

    def died(self, worker_id: bytes) -> None:
        """A process of this node is gone: whoever has objects of it hears so."""
        for node_id in self.far.died(worker_id):
            for connection in self._incoming:
                if isinstance(connection.peer, Peer) and connection.peer.node_id == node_id:
                    connection.send(pb.OwnersDied(worker_ids=[worker_id]))

    # ---- links

    def _wants(self, node_id: bytes) -> bool:
        """Something is owed to that node, or awaited from it."""
        return self.far.wants_link(node_id) or (self.moving is not None and self.moving.wants_link(node_id))

    def _want_link(self, node_id: bytes) -> None:
        """Dial, now or when the pause is over; not while a link is there or the node is not known."""
        if node_id not in self._links and self._may_dial(node_id):
            self._dial_link(node_id)

    def _may_dial(self, node_id: bytes) -> bool:
        """The node is known, and no pause is on after an attempt that failed."""
        return node_id in self._doors and node_id not in self._timers and not self._closed

    def _dial_link(self, node_id: bytes) -> AsyncConnection | None:
        try:
            far = self.dial(node_id)
        except (Unreachable, OSError, ValueError, MantaError) as failed:
            log.warning("node %s cannot be dialled: %s", node_id.hex(), failed)
            self._again(node_id)
            return None
        link = AsyncConnection(far, self._answers, lambda link, reason: self._link_closed(node_id, link, reason))
        link.peer = node_id
        self._links[node_id] = link
        link.send(pb.PeerHello(protocol=PROTOCOL, node_id=self._node_id))
        frees, owners = self.far.linked(node_id)
        for one in frees:
            link.send(_frame(one))
        if owners:
            link.send(pb.WatchOwners(add=owners))
        for message in self.moving.owed(node_id) if self.moving is not None else ():
            link.send(message)
        return link

    def _link_closed(self, node_id: bytes, link: AsyncConnection, reason: str) -> None:
        if self._links.get(node_id) is not link:
            return
        del self._links[node_id]
        log.info("the link to node %s is gone: %s", node_id.hex(), reason)
        self._again(node_id)

    def _again(self, node_id: bytes) -> None:
        if self._closed or not self._wants(node_id) or node_id in self._timers:
            return
        pause = self._pauses.get(node_id, _AGAIN_S)
        self._pauses[node_id] = min(_AGAIN_CAP_S, 2 * pause)
        self._timers[node_id] = self._loop.call_later(pause, self._pause_over, node_id)

    def _pause_over(self, node_id: bytes) -> None:
        del self._timers[node_id]
        if self._wants(node_id):
            self._want_link(node_id)

    def _answers(self, link: AsyncConnection, frames: list[Frame]) -> None:
        """On a link that this node dialled."""
        node_id: Any = link.peer
        self._pauses.pop(node_id, None)
        for _number, message, _raw in frames:
            if isinstance(message, pb.PeerFreed):
                self.far.confirmed(node_id, message.number)
            elif isinstance(message, pb.OwnersDied):
                for worker_id in message.worker_ids:
                    if self.far.node_of(worker_id) == node_id and self.far.owner_died(worker_id):
                        self._owner_died(worker_id)
            elif isinstance(message, pb.OfferAnswers | pb.MoveKnown) and self.moving is not None:
                self.moving.answered(node_id, message)
            else:
                raise ProtocolError(f"a raylet takes no {type(message).__name__} from a node that it has dialled")

    # ---- the other side

    def hello(self, connection: AsyncConnection, message: pb.PeerHello) -> None:
        """Another node has dialled this one.

        Raises:
            ProtocolError: It is none, or of another version.
        """
        if not connection.far or message.protocol != PROTOCOL or len(message.node_id) != 28:
            raise ProtocolError("PeerHello is for connections between nodes, of one version of the channel")
        reason = self._dead.get(message.node_id)
        if reason is not None:
            raise ProtocolError(f"node {message.node_id.hex()} was declared dead: {reason}")
        connection.peer = Peer(message.node_id)
        self._incoming.add(connection)

    def incoming_closed(self, connection: AsyncConnection) -> None:
        """A connection that another node had dialled is gone."""
        self._incoming.discard(connection)

    def said(self, connection: AsyncConnection, peer: Peer, message: Message) -> None:
        """A frame on a link that another node has dialled.

        Raises:
            ProtocolError: It is none that a raylet takes.
        """
        match message:
            case pb.PeerFree():
                if any(len(object_id) != 28 for object_id in message.object_ids):
                    raise ProtocolError("an object id has 28 bytes")
                if message.number:
                    self._free(message.object_ids, peer.node_id, message.creator)
                    connection.send(pb.PeerFreed(number=message.number))
                else:
                    self._drop(message.object_ids)
            case pb.WatchOwners():
                dead = []
                for worker_id in message.add:
                    if self._clients.get(worker_id) is None:
                        dead.append(worker_id)
                    else:
                        self.far.watched(worker_id, peer.node_id)
                if dead:
                    connection.send(pb.OwnersDied(worker_ids=dead))
            case pb.OfferObjects() | pb.ObjectMoved() if self.moving is not None:
                self.moving.said(peer.node_id, message)
            case pb.ObjectsCopied():
                self._clients.send(message.owner, message)
            case pb.JobLines():
                self.on_lines(message.job_id, message.lines)
            case pb.ObjectsLeft():
                self._clients.send(
                    message.owner,
                    pb.ObjectsLeft(creator=message.creator, object_ids=message.object_ids, node_id=peer.node_id),
                )
            case _:
                raise ProtocolError(f"a raylet takes no {type(message).__name__} from another node")

    def statistics(self) -> dict[str, int]:
        """Sizes."""
        return {"neighbours": len(self._doors), "neighbour_links": len(self._links), **self.far.statistics()}


def _frame(one: Free) -> pb.PeerFree:
    return pb.PeerFree(number=one.number, object_ids=one.ids, creator=one.creator)
