"""The objects that are there: who keeps them, who reads them, which of them may be evicted.

An object is freed when its owner has no references to it *and* nobody has it pinned; a secondary copy that nobody reads may be
evicted before.
"""

from collections.abc import Hashable

from manta.raylet.objects.allocator import Allocator
from manta.raylet.objects.commands import Client, Evicted
from manta.raylet.objects.journal import Journal
from manta.raylet.objects.owners import Owners
from manta.raylet.objects.records import Object, Process
from manta.shm.layout import aligned


class Sealed:
    """See the module.

    Attributes:
        by_id: The objects. Changed by the methods only.
        owners: Who keeps which.
        made: What each living client has made for others that keep it, by id.
        lru: Secondary copies without pins, least recently used first.
        sealed_bytes: Bytes of all of them.
        pinned_bytes: Bytes of those with pins.
        lru_bytes: Bytes of those in `lru`.
        primary_count: Objects that somebody keeps and of which this is the primary copy: what a node that leaves would lose.
        primary_bytes: Their bytes, as they were asked for.
    """

    __slots__ = (
        "_allocator",
        "_journal",
        "by_id",
        "lru",
        "lru_bytes",
        "made",
        "owners",
        "pinned_bytes",
        "primary_bytes",
        "primary_count",
        "sealed_bytes",
    )

    def __init__(self, allocator: Allocator, journal: Journal) -> None:
        self._allocator, self._journal = allocator, journal
        self.by_id: dict[bytes, Object] = {}
        self.owners = Owners()
        self.made: dict[Client, dict[bytes, Object]] = {}
        self.lru: dict[bytes, Object] = {}
        self.sealed_bytes = self.pinned_bytes = self.lru_bytes = 0
        self.primary_count = self.primary_bytes = 0

    # --- coming and going -------------------------------------------------------------------------------------------------

    def add(self, item: Object) -> None:
        """An object is readable from now on; its id is new."""
        room = aligned(item.size)
        self.by_id[item.object_id] = item
        self.sealed_bytes += room
        self._keep(item)
        self._made_for_another(item)
        if item.secondary:
            self.lru[item.object_id] = item
            self.lru_bytes += room

    def adopt(self, item: Object, client: Client, owner: Hashable) -> None:
        """The client was to make it and finds it made: the task runs again, and the owner hears of it from this client.

        A copy becomes the original thereby.
        """
        if item.doomed:
            item.doomed = False
        else:
            self._give_up(item)
        item.creator = client
        if item.secondary:
            self._cannot_be_evicted(item)
            item.owner = owner
        self._keep(item)
        self._made_for_another(item)

    def delete(self, item: Object, now: float) -> None:
        """Its owner has no references any more: it is freed now, or with its last pin."""
        if item.pins:
            item.doomed = True
            self._give_up(item)
        else:
            self._free(item, now)

    def evict(self, now: float, cause: Hashable) -> Evicted:
        """Free the secondary copy that nobody used for the longest time; there is one."""
        item = next(iter(self.lru.values()))
        self._journal.totals["evicted"] += 1
        self._journal.note(now, "evicted", item.object_id, None, cause)
        self._free(item, now)
        return Evicted(item.object_id, item.size, cause)

    def promote(self, item: Object, owner: Hashable = None) -> None:
        """It is the primary copy from now on, and is not evicted any more; of that owner, if one is named."""
        if owner is not None:
            if not item.doomed:
                self._give_up(item)
            item.owner = item.creator = owner
            if item.secondary:
                self._cannot_be_evicted(item)
            if not item.doomed:
                self._keep(item)
        elif item.secondary:
            self._cannot_be_evicted(item)
            if not item.doomed:
                self.primary_count += 1
                self.primary_bytes += item.size

    def demote(self, item: Object, owner: Hashable) -> None:
        """Another node has the primary copy: this one may be evicted, and is filed under `owner`. It is not doomed."""
        self._give_up(item)
        item.secondary, item.owner, item.creator = True, owner, owner
        self._keep(item)
        if not item.pins:
            self.lru[item.object_id] = item
            self.lru_bytes += aligned(item.size)

    def _cannot_be_evicted(self, item: Object) -> None:
        """A copy is none any more."""
        item.secondary = False
        if self.lru.pop(item.object_id, None) is not None:
            self.lru_bytes -= aligned(item.size)

    def _keep(self, item: Object) -> None:
        """Its owner wants it."""
        self.owners.add(item)
        if not item.secondary:
            self.primary_count += 1
            self.primary_bytes += item.size

    def _made_for_another(self, item: Object) -> None:
        """Its creator lives, and will be asked about when it does not."""
        if item.creator != item.owner:
            self.made.setdefault(item.creator, {})[item.object_id] = item

    def _give_up(self, item: Object) -> None:
        """Its owner does not want it, or it is gone."""
        self.owners.remove(item)
        if not item.secondary:
            self.primary_count -= 1
            self.primary_bytes -= item.size
        made = self.made.get(item.creator)
        if made is not None and made.pop(item.object_id, None) is not None and not made:
            del self.made[item.creator]

    def left(self, creator: Client) -> dict[Hashable, list[bytes]]:
        """The client is gone: the ids of what it had made for each owner."""
        by_owner: dict[Hashable, list[bytes]] = {}
        for object_id, item in self.made.pop(creator, {}).items():
            by_owner.setdefault(item.owner, []).append(object_id)
        return by_owner

    def _free(self, item: Object, now: float) -> None:
        """Take out an object without pins."""
        room = aligned(item.size)
        del self.by_id[item.object_id]
        self.sealed_bytes -= room
        if self.lru.pop(item.object_id, None) is not None:
            self.lru_bytes -= room
        if not item.doomed:
            self._give_up(item)
        self._journal.totals["freed"] += 1
        self._allocator.free(item.offset, item.size, item.creator, now)

    # --- reading ----------------------------------------------------------------------------------------------------------

    def pin(self, item: Object, client: Client, process: Process) -> None:
        """The client reads it, once more."""
        count = item.pins.get(client, 0)
        if not count:
            room = aligned(item.size)
            if not item.pins:
                self.pinned_bytes += room
                if self.lru.pop(item.object_id, None) is not None:
                    self.lru_bytes -= room
            process.pins[item.object_id] = item
            process.pinned_bytes += room
        item.pins[client] = count + 1

    def unpin(self, item: Object, client: Client, process: Process, count: int, now: float, cause: Hashable) -> None:
        """The client reads it `count` times less; it has that many pins."""
        left = item.pins[client] - count
        if left:
            item.pins[client] = left
            return
        room = aligned(item.size)
        del item.pins[client], process.pins[item.object_id]
        process.pinned_bytes -= room
        if item.pins:
            return
        self.pinned_bytes -= room
        if item.doomed:
            self._journal.note(now, "freed", item.object_id, client, cause)
            self._free(item, now)
        elif item.secondary:
            self.lru[item.object_id] = item
            self.lru_bytes += room
