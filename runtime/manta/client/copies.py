"""Other nodes that have copies of what this process owns: where an object is looked for when its first copy is lost.

The node with the first copy says who fetches the object from it; that costs a frame per fetch from another node and nothing
else. A few nodes per object are remembered. When control declares the first one dead, the next is asked to keep its copy, and
whoever asks is sent there. It may have evicted the copy by then: it says so, and the one after it is asked. With none left the
object is lost.

Runs under the process's lock.
"""

from __future__ import annotations

from manta.client.values import Stored
from manta.rpc.v1 import channel_pb2 as pb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from manta.client.direct import DirectSession
    from manta.client.links import Link

#: Nodes remembered per object, and objects of which any are; the oldest are forgotten.
MAX_HOLDERS: Final = 4
MAX_OBJECTS: Final = 100_000


class Copies:
    """See the module.

    Attributes:
        holders: By object, nodes that may have a copy besides the one where it is looked for.
    """

    def __init__(self, session: DirectSession) -> None:
        self._session = session
        self.holders: dict[bytes, list[bytes]] = {}
        session.links.on(pb.ObjectsCopied, self.told)

    def told(self, link: Link, frame: pb.ObjectsCopied, raw: bytes) -> None:
        """A node has fetched objects, or has no copy after all."""
        node_id = frame.node_id
        for oid in frame.object_ids:
            value = self._session.values.known.get(oid)
            if type(value) is not Stored or oid in self._session.ownership.borrows:
                continue
            if frame.gone:
                self.without(oid, node_id)
            elif node_id != value.node_id and node_id not in self._session.links.dead:
                self._add(oid, node_id)
                if value.node_id in self._session.links.dead:
                    self._next(oid, value)

    def _add(self, oid: bytes, node_id: bytes) -> None:
        holders = self.holders.setdefault(oid, [])
        if node_id not in holders and len(holders) < MAX_HOLDERS:
            holders.append(node_id)
        if len(self.holders) > MAX_OBJECTS:
            del self.holders[next(iter(self.holders))]

    def node_died(self, node_id: bytes) -> None:
        """Control has declared a node dead: what was there is looked for elsewhere."""
        for oid in list(self.holders):
            self.without(oid, node_id)

    def without(self, oid: bytes, node_id: bytes) -> None:
        """A node has no copy of this object, and never will."""
        holders = self.holders.get(oid)
        if holders is None:
            return
        if node_id in holders:
            holders.remove(node_id)
        value = self._session.values.known.get(oid)
        if type(value) is Stored and value.node_id == node_id and holders:
            self._next(oid, value)
        if not holders:
            self.holders.pop(oid, None)

    def _next(self, oid: bytes, value: Stored) -> None:
        """Another copy is the first from now on."""
        node_id = self.holders[oid].pop(0)
        session = self._session
        session.values.known[oid] = session.fetching.stored(value.size, node_id)
        session.raylet_send(pb.SaveCopy(object_id=oid, size=value.size, node_id=node_id, dead_node=value.node_id))

    def moved(self, oid: bytes, node_id: bytes) -> None:
        """The copy there is the first one now."""
        holders = self.holders.get(oid)
        if holders is not None and node_id in holders:
            holders.remove(node_id)
