"""Objects that another node, which is drained, wants this one to keep: fetched, made the first copy, their owners told.

Pure. The owner decides: what it looks for here from now on stays, what nobody refers to is freed, and what it has not heard of
yet is let go, as the one that offers it keeps its own until the answer. A question to an owner stays open until it is answered
or the owner is dead, also when the node that offered is dead: the owner may have believed us already.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from manta.raylet.objects.giving import Verdict
from manta.shm.layout import aligned

#: Objects taken at once; more are refused.
MAX_TAKEN: Final = 10_000


class Offered(NamedTuple):
    """What a node offers."""

    object_id: bytes
    size: int
    owner: bytes
    owner_node: bytes
    former: tuple[bytes, ...] = ()


class Pull(NamedTuple):
    """Fetch it from the node that offers it. Answer with `here` or `failed`."""

    offered: Offered
    giver: bytes


class Keep(NamedTuple):
    """Make the copy here the first one, of that owner, and watch the owner."""

    offered: Offered


class LetGo(NamedTuple):
    """The copy here is a copy again."""

    object_id: bytes


class Free(NamedTuple):
    """Nobody refers to it."""

    object_id: bytes


class Ask(NamedTuple):
    """Tell an owner that these are here now. Answer with `known`."""

    owner: bytes
    owner_node: bytes
    ids: tuple[bytes, ...]
    former: tuple[bytes, ...]


class Answer(NamedTuple):
    """Tell the node that offers."""

    giver: bytes
    object_id: bytes
    verdict: Verdict
    reason: str = ""


Command = Pull | Keep | LetGo | Free | Ask | Answer


class _Item:
    __slots__ = ("asked", "giver", "offered")

    def __init__(self, offered: Offered, giver: bytes) -> None:
        self.offered, self.giver = offered, giver
        #: It is here, and its owner was asked.
        self.asked = False


class Taking:
    """See the module.

    Args:
        node_id: This node.
    """

    __slots__ = ("_coming", "_items", "_node_id", "refusal")

    def __init__(self, node_id: bytes) -> None:
        self._node_id = node_id
        self._items: dict[bytes, _Item] = {}
        #: Bytes of those that are being fetched.
        self._coming = 0
        #: Why nothing is taken, as this node is drained itself; empty while it takes.
        self.refusal = ""

    def offered(self, giver: bytes, offered: Offered, *, here: bool, room: int) -> list[Command]:
        """A node offers an object; again, perhaps.

        Args:
            giver: That node.
            offered: The object.
            here: Whether there is a copy already.
            room: Bytes that are free or can be evicted.
        """
        item = self._items.get(offered.object_id)
        if item is not None:
            # Said again on a new link, or by another node that has it: one of them is answered.
            item.giver = giver
            return []
        oid = offered.object_id
        if self.refusal or len(self._items) >= MAX_TAKEN:
            return [Answer(giver, oid, Verdict.REFUSED, self.refusal or "too many objects come at once")]
        needed = aligned(offered.size)
        if not here and needed > room - self._coming:
            free = max(0, room - self._coming)
            return [Answer(giver, oid, Verdict.REFUSED, f"{needed} bytes are needed, {free} can be had")]
        self._items[oid] = _Item(offered, giver)
        self._coming += needed
        return [Pull(offered, giver)]

    def here(self, object_id: bytes) -> list[Command]:
        """The copy is here, and cannot go before this returns."""
        item = self._items.get(object_id)
        if item is None or item.asked:
            return []
        item.asked = True
        self._coming -= aligned(item.offered.size)
        # Asked first: where there is no link yet, what is owed there is said as it is dialled, and watching an owner dials too.
        return [self._ask(item), Keep(item.offered)]

    def failed(self, object_id: bytes, reason: str) -> list[Command]:
        """It cannot be had."""
        item = self._items.get(object_id)
        if item is None or item.asked:
            return []
        del self._items[object_id]
        self._coming -= aligned(item.offered.size)
        return [Answer(item.giver, object_id, Verdict.REFUSED, reason)]

    def known(
        self, owner: bytes, asked: Iterable[bytes], moved: Iterable[bytes], gone: Iterable[bytes]
    ) -> list[Command]:
        """An owner says which of those it was asked for it looks for here from now on, and which nobody refers to."""
        moved, gone = set(moved), set(gone)
        out: list[Command] = []
        for oid in asked:
            item = self._items.get(oid)
            if item is None or not item.asked or item.offered.owner != owner:
                continue
            del self._items[oid]
            if oid in moved:
                out.append(Answer(item.giver, oid, Verdict.TAKEN))
            elif oid in gone:
                out += [Free(oid), Answer(item.giver, oid, Verdict.GONE)]
            else:
                out += [LetGo(oid), Answer(item.giver, oid, Verdict.NOT_YET)]
        return out

    def owner_died(self, owner: bytes) -> list[Command]:
        """An owner is dead, and what it kept here is freed."""
        out: list[Command] = []
        for oid, item in list(self._items.items()):
            if item.asked and item.offered.owner == owner:
                del self._items[oid]
                out.append(Answer(item.giver, oid, Verdict.GONE))
        return out

    def asked_at(self, node_id: bytes) -> list[Ask]:
        """Questions to owners of a node that are not answered: for a new link."""
        return [self._ask(item) for item in self._items.values() if item.asked and item.offered.owner_node == node_id]

    def wants_link(self, node_id: bytes) -> bool:
        """Whether an answer of an owner there is awaited."""
        return any(item.asked and item.offered.owner_node == node_id for item in self._items.values())

    def statistics(self) -> dict[str, int]:
        """Sizes."""
        return {"objects_being_taken": len(self._items)}

    def validate(self) -> None:
        """Check every invariant. Raises AssertionError."""
        coming = sum(aligned(item.offered.size) for item in self._items.values() if not item.asked)
        assert self._coming == coming, "bytes that come are counted"

    def _ask(self, item: _Item) -> Ask:
        offered = item.offered
        return Ask(offered.owner, offered.owner_node, (offered.object_id,), (item.giver, *offered.former))
