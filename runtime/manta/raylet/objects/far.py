"""What raylets owe each other about objects: which to free elsewhere, and which owners elsewhere to hear of.

Pure: what is to be sent to a node is returned; what its link is (not) is told. Both kinds of news are said again on a new link:
frees until the other node has written them down, watched owners always. A node that is dead is owed nothing.

**Owners elsewhere.** Objects that a worker here makes for a process of another node belong to that process, and go when it does.
Its raylet knows when that is: it is asked to say so. A node that is dead has taken all its processes with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

#: Objects in one frame.
FREE_AT_ONCE: Final = 10_000
#: Objects that may be unconfirmed per node; the oldest are forgotten, and stay there until their owner is gone.
MAX_UNCONFIRMED: Final = 1_000_000


class Free(NamedTuple):
    """Tell a node that nobody refers to these objects any more."""

    number: int
    ids: tuple[bytes, ...]
    creator: bytes


class _Node:
    __slots__ = ("frees", "owners", "unconfirmed")

    def __init__(self) -> None:
        self.frees: dict[int, Free] = {}
        self.unconfirmed = 0
        #: Watched owners that live there.
        self.owners: dict[bytes, None] = {}


class Far:
    """See the module."""

    __slots__ = ("_nodes", "_number", "_watchers", "owners")

    def __init__(self) -> None:
        self._nodes: dict[bytes, _Node] = {}
        self._number = 0
        #: Owners elsewhere, with their nodes. Changed by the methods only.
        self.owners: dict[bytes, bytes] = {}
        #: Of this node's processes: who wants to hear of their deaths.
        self._watchers: dict[bytes, dict[bytes, None]] = {}

    # --- frees

    def free(self, node_id: bytes, ids: Iterable[bytes], creator: bytes = b"") -> list[Free]:
        """Objects on another node are not referred to any more. Returns what to send there now, if there is a link."""
        node = self._nodes.setdefault(node_id, _Node())
        every = tuple(ids)
        out = []
        for at in range(0, len(every), FREE_AT_ONCE):
            self._number += 1
            one = node.frees[self._number] = Free(self._number, every[at : at + FREE_AT_ONCE], creator)
            node.unconfirmed += len(one.ids)
            out.append(one)
        while node.unconfirmed > MAX_UNCONFIRMED and len(node.frees) > 1:
            node.unconfirmed -= len(node.frees.pop(next(iter(node.frees))).ids)
        return out

    def confirmed(self, node_id: bytes, number: int) -> None:
        """The node has written one down."""
        node = self._nodes.get(node_id)
        if node is not None:
            one = node.frees.pop(number, None)
            if one is not None:
                node.unconfirmed -= len(one.ids)
                self._tidy(node_id, node)

    # --- owners

    def owner(self, worker_id: bytes, node_id: bytes) -> bool:
        """Objects here belong to a process of another node. Whether that is new, and to be watched."""
        if worker_id in self.owners:
            return False
        self.owners[worker_id] = node_id
        self._nodes.setdefault(node_id, _Node()).owners[worker_id] = None
        return True

    def node_of(self, worker_id: object) -> bytes | None:
        """Where an owner elsewhere lives."""
        return self.owners.get(worker_id)  # type: ignore[call-overload, no-any-return]

    def owner_died(self, worker_id: bytes) -> bool:
        """An owner elsewhere is dead; whether it was watched."""
        node_id = self.owners.pop(worker_id, None)
        if node_id is None:
            return False
        node = self._nodes[node_id]
        del node.owners[worker_id]
        self._tidy(node_id, node)
        return True

    def watched(self, worker_id: bytes, node_id: bytes) -> None:
        """Another node wants to hear of the death of a process of this node, which lives."""
        self._watchers.setdefault(worker_id, {})[node_id] = None

    def died(self, worker_id: bytes) -> list[bytes]:
        """A process of this node is dead: the nodes to tell."""
        return list(self._watchers.pop(worker_id, ()))

    # --- nodes

    def wants_link(self, node_id: bytes) -> bool:
        """Something is owed to that node, or awaited from it."""
        return node_id in self._nodes

    def linked(self, node_id: bytes) -> tuple[list[Free], list[bytes]]:
        """There is a new link to a node: what to free there, and which owners to watch."""
        node = self._nodes.get(node_id)
        return ([], []) if node is None else (list(node.frees.values()), list(node.owners))

    def node_died(self, node_id: bytes) -> list[bytes]:
        """A node is dead: the owners that went with it."""
        node = self._nodes.pop(node_id, None)
        for worker_id, nodes in list(self._watchers.items()):
            if node_id in nodes:
                del nodes[node_id]
                if not nodes:
                    del self._watchers[worker_id]
        owners = [] if node is None else list(node.owners)
        for worker_id in owners:
            del self.owners[worker_id]
        return owners

    def statistics(self) -> dict[str, int]:
        """Sizes."""
        return {
            "owners_elsewhere": len(self.owners),
            "frees_unconfirmed": sum(node.unconfirmed for node in self._nodes.values()),
            "owners_watched_by_others": len(self._watchers),
        }

    def validate(self) -> None:
        """Check every invariant. Raises AssertionError."""
        assert all(node.frees or node.owners for node in self._nodes.values()), "no empty files"
        for node in self._nodes.values():
            assert node.unconfirmed == sum(len(one.ids) for one in node.frees.values()), "unconfirmed ones are counted"
        pairs = {(owner, node_id) for node_id, node in self._nodes.items() for owner in node.owners}
        assert pairs == set(self.owners.items()), "owners are filed twice"
        assert all(self._watchers.values()), "no empty files"

    def _tidy(self, node_id: bytes, node: _Node) -> None:
        if not node.frees and not node.owners:
            del self._nodes[node_id]
