"""Copies on other nodes that are to be kept, as the first ones are lost: asked for by owners of this node, until it is answered.

Pure. What is asked is an offer, as of a node that is drained: whoever has the object makes its copy the first one and asks the
owner. The asking node has nothing to fetch, so a node without a copy refuses. Said again on each new link; a node that is dead is
asked nothing, and its owners know that it is.
"""

from __future__ import annotations

from typing import Final, NamedTuple

#: Open questions to one node; of more the oldest are forgotten, and those copies stay evictable.
MAX_OPEN: Final = 10_000


class Saved(NamedTuple):
    """A copy that should be kept, and the process that owns the object."""

    object_id: bytes
    size: int
    owner: bytes


class Saving:
    """See the module."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: dict[bytes, dict[bytes, Saved]] = {}

    def wanted(self, node_id: bytes, saved: Saved) -> None:
        """An owner wants a node's copy kept."""
        there = self._open.setdefault(node_id, {})
        there.pop(saved.object_id, None)
        there[saved.object_id] = saved
        while len(there) > MAX_OPEN:
            del there[next(iter(there))]

    def answered(self, node_id: bytes, object_id: bytes) -> bytes | None:
        """The node has answered: whose the object is; None when nobody asked."""
        there = self._open.get(node_id, {})
        saved = there.pop(object_id, None)
        if not there:
            self._open.pop(node_id, None)
        return None if saved is None else saved.owner

    def owed(self, node_id: bytes) -> list[Saved]:
        """What that node has not answered."""
        return list(self._open.get(node_id, {}).values())

    def node_died(self, node_id: bytes) -> None:
        """A node is dead, with its copies."""
        self._open.pop(node_id, None)

    def owner_died(self, owner: bytes) -> None:
        """An owner is gone: nobody wants its objects."""
        for node_id, there in list(self._open.items()):
            for object_id in [each.object_id for each in there.values() if each.owner == owner]:
                self.answered(node_id, object_id)

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))
