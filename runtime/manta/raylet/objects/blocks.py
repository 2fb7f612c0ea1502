"""Objects in blocks: a process borrows a range, writes one object after the other into it, and says so afterwards.

A small object thus costs no question to the node. What was sealed in a block is an object like any other; the rest goes back
with the block, or with its holder.
"""

from collections.abc import Callable, Hashable

from manta.raylet.objects.ahead import Ahead
from manta.raylet.objects.commands import Client, Command
from manta.raylet.objects.journal import Journal
from manta.raylet.objects.records import Object, Process
from manta.raylet.objects.room import Room
from manta.raylet.objects.sealed import Sealed
from manta.shm.layout import aligned


class Blocks:
    """The events of borrowed blocks; a part of `ObjectTable`, which says what events and commands are.

    Args:
        room: Gives blocks out and takes them back.
        sealed: What is there.
        ahead: Deletions that were faster than their objects.
        processes: Who is there.
        journal: Told of everything.
        seal: Files an object that was written, and answers who waits for it.
    """

    __slots__ = ("_ahead", "_journal", "_processes", "_room", "_seal", "_sealed")

    def __init__(
        self,
        room: Room,
        sealed: Sealed,
        ahead: Ahead,
        processes: dict[Client, Process],
        journal: Journal,
        seal: Callable[[Object, float, Hashable, list[Command]], None],
    ) -> None:
        self._room, self._sealed, self._ahead = room, sealed, ahead
        self._processes, self._journal, self._seal = processes, journal, seal

    def lend(self, client: Client, size: int, *, now: float, cause: Hashable = 0) -> list[Command]:
        """A client wants a range to create objects in by itself.

        Returns:
            Exactly one of BlockLent and BlockRefused for this cause, now or when the arena has grown; a block may be smaller
            than asked for.
        """
        process = self._processes.get(client)
        if process is None:
            return [self._journal.rejected(client, b"", "it has not joined this node", now, cause)]
        out: list[Command] = []
        self._room.ask_block(process, client, size, now, cause, out)
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
            return [self._journal.rejected(client, object_id, f"it does not hold block {block_id}", now, cause)]
        owner = client if owner is None else owner
        item = self._sealed.by_id.get(object_id)
        if item is not None:
            self._sealed.adopt(item, client, owner)
            return []
        if self._sealed.owners.is_dead(owner):
            self._ahead.take(object_id)
            return []
        if not block.take(offset, size):
            reason = f"bytes {offset} to {offset + size} are not a free part of block {block_id}"
            return [self._journal.rejected(client, object_id, reason, now, cause)]
        self._room.lent_free_bytes -= aligned(size)
        out: list[Command] = []
        self._seal(Object(object_id, offset, size, client, owner, False), now, cause, out)
        return out

    def return_block(self, client: Client, block_id: int, *, now: float, cause: Hashable = 0) -> list[Command]:
        """The client writes no more in this block; what it did not seal there is free. Repeating is safe."""
        process = self._processes.get(client)
        block = process.blocks.pop(block_id, None) if process is not None else None
        if process is None or block is None:
            return []
        if not process.blocks:
            process.recalled = False
        self._room.free_rest(block, client, now)
        out: list[Command] = []
        self._room.use(now, cause, out)
        return out
