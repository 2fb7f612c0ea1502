"""Room that is given out before anything is sealed in it: ranges being written, lent blocks, and who waits for either.

When there is none: the arena grows up to its capacity, then secondary copies that nobody reads are evicted, least recently
used first, and lent blocks are recalled. (Spilling primary copies will come here.) Then creators wait, first come first
served. While the arena grows for the first, smaller ones behind it may pass.
"""

from collections import deque
from collections.abc import Hashable
from typing import Final

from manta.raylet.objects.allocator import Allocator
from manta.raylet.objects.commands import (
    AlreadyExists,
    BlockLent,
    BlockRefused,
    Client,
    Command,
    Created,
    RecallBlocks,
    StoreFull,
)
from manta.raylet.objects.journal import Journal
from manta.raylet.objects.lending import Lent, block_bytes
from manta.raylet.objects.records import Create, Process, Unsealed
from manta.raylet.objects.sealed import Sealed
from manta.shm.layout import aligned

#: Waiting creators looked at when room appears and the first of them waits for growth.
_LOOK_AHEAD: Final = 16

#: Creates one client may have waiting; more are refused at once.
_MAX_WAITING: Final = 1024

#: Blocks one client may hold: the one it fills, the next one, and two whose last objects are being written.
_MAX_BLOCKS: Final = 4


