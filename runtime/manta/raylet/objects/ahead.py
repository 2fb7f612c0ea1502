"""Deletions that came before their objects.

A creator seals on its connection and tells the owner on another; the owner deletes on a third. So an owner's deletion may be
here first, and the object must not stay for ever when it comes. A deletion of what is not here is therefore remembered as
long as somebody may have sealed the object already without having been heard.
"""

from collections.abc import Iterable
from typing import Final

from manta.raylet.objects.commands import Client

#: Deletions remembered; the oldest go first. Their objects would stay until their owner is gone.
_MOST: Final = 65_536


class Ahead:
    """See the module."""

    __slots__ = ("_creators", "_ids")

    def __init__(self) -> None:
        #: Who may yet be heard to have sealed an object. Never empty. Oldest first.
        self._creators: dict[bytes, set[Client]] = {}
        #: The same by client.
        self._ids: dict[Client, set[bytes]] = {}

    def __len__(self) -> int:
        return len(self._creators)

    def add(self, object_id: bytes, creators: Iterable[Client]) -> None:
        """An object that is not here was deleted; one of these may have made it. Of nobody, it is not remembered."""
        for client in creators:
            self._creators.setdefault(object_id, set()).add(client)
            self._ids.setdefault(client, set()).add(object_id)
        if len(self._creators) > _MOST:
            self.take(next(iter(self._creators)))

    def take(self, object_id: bytes) -> bool:
        """The object came, or is made anew: whether it had been deleted. That is forgotten now."""
        creators = self._creators.pop(object_id, None)
        if creators is None:
            return False
        for client in creators:
            self._unlist(client, object_id)
        return True

    def will_not(self, client: Client, object_id: bytes) -> None:
        """This client will not seal the object."""
        creators = self._creators.get(object_id)
        if creators is not None and client in creators:
            creators.remove(client)
            self._unlist(client, object_id)
            if not creators:
                del self._creators[object_id]

    def died(self, client: Client) -> None:
        """The client is gone, and everything it had said was heard."""
        for object_id in list(self._ids.get(client, ())):
            self.will_not(client, object_id)

    def _unlist(self, client: Client, object_id: bytes) -> None:
        ids = self._ids[client]
        ids.remove(object_id)
        if not ids:
            del self._ids[client]

    def validate(self, objects: Iterable[bytes], clients: Iterable[Client]) -> None:
        """Check every invariant. Raises AssertionError. O(n): for tests."""
        assert not self._creators.keys() & set(objects), "what is here was not deleted ahead"
        assert self._ids.keys() <= set(clients), "only the living may yet be heard"
        pairs = {(client, object_id) for object_id, creators in self._creators.items() for client in creators}
        assert pairs == {(client, object_id) for client, ids in self._ids.items() for object_id in ids}, (
            "deletions ahead are filed twice"
        )
        assert all(self._creators.values()), "a deletion ahead waits for somebody"
