"""Arguments of calls on their way: what is pickled, what becomes an object of its own, what is filled in when it is there."""

from __future__ import annotations

from itertools import chain

from manta.client.counting import counted_inside
from manta.client.refs import ObjectRef
from manta.client.values import INLINE_BYTES, Failure, Stored
from manta.serde import serialize, to_bytes

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
    """Prepares the arguments of every call that is not plain: with refs, handles or large values in it."""

    def __init__(self, session: DirectSession) -> None:
        self._session = session
        self._ownership = session.ownership
        self._known = session.values.known

    def prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any], extra: Extra) -> tuple[bytes, list[bytes]]:
        """Serialise arguments: refs at the top become values later, large ones become objects.

        Returns:
            The bytes, and the argument objects that are not there yet.
        """
        session = self._session
        refs: list[tuple[int, str, bytes]] = []
        held: list[bytes] = []
        keep: list[ObjectRef[Any]] = []
        plain_args = list(args)
        plain_kwargs = dict(kwargs)
        for position, keyword, arg in chain(
            ((at, "", arg) for at, arg in enumerate(args)), ((0, name, arg) for name, arg in kwargs.items())
        ):
            if type(arg) is not ObjectRef:
                continue
            refs.append((position, keyword, arg._id))
            held.append(arg._id)
            if keyword:
                plain_kwargs[keyword] = None
            else:
                plain_args[position] = None
        serialized = serialize((tuple(plain_args), plain_kwargs))
        # The large ones become objects of their own, so that a queued task stays small and a retry copies nothing; all of them do
        # if there are so many small ones that no frame would take them.
        for together, alone in ((INLINE_BYTES, INLINE_BYTES // 8), (INLINE_TOGETHER_BYTES, 0)):
            if serialized.size <= together:
                break
            for position, keyword, arg in [
                *((at, "", arg) for at, arg in enumerate(plain_args)),
                *((0, name, arg) for name, arg in plain_kwargs.items()),
            ]:
                if arg is None or type(arg) in (int, float, bool):
                    continue
                if serialize(arg).size <= alone:
                    continue
                ref = session.put(arg)
                keep.append(ref)
                refs.append((position, keyword, ref._id))
                held.append(ref._id)
                if keyword:
                    plain_kwargs[keyword] = None
                else:
                    plain_args[position] = None
            serialized = serialize((tuple(plain_args), plain_kwargs))
        held.extend(counted_inside(serialized))
        payload = to_bytes(serialized)
        with session.lock:
            session.counting.check_current(held, serialized)
            for oid in held:
                self._ownership.add(oid)
            known = self._known
            # One that has failed counts as missing: whoever waits for it hears of the failure at once.
            missing = [oid for _, _, oid in refs if type(known.get(oid)) in _NO_VALUE]
        extra.refs = refs
        extra.held = held
        return payload, missing

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
