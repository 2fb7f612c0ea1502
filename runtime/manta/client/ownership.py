"""Who still refers to what: the pure part of distributed reference counting.

Every object has one owner, the process that made it with `.remote()` or `put()`. The owner keeps the object while any of these is
true: something in its own process refers to it (Python references, arguments of pending calls, values it stores that contain
the ref), or a borrower, another process, does. A borrower counts the same way for itself and tells the owner once when its
first and its last reference came and went.

The hole every such protocol has: a ref travels from a lender to a borrower, and the lender's release overtakes the
borrower's registration. Here the lender, whoever it is, lets go only after the owner has acknowledged the borrower: a task's
reply, and the release of an object whose value contained refs, wait for it (`unregistered`).

Events in, commands out: the shell performs what `take_commands` returns. No clock, no sockets. Counts live in one plain dict of
bytes to int, because a million queued tasks mean a million entries and neither kind is tracked by the garbage collector.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

#: A borrow the owner does not know of yet; its lender still holds the object.
UNREGISTERED: Final = 0
#: The owner was told; its acknowledgement is under way.
ASKED: Final = 1
#: The owner counts this process.
REGISTERED: Final = 2


class Borrow:
    """What a process knows of an object it does not own."""

    __slots__ = ("owner", "state")

    def __init__(self, owner: bytes) -> None:
        #: Encoded Address of the owner.
        self.owner = owner
        #: UNREGISTERED, ASKED or REGISTERED.
        self.state = UNREGISTERED


class Commands:
    """What the shell has to do, in order of happening."""

    __slots__ = ("forgotten", "freed", "releases")

    def __init__(self) -> None:
        #: Owned objects nobody refers to any more: their values and every copy can go.
        self.freed: list[bytes] = []
        #: Foreign objects this process no longer refers to: drop what is cached of them.
        self.forgotten: list[bytes] = []
        #: (owner, object) pairs: tell the owner that this process is no borrower any more.
        self.releases: list[tuple[bytes, bytes]] = []

    def __bool__(self) -> bool:
        return bool(self.freed or self.forgotten or self.releases)


class Ownership:
    """Reference counts of one process.

    `counts` is public to the submit path, which adds a fresh owned object with one dict store: a call per task would be a
    fifth of the path's cost.
    """

    __slots__ = ("_by_borrower", "_commands", "borrowers", "borrows", "contains", "counts")

    def __init__(self) -> None:
        #: References in this process per object, owned or borrowed: Python objects plus holds. Never zero.
        self.counts: dict[bytes, int] = {}
        #: Owned objects that other processes hold: their worker ids.
        self.borrowers: dict[bytes, set[bytes]] = {}
        #: The same, by borrower, for the day it dies.
        self._by_borrower: dict[bytes, set[bytes]] = {}
        #: Foreign objects this process refers to.
        self.borrows: dict[bytes, Borrow] = {}
        #: Objects whose stored value contains refs: each inner one is held once.
        self.contains: dict[bytes, Sequence[bytes]] = {}
        self._commands = Commands()

    # -- references in this process

    def add(self, oid: bytes) -> None:
        """One more reference in this process to an object it owns, or already borrows."""
        self.counts[oid] = self.counts.get(oid, 0) + 1

    def receive(self, oid: bytes, owner: bytes, mine: bool) -> None:
        """A ref arrived from outside: one more reference; a borrow begins if the object is somebody else's."""
        counts = self.counts
        before = counts.get(oid, 0)
        counts[oid] = before + 1
        if not mine and not before:
            self.borrows[oid] = Borrow(owner)

    def drop(self, oid: bytes) -> None:
        """One reference in this process less. Unknown objects, of an earlier cluster say, are ignored."""
        counts = self.counts
        left = counts.get(oid, 0) - 1
        if left > 0:
            counts[oid] = left
        elif left == 0:
            del counts[oid]
            self._last_gone(oid)

    def drop_many(self, oids: Iterable[bytes]) -> None:
        """`drop` for each."""
        for oid in oids:
            self.drop(oid)

    def _last_gone(self, oid: bytes) -> None:
        """Nothing here refers to the object: free it, or end the borrow. Iterative, since values nest deeply."""
        gone = [oid]
        counts, commands = self.counts, self._commands
        while gone:
            oid = gone.pop()
            borrow = self.borrows.pop(oid, None)
            if borrow is not None:
                commands.forgotten.append(oid)
                if borrow.state != UNREGISTERED:
                    # Also while the acknowledgement is under way: frames on one connection keep their order.
                    commands.releases.append((borrow.owner, oid))
            elif oid in self.borrowers:
                continue
            else:
                commands.freed.append(oid)
            for inner in self.contains.pop(oid, ()):
                left = counts.get(inner, 0) - 1
                if left > 0:
                    counts[inner] = left
                elif left == 0:
                    del counts[inner]
                    gone.append(inner)

    def alive(self, oid: bytes) -> bool:
        """Somebody, here or elsewhere, refers to the object."""
        return oid in self.counts or oid in self.borrowers

    def store_contained(self, oid: bytes, inner: Sequence[bytes]) -> None:
        """The value of `oid`, kept here, contains these refs. The caller has counted one reference for each."""
        self.contains[oid] = inner

    # -- borrowers of what this process owns

    def add_borrower(self, oid: bytes, borrower: bytes) -> bool:
        """Another process holds the object; repeating is safe. False when the object is gone already."""
        holders = self.borrowers.get(oid)
        if holders is None:
            if oid not in self.counts:
                return False
            holders = self.borrowers[oid] = set()
        holders.add(borrower)
        self._by_borrower.setdefault(borrower, set()).add(oid)
        return True

    def remove_borrower(self, oid: bytes, borrower: bytes) -> None:
        """The other process let go; unknown pairs are ignored."""
        held = self._by_borrower.get(borrower)
        if held is None or oid not in held:
            return
        held.discard(oid)
        if not held:
            del self._by_borrower[borrower]
        self._borrower_gone(oid, borrower)

    def borrower_died(self, borrower: bytes) -> None:
        """The other process is dead: everything it held is released."""
        for oid in self._by_borrower.pop(borrower, ()):
            self._borrower_gone(oid, borrower)

    def _borrower_gone(self, oid: bytes, borrower: bytes) -> None:
        holders = self.borrowers[oid]
        holders.discard(borrower)
        if not holders:
            del self.borrowers[oid]
            if oid not in self.counts:
                self._last_gone(oid)

    # -- what this process borrows

    def unregistered(self, oids: Iterable[bytes]) -> list[bytes]:
        """Those still referred to here that their owner does not count yet: register them before the lender lets go."""
        borrows = self.borrows
        return [oid for oid in oids if (borrow := borrows.get(oid)) is not None and borrow.state == UNREGISTERED]

    def asked(self, oid: bytes) -> None:
        """The owner was told about this borrower."""
        borrow = self.borrows.get(oid)
        if borrow is not None and borrow.state == UNREGISTERED:
            borrow.state = ASKED

    def registered(self, oid: bytes) -> None:
        """The owner counts this process."""
        borrow = self.borrows.get(oid)
        if borrow is not None:
            borrow.state = REGISTERED

    # -- for the shell

    def take_commands(self) -> Commands | None:
        """What has become due since the last call; None for nothing."""
        commands = self._commands
        if not commands:
            return None
        self._commands = Commands()
        return commands

    def statistics(self) -> dict[str, int]:
        """Sizes, for status and leak checks."""
        return {
            "referenced": len(self.counts),
            "lent": len(self.borrowers),
            "borrowed": len(self.borrows),
            "containing": len(self.contains),
        }

    def validate(self) -> None:
        """All invariants; AssertionError names the broken one."""
        assert all(count > 0 for count in self.counts.values()), "a count is not positive"
        assert all(self.borrowers.values()), "an object is lent to nobody"
        assert all(oid in self.counts for oid in self.borrows), "a borrow has no reference"
        assert not self.borrows.keys() & self.borrowers.keys(), "a foreign object is lent as if owned"
        pairs = {(borrower, oid) for oid, holders in self.borrowers.items() for borrower in holders}
        reverse = {(borrower, oid) for borrower, oids in self._by_borrower.items() for oid in oids}
        assert pairs == reverse, "the two directions of lending differ"
        held = {inner for many in self.contains.values() for inner in many}
        assert held <= self.counts.keys(), "a contained ref is not held"
