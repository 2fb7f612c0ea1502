"""The node's objects: what is where, who made it, who reads it, who waits.

A pure state machine: events are method calls that carry `now` and `cause`; what to do about them is returned as commands
(`commands.py`). The shell calls `tick` at `wake_at`. A client is one process; `joined` comes before anything else of it, and
`died` after everything it said: a shell drains its socket first, or what a dying worker had finished is lost.

**A life.** `create` gives a client a range to write (or makes it wait, or says that the object exists). `seal` makes it
readable and immutable. `get` pins it for a reader, `release` unpins. `delete` says that its owner has no references: it is
freed with the last pin. A client may also borrow a *block* (`lend`) and seal objects inside it without asking for each.

**The same id again** is the retry of a task. Ranges being written belong to a client and an id, so a second attempt never
waits for a first one that hangs: whoever seals first wins, the other's range is freed when it seals. A creator that asks
again for an id it has not sealed gets the same range, or, for another size, a new one.

**Room.** When there is none: the arena grows up to its capacity, then secondary copies that nobody reads are evicted, least
recently used first, and lent blocks are recalled. (Spilling primary copies will come here.) Then creators wait, first come
first served, for at most `full_timeout_s`. While the arena grows for the first, smaller ones behind it may pass.

Costs: a few microseconds per event, independent of the number of objects; of waiting creators only the first few are looked
at when room appears.
"""

from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from typing import Final

from manta.raylet.objects.allocator import Allocator
from manta.raylet.objects.audit import check
from manta.raylet.objects.commands import (
    AlreadyExists,
    ArenaEvent,
    BlockLent,
    BlockRefused,
    Client,
    Command,
    Created,
    Evicted,
    ExtentRefused,
    ExtentReserved,
    Gone,
    Holder,
    HolePunched,
    Ready,
    RecallBlocks,
    Rejected,
    StoreFull,
)
from manta.raylet.objects.lending import Lent, block_bytes
from manta.raylet.objects.owners import Owners
from manta.raylet.objects.records import Create, Get, Object, Process, Unsealed
from manta.shm.layout import aligned

#: Waiting creators looked at when room appears and the first of them waits for growth.
_LOOK_AHEAD: Final = 16

#: Creates one client may have waiting; more are refused at once.
_MAX_WAITING: Final = 1024

#: Entries of gets one client may have waiting.
_MAX_AWAITED: Final = 1_000_000

#: Events kept for `story`.
_STORY: Final = 4096

#: Blocks one client may hold: the one it fills, the next one, and two whose last objects are being written.
_MAX_BLOCKS: Final = 4


