"""The way of finished results to their owners: which waits, for whom, and when they are sent.

A result leaves at once when its owner has to know before anything else happens (refs in it go home, or its borrows had to be
registered first); else it gathers in its link's outbox until the loop has nothing to run, or holds it long enough.
"""

from __future__ import annotations

import time

from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.worker import logs
from manta.worker.outbox import Outbox

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from manta.client.links import Link
    from manta.client.user import UserSession


class Delivery:
    """Outboxes by link. Runs under the session's lock.

    `outboxes` is public to the loops, which add small results without a call in between.
    """

    __slots__ = ("_broken", "_homing", "_session", "outboxes")

    def __init__(self, session: UserSession) -> None:
        self._session = session
        self.outboxes: dict[Link, Outbox] = {}
        #: Those of callers whose connection broke, until they are back.
        self._broken: dict[Link, Outbox] = {}
        #: Refs on their way home to their owner, by the first result of the call that brings them.
        self._homing: dict[bytes, list[bytes]] = {}

    def open(self, link: Link, lease_id: int) -> None:
        """Results for this link may come."""
        self.outboxes[link] = Outbox(link, lease_id)

    def close(self, link: Link) -> None:
        """Nobody takes the link's results any more."""
        self.outboxes.pop(link, None)
        self._broken.pop(link, None)

    def broken(self, link: Link) -> None:
        """A caller's connection ended, and the caller lives: results wait for its next one."""
        for key, outbox in self.outboxes.items():
            if outbox.link is link:
                self._broken[key] = outbox

    def rejoin(self, link: Link) -> None:
        """A caller is back on another connection: it gets what it may not have read, and what has gathered.

        That its former one is gone may not be known here yet: nobody reads it any more all the same.
        """
        for before, outbox in list(self.outboxes.items()):
            if before.worker_id == link.worker_id and outbox.link is not link:
                self._broken.pop(before, None)
                outbox.link = link
                for message in outbox.recent():
                    self._session.send(link, message)
                if outbox.since:
                    self._session.send(link, outbox.take())

    def left(self, link: Link) -> bool:
        """Whether the link's caller has gone on over another one: what still comes on this one was said there again."""
        outbox = self.outboxes.get(link)
        return outbox is not None and outbox.link is not link

    def forget(self, worker_id: bytes) -> None:
        """A caller is dead: nothing waits for it."""
        for link in [link for link in self.outboxes if link.worker_id == worker_id]:
            self.close(link)

    def awaited(self, link: Link) -> bool:
        """Whether somebody takes the link's results, now or over another connection."""
        return link in self.outboxes

    def waiting(self, worker_id: bytes) -> Iterator[Link]:
        """Links, closed ones included, whose results go to that caller."""
        return (link for link in self.outboxes if link.worker_id == worker_id)

    def going_home(self, result: bytes, oid: bytes) -> None:
        """A ref travels in that result to the owner of its object: it is held here until the owner has read the result."""
        self._session.ownership.add(oid)
        self._homing.setdefault(result, []).append(oid)

    def finish(self, link: Link, oid: bytes, result: Any, micros: int) -> None:
        """A result is ready to go."""
        outbox = self.outboxes.get(link)
        homing = self._homing.pop(oid, None) if self._homing else None
        if outbox is None:
            if homing is not None:
                self._session.ownership.drop_many(homing)
            return  # nobody is there to take it
        if type(result) is bytes:
            outbox.add(oid, result, micros, time.perf_counter_ns())
        else:
            outbox.add_extra(oid, result, micros, time.perf_counter_ns())
        if outbox.heavy and link not in self._broken:
            self._session.send(outbox.link, outbox.take())  # however many end at once, a frame has a limit
        if homing is not None:
            if link not in self._broken:
                self._session.send(outbox.link, outbox.take())
            self._session.when_read(outbox.link, lambda: self._session.ownership.drop_many(homing))

    def finish_now(self, link: Link, oid: bytes, result: Any, micros: int) -> None:
        """A result is ready, and goes at once."""
        self.finish(link, oid, result, micros)
        self.flush(link)

    def finish_with_refs(self, link: Link, oid: bytes, result: Any, micros: int, received: list[bytes]) -> None:
        """A result is ready, and these refs came with its call.

        Those user code still holds are told to their owners before the result goes: the caller lets go of them when it comes.
        The caller is told in the result itself.

        Args:
            link: Of the caller.
            oid: The call's first result.
            result: As it travels.
            micros: How long the call took.
            received: Refs that came out of pickles in this very call. What another call received is that call's to report: this
                result would wait for owners it has nothing to do with.
        """
        self._session.drain_released()
        ownership = self._session.ownership
        unknown = ownership.unregistered(received)
        if not unknown:
            self.finish(link, oid, result, micros)
            return
        mine: list[bytes] = []
        for one in unknown:
            owner = common.Address.FromString(ownership.borrows[one].owner)
            if owner.worker_id == link.worker_id:
                mine.append(one)
                ownership.lent(one)
        if mine:
            if type(result) is bytes:
                result = pb.ResultExtra(returns=[pb.ReturnValue(value=result)])
            result.borrowed.extend(mine)
        self._session.register_borrows(unknown, lambda: self.finish_now(link, oid, result, micros))

    def flush(self, link: Link) -> None:
        """Send the link's finished results."""
        outbox = self.outboxes.get(link)
        if outbox is not None and outbox.since and link not in self._broken:
            self._session.send(outbox.link, outbox.take())

    def flush_all(self) -> None:
        """Send every finished result, and what was printed."""
        if logs.unfinished:
            logs.settle()
        for link, outbox in self.outboxes.items():
            if outbox.since and link not in self._broken:
                self._session.send(outbox.link, outbox.take())
