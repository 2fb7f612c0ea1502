"""Values whose place has changed: their node is drained, or dead, and another one keeps them.

The owner is told and answers what it knows; from then on whoever asks it hears the new place. Whoever has heard of the old one,
in a task's arguments or as a borrower, finds out when that has gone, and asks the owner again.
"""

from __future__ import annotations

from manta.client.values import Some, Stored
from manta.core import errors
from manta.rpc.v1 import channel_pb2 as pb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from manta.client.direct import DirectSession

#: How often a value is looked for anew in one call: each time its place has changed meanwhile.
_TRIES = 8


def told(session: DirectSession, frame: pb.ObjectMoved) -> None:
    """The raylet says that a value of this process has moved. Called under the lock."""
    oid, ownership = frame.object_id, session.ownership
    value = session.values.known.get(oid)
    known = pb.MoveKnown(node_id=frame.node_id, object_id=oid, number=frame.number)
    if type(value) is Stored and oid not in ownership.borrows and value.node_id in (*frame.former, frame.node_id):
        session.values.known[oid] = session.fetching.stored(value.size, frame.node_id)
        session.store.copies.moved(oid, frame.node_id)
        known.moved = True
    else:
        # Freed, or kept elsewhere. Else its task's result, or the stream's item, has not been read yet.
        known.gone = value is not None or not (ownership.alive(oid) or oid[:24] in session.streams)
    session.raylet_send(known)


def views(session: DirectSession, wanted: Mapping[bytes, Stored], deadline: float | None) -> list[memoryview] | None:
    """As `StoreClient.get`, of values by where they are said to be; those that have moved are found.

    Raises:
        ObjectLostError: One is neither there nor where its owner knows it to be.
    """
    places = dict(wanted)
    for _ in range(_TRIES):
        try:
            return session.store.get(list(places), deadline, session.store.places(places))
        except errors.ObjectLostError as lost:
            if type(lost) is not errors.ObjectLostError:
                raise  # freed, or its owner is dead
            found = {oid: _place(session, oid, value, deadline) for oid, value in places.items()}
            if all(found[oid].node_id == value.node_id for oid, value in places.items()):
                raise
            places = found
    return session.store.get(list(places), deadline, session.store.places(places))


def _place(session: DirectSession, oid: bytes, old: Stored, deadline: float | None) -> Stored:
    """Where a value is now, by its owner; where it was, if that is not known, or it cannot be had any more."""
    if old.node_id == session.store.node_id:
        return old
    with session.lock:
        value = session.values.known.get(oid)
        if oid not in session.ownership.borrows or (type(value) is Stored and value.node_id != old.node_id):
            return value if type(value) is Stored else old
        # What a borrower knows is what its owner last said; the answer replaces it.
        waiter = Some(1, session.pump.finish)
        session.values.watch(oid, waiter)
        dead = old.node_id if old.node_id in session.links.dead else b""
        session.borrowing.want(oid, dead_node=dead)
    try:
        session.wait_for(waiter, "the owner of an object that has moved", deadline)
    finally:
        with session.lock:
            session.values.unwatch((oid,), waiter)
            value = session.values.known.get(oid)
    return value if type(value) is Stored else old
