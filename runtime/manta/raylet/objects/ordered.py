"""A sorted set with neighbours, for tens of thousands of members."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T", bound=Any)

#: A chunk is split when it grows beyond this. 200 to 2,000 measure alike; members move in memory by one chunk at most.
_CHUNK = 512


class Ordered(Generic[T]):
    """Members in order, in chunks: finding one is two binary searches, adding and removing moves one chunk's
    members.
    """

    __slots__ = ("_chunks", "_largest")

    def __init__(self) -> None:
        self._chunks: list[list[T]] = []
        #: The last member of each chunk.
        self._largest: list[T] = []

    def __len__(self) -> int:
        return sum(map(len, self._chunks))

    def __iter__(self) -> Iterator[T]:
        for chunk in self._chunks:
            yield from chunk

    def add(self, member: T) -> None:
        """Add a member that is not in it."""
        at = bisect_left(self._largest, member)
        if at == len(self._largest):
            if not at:
                self._chunks.append([member])
                self._largest.append(member)
                return
            at -= 1
            chunk = self._chunks[at]
            chunk.append(member)
            self._largest[at] = member
        else:
            chunk = self._chunks[at]
            insort(chunk, member)
        if len(chunk) > _CHUNK:
            half = len(chunk) // 2
            self._chunks.insert(at + 1, chunk[half:])
            del chunk[half:]
            self._largest.insert(at, chunk[-1])

    def remove(self, member: T) -> None:
        """Remove a member. Raises KeyError when it is not in it."""
        at = bisect_left(self._largest, member)
        if at == len(self._largest):
            raise KeyError(member)
        chunk = self._chunks[at]
        index = bisect_left(chunk, member)
        if chunk[index] != member:
            raise KeyError(member)
        del chunk[index]
        if not chunk:
            del self._chunks[at], self._largest[at]
        elif index == len(chunk):
            self._largest[at] = chunk[-1]

    def replace(self, member: T, other: T) -> None:
        """Put `other` in the place of a member; it must be between the same neighbours. Half the cost of remove and add."""
        at = bisect_left(self._largest, member)
        chunk = self._chunks[at]
        index = bisect_left(chunk, member)
        if chunk[index] != member:
            raise KeyError(member)
        chunk[index] = other
        if index == len(chunk) - 1:
            self._largest[at] = other

    def at_least(self, bound: T) -> T | None:
        """The smallest member that is not below `bound`."""
        at = bisect_left(self._largest, bound)
        if at == len(self._largest):
            return None
        chunk = self._chunks[at]
        return chunk[bisect_left(chunk, bound)]

    def at_most(self, bound: T) -> T | None:
        """The largest member that is not above `bound`."""
        at = bisect_right(self._largest, bound)
        if at < len(self._largest):
            chunk = self._chunks[at]
            index = bisect_right(chunk, bound)
            if index:
                return chunk[index - 1]
        return self._largest[at - 1] if at else None

    def first_at_least(self, bound: T, count: int) -> list[T]:
        """Up to `count` smallest members that are not below `bound`, in order."""
        found: list[T] = []
        at = bisect_left(self._largest, bound)
        while at < len(self._largest) and len(found) < count:
            chunk = self._chunks[at]
            index = 0 if found else bisect_left(chunk, bound)
            found += chunk[index : index + count - len(found)]
            at += 1
        return found