class Room:
    """See the module.

    Args:
        allocator: Which ranges are free.
        sealed: What may be evicted.
        processes: Who is there.
        journal: Told of everything.

    Attributes:
        creates: Creators that wait, in order.
        lends: Blocks to lend once the arena has grown: client, bytes, cause.
        unsealed: Who is writing an id.
        unsealed_bytes: Bytes of ranges being written.
        lent_free_bytes: Bytes of blocks in which nothing is sealed yet.
        refusal: Why the machine refused memory last, until it gives some.
    """

    __slots__ = (
        "_allocator",
        "_journal",
        "_next_block",
        "_processes",
        "_sealed",
        "creates",
        "lends",
        "lent_free_bytes",
        "refusal",
        "unsealed",
        "unsealed_bytes",
    )

    def __init__(
        self, allocator: Allocator, sealed: Sealed, processes: dict[Client, Process], journal: Journal
    ) -> None:
        self._allocator, self._sealed, self._processes, self._journal = allocator, sealed, processes, journal
        self.creates: deque[Create] = deque()
        self.lends: deque[tuple[Client, int, Hashable]] = deque()
        self.unsealed: dict[bytes, dict[Client, Unsealed]] = {}
        self.unsealed_bytes = self.lent_free_bytes = 0
        self.refusal = ""
        self._next_block = 1

    # --- finding it -------------------------------------------------------------------------------------------------------

    def find(self, size: int, client: Client, now: float, cause: Hashable, out: list[Command]) -> int | None:
        """A range, by whatever it takes; None when the creator has to wait for what was set off in `out`, or for others."""
        allocator, sealed = self._allocator, self._sealed
        offset = allocator.allocate(size, client)
        if offset is not None:
            return offset
        growth = allocator.grow(size, now, cause)
        if growth is not None:
            out += growth
            return None
        # Evicting is useless when even all of it would not do.
        if sealed.lru and allocator.room_bytes + sealed.lru_bytes >= aligned(size):
            while sealed.lru:
                out.append(sealed.evict(now, cause))
                offset = allocator.allocate(size, client)
                if offset is not None:
                    return offset
                growth = allocator.grow(size, now, cause)
                if growth is not None:
                    out += growth
                    return None
        if self.lent_free_bytes:
            for holder, process in self._processes.items():
                if process.blocks and not process.recalled:
                    process.recalled = True
                    out.append(RecallBlocks(holder, cause))
        # Spilling primary copies that nobody reads to disk belongs here; until then creators wait for somebody to free.
        return None

    def use(self, now: float, cause: Hashable, out: list[Command]) -> None:
        """Something may have become free: serve who waits, in order."""
        looked = 0
        while self.creates and looked < len(self.creates):
            entry = self.creates[looked]
            if looked:
                offset = self._allocator.allocate(entry.size, entry.client)
                if offset is None:
                    looked += 1
                    if looked > _LOOK_AHEAD:
                        break
                    continue
            else:
                offset = self.find(entry.size, entry.client, now, cause, out)
                if offset is None:
                    if not self._allocator.growing:
                        break
                    looked += 1
                    continue
            process = self._processes[entry.client]
            self.give(process, entry, offset, now, out)
            del self.creates[looked], process.waiting[entry.object_id]
        while self.lends:
            client, size, asked = self.lends[0]
            if not self._lend(self._processes[client], client, size, now, asked, out):
                break
            self.lends.popleft()
        out += self._allocator.prepare(now, cause)

    # --- for one object ---------------------------------------------------------------------------------------------------

    def ask(self, process: Process, entry: Create, now: float, out: list[Command]) -> None:
        """A creator wants room: it gets it, waits, or is refused because too many of its process do."""
        client, object_id, size, cause = entry.client, entry.object_id, entry.size, entry.cause
        if not self.creates:
            offset = self.find(size, client, now, cause, out)
            if offset is not None:
                self.give(process, entry, offset, now, out)
                out += self._allocator.prepare(now, cause)
                return
        if len(process.waiting) >= _MAX_WAITING:
            reason = f"the process has {_MAX_WAITING} objects waiting for room already"
            out.append(self.full(client, object_id, size, 0.0, reason, now, cause))
            return
        self._journal.totals["waited"] += 1
        self._journal.note(now, "waits", object_id, client, cause)
        process.waiting[object_id] = entry
        self.creates.append(entry)
        if len(self.creates) > 1:
            self.use(now, cause, out)

    def give(self, process: Process, entry: Create, offset: int, now: float, out: list[Command]) -> None:
        """A creator gets this range."""
        client, object_id, size = entry.client, entry.object_id, entry.size
        unsealed = process.unsealed[object_id] = Unsealed(object_id, offset, size, entry.owner, entry.secondary)
        self.unsealed.setdefault(object_id, {})[client] = unsealed
        self.unsealed_bytes += aligned(size)
        self._journal.totals["created"] += 1
        self._journal.note(now, "created", object_id, client, entry.cause)
        out.append(Created(client, object_id, offset, size, entry.cause))

    def unlist(self, entry: Create) -> None:
        """A creator waits no more."""
        self.creates.remove(entry)
        del self._processes[entry.client].waiting[entry.object_id]

    def written(self, client: Client, unsealed: Unsealed) -> None:
        """A range is not being written any more; the caller has taken it out of its process's file."""
        writers = self.unsealed[unsealed.object_id]
        del writers[client]
        if not writers:
            del self.unsealed[unsealed.object_id]
        self.unsealed_bytes -= aligned(unsealed.size)

    def drop(self, client: Client, process: Process, unsealed: Unsealed, now: float) -> None:
        """What was being written is not wanted: its range is free."""
        del process.unsealed[unsealed.object_id]
        self.written(client, unsealed)
        self._allocator.free(unsealed.offset, unsealed.size, client, now)

    def sealed(self, object_id: bytes, out: list[Command]) -> None:
        """The object is there: other attempts of the same task need not wait for room."""
        for entry in [entry for entry in self.creates if entry.object_id == object_id]:
            self.unlist(entry)
            if not entry.secondary:
                self._sealed.adopt(self._sealed.by_id[object_id], entry.client, entry.owner)
            out.append(AlreadyExists(entry.client, object_id, entry.cause))

    def may_have_sealed(self, object_id: bytes) -> set[Client]:
        """Who may have said that this object is sealed, without having been heard: who writes it, and who holds a block."""
        return {client for client, process in self._processes.items() if process.blocks} | (
            self.unsealed.get(object_id, {}).keys()
        )

    def overdue(self, now: float, timeout_s: float, out: list[Command]) -> None:
        """Creators whose time is up are told that there is no room."""
        for entry in [entry for entry in self.creates if entry.deadline <= now]:
            self.unlist(entry)
            reason = self.refusal or f"no room in {timeout_s:g} s"
            out.append(
                self.full(entry.client, entry.object_id, entry.size, now - entry.since, reason, now, entry.cause)
            )

    def full(
        self, client: Client, object_id: bytes, size: int, waited_s: float, reason: str, now: float, cause: Hashable
    ) -> StoreFull:
        """The answer to a creator for whom there is no room."""
        self._journal.totals["full"] += 1
        self._journal.note(now, "full", object_id, client, cause)
        capacity, used = self._allocator.capacity, self._allocator.used_bytes
        holders = self._sealed.owners.holders(self._processes, 5)
        largest = self._allocator.largest_bytes
        return StoreFull(client, object_id, size, capacity, used, largest, holders, waited_s, reason, cause)

    # --- in blocks --------------------------------------------------------------------------------------------------------

    def ask_block(
        self, process: Process, client: Client, size: int, now: float, cause: Hashable, out: list[Command]
    ) -> None:
        """A process wants a block: it gets one, is refused, or waits until the arena has grown."""
        if len(process.blocks) >= _MAX_BLOCKS or any(entry[0] == client for entry in self.lends):
            out.append(BlockRefused(client, cause))
            return
        if self.lends or not self._lend(process, client, size, now, cause, out):
            self.lends.append((client, size, cause))
        out += self._allocator.prepare(now, cause)

    def _lend(
        self, process: Process, client: Client, size: int, now: float, cause: Hashable, out: list[Command]
    ) -> bool:
        """Answer a request for a block; False when it has to wait for growth."""
        allocator = self._allocator
        room = 0 if self.creates else block_bytes(size, allocator.capacity, allocator.used_bytes, self.lent_free_bytes)
        if room:
            offset = allocator.allocate(room, client)
            if offset is not None:
                block_id = self._next_block
                self._next_block += 1
                process.blocks[block_id] = Lent(offset, room)
                self.lent_free_bytes += room
                self._journal.totals["lent"] += 1
                out.append(BlockLent(client, block_id, offset, room, cause))
                return True
            growth = allocator.grow(room, now, cause)
            if growth is not None:
                out += growth
                return False
        out.append(BlockRefused(client, cause))
        return True

    def free_rest(self, block: Lent, client: Client, now: float) -> None:
        """A block is over: what was not sealed in it is free."""
        self.lent_free_bytes -= block.free_bytes
        for offset, size in block.free_parts():
            self._allocator.free(offset, size, client, now)

    # --- the end of a client ----------------------------------------------------------------------------------------------

    def died(self, client: Client, process: Process, now: float) -> None:
        """A process is gone: what it was writing is free, its blocks' rest too, and it waits for nothing."""
        if process.waiting:
            self.creates = deque(entry for entry in self.creates if entry.client != client)
        if self.lends:
            self.lends = deque(entry for entry in self.lends if entry[0] != client)
        for unsealed in process.unsealed.values():
            self.written(client, unsealed)
            self._allocator.free(unsealed.offset, unsealed.size, client, now)
        for block in process.blocks.values():
            self.free_rest(block, client, now)
