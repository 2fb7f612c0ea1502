"""References of a driver outside: counted here for this process, while its session process counts one for all of them."""

from __future__ import annotations

from manta.client.counting import Counting
from manta.client.refs import released
from manta.client.values import Failure
from manta.rpc.v1 import gateway_pb2 as gw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from manta.client.refs import Arriving
    from manta.client.remote.session import RemoteSession


class RemoteCounting(Counting):
    """Counts, and tells the session process of the first and the last reference to an object."""

    _session: RemoteSession  # type: ignore[assignment]  # it has what is used here

    def __init__(self, session: Any) -> None:
        super().__init__(session)
        #: Objects that came by a ref: the session tells of them when it is asked.
        self.unasked: set[bytes] = set()

    def drain_released(self) -> None:
        """Count what user code has dropped since the last time."""
        drop = self._ownership.drop
        try:
            while True:
                drop(released.popleft())
        except IndexError:
            pass
        self.perform()

    def perform(self) -> None:
        """Do what reference counting asks for. Called under the lock."""
        commands = self._ownership.take_commands()
        if commands is None:
            return
        known = self._values.known
        over = [*commands.freed, *commands.forgotten]
        for oid in over:
            value = known.pop(oid, None)
            if type(value) is Failure:
                self._unread_failure(oid, value)
        self.unasked.difference_update(over)
        if self._session.broken is None and not self._session.closed:
            self._session.outbox.release(over)

    def ref_received(self, oid: bytes, owner: bytes) -> None:
        """A ref came out of a pickle."""
        captured = self.capture.refs
        if captured is not None:
            captured.append(oid)
        session = self._session
        with session.lock:
            if oid not in self._ownership.counts:
                self._hold([oid], [owner])
            self._ownership.receive(oid, owner, owner == session.address_bytes)

    def count(self, arriving: Arriving) -> None:
        """Count what has arrived so far. Called under the lock."""
        counts = self._ownership.counts
        new: dict[bytes, bytes] = {}
        for ref, owner in zip(arriving.taken[::2], arriving.taken[1::2], strict=True):
            if ref._id not in counts:
                new[ref._id] = owner
        if new:
            self._hold(list(new), list(new.values()))
        super().count(arriving)

    def _hold(self, oids: Sequence[bytes], owners: Sequence[bytes]) -> None:
        self.unasked.update(oids)
        self._session.say(gw.DriverAction(hold=gw.HoldObjects(object_ids=oids, owners=owners)))


class Watching:
    """News of objects: those this driver made come by themselves, others when they are asked for. Under the lock."""

    def __init__(self, session: RemoteSession) -> None:
        self._session = session
        self._values = session.values
        self._unasked = session.counting.unasked

    def watch(self, oid: bytes, watcher: Any) -> None:
        """Call `watcher.ready(oid, value)` once the object is there; at once if it is."""
        value = self._values.known.get(oid)
        if value is not None:
            watcher.ready(oid, value)
            return
        self._values.watch(oid, watcher)
        self.want(oid)

    def watch_all(self, oids: list[bytes], watcher: Any) -> None:
        """`watch` for each of many; none is there."""
        self._values.watch_all(oids, watcher)
        if self._unasked and not self._unasked.isdisjoint(oids):
            for oid in oids:
                self.want(oid)

    def want(self, oid: bytes) -> None:
        """Make sure that news of the object will come."""
        if oid in self._unasked:
            from manta.rpc.v1 import channel_pb2 as pb

            self._unasked.discard(oid)
            self._session.say(gw.DriverAction(want=pb.WantObject(object_ids=[oid])))

    def register_borrows(self, oids: Iterable[bytes], then: Callable[[], None]) -> None:
        """`then()` once the owners of these refs know of the session."""
        session = self._session

        def answered(frame: Any) -> None:
            then()
            session.counting.perform()

        number = session.requests.number(answered)
        session.say(gw.DriverAction(hold=gw.HoldObjects(object_ids=oids, request_id=number)))
