"""Large values: this process's side of its node's object store."""

from __future__ import annotations

import gc
import os

from manta.client.copies import Copies
from manta.client.values import Stored
from manta.client.waiter import Waiter
from manta.core import errors
from manta.rpc.v1 import channel_pb2 as pb
from manta.shm.block import Blocks
from manta.shm.client import Arena
from manta.shm.copy import copy, end_helper
from manta.transport.convert import error_from_proto

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Protocol

    from manta.client.direct import DirectSession
    from manta.client.values import Value

    class Writable(Protocol):
        """A value that can be written into the arena."""

        size: int

        def write_into(self, target: memoryview, copy: Callable[[memoryview, memoryview], Any]) -> object:
            """Write it to the start of `target`."""


#: Ranges smaller than this are not worth filling page tables for ahead of the copy.
WARM_FROM_BYTES = 4 << 20


class _Created(Waiter):
    """Waits for room for one object."""

    __slots__ = ("frame",)

    def __init__(self) -> None:
        super().__init__()
        self.frame: pb.ObjectCreated | None = None


class _Got(Waiter):
    """Waits for the places of some objects."""

    __slots__ = ("frame",)

    def __init__(self) -> None:
        super().__init__()
        self.frame: pb.ObjectsReady | None = None


class StoreClient:
    """Creates and reads objects in the arena.

    Creating small ones costs no round trip: the process holds a block, a lent range, and places objects in it by itself.
    """

    def __init__(self, session: DirectSession, arena_fd: int, capacity: int) -> None:
        self._session = session
        #: This process's node: what is stored on any other has to be fetched.
        self.node_id = session.welcome.node_id
        self._arena = Arena.attach(arena_fd, capacity)
        os.close(arena_fd)
        self._blocks = Blocks()
        self._creating: dict[bytes, list[_Created]] = {}
        self._asking: dict[int, _Got] = {}
        self._requests = 0
        #: Owners on other nodes that the raylet was told of. One entry per caller, for the life of this process.
        self._owners_elsewhere: set[bytes] = set()
        #: Processes that died, and what they had made for this one, while they may have told of it in frames still unread.
        self._left: dict[bytes, list[pb.ObjectsLeft]] = {}
        #: Nodes with copies of what this process owns.
        self.copies = Copies(session)

    # -- creating

    def create(self, oid: bytes, value: Writable, owner: bytes) -> None:
        """Write a value into the arena and seal it.

        Args:
            oid: The object.
            value: What to write.
            owner: Worker id of the process it belongs to; it is freed when that one is gone.
        Raises:
            ObjectStoreFullError: There was no room in time, or never will be.
        """
        session = self._session
        size = value.size
        with session.lock:
            placed = self._blocks.place(size)
            wanted = self._blocks.wanted(size, session.now())
            if wanted:
                self._requests += 1
                session.raylet_send(pb.RequestBlock(request_id=self._requests, size=wanted))
        if placed is None and self._blocks.asked:
            # A process that only puts reads nothing: the next block may have been lent, unread.
            session.pump.poll_once()
            with session.lock:
                placed = self._blocks.place(size)
        if placed is not None:
            block_id, offset = placed
            try:
                self._write(offset, value)
            except BaseException:
                with session.lock:
                    self._blocks.aborted(block_id, offset, size)
                raise
            with session.lock:
                self._blocks.sealed(block_id)
                session.raylet_send(
                    pb.SealInBlock(block_id=block_id, object_ids=[oid], offsets=[offset], sizes=[size], owners=[owner])
                )
                self._return_blocks()
            return
        waiter = _Created()
        with session.lock:
            self._creating.setdefault(oid, []).append(waiter)
            session.raylet_send(pb.CreateObject(object_id=oid, size=size, owner=owner))
        try:
            session.wait_for(waiter, "room in the object store")
        except BaseException:
            with session.lock:
                self._creating.pop(oid, None)
                session.raylet_send(pb.AbortObject(object_id=oid))
            raise
        frame = waiter.frame
        if frame is None:
            raise errors.LocalRayletDiedError
        if frame.HasField("error"):
            raise error_from_proto(frame.error)
        if frame.exists:
            return
        try:
            self._write(frame.offset, value)
        except BaseException:
            with session.lock:
                session.raylet_send(pb.AbortObject(object_id=oid))
            raise
        with session.lock:
            session.raylet_send(pb.SealObject(object_id=oid))

    def _write(self, offset: int, value: Writable) -> None:
        if value.size >= WARM_FROM_BYTES:
            self._arena.warm(offset, value.size)
        view = self._arena.create_view(offset, value.size)
        try:
            value.write_into(view, copy)
        finally:
            view.release()

    def created(self, frame: pb.ObjectCreated) -> None:
        """The raylet answered a creation."""
        for waiter in self._creating.pop(frame.object_id, ()):
            waiter.frame = frame
            self._session.pump.finish(waiter)

    def block_granted(self, frame: pb.BlockGranted) -> None:
        """The raylet lends a block, or none."""
        if frame.size:
            self._blocks.lent(frame.block_id, frame.offset, frame.size)
        else:
            self._blocks.refused(self._session.now())
        self._return_blocks()

    def recall(self, *, collect_garbage: bool = False) -> None:
        """The store is tight: give every block back, and have the collector find what only cycles hold."""
        self._blocks.recall(self._session.now())
        self._return_blocks()
        if collect_garbage:
            self._session.background.run(self._collect_garbage)

    def _collect_garbage(self) -> None:
        gc.collect()
        with self._session.lock:
            self._session.pump.schedule(0.0)  # what was dropped is counted there

    def _return_blocks(self) -> None:
        for block_id in self._blocks.to_return():
            self._session.raylet_send(pb.ReturnBlock(block_id=block_id))

    def owner_elsewhere(self, worker_id: bytes, node_id: bytes) -> None:
        """What is created next belongs to a process of another node: the raylet has to hear of its death from there."""
        with self._session.lock:
            if worker_id not in self._owners_elsewhere:
                self._owners_elsewhere.add(worker_id)
                self._session.raylet_send(pb.OwnerElsewhere(worker_id=worker_id, node_id=node_id))

    # -- reading

    def get(
        self, oids: Sequence[bytes], deadline: float | None = None, places: Sequence[pb.ObjectPlace] = ()
    ) -> list[memoryview] | None:
        """Read-only views of objects, each pinned while anything over it lives; None when `deadline` passed first.

        Args:
            oids: Which.
            deadline: Until when to wait, by the session's clock; None for as long as it takes.
            places: Where those are that live on other nodes. All are fetched together, so that they fit together.
        """
        session = self._session
        waiter = _Got()
        with session.lock:
            self._requests += 1
            request = self._requests
            self._asking[request] = waiter
            message = pb.GetObjects(request_id=request, object_ids=oids)
            if places:
                message.places.extend(places)
            session.raylet_send(message)
        done = False
        try:
            done = session.wait_for(waiter, "an object in the store", deadline)
        finally:
            if not done:
                with session.lock:
                    frame = waiter.frame
                    if self._asking.pop(request, None) is not None:
                        session.raylet_send(pb.GetObjects(request_id=request, cancel=True))
                    elif frame is not None and not frame.HasField("error"):
                        session.raylet_send(pb.ReleaseObjects(object_ids=frame.object_ids))
        if not done:
            return None
        frame = waiter.frame
        if frame is None:
            raise errors.LocalRayletDiedError
        if frame.HasField("error"):
            raise error_from_proto(frame.error)
        arena = self._arena
        return [
            arena.read_view(offset, size, oid)
            for oid, offset, size in zip(frame.object_ids, frame.offsets, frame.sizes, strict=True)
        ]

    def next_request(self) -> int:
        """A number for a request of one's own. Called under the lock."""
        self._requests += 1
        return self._requests

    def places(self, values: Mapping[bytes, Value]) -> list[pb.ObjectPlace]:
        """For `get`: where those of some values are that are stored on other nodes; nothing for all others."""
        here, holders = self.node_id, self.copies.holders
        return [
            pb.ObjectPlace(index=index, size=value.size, node_ids=(value.node_id, *holders.get(oid, ())))
            for index, (oid, value) in enumerate(values.items())
            if type(value) is Stored and value.node_id != here
        ]

    def free(self, stored: dict[bytes, list[bytes]], creator: bytes = b"") -> None:
        """Nobody refers to these objects any more, by the node that keeps each. Called under the lock."""
        for node_id, oids in stored.items():
            message = pb.FreeObjects(object_ids=oids, creator=creator)
            if node_id != self.node_id:
                message.node_id = node_id
            self._session.raylet_send(message)

    def ready(self, frame: pb.ObjectsReady) -> None:
        """The raylet says where they are."""
        waiter = self._asking.pop(frame.request_id, None)
        if waiter is None:
            self._session.fetching.answered(frame)
            return
        waiter.frame = frame
        self._session.pump.finish(waiter)

    # -- what the dead had made

    def left(self, frame: pb.ObjectsLeft) -> None:
        """A process died that had made objects for this one. Called under the lock."""
        self._left.setdefault(frame.creator, []).append(frame)
        self.link_closed(frame.creator)

    def link_closed(self, worker_id: bytes) -> None:
        """A link to that process is gone: when it was the last, whatever of its objects is not known by now never will be."""
        if worker_id not in self._left or self._session.links.linked(worker_id):
            return
        known = self._session.values.known
        for frame in self._left.pop(worker_id):
            untold = [oid for oid in frame.object_ids if type(known.get(oid)) is not Stored]
            if untold:
                self.free({frame.node_id or self.node_id: untold}, creator=worker_id)

    def release(self) -> None:
        """Tell the raylet which pins are gone."""
        if self._arena.released:
            self._session.raylet_send(pb.ReleaseObjects(object_ids=self._arena.drain()))  # type: ignore[arg-type]

    def raylet_lost(self) -> None:
        """Nobody will answer any more: every wait ends. Called under the lock."""
        for waiters in self._creating.values():
            for waiter in waiters:
                self._session.pump.finish(waiter)
        for got in self._asking.values():
            self._session.pump.finish(got)
        self._creating.clear()
        self._asking.clear()
        self._session.fetching.raylet_lost()

    def close(self) -> None:
        """Make no more views; those that live keep their memory."""
        self._arena.close()
        end_helper()
