"""Arguments of calls on their way, pickled already: which are objects, and what is filled in when those are there."""

from __future__ import annotations

from manta.client.values import Failure, Stored

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from manta.client.direct import DirectSession
    from manta.rpc.v1 import channel_pb2 as pb

#: Most bytes of one call's arguments inside its frame. A frame has a limit, and a call with ten thousand small arguments should
#: not end there: what comes beyond is asked for by the worker. As results, see `worker.results`.
INLINE_TOGETHER_BYTES = 10 << 20

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

    def most_bytes_at(self, extra: Extra | None) -> bytes:
        """The node that holds most bytes of a task's large arguments; empty when it has none. Called under the lock."""
        held: dict[bytes, int] = {}
        for _, _, oid in extra.refs if extra is not None else ():
            value = self._known.get(oid)
            if type(value) is Stored:
                held[value.node_id] = held.get(value.node_id, 0) + value.size
        return max(held, key=held.__getitem__) if held else b""

    def inline_bytes(self, extra: Extra) -> int:
        """How many bytes of argument objects `fill` writes into the frame. Called under the lock, when all of them are there."""
        known = self._known
        together = 0
        for _, _, oid in extra.refs:
            value = known[oid]
            if type(value) is bytes:
                together += len(value)
        return min(together, INLINE_TOGETHER_BYTES)

    def fill(self, message: pb.TaskExtra, index: int, extra: Extra) -> None:
        """Write what is special about a task into its frame. Called under the lock, when all its arguments are there."""
        message.index = index
        message.attempt = extra.attempt
        known = self._known
        left = INLINE_TOGETHER_BYTES
        for position, keyword, oid in extra.refs:
            value = known[oid]
            entry = message.refs.add(position=position, keyword=keyword, object_id=oid)
            if type(value) is bytes:
                left -= len(value)
                if left >= 0:
                    entry.value = value
                else:
                    entry.owner.CopyFrom(self._session.address)  # the value is here, whoever made it
            elif type(value) is Stored:
                entry.size = value.size
                entry.node_id = value.node_id
                if self._session.links.far is not None:
                    entry.owner.CopyFrom(
                        self._session.address
                    )  # who says where it is, should it have moved to another node
