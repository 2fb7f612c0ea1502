"""Connections of which nobody knows yet whose they are: few at a time, and no address at the expense of another. Pure.

Who floods a port with connections that say nothing makes room for others: the one that has to go is the oldest of the address
that has most. So an honest process, which says at once what it wants, gets in during a flood, and a flood from one address
takes nothing from others.

`Strangers` is for who accepts by itself, `Crowd` for a port whose connections are seen only afterwards.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Hashable, Iterator, Mapping
from typing import Generic, NamedTuple, TypeVar

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


class Peer(NamedTuple):
    """The other end of a connection."""

    host: str
    port: int


class Crowd(Generic[Key]):
    """Everyone at a port on which somebody else accepts, and refuses who is too many: strangers, and who has shown a credential.

    Strangers may take half of the room that the others leave; of more, those go that `Strangers` names. So there is always room
    for one who comes, and who has shown a credential is never sent away.

    Args:
        most: Connections at which the next is refused.

    Attributes:
        dismissed: How many had to go.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # Its bounds are not used: what strangers may have depends on the others, see `look`.
        self._strangers = Strangers[Key](sys.maxsize, sys.maxsize)
        #: Who was told to go and is still there.
        self._leaving: set[Key] = set()
        #: Who has shown a credential and was there at the last look; and who has since.
        self._known: set[Peer] = set()
        self._shown: set[Peer] = set()
        #: How many strangers there may be, and how many of the process's files were none of theirs, at the last look.
        self._room = max(1, most // 2)
        self._other_files = 0
        self.dismissed = 0

    def show(self, peer: Peer) -> None:
        """It has shown a credential."""
        self._shown.add(peer)

    def is_due(self, files: int) -> bool:
        """Whether there may be too many strangers, or too much to be forgotten of those who are gone: it is time for a look.

        Args:
            files: How many the process has open. They are counted in no time, and connections are not.
        """
        return files - self._other_files > self._room or len(self._shown) > self._most

    def look(self, present: Mapping[Key, Peer], files: int) -> list[Key]:
        """Who has to go.

        Args:
            present: Everyone who is there, in the order in which they came as far as that is known.
            files: How many the process has open, with these.
        """
        self._known = (self._known | self._shown).intersection(present.values())
        self._shown.clear()
        self._leaving &= present.keys()
        for key in self._strangers:
            if key not in present or present[key] in self._known:
                self._strangers.leave(key)
        for key, peer in present.items():
            if key not in self._strangers and key not in self._leaving and peer not in self._known:
                _ = self._strangers.enter(key, address_of(peer))
        self._other_files = files - len(self._strangers) - len(self._leaving)
        self._room = max(1, (self._most - len(self._known)) // 2)
        gone: list[Key] = []
        while len(self._strangers) > self._room and (oldest := self._strangers.dismiss()) is not None:
            gone.append(oldest)
        self._leaving.update(gone)
        self.dismissed += len(gone)
        return gone


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
