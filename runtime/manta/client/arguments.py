"""Arguments of calls on their way, pickled already: which are objects, and what is filled in when those are there."""

from __future__ import annotations

from manta.client.values import Failure, Stored

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from manta.client.direct import DirectSession
    from manta.rpc.v1 import channel_pb2 as pb

#: Types of what is known of an object that has no value (yet).
_NO_VALUE = frozenset((type(None), Failure))


class Extra:
    """What only some tasks and calls have."""

    __slots__ = ("attempt", "cancelled", "held", "refs", "stream")

    def __init__(self) -> None:
        #: Arguments that are objects: (position, keyword, id).
        self.refs: Sequence[tuple[int, str, bytes]] = ()
        #: Objects counted while the task is not over.
        self.held: Sequence[bytes] = ()
        #: Attempts before this one.
        self.attempt = 0
        self.cancelled = False
        #: Reader of its stream, for generators.
        self.stream: Any = None


class Arguments:
    """The arguments of every call that is not plain: with refs, handles or large values in it."""

    def __init__(self, session: DirectSession) -> None:
        self._session = session
        self._ownership = session.ownership
        self._known = session.values.known

    def hold(self, extra: Extra) -> list[bytes]:
        """Count what the call holds while it is not over. Called under the lock.

        Returns:
            The argument objects that are not there yet.
        """
        for oid in extra.held:
            self._ownership.add(oid)
        known = self._known
        # One that has failed counts as missing: whoever waits for it hears of the failure at once.
        return [oid for _, _, oid in extra.refs if type(known.get(oid)) in _NO_VALUE]

    def fill(self, message: pb.TaskExtra, index: int, extra: Extra) -> None:
        """Write what is special about a task into its frame. Called under the lock, when all its arguments are there."""
        message.index = index
        message.attempt = extra.attempt
        known = self._known
        for position, keyword, oid in extra.refs:
            value = known[oid]
            entry = message.refs.add(position=position, keyword=keyword, object_id=oid)
            if type(value) is bytes:
                entry.value = value
            elif type(value) is Stored:
                entry.size = value.size
                entry.node_id = value.node_id
