"""Cancels: of what this process owns, and of what it asks owners to cancel."""

from __future__ import annotations

from manta.rpc.v1 import channel_pb2 as pb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.client.direct import DirectSession
    from manta.client.links import Link


class Cancelling:
    """Finds the task or call that makes an object, here or with its owner."""

    def __init__(self, session: DirectSession) -> None:
        self._session = session

    def cancel(self, oid: bytes, *, force: bool, recursive: bool) -> None:
        """Cancel the task that makes the object. From any thread."""
        session = self._session
        with session.lock:
            session.check()
            if oid in session.values.known:
                return
            borrow = session.ownership.borrows.get(oid)
            if borrow is not None:
                link = session.link_to(borrow.owner)
                if link is not None:
                    session.send(link, pb.CancelByRef(object_id=oid, force=force, recursive=recursive))
                return
            self.cancel_owned(oid, force=force, recursive=recursive)
            session.flush()
        session.pump.attend()

    def cancel_owned(self, oid: bytes, *, force: bool, recursive: bool) -> None:
        """Cancel the task or call of this process's that makes the object, if it is not over. Called under the lock."""
        first = oid[:24] + b"\1\0\0\0"
        if not self._session.actor_calls.cancel(first, force=force, recursive=recursive):
            self._session.submitter.cancel(first, force=force, recursive=recursive)

    def cancel_by_ref(self, link: Link, frame: pb.CancelByRef, raw: bytes) -> None:
        """To the owner: somebody who holds the ref wants it cancelled."""
        self.cancel_owned(frame.object_id, force=frame.force, recursive=frame.recursive)
