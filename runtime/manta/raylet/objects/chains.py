"""What this node sends to others: to whom by itself, to whom through others, and who has copies that go when the original goes.

Pure. While an object is being sent to a node, whoever else asks for it is sent to the last one who asked: each of them passes on
what it has so far, so a broadcast is a chain, and the link of the first holder carries the object once. Nobody is sent along a
chain it is part of itself: it asks because its own link of the chain broke, and is served by the first holder. So there is no
circle.

**Copies.** The holder of the original remembers which nodes asked for it and tells them when its owner has freed it. A copy is
evictable, so one that was missed (the node could not be reached, too many are remembered) costs nobody any room; that is why this
is told once and not confirmed, and why copies know nothing of owners.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

#: Objects sent at once; each costs a thread and a connection.
MAX_SENDS: Final = 16
#: (object, node) pairs remembered; the objects asked for first are forgotten first.
MAX_COPIES: Final = 200_000
#: Copies of one object that its owner is told of, for the day on which this node is gone.
MAX_TOLD: Final = 4


class Chains:
    """See the module. An asker is a node id."""

    __slots__ = ("_chains", "_copies", "_pairs", "_sends", "_serving")

    def __init__(self) -> None:
        #: Nodes in the order in which they asked, while the object is being sent from here to one of them.
        self._chains: dict[bytes, list[bytes]] = {}
        #: How many sends from here serve each of those objects.
        self._sends: dict[bytes, int] = {}
        self._serving = 0
        #: Who has asked for an object that is here.
        self._copies: dict[bytes, dict[bytes, None]] = {}
        self._pairs = 0

    @property
    def busy(self) -> bool:
        """No more can be sent at once."""
        return self._serving >= MAX_SENDS

    @property
    def sends(self) -> int:
        """How many are being sent now."""
        return self._serving

    def next_hop(self, object_id: bytes, asker: bytes, avoid: Iterable[bytes], *, direct: bool) -> bytes | None:
        """To which node the asker should turn; None when it is to be served from here."""
        chain = self._chains.get(object_id)
        if chain is None or direct or asker in chain:
            return None
        refused = set(avoid)
        for node_id in reversed(chain):
            if node_id not in refused:
                chain.append(asker)
                return node_id
        return None

    def begun(self, object_id: bytes, asker: bytes) -> None:
        """The object is being sent from here."""
        self._serving += 1
        self._sends[object_id] = self._sends.get(object_id, 0) + 1
        chain = self._chains.setdefault(object_id, [])
        if asker not in chain:
            chain.append(asker)

    def ended(self, object_id: bytes) -> None:
        """One of those is over, well or not."""
        self._serving -= 1
        self._sends[object_id] -= 1
        if not self._sends[object_id]:
            # The rest of the chain runs on its own; the next to ask is served from here, where the link is free now.
            del self._sends[object_id], self._chains[object_id]

    # --- copies

    def copied(self, object_id: bytes, asker: bytes) -> bool:
        """The asker will have a copy of an object whose original is here. Whether its owner should know."""
        nodes = self._copies.setdefault(object_id, {})
        new = asker not in nodes
        if new:
            nodes[asker] = None
            self._pairs += 1
        told = new and len(nodes) <= MAX_TOLD
        while self._pairs > MAX_COPIES:
            self._pairs -= len(self._copies.pop(next(iter(self._copies))))
        return told

    def freed(self, ids: Iterable[bytes]) -> dict[bytes, list[bytes]]:
        """These are gone: the nodes to tell, each with what it may have."""
        told: dict[bytes, list[bytes]] = {}
        if self._copies:
            for object_id in ids:
                nodes = self._copies.pop(object_id, None)
                if nodes is not None:
                    self._pairs -= len(nodes)
                    for node_id in nodes:
                        told.setdefault(node_id, []).append(object_id)
        return told

    def copies_of(self, object_id: bytes) -> list[bytes]:
        """Nodes that may have a copy of it."""
        return list(self._copies.get(object_id, ()))

    def remembered(self) -> list[bytes]:
        """Objects of which there are copies elsewhere."""
        return list(self._copies)

    def node_died(self, node_id: bytes) -> None:
        """A node is dead: it has nothing, and nobody is sent to it."""
        for chain in self._chains.values():
            if node_id in chain:
                chain.remove(node_id)
        for object_id, nodes in list(self._copies.items()):
            if node_id in nodes:
                del nodes[node_id]
                self._pairs -= 1
                if not nodes:
                    del self._copies[object_id]

    def statistics(self) -> dict[str, int]:
        """Sizes."""
        return {"sends": self._serving, "copied_objects": len(self._copies), "copies_elsewhere": self._pairs}

    def validate(self) -> None:
        """Check every invariant. Raises AssertionError. O(n): for tests."""
        assert self._serving == sum(self._sends.values()), "sends are counted"
        assert self._chains.keys() == self._sends.keys(), "a chain lasts as long as its first link"
        assert all(len(set(chain)) == len(chain) for chain in self._chains.values()), "nobody is in a chain twice"
        assert self._pairs == sum(map(len, self._copies.values())) <= MAX_COPIES, "copies are counted and bounded"
        assert all(self._copies.values()), "no empty files"