class ObjectTable:
    """See the module.

    Attributes:
        full_timeout_s: How long a creator waits for room before it is told that there is none.
    """

    __slots__ = (
        "_allocator",
        "_creates",
        "_events",
        "_gets",
        "_lends",
        "_lent_free_bytes",
        "_lru",
        "_lru_bytes",
        "_next_block",
        "_objects",
        "_owners",
        "_pinned_bytes",
        "_processes",
        "_refusal",
        "_sealed_bytes",
        "_totals",
        "_unsealed",
        "_unsealed_bytes",
        "full_timeout_s",
    )

    def __init__(self, allocator: Allocator, *, full_timeout_s: float = 10.0) -> None:
        self._allocator = allocator
        self.full_timeout_s = full_timeout_s
        self._processes: dict[Client, Process] = {}
        self._objects: dict[bytes, Object] = {}
        #: Who is writing an id.
        self._unsealed: dict[bytes, dict[Client, Unsealed]] = {}
        self._owners = Owners()
        #: Secondary copies without pins, least recently used first.
        self._lru: dict[bytes, Object] = {}
        self._creates: deque[Create] = deque()
        #: Blocks to lend once the arena has grown: client, bytes, cause.
        self._lends: deque[tuple[Client, int, Hashable]] = deque()
        #: Gets that wait for an id; a dict as an ordered set.
        self._gets: dict[bytes, dict[Get, None]] = {}
        self._next_block = 1
        #: Bytes of all objects, of those with pins, of those in `_lru`; of ranges being written; of blocks, not sealed yet.
        self._sealed_bytes = self._pinned_bytes = self._lru_bytes = self._unsealed_bytes = self._lent_free_bytes = 0
        #: Why the machine refused memory last, until it gives some.
        self._refusal = ""
        self._totals = dict.fromkeys(("created", "sealed", "freed", "evicted", "full", "rejected", "waited", "lent"), 0)
        self._events: deque[tuple[float, str, bytes, Hashable, Hashable]] = deque(maxlen=_STORY)

    # --- clients ----------------------------------------------------------------------------------------------------------

    def joined(self, client: Client) -> None:
        """A process is there. Its name was never used before."""
        if client in self._processes:
            raise ValueError(f"client {client!r} has joined already")
        self._processes[client] = Process()

    def died(self, client: Client, *, now: float, cause: Hashable = 0) -> list[Command]:
        """A process is gone, and everything it had said was heard.

        What it was writing is freed, its blocks' rest too; its pins and its waits are settled. Objects it sealed stay: whether
        they die depends on their owner (`owner_died`).
        """
        process = self._processes.pop(client, None)
        if process is None:
            return []
        self._note(now, "died", b"", client, cause)
        out: list[Command] = []
        for get in list(process.gets.values()):
            self._unlist_get(get)
        if process.waiting:
            self._creates = deque(entry for entry in self._creates if entry.client != client)
        if self._lends:
            self._lends = deque(entry for entry in self._lends if entry[0] != client)
        for unsealed in process.unsealed.values():
            self._unlist_unsealed(client, unsealed)
            self._allocator.free(unsealed.offset, unsealed.size, client, now)
        for block in process.blocks.values():
            self._free_rest(block, client, now)
        for item in list(process.pins.values()):
            self._unpin(item, client, process, item.pins[client], now, cause, out)
        self._allocator.forget(client)
        self._use_room(now, cause, out)
        return out

    def owner_died(self, owner: Hashable, *, now: float, cause: Hashable = 0) -> list[Command]:
        """Whoever keeps the references of these objects is gone: they are deleted, and those still written when sealed."""
        return self.delete(self._owners.died(owner), now=now, cause=cause)

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
            return [self._rejected(client, object_id, reason, now, cause)]
        out: list[Command] = []
        item = self._objects.get(object_id)
        if item is not None:
            self._revive(item)
            return [AlreadyExists(client, object_id, cause)]
        unsealed = process.unsealed.get(object_id)
        if unsealed is not None:
            if unsealed.size == size:
                return [Created(client, object_id, unsealed.offset, size, cause)]
            self._drop_unsealed(client, process, unsealed, now)
        entry = process.waiting.get(object_id)
        if aligned(size) > self._allocator.capacity:
            if entry is not None:
                self._unlist_create(process, entry)
            return [self._full(client, object_id, size, 0.0, "the object is larger than the store", now, cause)]
        if entry is not None:
            entry.size, entry.cause = size, cause
            self._use_room(now, cause, out)
            return out
        owner = client if owner is None else owner
        if not self._creates:
            offset = self._find_room(size, client, now, cause, out)
            if offset is not None:
                self._give(process, client, object_id, offset, size, owner, secondary, now, cause, out)
                self._prepare(now, cause, out)
                return out
        if len(process.waiting) >= _MAX_WAITING:
            reason = f"the process has {_MAX_WAITING} objects waiting for room already"
            return [*out, self._full(client, object_id, size, 0.0, reason, now, cause)]
        self._totals["waited"] += 1
        self._note(now, "waits", object_id, client, cause)
        entry = Create(client, object_id, size, owner, secondary, now, now + self.full_timeout_s, cause)
        process.waiting[object_id] = entry
        self._creates.append(entry)
        if len(self._creates) > 1:
            self._use_room(now, cause, out)
        return out

    def seal(self, client: Client, object_id: bytes, *, now: float, cause: Hashable = 0) -> list[Command]:
        """The client has written the object and will not touch it again. Readers who wait are answered."""
        process = self._processes.get(client)
        unsealed = process.unsealed.pop(object_id, None) if process is not None else None
        if unsealed is None:
            if object_id in self._objects and process is not None:
                return []  # said twice
            return [self._rejected(client, object_id, "it seals what it is not writing", now, cause)]
        self._unlist_unsealed(client, unsealed)
        out: list[Command] = []
        item = self._objects.get(object_id)
        if item is not None or self._owners.is_dead(unsealed.owner):
            # Another attempt was faster, and what it wrote is the same; or nobody can want it.
            if item is not None:
                self._revive(item)
            self._allocator.free(unsealed.offset, unsealed.size, client, now)
            self._use_room(now, cause, out)
            return out
        self._sealed(
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
            self._unlist_create(process, entry)
        unsealed = process.unsealed.get(object_id)
        if unsealed is not None:
            self._drop_unsealed(client, process, unsealed, now)
        out: list[Command] = []
        if entry is not None or unsealed is not None:
            self._note(now, "aborted", object_id, client, cause)
            self._use_room(now, cause, out)
        return out

    # --- blocks -----------------------------------------------------------------------------------------------------------

    def lend(self, client: Client, size: int, *, now: float, cause: Hashable = 0) -> list[Command]:
        """A client wants a range to create objects in by itself.

        Returns:
            Exactly one of BlockLent and BlockRefused for this cause, now or when the arena has grown; a block may be smaller
            than asked for.
        """
        process = self._processes.get(client)
        if process is None:
            return [self._rejected(client, b"", "it has not joined this node", now, cause)]
        if len(process.blocks) >= _MAX_BLOCKS or any(entry[0] == client for entry in self._lends):
            return [BlockRefused(client, cause)]
        out: list[Command] = []
        if self._lends or not self._lend(process, client, size, now, cause, out):
            self._lends.append((client, size, cause))
        self._prepare(now, cause, out)
        return out

    def seal_in_block(
        self,
        client: Client,
        block_id: int,
        object_id: bytes,
        offset: int,
        size: int,
        *,
        now: float,
        cause: Hashable = 0,
        owner: Hashable = None,
    ) -> list[Command]:
        """The client has written an object into a part of a block it holds. Repeating is safe.

        Args:
            client: Who holds the block.
            block_id: From BlockLent.
            object_id: What; when it exists already, this part of the block is freed with the block.
            offset: Where in the arena, a multiple of 64.
            size: Its bytes.
            now: Monotonic seconds.
            cause: Id of the message.
            owner: As in `create`.
        """
        process = self._processes.get(client)
        block = process.blocks.get(block_id) if process is not None else None
        if block is None:
            return [self._rejected(client, object_id, f"it does not hold block {block_id}", now, cause)]
        owner = client if owner is None else owner
        item = self._objects.get(object_id)
        if item is not None:
            self._revive(item)
            return []
        if self._owners.is_dead(owner):
            return []
        if not block.take(offset, size):
            reason = f"bytes {offset} to {offset + size} are not a free part of block {block_id}"
            return [self._rejected(client, object_id, reason, now, cause)]
        self._lent_free_bytes -= aligned(size)
        out: list[Command] = []
        self._sealed(Object(object_id, offset, size, client, owner, False), now, cause, out)
        return out

    def return_block(self, client: Client, block_id: int, *, now: float, cause: Hashable = 0) -> list[Command]:
        """The client writes no more in this block; what it did not seal there is free. Repeating is safe."""
        process = self._processes.get(client)
        block = process.blocks.pop(block_id, None) if process is not None else None
        if process is None or block is None:
            return []
        if not process.blocks:
            process.recalled = False
        self._free_rest(block, client, now)
        out: list[Command] = []
        self._use_room(now, cause, out)
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
            return [self._rejected(client, b"", "it has not joined this node", now, cause)]
        if request_id in process.gets or process.awaited + len(ids) > _MAX_AWAITED:
            return [self._rejected(client, b"", f"request {request_id!r} waits already, or too many do", now, cause)]
        objects = self._objects
        missing: set[bytes] = set()
        found: dict[bytes, Object] = {}
        for object_id in ids:
            item = objects.get(object_id)
            if item is None:
                missing.add(object_id)
            elif item.doomed:
                return [Gone(client, request_id, object_id, cause)]
        if not missing:
            places = []
            for object_id in ids:
                item = objects[object_id]
                self._pin(item, client, process)
                places.append((object_id, item.offset, item.size))
            return [Ready(client, request_id, tuple(places), cause)]
        for object_id in ids:
            if object_id not in missing:
                self._pin(objects[object_id], client, process)
                found[object_id] = objects[object_id]
        get = process.gets[request_id] = Get(client, request_id, tuple(ids), missing, found, cause)
        process.awaited += len(ids)
        for object_id in missing:
            self._gets.setdefault(object_id, {})[get] = None
        return []

    def cancel_get(self, client: Client, request_id: Hashable, *, now: float, cause: Hashable = 0) -> list[Command]:
        """The client waits no more. Unknown requests are fine: the answer may be on its way, with pins to release."""
        process = self._processes.get(client)
        get = process.gets.get(request_id) if process is not None else None
        out: list[Command] = []
        if process is not None and get is not None:
            self._end_get(get, process, now, cause, out)
            self._use_room(now, cause, out)
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
                self._unpin(item, client, process, 1, now, cause, out)
        if self._creates or self._lends:
            self._use_room(now, cause, out)
        return out

    def delete(self, ids: Iterable[bytes], *, now: float, cause: Hashable = 0) -> list[Command]:
        """Nobody refers to these objects any more, says their owner.

        Each is freed now, or with its last pin. Who waits for one is told that it is gone. Unknown ones are fine, and one that
        is being written is left alone: an owner says this again when it hears of a result that nobody refers to, whereas a
        task that runs again may be writing what an earlier message was about.
        """
        out: list[Command] = []
        for object_id in ids:
            item = self._objects.get(object_id)
            if item is not None and not item.doomed:
                self._note(now, "deleted", object_id, None, cause)
                if item.pins:
                    item.doomed = True
                    self._owners.remove(item)
                else:
                    self._free(item, now)
            for get in list(self._gets.get(object_id, ())):
                self._end_get(get, self._processes[get.client], now, cause, out)
                out.append(Gone(get.client, get.request_id, object_id, get.cause))
        self._use_room(now, cause, out)
        return out

    def promote(self, object_id: bytes) -> bool:
        """The copy here is the primary one from now on: it is not evicted any more. False when there is none."""
        item = self._objects.get(object_id)
        if item is None:
            return False
        if item.secondary:
            item.secondary = False
            if self._lru.pop(object_id, None) is not None:
                self._lru_bytes -= aligned(item.size)
        return True

    # --- the arena, and time ----------------------------------------------------------------------------------------------

    def arena_event(self, event: ArenaEvent, *, now: float) -> list[Command]:
        """What became of a ReserveExtent, PunchHole or Warm command; a reservation may be answered in parts of whole extents."""
        allocator = self._allocator
        out: list[Command] = []
        if isinstance(event, ExtentReserved):
            allocator.reserved(event.start, event.size, now)
            self._refusal = ""
            if self._creates:
                # Progress: the time it takes to reserve memory is not held against who waits for it.
                head = self._creates[0]
                head.deadline = max(head.deadline, now + self.full_timeout_s)
        elif isinstance(event, ExtentRefused):
            allocator.refused(event.start, event.size, now)
            self._refusal = event.reason
            self._note(now, "refused", b"", None, event.cause)
        elif isinstance(event, HolePunched):
            allocator.punched(event.start, event.size)
        else:
            allocator.warmed(event.start, event.size)
        self._use_room(now, event.cause, out)
        return out

    def tick(self, *, now: float, cause: Hashable = 0) -> list[Command]:
        """Time has passed: growth is tried again, waits end, unused extents go back, the margin is prepared."""
        out: list[Command] = []
        self._use_room(now, cause, out)
        for entry in [entry for entry in self._creates if entry.deadline <= now]:
            self._unlist_create(self._processes[entry.client], entry)
            reason = self._refusal or f"no room in {self.full_timeout_s:g} s"
            waited = now - entry.since
            out.append(self._full(entry.client, entry.object_id, entry.size, waited, reason, now, entry.cause))
        self._use_room(now, cause, out)
        out += self._allocator.give_back(now, cause)
        return out

    def wake_at(self) -> float | None:
        """When `tick` has something to do; None as long as nothing but another event can change that."""
        times = [entry.deadline for entry in self._creates]
        if self._creates and self._refusal:
            times.append(self._allocator.retry_at())
        idle = self._allocator.give_back_at()
        if idle is not None:
            times.append(idle)
        return min(times, default=None)

    # --- looking ----------------------------------------------------------------------------------------------------------

    def where(self, object_id: bytes) -> tuple[int, int] | None:
        """Offset and size of a sealed object that is not doomed; None when there is none."""
        item = self._objects.get(object_id)
        return None if item is None or item.doomed else (item.offset, item.size)

    def holders(self, count: int = 5) -> tuple[Holder, ...]:
        """Who keeps most of the store, largest first; an owner and a client of the same name are one."""
        return self._owners.holders(self._processes, count)

    def statistics(self) -> dict[str, int]:
        """Bytes by state, counts, and totals since the start."""
        return {
            **self._allocator.statistics(),
            "objects": len(self._objects),
            "sealed_bytes": self._sealed_bytes,
            "pinned_bytes": self._pinned_bytes,
            "evictable_bytes": self._lru_bytes,
            "unsealed_bytes": self._unsealed_bytes,
            "lent_bytes": self._lent_free_bytes,
            "clients": len(self._processes),
            "waiting_creates": len(self._creates),
            "waiting_gets": sum(len(process.gets) for process in self._processes.values()),
            **{f"{name}_total": count for name, count in self._totals.items()},
        }

    def story(self, object_id: bytes) -> list[tuple[float, str, Hashable, Hashable]]:
        """What happened to an object, as far as it is remembered: (time, what, client, cause), oldest first."""
        return [(when, what, client, cause) for when, what, about, client, cause in self._events if about == object_id]

    def validate(self) -> None:
        """Check every invariant. Raises AssertionError. O(n): for tests."""
        check(self)

    # --- room -------------------------------------------------------------------------------------------------------------

    def _find_room(self, size: int, client: Client, now: float, cause: Hashable, out: list[Command]) -> int | None:
        """A range, by whatever it takes; None when the creator has to wait for what was set off in `out`, or for others."""
        allocator = self._allocator
        offset = allocator.allocate(size, client)
        if offset is not None:
            return offset
        growth = allocator.grow(size, now, cause)
        if growth is not None:
            out += growth
            return None
        # Evicting is useless when even all of it would not do.
        if self._lru and allocator.room_bytes + self._lru_bytes >= aligned(size):
            while self._lru:
                item = next(iter(self._lru.values()))
                self._totals["evicted"] += 1
                self._note(now, "evicted", item.object_id, None, cause)
                out.append(Evicted(item.object_id, item.size, cause))
                self._free(item, now)
                offset = allocator.allocate(size, client)
                if offset is not None:
                    return offset
                growth = allocator.grow(size, now, cause)
                if growth is not None:
                    out += growth
                    return None
        if self._lent_free_bytes:
            for holder, process in self._processes.items():
                if process.blocks and not process.recalled:
                    process.recalled = True
                    out.append(RecallBlocks(holder, cause))
        # Spilling primary copies that nobody reads to disk belongs here; until then creators wait for somebody to free.
        return None

    def _use_room(self, now: float, cause: Hashable, out: list[Command]) -> None:
        """Something may have become free: serve who waits, in order."""
        looked = 0
        while self._creates and looked < len(self._creates):
            entry = self._creates[looked]
            process = self._processes[entry.client]
            if looked:
                offset = self._allocator.allocate(entry.size, entry.client)
                if offset is None:
                    looked += 1
                    if looked > _LOOK_AHEAD:
                        break
                    continue
                self._give_waiting(process, entry, offset, now, out)
            else:
                offset = self._find_room(entry.size, entry.client, now, cause, out)
                if offset is None:
                    if not self._allocator.growing:
                        break
                    looked += 1
                    continue
                self._give_waiting(process, entry, offset, now, out)
            del self._creates[looked], process.waiting[entry.object_id]
        while self._lends:
            client, size, asked = self._lends[0]
            if not self._lend(self._processes[client], client, size, now, asked, out):
                break
            self._lends.popleft()
        self._prepare(now, cause, out)

    def _prepare(self, now: float, cause: Hashable, out: list[Command]) -> None:
        out += self._allocator.prepare(now, cause)

    def _lend(
        self, process: Process, client: Client, size: int, now: float, cause: Hashable, out: list[Command]
    ) -> bool:
        """Answer a request for a block; False when it has to wait for growth."""
        allocator = self._allocator
        room = (
            0 if self._creates else block_bytes(size, allocator.capacity, allocator.used_bytes, self._lent_free_bytes)
        )
        if room:
            offset = allocator.allocate(room, client)
            if offset is not None:
                block_id = self._next_block
                self._next_block += 1
                process.blocks[block_id] = Lent(offset, room)
                self._lent_free_bytes += room
                self._totals["lent"] += 1
                out.append(BlockLent(client, block_id, offset, room, cause))
                return True
            growth = allocator.grow(room, now, cause)
            if growth is not None:
                out += growth
                return False
        out.append(BlockRefused(client, cause))
        return True

    def _free_rest(self, block: Lent, client: Client, now: float) -> None:
        self._lent_free_bytes -= block.free_bytes
        for offset, size in block.free_parts():
            self._allocator.free(offset, size, client, now)

    # --- records ----------------------------------------------------------------------------------------------------------

    def _give_waiting(self, process: Process, entry: Create, offset: int, now: float, out: list[Command]) -> None:
        self._give(
            process,
            entry.client,
            entry.object_id,
            offset,
            entry.size,
            entry.owner,
            entry.secondary,
            now,
            entry.cause,
            out,
        )

    def _give(
        self,
        process: Process,
        client: Client,
        object_id: bytes,
        offset: int,
        size: int,
        owner: Hashable,
        secondary: bool,
        now: float,
        cause: Hashable,
        out: list[Command],
    ) -> None:
        unsealed = process.unsealed[object_id] = Unsealed(object_id, offset, size, owner, secondary)
        self._unsealed.setdefault(object_id, {})[client] = unsealed
        self._unsealed_bytes += aligned(size)
        self._totals["created"] += 1
        self._note(now, "created", object_id, client, cause)
        out.append(Created(client, object_id, offset, size, cause))

    def _unlist_create(self, process: Process, entry: Create) -> None:
        self._creates.remove(entry)
        del process.waiting[entry.object_id]

    def _unlist_unsealed(self, client: Client, unsealed: Unsealed) -> None:
        """Take it out of everything but its process's own file."""
        writers = self._unsealed[unsealed.object_id]
        del writers[client]
        if not writers:
            del self._unsealed[unsealed.object_id]
        self._unsealed_bytes -= aligned(unsealed.size)

    def _drop_unsealed(self, client: Client, process: Process, unsealed: Unsealed, now: float) -> None:
        del process.unsealed[unsealed.object_id]
        self._unlist_unsealed(client, unsealed)
        self._allocator.free(unsealed.offset, unsealed.size, client, now)

    def _sealed(self, item: Object, now: float, cause: Hashable, out: list[Command]) -> None:
        object_id = item.object_id
        room = aligned(item.size)
        self._objects[object_id] = item
        self._sealed_bytes += room
        self._owners.add(item)
        if item.secondary:
            self._lru[object_id] = item
            self._lru_bytes += room
        self._totals["sealed"] += 1
        self._note(now, "sealed", object_id, item.creator, cause)
        for get in self._gets.pop(object_id, ()):
            process = self._processes[get.client]
            for _ in range(get.ids.count(object_id)):
                self._pin(item, get.client, process)
            get.found[object_id] = item
            get.missing.discard(object_id)
            if not get.missing:
                del process.gets[get.request_id]
                process.awaited -= len(get.ids)
                places = tuple((each, get.found[each].offset, get.found[each].size) for each in get.ids)
                out.append(Ready(get.client, get.request_id, places, get.cause))
        if self._creates:
            # Another attempt of the same task may be waiting for room.
            for entry in [entry for entry in self._creates if entry.object_id == object_id]:
                self._unlist_create(self._processes[entry.client], entry)
                out.append(AlreadyExists(entry.client, object_id, entry.cause))
            self._use_room(now, cause, out)

    def _revive(self, item: Object) -> None:
        """Its task runs again, so its owner wants it after all."""
        if item.doomed:
            item.doomed = False
            self._owners.add(item)

    def _free(self, item: Object, now: float) -> None:
        """Take out an object without pins."""
        room = aligned(item.size)
        del self._objects[item.object_id]
        self._sealed_bytes -= room
        if self._lru.pop(item.object_id, None) is not None:
            self._lru_bytes -= room
        if not item.doomed:
            self._owners.remove(item)
        self._totals["freed"] += 1
        self._allocator.free(item.offset, item.size, item.creator, now)

    def _pin(self, item: Object, client: Client, process: Process) -> None:
        count = item.pins.get(client, 0)
        if not count:
            room = aligned(item.size)
            if not item.pins:
                self._pinned_bytes += room
                if self._lru.pop(item.object_id, None) is not None:
                    self._lru_bytes -= room
            process.pins[item.object_id] = item
            process.pinned_bytes += room
        item.pins[client] = count + 1

    def _unpin(
        self,
        item: Object,
        client: Client,
        process: Process,
        count: int,
        now: float,
        cause: Hashable,
        out: list[Command],
    ) -> None:
        left = item.pins[client] - count
        if left:
            item.pins[client] = left
            return
        room = aligned(item.size)
        del item.pins[client], process.pins[item.object_id]
        process.pinned_bytes -= room
        if item.pins:
            return
        self._pinned_bytes -= room
        if item.doomed:
            self._note(now, "freed", item.object_id, client, cause)
            self._free(item, now)
        elif item.secondary:
            self._lru[item.object_id] = item
            self._lru_bytes += room

    def _unlist_get(self, get: Get) -> None:
        """Nobody answers this request any more; its pins stay."""
        for object_id in get.missing:
            waiting = self._gets[object_id]
            del waiting[get]
            if not waiting:
                del self._gets[object_id]

    def _end_get(self, get: Get, process: Process, now: float, cause: Hashable, out: list[Command]) -> None:
        """This request ends unanswered; its pins go."""
        self._unlist_get(get)
        del process.gets[get.request_id]
        process.awaited -= len(get.ids)
        for object_id in get.ids:
            item = process.pins.get(object_id)
            # A client may have released a pin that it was not told of: its own loss.
            if item is not None and item is get.found.get(object_id):
                self._unpin(item, get.client, process, 1, now, cause, out)

    # --- answers ----------------------------------------------------------------------------------------------------------

    def _full(
        self, client: Client, object_id: bytes, size: int, waited_s: float, reason: str, now: float, cause: Hashable
    ) -> StoreFull:
        self._totals["full"] += 1
        self._note(now, "full", object_id, client, cause)
        allocator = self._allocator
        return StoreFull(
            client,
            object_id,
            size,
            allocator.capacity,
            allocator.used_bytes,
            self.holders(),
            waited_s,
            reason,
            cause,
        )

    def _rejected(self, client: Client, object_id: bytes, reason: str, now: float, cause: Hashable) -> Rejected:
        self._totals["rejected"] += 1
        self._note(now, "rejected", object_id, client, cause)
        return Rejected(client, object_id, reason, cause)

    def _note(self, now: float, what: str, object_id: bytes, client: Hashable, cause: Hashable) -> None:
        self._events.append((now, what, object_id, client, cause))
