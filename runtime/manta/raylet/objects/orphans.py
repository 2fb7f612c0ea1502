"""Objects that went with their owner, as long as that is remembered.

Whoever was told of one before, and asks for it now, must hear why it is gone, not wait for it.
"""

from collections.abc import Hashable, Iterable
from typing import Final

#: Objects remembered; the oldest are forgotten first, and waited for in vain.
_MOST: Final = 65_536


class Orphans:
    """See the module."""

    __slots__ = ("_owners",)

    def __init__(self) -> None:
        self._owners: dict[bytes, Hashable] = {}

    def __contains__(self, object_id: bytes) -> bool:
        return object_id in self._owners

    def owner_died(self, owner: Hashable, ids: Iterable[bytes]) -> None:
        """These go with their owner."""
        owners = self._owners
        owners.update(dict.fromkeys(ids, owner))
        while len(owners) > _MOST:
            del owners[next(iter(owners))]

    def owner_of(self, object_id: bytes) -> Hashable | None:
        """Whose end was the object's; None if it was nobody's."""
        return self._owners.get(object_id)

    def came(self, object_id: bytes) -> None:
        """The object is here, once more."""
        if self._owners:
            self._owners.pop(object_id, None)
