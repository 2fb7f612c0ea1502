"""Who keeps the references of which objects: what dies with an owner, and who to name when the store is full."""

from collections.abc import Hashable, Mapping
from typing import Final

from manta.raylet.objects.commands import Client, Holder
from manta.raylet.objects.records import Object, Process
from manta.shm.layout import aligned

#: Dead owners remembered, for objects that their tasks seal afterwards; those tasks are being ended.
_DEAD: Final = 4096


class _Owned:
    __slots__ = ("objects", "total_bytes")

    def __init__(self) -> None:
        self.objects: set[bytes] = set()
        self.total_bytes = 0


class Owners:
    """Sealed objects by owner. A deleted object that is still read has none any more: its readers hold it."""

    __slots__ = ("_dead", "_owned")

    def __init__(self) -> None:
        self._owned: dict[Hashable, _Owned] = {}
        #: A dict as an ordered set, oldest first.
        self._dead: dict[Hashable, None] = {}

    def add(self, item: Object) -> None:
        """Its owner wants this object."""
        owned = self._owned.get(item.owner)
        if owned is None:
            owned = self._owned[item.owner] = _Owned()
        owned.objects.add(item.object_id)
        owned.total_bytes += aligned(item.size)

    def remove(self, item: Object) -> None:
        """Its owner has no references to it any more, or it is gone."""
        owned = self._owned[item.owner]
        owned.objects.remove(item.object_id)
        owned.total_bytes -= aligned(item.size)
        if not owned.objects:
            del self._owned[item.owner]

    def died(self, owner: Hashable) -> list[bytes]:
        """The owner is gone; the ids of what it kept, to be deleted."""
        self._dead[owner] = None
        if len(self._dead) > _DEAD:
            del self._dead[next(iter(self._dead))]
        owned = self._owned.get(owner)
        return sorted(owned.objects) if owned is not None else []

    def is_dead(self, owner: Hashable) -> bool:
        """Whether it died, as far as that is remembered."""
        return owner in self._dead

    def has(self, item: Object) -> bool:
        """Whether this object is in its owner's file."""
        owned = self._owned.get(item.owner)
        return owned is not None and item.object_id in owned.objects

    def holders(self, processes: Mapping[Client, Process], count: int) -> tuple[Holder, ...]:
        """Who keeps most of the store, largest first; an owner and a client of the same name are one."""
        found = []
        for who in dict.fromkeys([*self._owned, *processes]):
            owned, process = self._owned.get(who), processes.get(who)
            holder = Holder(
                who,
                owned.total_bytes if owned else 0,
                len(owned.objects) if owned else 0,
                process.pinned_bytes if process else 0,
                sum(block.free_bytes for block in process.blocks.values()) if process else 0,
            )
            if holder.owned_bytes or holder.pinned_bytes or holder.block_bytes:
                found.append(holder)
        # Stable, so that equals stand in the order they came.
        found.sort(key=lambda holder: -max(holder.owned_bytes, holder.pinned_bytes, holder.block_bytes))
        return tuple(found[:count])

    def validate(self, objects: Mapping[bytes, Object]) -> None:
        """Check the sums. Raises AssertionError."""
        for owner, owned in self._owned.items():
            assert owned.objects, "no empty files"
            assert all(objects[object_id].owner == owner for object_id in owned.objects), (
                "objects are filed under their owner"
            )
            total = sum(aligned(objects[object_id].size) for object_id in owned.objects)
            assert owned.total_bytes == total, "an owner's bytes are counted"
