"""The node's objects: what is where, who made it, who reads it, who waits.

A pure state machine: events are method calls that carry `now` and `cause`; what to do about them is returned as commands
(`commands.py`). The shell calls `tick` at `wake_at`. A client is one process; `joined` comes before anything else of it, and
`died` after everything it said: a shell drains its socket first, or what a dying worker had finished is lost.

**A life.** `create` gives a client a range to write (or makes it wait, or says that the object exists). `seal` makes it
readable and immutable. `get` pins it for a reader, `release` unpins. `delete` says that its owner has no references: it is
freed with the last pin. A client may also borrow a *block* (`blocks.lend`) and seal objects inside it without asking for each.

**The same id again** is the retry of a task. Ranges being written belong to a client and an id, so a second attempt never
waits for a first one that hangs: whoever seals first wins, the other's range is freed when it seals. A creator that asks
again for an id it has not sealed gets the same range, or, for another size, a new one.

**Next door:** the objects that are there and who reads them (`sealed`), readers that wait (`gets`), room given out or waited
for (`room`), objects in borrowed blocks (`blocks`), deletions that were faster than their objects (`ahead`), objects that went
with their owner (`orphans`).

Costs: a few microseconds per event, independent of the number of objects; of waiting creators only the first few are looked
at when room appears.
"""

from collections.abc import Container, Hashable, Iterable, Sequence
from typing import Final

from manta.raylet.objects.ahead import Ahead
from manta.raylet.objects.allocator import Allocator
from manta.raylet.objects.audit import check
from manta.raylet.objects.blocks import Blocks
from manta.raylet.objects.commands import (
    AlreadyExists,
    ArenaEvent,
    Client,
    Command,
    Created,
    ExtentRefused,
    ExtentReserved,
    Gone,
    Holder,
    HolePunched,
    Left,
    Ready,
)
from manta.raylet.objects.gets import Gets
from manta.raylet.objects.journal import Journal
from manta.raylet.objects.orphans import Orphans
from manta.raylet.objects.records import Create, Object, Process
from manta.raylet.objects.room import Room
from manta.raylet.objects.sealed import Sealed
from manta.shm.layout import aligned

#: Entries of gets one client may have waiting.
_MAX_AWAITED: Final = 1_000_000

#: Objects in one `Left`.
_LEFT_AT_ONCE: Final = 10_000


