"""Waiting for values to be on this node: `wait` with `fetch_local`.

What is stored on another node is fetched there and let go of at once: it stays as long as nothing needs its room. A fetch goes on
when the wait that began it is over, so that a program that only looks, again and again, gets there too.
"""

from __future__ import annotations

from itertools import islice

from manta.client.values import Stored
from manta.client.waiter import Waiter
from manta.rpc.v1 import channel_pb2 as pb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from manta.client.direct import DirectSession
    from manta.client.refs import ObjectRef
    from manta.client.values import Value


class _Here(Waiter):
    """Waits until `wanted` of some objects are here; one that has failed counts."""

    __slots__ = ("_fetch", "_finish", "here", "wanted")

    def __init__(
        self, wanted: int, fetch: Callable[[bytes, Stored, _Here], None], finish: Callable[[Waiter], None]
    ) -> None:
        super().__init__()
        self.wanted = wanted
        self.here: set[bytes] = set()
        self._fetch, self._finish = fetch, finish

    def ready(self, oid: bytes, value: Value) -> None:
        """The object is there: here, or to be fetched."""
        if type(value) is Stored and not value.here:
            self._fetch(oid, value, self)
        else:
            self.fetched(oid)

    def fetched(self, oid: bytes) -> None:
        """The object is here, or cannot be had."""
        self.here.add(oid)
        self.wanted -= 1
        if not self.wanted:
            self._finish(self)


class Fetching:
    """Has values fetched without reading them. Runs under the process's lock.

    Attributes:
        any_far: Some value that this process knows of is, or was, stored on another node.
    """

    def __init__(self, session: DirectSession) -> None:
        self._session = session
        self.any_far = False
        #: Fetches under way by request, and who waits for which object.
        self._fetches: dict[int, tuple[bytes, Stored]] = {}
        self._waiters: dict[bytes, list[_Here]] = {}

    def stored(self, size: int, node_id: bytes) -> Stored:
        """A large value that somebody else has made."""
        here = node_id == self._session.store.node_id
        if not here:
            self.any_far = True
        return Stored(size, node_id, here)

    def wait_here(
        self, refs: list[ObjectRef[Any]], ids: list[bytes], num_returns: int, deadline: float | None
    ) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]:
        """As `Objects.wait`, where ready means here."""
        session, known = self._session, self._session.values.known
        with session.lock:
            session.check()
            session.counting.check_counted(ids)
            waiter = _Here(num_returns, self._fetch, session.pump.finish)
            missing = []
            for oid in ids:
                value = known.get(oid)
                if value is None:
                    missing.append(oid)
                else:
                    waiter.ready(oid, value)
            if not waiter.done:
                session.borrowing.watch_all(missing, waiter)
                session.flush()
        try:
            if deadline != 0:
                session.wait_for(waiter, f"{num_returns} of {len(ids)} objects to be here", deadline)
        finally:
            with session.lock:
                session.values.unwatch(missing, waiter)
                for waiters in self._waiters.values():
                    if waiter in waiters:
                        waiters.remove(waiter)
        chosen = set(islice(filter(waiter.here.__contains__, ids), num_returns))
        ready = [ref for ref, oid in zip(refs, ids, strict=True) if oid in chosen]
        return ready, [ref for ref, oid in zip(refs, ids, strict=True) if oid not in chosen]

    def _fetch(self, oid: bytes, value: Stored, waiter: _Here) -> None:
        waiters = self._waiters.get(oid)
        if waiters is not None:
            waiters.append(waiter)
            return
        self._waiters[oid] = [waiter]
        store = self._session.store
        request = store.next_request()
        self._fetches[request] = oid, value
        places = store.places({oid: value})
        self._session.raylet_send(pb.GetObjects(request_id=request, object_ids=[oid], places=places))

    def answered(self, frame: pb.ObjectsReady) -> None:
        """The raylet has it, or says why not: who reads it will hear."""
        fetch = self._fetches.pop(frame.request_id, None)
        if fetch is None:
            return
        oid, value = fetch
        if not frame.HasField("error"):
            value.here = True
            self._session.raylet_send(pb.ReleaseObjects(object_ids=frame.object_ids))
        for waiter in self._waiters.pop(oid, ()):
            waiter.fetched(oid)

    def raylet_lost(self) -> None:
        """Nobody will answer any more."""
        for waiters in self._waiters.values():
            for waiter in waiters:
                self._session.pump.finish(waiter)
        self._waiters.clear()
        self._fetches.clear()
