"""Objects that another node, which is drained, wants this one to keep: fetched, made the first copy, their owners told.

Pure. The owner decides: what it looks for here from now on stays, what nobody refers to is freed, and for what it has not heard
of yet it is asked again. A question stays open until it is answered in one of the first two ways, or the owner is dead; also when
the node that offered is dead, and nothing is let go meanwhile: the owner may have believed us already.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from manta.raylet.objects.giving import Verdict
from manta.shm.layout import aligned

#: An owner that has not heard of an object yet is asked again after so long, seconds.
AGAIN_S: Final = 0.2
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


class Free(NamedTuple):
    """Nobody refers to it."""

    object_id: bytes


class Ask(NamedTuple):
    """Tell an owner that an object is here now. Answer with `known`, repeating the number.

    Attributes:
        former: Where it was.
        number: Of this offer's questions: what is answered to those of an earlier offer of the same object means nothing.
    """

    owner: bytes
    owner_node: bytes
    object_id: bytes
    former: tuple[bytes, ...]
    number: int


class Answer(NamedTuple):
    """Tell the node that offers."""

    giver: bytes
    object_id: bytes
    verdict: Verdict
    reason: str = ""


Command = Pull | Keep | Free | Ask | Answer


class _Item:
    __slots__ = ("asked", "giver", "number", "offered")

    def __init__(self, offered: Offered, giver: bytes, number: int) -> None:
        self.offered, self.giver, self.number = offered, giver, number
        #: It is here, and its owner was asked.
        self.asked = False


class Taking:
    """See the module.

    Args:
        node_id: This node.
    """

    __slots__ = ("_again", "_coming", "_items", "_node_id", "_numbers", "refusal")

    def __init__(self, node_id: bytes) -> None:
        self._node_id = node_id
        self._items: dict[bytes, _Item] = {}
        #: Those of which the owner has not heard yet.
        self._again: dict[bytes, None] = {}
        #: Bytes of those that are being fetched.
        self._coming = self._numbers = 0
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
        self._numbers += 1
        self._items[oid] = _Item(offered, giver, self._numbers)
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

    def known(self, owner: bytes, object_id: bytes, number: int, *, moved: bool, gone: bool) -> list[Command]:
        """An owner says whether it looks for an object here from now on, or nobody refers to it; else it has not heard of it."""
        item = self._items.get(object_id)
        if item is None or not item.asked or item.number != number or item.offered.owner != owner:
            return []
        if not moved and not gone:
            self._again[object_id] = None
            return []
        del self._items[object_id]
        if moved:
            return [Answer(item.giver, object_id, Verdict.TAKEN)]
        return [Free(object_id), Answer(item.giver, object_id, Verdict.GONE)]

    @property
    def waits(self) -> bool:
        """Some owner is to be asked again: call `ask_again` in AGAIN_S."""
        return bool(self._again)

    def ask_again(self) -> list[Command]:
        """Time has passed: they may have heard by now."""
        again, self._again = self._again, {}
        return [self._ask(item) for oid in again if (item := self._items.get(oid)) is not None]

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
        former = item.giver, *offered.former
        return Ask(offered.owner, offered.owner_node, offered.object_id, former, item.number)
