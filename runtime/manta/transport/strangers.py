"""Connections of which nobody knows yet whose they are: few at a time, and no address at the expense of another. Pure.

Who floods a port with connections that say nothing makes room for others: the one that has to go is the oldest of the address
that has most. So an honest process, which says at once what it wants, gets in during a flood, and a flood from one address
takes nothing from others.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Strangers(Generic[Key]):
    """Who has come and has not said who it is.

    Args:
        most: At a time.
        of_one: Of one address.
    """

    def __init__(self, most: int, of_one: int) -> None:
        self._most, self._of_one = most, of_one
        self._addresses: dict[Key, str] = {}
        #: By address, the oldest first.
        self._by_address: dict[str, dict[Key, None]] = {}

    def __len__(self) -> int:
        return len(self._addresses)

    def __iter__(self) -> Iterator[Key]:
        return iter(list(self._addresses))

    def __contains__(self, key: Key) -> bool:
        return key in self._addresses

    def enter(self, key: Key, address: str) -> Key | None:
        """One more; the one that has to go for it, which has left already, or None."""
        self._addresses[key] = address
        of_one = self._by_address.setdefault(address, {})
        of_one[key] = None
        if len(of_one) > self._of_one:
            return self.dismiss(address)
        return self.dismiss() if len(self._addresses) > self._most else None

    def leave(self, key: Key) -> None:
        """It has said who it is, or is gone. Safe to repeat."""
        address = self._addresses.pop(key, None)
        if address is not None:
            of_one = self._by_address[address]
            del of_one[key]
            if not of_one:
                del self._by_address[address]

    def dismiss(self, address: str | None = None) -> Key | None:
        """Take out the oldest of an address, by default of the one that has most; None when there is nobody."""
        if not self._addresses:
            return None
        if address is None:
            address = max(self._by_address, key=lambda one: len(self._by_address[one]))
        oldest = next(iter(self._by_address[address]))
        self.leave(oldest)
        return oldest


def address_of(peer: object) -> str:
    """What stands for one party in a socket's peer name: an IPv4 address, or the network of an IPv6 one (each has many)."""
    host = peer[0] if isinstance(peer, tuple) and peer else ""
    try:
        found = ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return str(host)
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