class ObjectTable:
    """See the module.

    Attributes:
        blocks: The events of borrowed blocks; they are this table's as much as its own methods.
        full_timeout_s: How long a creator waits for room before it is told that there is none.
        owners_elsewhere: Owners that are no clients, and yet can be asked about what was made for them (Left).
    """

    __slots__ = (
        "_ahead",
        "_allocator",
        "_gets",
        "_journal",
        "_objects",
        "_orphans",
        "_processes",
        "_room",
        "_sealed",
        "blocks",
        "full_timeout_s",
        "owners_elsewhere",
    )

    def __init__(self, allocator: Allocator, *, full_timeout_s: float = 10.0) -> None:
        self._allocator = allocator
        self.full_timeout_s = full_timeout_s
        self.owners_elsewhere: Container[Client] = ()
        self._processes: dict[Client, Process] = {}
        self._journal = Journal()
        self._sealed = Sealed(allocator, self._journal)
        #: Those of `_sealed`, looked up with every message.
        self._objects = self._sealed.by_id
        self._ahead = Ahead()
        self._orphans = Orphans()
        self._gets = Gets(self._sealed, self._processes)
        self._room = Room(allocator, self._sealed, self._processes, self._journal)
        self.blocks = Blocks(self._room, self._sealed, self._ahead, self._processes, self._journal, self._seal)

    # --- clients ----------------------------------------------------------------------------------------------------------

    def joined(self, client: Client) -> None:
        """A process is there. Its name was never used before."""
        if client in self._processes:
            raise ValueError(f"client {client!r} has joined already")
        self._processes[client] = Process()

    def died(self, client: Client, *, now: float, cause: Hashable = 0) -> list[Command]:
        """A process is gone, and everything it had said was heard: its ranges, blocks, pins and waits are settled.

        Objects it sealed stay: whether they die depends on their owner. One that is a client is asked about them (Left), as the
        dead may not have told it.
        """
        process = self._processes.pop(client, None)
        if process is None:
            return []
        self._note(now, "died", b"", client, cause)
        out: list[Command] = []
        for get in process.gets.values():
            self._gets.unlist(get)
        self._room.died(client, process, now)
        self._ahead.died(client)
        for item in list(process.pins.values()):
            self._sealed.unpin(item, client, process, item.pins[client], now, cause)
        self._allocator.forget(client)
        for owner, ids in self._sealed.left(client).items():
            if owner in self._processes or owner in self.owners_elsewhere:
                parts = (tuple(ids[at : at + _LEFT_AT_ONCE]) for at in range(0, len(ids), _LEFT_AT_ONCE))
                out.extend(Left(owner, client, part, cause) for part in parts)
        self._room.use(now, cause, out)
        return out

    def owner_died(self, owner: Hashable, *, now: float, cause: Hashable = 0) -> list[Command]:
        """Whoever keeps the references of these objects is gone: they are deleted, and those still written when sealed."""
        ids = list(self._sealed.owners.died(owner))
        self._orphans.owner_died(owner, ids)
        return self.delete(ids, now=now, cause=cause)

    # --- creating ---------------------------------------------------------------------------------------------------------

    def create(
        self,
        client: Client,
        object_id: bytes,
        size: int,
        *,
        now: float,
        cause: Hashable = 0,
        owner: Hashable = None,
        secondary: bool = False,
    ) -> list[Command]:
        """A client wants to write an object.

        Args:
            client: Who; it has joined.
            object_id: What.
            size: Its bytes.
            now: Monotonic seconds.
            cause: Id of the request.
            owner: Who keeps its references, for `owner_died` and for `StoreFull.holders`; by default the client.
            secondary: It is a copy of an object that another node keeps.

        Returns:
            Exactly one of Created, AlreadyExists, StoreFull and Rejected for this cause, now or from a later event, unless
            the client dies, seals or aborts this id first.
        """
        process = self._processes.get(client)
        if process is None or size < 0:
            reason = "it has not joined this node" if process is None else f"{size} is no size of an object"
            return [self._journal.rejected(client, object_id, reason, now, cause)]
        out: list[Command] = []
        item = self._objects.get(object_id)
        if item is not None:
            if not secondary:
                self._sealed.adopt(item, client, client if owner is None else owner)
            return [AlreadyExists(client, object_id, cause)]
        self._ahead.take(object_id)
        unsealed = process.unsealed.get(object_id)
        if unsealed is not None:
            if unsealed.size == size:
                return [Created(client, object_id, unsealed.offset, size, cause)]
            self._room.drop(client, process, unsealed, now)
        entry = process.waiting.get(object_id)
        if aligned(size) > self._allocator.capacity:
            if entry is not None:
                self._room.unlist(entry)
            return [self._room.full(client, object_id, size, 0.0, "the object is larger than the store", now, cause)]
        if entry is not None:
            entry.size, entry.cause = size, cause
            self._room.use(now, cause, out)
            return out
        entry = Create(
            client,
            object_id,
            size,
            client if owner is None else owner,
            secondary,
            now,
            now + self.full_timeout_s,
            cause,
        )
        self._room.ask(process, entry, now, out)
        return out

    def seal(self, client: Client, object_id: bytes, *, now: float, cause: Hashable = 0) -> list[Command]:
        """The client has written the object and will not touch it again. Readers who wait are answered."""
        process = self._processes.get(client)
        unsealed = process.unsealed.pop(object_id, None) if process is not None else None
        if unsealed is None:
            if object_id in self._objects and process is not None:
                return []  # said twice
            return [self._journal.rejected(client, object_id, "it seals what it is not writing", now, cause)]
        self._room.written(client, unsealed)
        out: list[Command] = []
        item = self._objects.get(object_id)
        if item is not None or self._sealed.owners.is_dead(unsealed.owner):
            # Another attempt was faster, and what it wrote is the same; or nobody can want it.
            self._ahead.take(object_id)
            if item is not None and not unsealed.secondary:
                self._sealed.adopt(item, client, unsealed.owner)
            self._allocator.free(unsealed.offset, unsealed.size, client, now)
            self._room.use(now, cause, out)
            return out
        self._seal(
            Object(object_id, unsealed.offset, unsealed.size, client, unsealed.owner, unsealed.secondary),
            now,
            cause,
            out,
        )
        return out

    def abort(self, client: Client, object_id: bytes, *, now: float, cause: Hashable = 0) -> list[Command]:
        """The client will not write this object, or does not want to wait for room any more. Repeating is safe."""
        process = self._processes.get(client)
        if process is None:
            return []
        entry = process.waiting.get(object_id)
        if entry is not None:
            self._room.unlist(entry)
        unsealed = process.unsealed.get(object_id)
        if unsealed is not None:
            self._room.drop(client, process, unsealed, now)
            self._ahead.will_not(client, object_id)
        out: list[Command] = []
        if entry is not None or unsealed is not None:
            self._note(now, "aborted", object_id, client, cause)
            self._room.use(now, cause, out)
        return out

    # --- reading ----------------------------------------------------------------------------------------------------------

    def get(
        self, client: Client, request_id: Hashable, ids: Sequence[bytes], *, now: float, cause: Hashable = 0
    ) -> list[Command]:
        """A client wants to read these objects, once all of them are there.

        Args:
            client: Who.
            request_id: Its name for this request, unused as long as it waits.
            ids: Repeats are allowed, each is one pin.
            now: Monotonic seconds.
            cause: Id of the message.

        Returns:
            Exactly one of Ready, Gone and Rejected for this request, now or from a later event, unless `cancel_get` or `died`
            comes first. What is there is pinned at once, so that it is still there when the last one is.
        """
        process = self._processes.get(client)
        if process is None:
            return [self._journal.rejected(client, b"", "it has not joined this node", now, cause)]
        if request_id in process.gets or process.awaited + len(ids) > _MAX_AWAITED:
            return [
                self._journal.rejected(client, b"", f"request {request_id!r} waits already, or too many do", now, cause)
            ]
        objects, sealed = self._objects, self._sealed
        complete = True
        for object_id in ids:
            item = objects.get(object_id)
            if item is None:
                if object_id in self._orphans:
                    return [Gone(client, request_id, object_id, cause)]
                complete = False
            elif item.doomed:
                return [Gone(client, request_id, object_id, cause)]
        if not complete:
            self._gets.add(client, process, request_id, ids, cause)
            return []
        places = []
        for object_id in ids:
            item = objects[object_id]
            sealed.pin(item, client, process)
            places.append((object_id, item.offset, item.size))
        return [Ready(client, request_id, tuple(places), cause)]

    def cancel_get(self, client: Client, request_id: Hashable, *, now: float, cause: Hashable = 0) -> list[Command]:
        """The client waits no more. Unknown requests are fine: the answer may be on its way, with pins to release."""
        process = self._processes.get(client)
        get = process.gets.get(request_id) if process is not None else None
        out: list[Command] = []
        if process is not None and get is not None:
            self._gets.end(get, process, now, cause)
            self._room.use(now, cause, out)
        return out

    def release(self, client: Client, ids: Iterable[bytes], *, now: float, cause: Hashable = 0) -> list[Command]:
        """A client gives back pins, one per entry. One that it does not have is ignored: its death has settled it."""
        process = self._processes.get(client)
        out: list[Command] = []
        if process is None:
            return out
        for object_id in ids:
            item = process.pins.get(object_id)
            if item is not None:
                self._sealed.unpin(item, client, process, 1, now, cause)
        if self._room.creates or self._room.lends:
            self._room.use(now, cause, out)
        return out

    def delete(
        self,
        ids: Iterable[bytes],
        *,
        now: float,
        cause: Hashable = 0,
        by: Client | None = None,
        creator: Client | None = None,
    ) -> list[Command]:
        """Nobody refers to these objects any more, says their owner.

        Each is freed now, or with its last pin. Who waits for one is told that it is gone. One that is not here may have been
        sealed without that having been heard: it is freed when it comes, unless somebody asks to create it anew before.

        Args:
            ids: The objects; unknown ones are fine.
            now: Monotonic seconds.
            cause: Id of the message.
            by: The client who says so, when it was told of them by their creators; None, and unknown ones are left alone.
            creator: The answer to Left: this one made them, and others that another one has made or found since stay.
        """
        out: list[Command] = []
        for object_id in ids:
            item = self._objects.get(object_id)
            if creator is not None and (item is None or item.creator != creator):
                continue
            if item is not None and not item.doomed:
                self._note(now, "deleted", object_id, None, cause)
                self._sealed.delete(item, now)
            elif item is None and by is not None:
                # What it made itself was heard before: it came on the same connection.
                self._ahead.add(object_id, self._room.may_have_sealed(object_id) - {by})
            self._gets.deleted(object_id, now, cause, out)
        self._room.use(now, cause, out)
        return out

    def promote(self, object_id: bytes, owner: Hashable = None) -> bool:
        """The copy here is the primary one from now on, of `owner` if that is said, and is not evicted. False: there is none."""
        item = self._objects.get(object_id)
        if item is None:
            return False
        self._sealed.promote(item, owner)
        return True

    def demote(self, object_id: bytes, owner: Hashable, *, now: float, cause: Hashable = 0) -> list[Command]:
        """Another node has the primary copy from now on: this one may be evicted, and goes with `owner`."""
        out: list[Command] = []
        item = self._objects.get(object_id)
        if item is not None and not item.secondary and not item.doomed:
            self._sealed.demote(item, owner)
            self._room.use(now, cause, out)
        return out

    # --- the arena, and time ----------------------------------------------------------------------------------------------

    def arena_event(self, event: ArenaEvent, *, now: float) -> list[Command]:
        """What became of a ReserveExtent, PunchHole or Warm command; a reservation may be answered in parts of whole extents."""
        allocator, out = self._allocator, list[Command]()
        if isinstance(event, ExtentReserved):
            allocator.reserved(event.start, event.size, now)
            self._room.refusal = ""
            if self._room.creates:
                # Progress: the time it takes to reserve memory is not held against who waits for it.
                head = self._room.creates[0]
                head.deadline = max(head.deadline, now + self.full_timeout_s)
        elif isinstance(event, ExtentRefused):
            allocator.refused(event.start, event.size, now)
            self._room.refusal = event.reason
            self._note(now, "refused", b"", None, event.cause)
        elif isinstance(event, HolePunched):
            allocator.punched(event.start, event.size)
        else:
            allocator.warmed(event.start, event.size)
        self._room.use(now, event.cause, out)
        return out

    def tick(self, *, now: float, cause: Hashable = 0) -> list[Command]:
        """Time has passed: growth is tried again, waits end, unused extents go back, the margin is prepared."""
        out: list[Command] = []
        self._room.use(now, cause, out)
        self._room.overdue(now, self.full_timeout_s, out)
        self._room.use(now, cause, out)
        out += self._allocator.give_back(now, cause)
        return out

    def wake_at(self) -> float | None:
        """When `tick` has something to do, or makes this a later time; None if nothing but another event can change that."""
        times = [entry.deadline for entry in self._room.creates]
        retry = self._allocator.retry_at()
        if times and retry is not None:
            times.append(retry)
        idle = self._allocator.give_back_at()
        if idle is not None:
            times.append(idle)
        return min(times, default=None)

    # --- looking ----------------------------------------------------------------------------------------------------------

    def where(self, object_id: bytes) -> tuple[int, int] | None:
        """Offset and size of a sealed object that is not doomed; None when there is none."""
        item = self._objects.get(object_id)
        return None if item is None or item.doomed else (item.offset, item.size)

    def went_with(self, object_id: bytes) -> Hashable | None:
        """The owner whose end was the object's, as far as that is remembered; None for another reason."""
        return self._orphans.owner_of(object_id)

    def has(self, object_id: bytes) -> bool:
        """Whether it is here, if only for those who read it already."""
        return object_id in self._objects

    def owner_of(self, object_id: bytes) -> Hashable | None:
        """Who owns an object of which the first copy is here; None for any other."""
        item = self._objects.get(object_id)
        return None if item is None or item.secondary else item.owner

    def is_copy(self, object_id: bytes) -> bool:
        """Whether it is here as a copy of what another node keeps."""
        item = self._objects.get(object_id)
        return item is not None and item.secondary

    def room(self) -> int:
        """Bytes that a creator can have without anything being freed: lent blocks come back when they are recalled."""
        return self._allocator.room_bytes + self._sealed.lru_bytes + self._room.lent_free_bytes

    def holders(self, count: int = 5) -> tuple[Holder, ...]:
        """Who keeps most of the store, largest first; an owner and a client of the same name are one."""
        return self._sealed.owners.holders(self._processes, count)

    def sealed(self) -> Iterable[Object]:
        """Every sealed object, in the order in which they were sealed."""
        return self._sealed.by_id.values()

    def kept(self) -> list[Object]:
        """Those that `primaries` counts. O(n)."""
        return [item for item in self._objects.values() if not item.secondary and not item.doomed]

    def primaries(self) -> tuple[int, int]:
        """How many objects somebody keeps of which the copy here is the primary one, and their bytes."""
        return self._sealed.primary_count, self._sealed.primary_bytes

    def statistics(self) -> dict[str, int]:
        """Bytes by state, counts, and totals since the start."""
        return {
            **self._allocator.statistics(),
            "objects": len(self._objects),
            "sealed_bytes": self._sealed.sealed_bytes,
            "pinned_bytes": self._sealed.pinned_bytes,
            "evictable_bytes": self._sealed.lru_bytes,
            "unsealed_bytes": self._room.unsealed_bytes,
            "lent_bytes": self._room.lent_free_bytes,
            "clients": len(self._processes),
            "waiting_creates": len(self._room.creates),
            "deleted_ahead": len(self._ahead),
            "waiting_gets": sum(len(process.gets) for process in self._processes.values()),
            **{f"{name}_total": count for name, count in self._journal.totals.items()},
        }

    def story(self, object_id: bytes) -> list[tuple[float, str, Hashable, Hashable]]:
        """What happened to an object, as far as it is remembered: (time, what, client, cause), oldest first."""
        return self._journal.story(object_id)

    def validate(self) -> None:
        """Check every invariant. Raises AssertionError. O(n): for tests."""
        check(self)

    # --- inside -----------------------------------------------------------------------------------------------------------

    def _seal(self, item: Object, now: float, cause: Hashable, out: list[Command]) -> None:
        self._sealed.add(item)
        self._orphans.came(item.object_id)
        self._journal.totals["sealed"] += 1
        self._note(now, "sealed", item.object_id, item.creator, cause)
        if item.object_id in self._gets.by_id:
            self._gets.sealed(item, out)
        if self._room.creates:
            self._room.sealed(item.object_id, out)
            self._room.use(now, cause, out)
        if self._ahead and self._ahead.take(item.object_id):
            out += self.delete((item.object_id,), now=now, cause=cause)

    def _note(self, now: float, what: str, object_id: bytes, client: Hashable, cause: Hashable) -> None:
        self._journal.note(now, what, object_id, client, cause)
