"""Who still refers to what: the pure part of distributed reference counting.

Every object has one owner, the process that made it with `.remote()` or `put()`. The owner keeps the object while any of these is
true: something in its own process refers to it (Python references, arguments of pending calls, values it stores that contain
the ref), or a borrower, another process, does. A borrower counts the same way for itself, is registered with the owner, and
tells it when its last reference has gone.

The hole every such protocol has: a ref travels from a lender to a borrower, and the lender's release overtakes the
borrower's registration. Here the lender, whoever it is, lets go only after the owner has acknowledged the borrower: a task's
reply, and the release of an object whose value contained refs, wait for it (`unregistered`).

The second hole: one process is registered by several others (itself, whoever returned the ref to it), each on a connection of
its own, while it lets go of what it had before. So registrations are counted, not noted: every one is worth 1 at the owner, a
release takes back as many as the borrower knows of, in whatever order they arrive. A release that comes before its
registration waits for it; the object is safe meanwhile, because the lender of that registration still holds it.

The third: an answer that is still under way when the last reference goes, and arrives when the next has come, answers for the
borrow that is over. So it is given to the `Borrow` that asked.

One hole stays: a lender that dies before the owner knows of its borrower may take the object with it. What is freed is lost
(`lost`), though that borrower may still lend it to others, the owner among them: whoever reads it is told.

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

    __slots__ = ("awaited", "owner", "registrations", "state")

    def __init__(self, owner: bytes) -> None:
        #: Encoded Address of the owner.
        self.owner = owner
        #: UNREGISTERED, ASKED or REGISTERED.
        self.state = UNREGISTERED
        #: How often the owner was, or is being, told of this process: that many it has to be told to forget.
        self.registrations = 0
        #: Acknowledgements under way.
        self.awaited = 0


class Commands:
    """What the shell has to do, in order of happening."""

    __slots__ = ("forgotten", "freed", "releases")

    def __init__(self) -> None:
        #: Owned objects nobody refers to any more: their values and every copy can go.
        self.freed: list[bytes] = []
        #: Foreign objects this process no longer refers to: drop what is cached of them.
        self.forgotten: list[bytes] = []
        #: (owner, object) pairs: tell the owner that this process is no borrower any more, once per registration.
        self.releases: list[tuple[bytes, bytes]] = []

    def __bool__(self) -> bool:
        return bool(self.freed or self.forgotten or self.releases)


class Ownership:
    """Reference counts of one process.

    `counts` is public to the submit path, which adds a fresh owned object with one dict store: a call per task would be a
    fifth of the path's cost.
    """

    __slots__ = ("_ahead", "_by_borrower", "_commands", "borrowers", "borrows", "contains", "counts", "lost")

    def __init__(self) -> None:
        #: References in this process per object, owned or borrowed: Python objects plus holds. Never zero.
        self.counts: dict[bytes, int] = {}
        #: Owned objects that other processes hold: their worker ids, and how often each is registered. Never zero.
        self.borrowers: dict[bytes, dict[bytes, int]] = {}
        #: Releases that came before their registrations, as `borrowers`. Small: they cross on two connections.
        self._ahead: dict[bytes, dict[bytes, int]] = {}
        #: The same, by borrower, for the day it dies.
        self._by_borrower: dict[bytes, set[bytes]] = {}
        #: Foreign objects this process refers to.
        self.borrows: dict[bytes, Borrow] = {}
        #: Objects whose stored value contains refs: each inner one is held once.
        self.contains: dict[bytes, Sequence[bytes]] = {}
        #: Owned objects to which a ref came home after they were freed: referred to, and no value will come. Nearly always empty.
        self.lost: set[bytes] = set()
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
        if not before:
            if not mine:
                self.borrows[oid] = Borrow(owner)
            elif oid not in self.borrowers:
                self.lost.add(oid)

    def receive_many(self, oids: Iterable[bytes], owners: Iterable[bytes], me: bytes) -> None:
        """`receive` for each, with its owner's encoded address; `me` is this process's own."""
        counts, borrows = self.counts, self.borrows
        for oid, owner in zip(oids, owners, strict=True):
            if oid in counts:
                counts[oid] += 1
            else:
                counts[oid] = 1
                if owner != me:
                    borrows[oid] = Borrow(owner)
                elif oid not in self.borrowers:
                    self.lost.add(oid)

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
                # Also while acknowledgements are under way: frames on one connection keep their order.
                commands.releases.extend([(borrow.owner, oid)] * borrow.registrations)
            elif oid in self.borrowers:
                continue
            else:
                commands.freed.append(oid)
                if self._ahead:
                    self._ahead.pop(oid, None)
                if self.lost:
                    self.lost.discard(oid)
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
        """Another process holds the object: one more registration of it. False when the object is gone already.

        The caller makes sure that it will hear of the borrower's death.
        """
        if self._ahead and self._take_ahead(oid, borrower):
            return True
        holders = self.borrowers.get(oid)
        if holders is None:
            if oid not in self.counts:
                return False
            holders = self.borrowers[oid] = {}
        holders[borrower] = holders.get(borrower, 0) + 1
        self._by_borrower.setdefault(borrower, set()).add(oid)
        return True

    def _take_ahead(self, oid: bytes, borrower: bytes) -> bool:
        """The release of this registration has come already."""
        ahead = self._ahead.get(oid)
        if ahead is None or borrower not in ahead:
            return False
        ahead[borrower] -= 1
        if not ahead[borrower]:
            del ahead[borrower]
            if not ahead:
                del self._ahead[oid]
        return True

    def remove_borrower(self, oid: bytes, borrower: bytes) -> None:
        """The other process let go of one registration, perhaps of one that is still on its way here."""
        holders = self.borrowers.get(oid)
        if holders is not None and borrower in holders:
            holders[borrower] -= 1
            if not holders[borrower]:
                self._borrower_gone(oid, borrower)
        elif holders is not None or oid in self.counts:
            ahead = self._ahead.setdefault(oid, {})
            ahead[borrower] = ahead.get(borrower, 0) + 1

    def borrower_died(self, borrower: bytes) -> None:
        """The other process is dead: everything it held is released."""
        for oid in list(self._by_borrower.get(borrower, ())):
            self._borrower_gone(oid, borrower)
        for oid, ahead in list(self._ahead.items()):
            if ahead.pop(borrower, 0) and not ahead:
                del self._ahead[oid]

    def _borrower_gone(self, oid: bytes, borrower: bytes) -> None:
        held = self._by_borrower[borrower]
        held.discard(oid)
        if not held:
            del self._by_borrower[borrower]
        holders = self.borrowers[oid]
        del holders[borrower]
        if not holders:
            del self.borrowers[oid]
            if oid not in self.counts:
                self._last_gone(oid)

    # -- what this process borrows

    def unregistered(self, oids: Iterable[bytes]) -> list[bytes]:
        """Those still referred to here that their owner is not known to count: register them before the lender lets go.

        Also those asked for by somebody else: that lender waits for that answer, this one must wait for its own.
        """
        borrows = self.borrows
        return [oid for oid in oids if (borrow := borrows.get(oid)) is not None and borrow.state != REGISTERED]

    def asked(self, oid: bytes) -> Borrow | None:
        """The owner is being told about this borrower; `acknowledged` takes what this returns. None: it is no borrow."""
        borrow = self.borrows.get(oid)
        if borrow is not None:
            borrow.registrations += 1
            borrow.awaited += 1
            if borrow.state == UNREGISTERED:
                borrow.state = ASKED
        return borrow

    def acknowledged(self, borrow: Borrow) -> None:
        """The owner counts this process: the answer to `asked`. Harmless when the borrow is over."""
        borrow.awaited -= 1
        borrow.state = REGISTERED

    def lent(self, oid: bytes) -> None:
        """Whoever gave the ref to this process has registered it with the owner, who has acknowledged it."""
        borrow = self.borrows.get(oid)
        if borrow is not None:
            borrow.registrations += 1
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
        assert all(count > 0 for holders in self.borrowers.values() for count in holders.values()), "lent zero times"
        for oid, ahead in self._ahead.items():
            assert min(ahead.values(), default=0) > 0, "nothing is ahead"
            assert self.alive(oid), "a release waits for a registration that cannot come"
            assert not ahead.keys() & self.borrowers.get(oid, {}).keys(), "a release waits for what is there"
        assert all(oid in self.counts for oid in self.borrows), "a borrow has no reference"
        assert not self.borrows.keys() & self.borrowers.keys(), "a foreign object is lent as if owned"
        for borrow in self.borrows.values():
            assert 0 <= borrow.awaited <= borrow.registrations, "more answers are awaited than there were questions"
            assert bool(borrow.registrations) == (borrow.state != UNREGISTERED), "registered zero times"
        pairs = {(borrower, oid) for oid, holders in self.borrowers.items() for borrower in holders}
        reverse = {(borrower, oid) for borrower, oids in self._by_borrower.items() for oid in oids}
        assert pairs == reverse, "the two directions of lending differ"
        assert all(map(self.alive, self.lost)), "nobody refers to what is lost"
        assert not self.borrows.keys() & self.lost, "a foreign object is lost here"
        held = {inner for many in self.contains.values() for inner in many}
        assert held <= self.counts.keys(), "a contained ref is not held"
