"""Where the objects go of which a node that is drained has the first copy: which is offered to whom, and what has no place.

Pure, and by level: `look` is told what is to go and who may take it, as often as one likes; it returns what to offer. The object
is this node's until the taker says that its owner knows. An offer is said again on every new link, as whoever takes it can be
asked twice. A taker that dies leaves a doubt: the owner may have been told already, so the next one is told of it (`former`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from enum import Enum
from typing import Final, NamedTuple

#: Offers that may be open at once, and those of one owner: it may have stopped, and then only its own objects wait for it.
MAX_OPEN: Final = 64
MAX_OPEN_PER_OWNER: Final = 32
#: When nobody has room all are asked again after so long, seconds.
AGAIN_S: Final = 1.0
#: Dead takers remembered per object.
MAX_FORMER: Final = 8


class Verdict(Enum):
    """What a taker says."""

    TAKEN = 1
    GONE = 2
    REFUSED = 3


class Sole(NamedTuple):
    """An object of which this node has the first copy.

    Attributes:
        owner: The process that keeps it.
        owner_node: Where that lives; empty when it is a process of this node, or nobody in particular: it stays then.
        copies: Nodes that may have a copy already.
    """

    object_id: bytes
    size: int
    owner: Hashable
    owner_node: bytes
    copies: Sequence[bytes] = ()


class Offer(NamedTuple):
    """Offer an object to a node."""

    node_id: bytes
    sole: Sole
    former: tuple[bytes, ...]


class _Item:
    __slots__ = ("former", "node", "not_before", "reason", "sole", "stuck", "tried")

    def __init__(self, sole: Sole) -> None:
        self.sole = sole
        #: To whom it is offered; empty for nobody.
        self.node = b""
        self.tried: set[bytes] = set()
        self.former: list[bytes] = []
        self.not_before = 0.0
        #: Nobody took it the last time round, and why.
        self.stuck = False
        self.reason = ""


class Giving:
    """See the module."""

    __slots__ = ("_by_owner", "_items", "_open", "_stay", "_turn", "given")

    def __init__(self) -> None:
        self._items: dict[bytes, _Item] = {}
        self._by_owner: Counter[Hashable] = Counter()
        self._open = self._turn = 0
        #: Objects that stay, and their bytes: their owners go with this node.
        self._stay = 0, 0
        #: How many were taken.
        self.given = 0

    def look(self, soles: Iterable[Sole], takers: Sequence[bytes], *, now: float) -> list[Offer]:
        """What is to go, and who may take it.

        Args:
            soles: Every object of which the first copy is here. What was, and is not named any more, is forgotten.
            takers: Nodes that take what is offered, in any order.
            now: Monotonic seconds.
        """
        left = self._items
        self._items = {}
        stay = stay_bytes = 0
        for sole in soles:
            if not sole.owner_node:
                stay += 1
                stay_bytes += sole.size
                continue
            item = left.pop(sole.object_id, None)
            if item is not None and item.sole.owner != sole.owner:
                self._close(item)
                item = None
            self._items[sole.object_id] = item if item is not None else _Item(sole)
            self._items[sole.object_id].sole = sole
        self._stay = stay, stay_bytes
        for item in left.values():
            self._close(item)
        out: list[Offer] = []
        for item in self._items.values():
            if self._open >= MAX_OPEN:
                break
            if item.node or item.not_before > now or self._by_owner[item.sole.owner] >= MAX_OPEN_PER_OWNER:
                continue
            node = self._choose(item, takers)
            if node is None:
                item.stuck = True
                item.reason = item.reason or "no other node takes objects"
                item.tried.clear()
                item.not_before = now + AGAIN_S
                continue
            item.node = node
            self._open += 1
            self._by_owner[item.sole.owner] += 1
            out.append(Offer(node, item.sole, tuple(item.former)))
        return out

    def _choose(self, item: _Item, takers: Sequence[bytes]) -> bytes | None:
        """Who has a copy, then where its owner lives, then one after the other."""
        free = [node for node in takers if node not in item.tried]
        for node in (*item.sole.copies, item.sole.owner_node):
            if node in free:
                return node
        if not free:
            return None
        self._turn += 1
        return free[self._turn % len(free)]

    def answered(self, node_id: bytes, object_id: bytes, verdict: Verdict, reason: str) -> bool:
        """A taker has answered. Whether the copy here is not the first one any more: TAKEN or GONE, and asked for."""
        item = self._items.get(object_id)
        if item is None or item.node != node_id:
            return False
        if verdict is Verdict.TAKEN or verdict is Verdict.GONE:
            self._close(item)
            del self._items[object_id]
            self.given += verdict is Verdict.TAKEN
            return True
        self._close(item)
        item.tried.add(node_id)
        item.reason = reason
        return False

    def node_left(self, node_id: bytes, reason: str) -> None:
        """A node is dead, or takes nothing any more because it is drained itself. What it was offered goes elsewhere."""
        for item in self._items.values():
            if item.node == node_id:
                self._close(item)
                item.reason = f"node {node_id.hex()[:8]}: {reason}"
                if len(item.former) < MAX_FORMER and node_id not in item.former:
                    item.former.append(node_id)

    def offered_to(self, node_id: bytes) -> list[Offer]:
        """What a node has been offered and has not answered: for a new link."""
        return [Offer(node_id, item.sole, tuple(item.former)) for item in self._items.values() if item.node == node_id]

    def wants_link(self, node_id: bytes) -> bool:
        """Whether an answer of that node is awaited."""
        return any(item.node == node_id for item in self._items.values())

    def stuck(self) -> tuple[int, int, str]:
        """How many objects have nowhere to go, their bytes, and why the first of them has not."""
        found = [item for item in self._items.values() if item.stuck]
        return len(found), sum(item.sole.size for item in found), found[0].reason if found else ""

    def statistics(self) -> dict[str, int]:
        """Sizes, and totals since the start."""
        return {
            "objects_to_move": len(self._items),
            "objects_offered": self._open,
            "objects_stay": self._stay[0],
            "objects_given_total": self.given,
        }

    def validate(self) -> None:
        """Check every invariant. Raises AssertionError."""
        opened = [item for item in self._items.values() if item.node]
        assert self._open == len(opened) <= MAX_OPEN, "open offers are counted and bounded"
        assert +self._by_owner == Counter(item.sole.owner for item in opened), "by owner, too"
        assert all(count <= MAX_OPEN_PER_OWNER for count in self._by_owner.values()), "bounded per owner"
        assert all(item.node not in item.tried for item in opened), "who has refused is not asked twice in a round"

    def _close(self, item: _Item) -> None:
        if item.node:
            item.node = b""
            item.stuck = False
            self._open -= 1
            self._by_owner[item.sole.owner] -= 1
            if not self._by_owner[item.sole.owner]:
                del self._by_owner[item.sole.owner]
