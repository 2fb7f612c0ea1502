"""Owners and borrowers: what processes that hold the same objects tell each other.

A borrower is registered with the owner, asks it for values, and tells it when it lets go. Who counts what is decided in
`ownership`; here are the frames, the answers that are awaited, and what becomes of both when a process is gone. Everything runs
under the process's lock.
"""

from __future__ import annotations

from manta.client import failures
from manta.client.values import Call, Failure, Stored
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from manta.client.direct import DirectSession
    from manta.client.links import Link
    from manta.client.ownership import Borrow
    from manta.client.values import Value


class Borrowing:
    """Both ends of the protocol: this process as an owner, and as a borrower."""

    def __init__(self, session: DirectSession) -> None:
        self._session = session
        self._ownership = session.ownership
        self._values = session.values
        self._links = session.links
        self._send = session.links.send
        #: Objects whose owners were asked for the value, with the owner's encoded address.
        self._wanted: dict[bytes, bytes] = {}
        #: Values that borrowers asked for and that wait until those read what they were sent.
        self._untold: dict[Link, dict[bytes, None]] = {}
        #: Questions to owners whose answers are awaited: the link, the question, what to do then.
        self._acks: dict[int, tuple[Link, pb.AddBorrower, Callable[[], None]]] = {}
        self._requests = 0

    # -- registering

    def when_read(self, link: Link, then: Callable[[], None]) -> None:
        """`then()` once the other side has read everything sent on the link so far, or is dead. Called under the lock."""
        self._ask(link, pb.AddBorrower(borrower=self._session.address), then)

    def register_borrows(self, oids: Iterable[bytes], then: Callable[[], None]) -> None:
        """Tell the owners of these refs that this process holds them; `then()` once all have written it down."""
        by_owner: dict[bytes, list[bytes]] = {}
        for oid in self._ownership.unregistered(oids):
            by_owner.setdefault(self._ownership.borrows[oid].owner, []).append(oid)
        self.announce(by_owner, self._session.address, then)

    def announce(self, by_owner: dict[bytes, list[bytes]], borrower: common.Address, then: Callable[[], None]) -> None:
        """Tell owners that `borrower` holds refs of theirs; `then()` once all have written it down."""
        waiting = 1

        def one_done() -> None:
            nonlocal waiting
            waiting -= 1
            if not waiting:
                then()

        ownership = self._ownership
        mine = borrower.worker_id == self._session.worker_id
        for owner, oids in by_owner.items():
            link = self._session.link_to(owner)
            if link is None:
                continue  # dead: reading will say so
            asked = [borrow for oid in oids if (borrow := ownership.asked(oid)) is not None] if mine else []

            def acknowledged(asked: list[Borrow] = asked) -> None:
                for borrow in asked:
                    ownership.acknowledged(borrow)
                one_done()

            waiting += 1
            self._ask(link, pb.AddBorrower(object_ids=oids, borrower=borrower), acknowledged)
        one_done()

    def _ask(self, link: Link, question: pb.AddBorrower, done: Callable[[], None]) -> None:
        self._requests += 1
        question.request_id = self._requests
        self._acks[self._requests] = (link, question, done)
        self._send(link, question)

    def add_borrower(self, link: Link, frame: pb.AddBorrower, raw: bytes) -> None:
        """To the owner: somebody holds these."""
        borrower = frame.borrower.worker_id or link.worker_id
        missing = [oid for oid in frame.object_ids if not self._ownership.add_borrower(oid, borrower)]
        known = borrower in (link.worker_id, self._session.worker_id)
        if not known and self._links.peer(frame.borrower) is None:
            # Registered by somebody else, and dead by now. Alive it is linked from now on: else nobody would tell of its death.
            self._ownership.borrower_died(borrower)
            self._session.perform()
        if frame.request_id:
            self._send(link, pb.BorrowerAdded(request_id=frame.request_id, missing=missing))

    def borrower_added(self, link: Link, frame: pb.BorrowerAdded, raw: bytes) -> None:
        """To whoever asked: it is written down."""
        done = self._acks.pop(frame.request_id, None)
        if done is not None:
            done[2]()
        self._session.perform()

    def release(self, releases: Iterable[tuple[bytes, bytes]]) -> None:
        """Tell owners that this process let go: (owner, object) pairs, one for each registration."""
        by_owner: dict[bytes, list[bytes]] = {}
        for owner, oid in releases:
            by_owner.setdefault(owner, []).append(oid)
        for owner, oids in by_owner.items():
            link = self._session.link_to(owner)
            if link is not None:
                self._send(link, pb.ReleaseBorrow(object_ids=oids))

    def release_borrow(self, link: Link, frame: pb.ReleaseBorrow, raw: bytes) -> None:
        """To the owner: the other side let go."""
        for oid in frame.object_ids:
            self._ownership.remove_borrower(oid, link.worker_id)
        self._session.perform()

    # -- values

    def watch(self, oid: bytes, watcher: Any) -> None:
        """Call `watcher.ready` once the object is there; at once if it is. Called under the lock."""
        value = self._values.known.get(oid)
        if value is not None:
            watcher.ready(oid, value)
            return
        self._values.watch(oid, watcher)
        self.want(oid)

    def watch_all(self, oids: list[bytes], watcher: Any) -> None:
        """`watch` for each of many; all are counted here and none is there. Called under the lock."""
        self._values.watch_all(oids, watcher)
        borrows, lost = self._ownership.borrows, self._ownership.lost
        if borrows or lost:
            for oid in oids:
                if oid in borrows or oid in lost:
                    self.want(oid)

    def want(self, oid: bytes, dead_node: bytes = b"") -> None:
        """Make sure that news of the object will come; of where it is besides a node that is dead."""
        borrow = self._ownership.borrows.get(oid)
        if borrow is None:
            if oid not in self._ownership.counts or oid in self._ownership.lost:
                self._values.set(oid, failures.lost(oid))
            return
        if oid in self._wanted and not dead_node:
            return
        self._wanted[oid] = borrow.owner
        link = self._session.link_to(borrow.owner)
        if link is None:
            self._owner_died(oid, borrow.owner)
        else:
            self._send(link, pb.WantObject(object_ids=[oid], dead_node=dead_node))

    def forget(self, oid: bytes) -> None:
        """Nothing here refers to the object any more: no news of it is awaited."""
        self._wanted.pop(oid, None)

    def want_object(self, link: Link, frame: pb.WantObject, raw: bytes) -> None:
        """To the owner: a borrower asks for values. That a node is dead it may have heard first."""
        if frame.dead_node:
            for oid in frame.object_ids:
                self._session.store.copies.without(oid, frame.dead_node)
        self._tell(link, frame.object_ids)

    def drained(self, link: Link) -> None:
        """Whoever did not read on that link has read."""
        untold = self._untold.pop(link, None)
        if untold is not None:
            self._tell(link, untold)

    def _tell(self, link: Link, oids: Iterable[bytes]) -> None:
        for oid in oids:
            value = self._values.known.get(oid)
            if value is not None:
                self._tell_value(link, oid, value)
            elif not self._ownership.alive(oid) or oid in self._ownership.lost:
                self._send(link, pb.ObjectValue(object_id=oid, unknown=True))
            else:
                self._values.watch(oid, Call(lambda oid, value: self._tell_value(link, oid, value)))

    def _tell_value(self, link: Link, oid: bytes, value: Value) -> None:
        if link.full:
            self._untold.setdefault(link, {})[oid] = None
            return
        message = pb.ObjectValue(object_id=oid)
        if type(value) is bytes:
            message.value.value = value
        elif type(value) is Stored:
            message.value.size = value.size
            message.value.node_id = value.node_id
        else:
            value.read = True  # type: ignore[union-attr]
            message.failure.CopyFrom(value.fields)  # type: ignore[union-attr]
        self._send(link, message)

    def object_value(self, link: Link, frame: pb.ObjectValue, raw: bytes) -> None:
        """To the borrower: a value it asked for."""
        oid = frame.object_id
        self._wanted.pop(oid, None)
        if oid not in self._ownership.counts:
            return
        if frame.HasField("failure"):
            self._values.set(oid, Failure(frame.failure))
        elif frame.unknown:
            borrow = self._ownership.borrows.get(oid)
            self._values.set(oid, failures.lost(oid, borrow.owner if borrow is not None else b""))
        elif frame.value.size:
            self._values.set(oid, self._session.fetching.stored(frame.value.size, frame.value.node_id))
        else:
            self._values.set(oid, frame.value.value)

    # -- the other side is gone

    def link_closed(self, link: Link) -> None:
        """Questions whose answers were to come on a link that is closed go to the same process on another, if it lives."""
        self._untold.pop(link, None)
        if not self._acks:
            return
        for request, (asked_on, question, done) in list(self._acks.items()):
            if asked_on is not link:
                continue
            other = self._links.peers.get(link.worker_id)
            if other is None:
                # The dead answer nobody, and have nothing left to hold.
                del self._acks[request]
                done()
            else:
                self._acks[request] = (other, question, done)
                self._send(other, question)
        self._session.perform()

    def peer_lost(self, link: Link) -> None:
        """A process is gone, or has closed: what it borrowed is released, what it owned is lost."""
        if link.worker_id in self._links.peers:
            return
        alive = self._links.again(link)
        if alive is not None:
            for oid, owner in list(self._wanted.items()):
                if common.Address.FromString(owner).worker_id == link.worker_id:
                    self._send(alive, pb.WantObject(object_ids=[oid]))
            return
        self._ownership.borrower_died(link.worker_id)
        for oid, owner in list(self._wanted.items()):
            if common.Address.FromString(owner).worker_id == link.worker_id:
                self._owner_died(oid, owner)
        self._session.perform()

    def borrower_died(self, worker_id: bytes) -> None:
        """A worker is dead: what it borrowed is released."""
        self._ownership.borrower_died(worker_id)
        self._session.perform()

    def _owner_died(self, oid: bytes, owner: bytes) -> None:
        self._wanted.pop(oid, None)
        if oid not in self._values.known or oid in self._values.watchers:
            # Who watches what is known asks for its new place.
            why = self._links.dead.get(common.Address.FromString(owner).node_id, "")
            self._values.set(oid, failures.owner_died(oid, owner, why))
