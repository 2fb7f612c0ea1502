"""Large values on their way between a driver outside and its node's store, in parts, by threads of their own.

Each waits for room, for an object, or for the driver, and nothing else waits for it. The store's memory is read and written in
place; nothing is unpickled.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from manta.client import moved
from manta.client.values import Stored
from manta.core import errors
from manta.rpc.v1 import gateway_pb2 as gw
from manta.transport.convert import error_to_proto

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from manta.client.values import Value
    from manta.gateway.owner.session import OutsideSession
    from manta.gateway.owner.speaker import Speaker

log = logging.getLogger(__name__)

#: Bytes of one part.
CHUNK_BYTES = 1 << 20

#: Large puts of one driver that wait or are under way. Each is a thread of its that waits.
MOST_PUTS = 1024

#: Values that are read, and that are written, at once; others wait.
AT_ONCE = 8


class Aborted(Exception):
    """The driver changed its mind, or is gone."""


class Incoming:
    """One large value that comes in parts; the store writes it into the arena."""

    def __init__(self, size: int, begin: Callable[[], None]) -> None:
        self.size = size
        self._begin = begin
        #: None: there will be no more. Bounded by the value's size, for which there is room in the store by then.
        self.parts: SimpleQueue[bytes | memoryview | None] = SimpleQueue()
        self._asked_for = False
        self._came = 0

    def came(self, data: bytes | memoryview | None) -> None:
        """The next part; None for no more.

        Raises:
            ProtocolError: Nobody asked for it yet, or it is more than was announced.
        """
        if data is not None:
            self._came += len(data)
            if not self._asked_for or self._came > self.size:
                raise errors.ProtocolError(f"a value of {self.size} bytes was announced, and more or earlier ones came")
        self.parts.put(data)

    def write_into(self, target: memoryview, copy: Callable[[memoryview, memoryview], Any]) -> int:
        """See `store.Writable`."""
        self._asked_for = True
        self._begin()
        at = 0
        while at < self.size:
            part = self.parts.get()
            if part is None:
                raise Aborted
            copy(target[at : at + len(part)], memoryview(part))
            at += len(part)
        return at


class Transfers:
    """Large values of one driver. Its methods run under the process's lock, their threads take it."""

    def __init__(self, session: OutsideSession, speaker: Speaker) -> None:
        self._session = session
        self._speaker = speaker
        self._writers = ThreadPoolExecutor(AT_ONCE, "manta-put")
        self._readers = ThreadPoolExecutor(AT_ONCE, "manta-fetch")
        self._incoming: dict[bytes, Incoming] = {}
        self._cancelled: set[int] = set()
        self._fetching: set[int] = set()
        self._room = threading.Condition()
        self._closed = False
        speaker.on_room = self._notify

    # -- in

    def put(self, oid: bytes, size: int) -> None:
        """A large value will come."""
        say = self._speaker.say
        if len(self._incoming) >= MOST_PUTS:
            done = gw.PutDone(object_id=oid)
            done.error.CopyFrom(error_to_proto(errors.OverloadedError(f"{MOST_PUTS} large puts are under way already")))
            say(gw.SessionAction(put_done=done))
            return

        def begin() -> None:
            with self._session.lock:
                say(gw.SessionAction(put_started=gw.PutStarted(object_id=oid)))
                self._speaker.flush()

        incoming = self._incoming[oid] = Incoming(size, begin)
        self._writers.submit(self._write, oid, incoming)

    def part(self, oid: bytes, data: bytes | memoryview | None) -> None:
        """The next part of it; None for no more."""
        incoming = self._incoming.get(oid)
        if incoming is not None:
            incoming.came(data)

    def _write(self, oid: bytes, incoming: Incoming) -> None:
        session = self._session
        done = gw.PutDone(object_id=oid)
        try:
            session.store.create(oid, incoming, session.worker_id)
        except Aborted:
            done.error.CopyFrom(error_to_proto(errors.ObjectLostError(oid.hex())))
        except BaseException as error:  # noqa: BLE001 - told to the driver, whose put it is
            done.error.CopyFrom(error_to_proto(error))
        with session.lock:
            self._incoming.pop(oid, None)
            if not done.HasField("error"):
                session.put_arrived(oid, Stored(incoming.size, session.welcome.node_id))
            self._speaker.say(gw.SessionAction(put_done=done))
            self._speaker.flush()

    # -- out

    def fetch(self, request_id: int, oid: bytes) -> None:
        """Send a large value."""
        value = self._session.values.known.get(oid)
        self._fetching.add(request_id)
        self._readers.submit(self._read, request_id, oid, value)

    def cancel(self, request_id: int) -> None:
        """Nobody waits for it any more."""
        if request_id in self._fetching:
            self._cancelled.add(request_id)
            self._notify()

    def _read(self, request_id: int, oid: bytes, value: Value | None) -> None:
        session = self._session
        try:
            views = moved.views(session, {oid: value}, None) if type(value) is Stored else None
            self._send(request_id, oid, views)
        except Aborted:
            pass
        except BaseException as error:  # noqa: BLE001 - told to the driver, who asked
            with session.lock:
                self._speaker.answer(request_id, error=error_to_proto(error))
                self._speaker.flush()
        finally:
            with session.lock:
                self._fetching.discard(request_id)
                self._cancelled.discard(request_id)

    def _send(self, request_id: int, oid: bytes, views: list[memoryview] | None) -> None:
        session, speaker = self._session, self._speaker
        if views is None:
            raise errors.ObjectLostError(oid.hex())
        view = views[0]
        size = len(view)
        for at in range(0, size, CHUNK_BYTES):
            while True:
                with session.lock:
                    if self._closed or request_id in self._cancelled:
                        raise Aborted
                    if not speaker.full:
                        told = gw.FetchedChunk(request_id=request_id, size=size, offset=at)
                        speaker.chunk(gw.SessionAction(chunk=told), view[at : at + CHUNK_BYTES])
                        break
                with self._room:
                    # Also looks by itself: the driver may have made room between the two locks.
                    self._room.wait(0.01)

    def _notify(self) -> None:
        with self._room:
            self._room.notify_all()

    # -- the end

    def close(self) -> None:
        """The session ends: nothing more is moved."""
        self._closed = True
        for incoming in list(self._incoming.values()):
            incoming.parts.put(None)
        self._notify()
        self._writers.shutdown(wait=False, cancel_futures=True)
        self._readers.shutdown(wait=False, cancel_futures=True)
