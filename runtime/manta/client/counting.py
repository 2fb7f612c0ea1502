"""References of this process: what is dropped and what arrives is counted, and what counting asks for is done.

`ownership` decides; this is the shell around it. Everything runs under the process's lock unless it takes it itself.
"""

from __future__ import annotations

import threading
from itertools import filterfalse

from manta.client import failures
from manta.client.refs import Arriving, rebuild, released
from manta.client.values import Failure, Stored
from manta.core import errors
from manta.rpc.v1 import channel_pb2 as pb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, Protocol

    from manta.client.direct import DirectSession

    class Pickled(Protocol):
        """A pickled value and what is inside."""

        refs: Sequence[Any]
        handles: Sequence[Any]


#: How pickles name what makes a ref.
REBUILD = (rebuild.__module__, rebuild.__qualname__)


class Capture(threading.local):
    """Per thread: what is noted about refs that come out of pickles."""

    #: Takes their ids, while somebody wants to know them.
    refs: list[bytes] | None = None
    #: Takes them while a value that may hold many is unpickled.
    arriving: Arriving | None = None


class Counting:
    """Counts references, frees what nobody refers to, and knows which refs travel inside values."""

    def __init__(self, session: DirectSession) -> None:
        self._session = session
        self._ownership = session.ownership
        self._values = session.values
        #: Where refs that come out of pickles in this thread are noted.
        self.capture = Capture()

    # -- what was dropped

    def drain_released(self) -> None:
        """Count what user code has dropped since the last time."""
        ownership = self._ownership
        counts = ownership.counts
        known = self._values.known
        drop = ownership.drop
        try:
            while True:
                oid = released.popleft()
                count = counts.get(oid, 0)
                if count > 1:
                    counts[oid] = count - 1
                elif (
                    count == 1
                    and type(known.get(oid)) is bytes
                    and oid not in ownership.contains
                    and oid not in ownership.borrows
                    and oid not in ownership.borrowers
                ):
                    # By far the most: a small owned value, read and dropped.
                    del counts[oid]
                    del known[oid]
                else:
                    drop(oid)
        except IndexError:
            pass
        self.perform()

    def perform(self) -> None:
        """Do what reference counting asks for. Called under the lock."""
        commands = self._ownership.take_commands()
        if commands is None:
            return
        session = self._session
        known = self._values.known
        stored: dict[bytes, list[bytes]] = {}
        for oid in commands.freed:
            value = known.pop(oid, None)
            if type(value) is Stored:
                stored.setdefault(value.node_id, []).append(oid)
                session.store.copies.holders.pop(oid, None)
            elif value is None:
                session.actors.handle_freed(oid)
                if oid in self._values.watchers:
                    # By a borrower that its owner never knew of, as its lender died first.
                    self._values.set(oid, failures.lost(oid))
                    del known[oid]
            elif type(value) is Failure:
                self._unread_failure(oid, value)
        for oid in commands.forgotten:
            known.pop(oid, None)
            session.borrowing.forget(oid)
        if commands.releases:
            session.borrowing.release(commands.releases)
        if stored:
            session.store.free(stored)

    def _unread_failure(self, oid: bytes, failure: Failure) -> None:
        """A failed ref was dropped: if nobody ever saw what its task raised, say so."""
        session = self._session
        if failure.read or session.closed or failure.fields.kind != pb.FAILURE_KIND_APPLICATION:
            return
        session.background.run(lambda: session.on_unread(failure))

    # -- what arrives and leaves

    def ref_made(self, oid: bytes) -> None:
        """User code made a ref out of an id. What nothing here refers to cannot be found: only refs carry their owner."""
        with self._session.lock:
            if not self._ownership.alive(oid):
                self._values.set(oid, failures.stale(oid))
            self._ownership.add(oid)

    def ref_received(self, oid: bytes, owner: bytes) -> None:
        """A ref came out of a pickle."""
        captured = self.capture.refs
        if captured is not None:
            captured.append(oid)
        session = self._session
        with session.lock:
            self._ownership.receive(oid, owner, owner == session.address_bytes)

    def export_ref(self, oid: bytes, *, forever: bool) -> bytes:
        """The owner's encoded address, to travel with the ref. `forever` counts it for the life of this process."""
        session = self._session
        with session.lock:
            if oid not in self._ownership.counts:
                self._count_early()
            if forever:
                self._ownership.add(oid)
            borrow = self._ownership.borrows.get(oid)
            return session.address_bytes if borrow is None else borrow.owner

    def arrived(self, arriving: Arriving) -> None:
        """A value's refs are all there: count them."""
        with self._session.lock:
            self.count(arriving)

    def count(self, arriving: Arriving) -> None:
        """Count what has arrived so far. Called under the lock."""
        taken = arriving.taken
        ids = [ref._id for ref in taken[::2]]
        self._ownership.receive_many(ids, taken[1::2], self._session.address_bytes)
        if arriving.noted is not None:
            arriving.noted += ids
        taken.clear()

    def _count_early(self) -> None:
        """User code that runs while its value is unpickled uses a ref of that value. Called under the lock."""
        arriving = self.capture.arriving
        while arriving is not None:
            self.count(arriving)
            arriving = arriving.outer

    def check_current(self, held: Iterable[bytes], serialized: Pickled) -> None:
        """Refs and handles that are about to travel are of this session. Called under the lock.

        Raises:
            StaleRefError, ActorHandleNotFoundError: One is of an earlier cluster.
        """
        for handle in serialized.handles:
            handle.check_session()
        self.check_counted(held)

    def check_counted(self, oids: Iterable[bytes]) -> None:
        """Raise StaleRefError for an object nothing here refers to. Called under the lock."""
        # Every ref of this session is counted while it lives: one that is not was made by a session that is over.
        counts = self._ownership.counts
        for oid in filterfalse(counts.__contains__, oids):
            self._count_early()
            if oid not in counts:
                raise errors.StaleRefError(oid.hex())

    # -- what values contain

    def hold_contained(self, oid: bytes, inner: Sequence[bytes]) -> None:
        """The value of `oid` contains these refs: they live as long as it does. Called under the lock."""
        for one in inner:
            self._ownership.add(one)
        self._ownership.store_contained(oid, inner)

    def store_return(self, oid: bytes, value: pb.ReturnValue) -> None:
        """One result of a finished task arrived. Called under the lock."""
        session, ownership = self._session, self._ownership
        alive = ownership.alive(oid)
        if value.contained:
            inner = []
            for ref in value.contained:
                owner = ref.owner.SerializeToString(deterministic=True)
                ownership.receive(ref.object_id, owner, owner == session.address_bytes)
                ownership.lent(ref.object_id)
                inner.append(ref.object_id)
            if alive:
                ownership.store_contained(oid, inner)
            else:
                ownership.drop_many(inner)
                self.perform()
        if value.size:
            if alive:
                self._values.set(oid, session.fetching.stored(value.size, value.node_id))
            else:
                session.store.free({value.node_id: [oid]})
        elif alive:
            self._values.set(oid, value.value)


def counted_inside(serialized: Pickled) -> list[bytes]:
    """Ids of the refs and of the counted actor handles inside a value."""
    inner = [ref._id for ref in serialized.refs]
    inner.extend(handle._client.handle for handle in serialized.handles if handle._counted)
    return inner
