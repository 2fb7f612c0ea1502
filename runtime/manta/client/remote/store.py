"""Large values: sent to the cluster's store, and fetched from it, in parts."""

from __future__ import annotations

import ctypes
from weakref import WeakValueDictionary

from manta.client.waiter import Waiter
from manta.core import errors
from manta.rpc.v1 import gateway_pb2 as gw
from manta.transport.convert import error_from_proto

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from manta.client.remote.session import RemoteSession
    from manta.rpc.v1 import channel_pb2 as pb
    from manta.serde import Serialized

#: Bytes of one part.
CHUNK_BYTES = 1 << 20

#: Arrays in a value lie as well here as they would in the store.
ALIGNMENT = 64


class _Put(Waiter):
    __slots__ = ("error", "started")

    def __init__(self) -> None:
        super().__init__()
        #: There is room.
        self.started = Waiter()
        self.error: errors.MantaError | None = None


class _Fetch(Waiter):
    __slots__ = ("at", "buffer", "error", "view")

    def __init__(self) -> None:
        super().__init__()
        #: Exports the memory: lives as long as anything over it.
        self.buffer: Any = None
        self.view: memoryview | None = None
        #: Bytes that have come.
        self.at = 0
        self.error: errors.MantaError | None = None


class RemoteStore:
    """The driver's way to the cluster's object store."""

    def __init__(self, session: RemoteSession) -> None:
        self._session = session
        self._puts: dict[bytes, _Put] = {}
        self._fetches: dict[int, _Fetch] = {}
        #: Values that user code still looks at: read again they are the same memory, as in a node's store.
        self._seen: WeakValueDictionary[bytes, Any] = WeakValueDictionary()

    # -- puts

    def put(self, oid: bytes, value: Serialized, contained: Sequence[bytes]) -> None:
        """Store a large value; it is readable when this returns.

        Raises:
            ObjectStoreFullError: There was no room in time, or never will be.
        """
        session = self._session
        put = self._puts[oid] = _Put()
        announced = gw.PutObject(object_id=oid, size=value.size, contained=contained)
        with session.lock:
            session.check()
            session.say(gw.DriverAction(put=announced))
            session.outbox.flush()
        try:
            session.wait_for(put.started, "room in the object store")
            self._send(oid, value, put)
            session.wait_for(put, "the object store to have a value")
        except BaseException:
            with session.lock:
                session.say(gw.DriverAction(chunk=gw.PutChunk(object_id=oid, abort=True)))
                session.say(gw.DriverAction(release=gw.ReleaseRefs(object_ids=[oid])))
                session.outbox.flush()
            raise
        finally:
            self._puts.pop(oid, None)
        if put.error is not None:
            with session.lock:
                session.say(gw.DriverAction(release=gw.ReleaseRefs(object_ids=[oid])))
            raise put.error

    def _send(self, oid: bytes, value: Serialized, put: _Put) -> None:
        session = self._session
        action = gw.DriverAction(chunk=gw.PutChunk(object_id=oid))
        for chunk in value.chunks:
            view = memoryview(chunk)
            for at in range(0, len(view), CHUNK_BYTES):
                session.await_room()
                with session.lock:
                    if put.error is not None:
                        return
                    session.outbox.chunk(action, view[at : at + CHUNK_BYTES])

    def put_started(self, started: gw.PutStarted) -> None:
        """There is room."""
        put = self._puts.get(started.object_id)
        if put is not None:
            self._session.pump.finish(put.started)

    def put_done(self, done: gw.PutDone) -> None:
        """The value is there, or never will be."""
        put = self._puts.get(done.object_id)
        if put is not None:
            if done.HasField("error"):
                put.error = error_from_proto(done.error)
            self._session.pump.finish(put.started)
            self._session.pump.finish(put)

    # -- fetches

    @property
    def node_id(self) -> bytes:
        """The node of the session's process: it fetches what lives on others before it sends it here."""
        return self._session.welcome.node_id

    def places(self, values: object) -> tuple[()]:
        """As `store.StoreClient.places`: the session's process knows where its objects are."""
        return ()

    def get(
        self, oids: Sequence[bytes], deadline: float | None = None, places: tuple[()] = ()
    ) -> list[memoryview] | None:
        """Read-only views of objects, whose memory lives as long as anything over it; None when `deadline` passed first."""
        found = [self._get(oid, deadline) for oid in oids]
        return None if None in found else found  # type: ignore[return-value]

    def _get(self, oid: bytes, deadline: float | None) -> memoryview | None:
        session = self._session
        seen = self._seen.get(oid)
        if seen is not None:
            return memoryview(seen).cast("B").toreadonly()
        fetch = _Fetch()

        def answered(frame: pb.ControlReply) -> None:
            self._fetches.pop(number, None)
            fetch.error = error_from_proto(frame.error)
            session.pump.finish(fetch)

        with session.lock:
            session.check()
            number = session.requests.number(answered)
            self._fetches[number] = fetch
            session.say(gw.DriverAction(fetch=gw.FetchObject(request_id=number, object_id=oid)))
            session.outbox.flush()
        done = False
        try:
            done = session.wait_for(fetch, "an object of the store", deadline)
        finally:
            with session.lock:
                session.requests.forget(number)
                if self._fetches.pop(number, None) is not None and session.broken is None:
                    session.say(gw.DriverAction(fetch=gw.FetchObject(request_id=number, cancel=True)))
        if not done:
            return None
        if fetch.error is not None:
            raise fetch.error
        assert fetch.view is not None
        self._seen[oid] = fetch.buffer
        return fetch.view.toreadonly()

    def chunk(self, chunk: gw.FetchedChunk, data: bytes | memoryview) -> None:
        """The next part of a fetched value. Under the session's lock."""
        fetch = self._fetches.get(chunk.request_id)
        if fetch is None:
            return
        if fetch.view is None:
            memory = bytearray(chunk.size + ALIGNMENT)
            begin = -ctypes.addressof(ctypes.c_char.from_buffer(memory)) % ALIGNMENT
            fetch.buffer = (ctypes.c_ubyte * chunk.size).from_buffer(memory, begin)
            fetch.view = memoryview(fetch.buffer).cast("B")
        if chunk.offset != fetch.at:
            return
        fetch.view[fetch.at : fetch.at + len(data)] = data
        fetch.at += len(data)
        if fetch.at >= chunk.size:
            del self._fetches[chunk.request_id]
            self._session.pump.finish(fetch)

    def lost(self) -> None:
        """Nothing comes any more: every wait ends."""
        waiters: list[Any] = [*self._puts.values(), *self._fetches.values()]
        for waiter in waiters:
            waiter.error = self._session.broken or errors.NotConnectedError()
            self._session.pump.finish(waiter)
        for put in self._puts.values():
            self._session.pump.finish(put.started)
        self._fetches.clear()
