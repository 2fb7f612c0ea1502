"""Arguments as user code gives them: what is pickled, and what becomes an object of its own."""

from __future__ import annotations

from itertools import chain

from manta.client.arguments import INLINE_TOGETHER_BYTES, Arguments, Extra
from manta.client.counting import counted_inside
from manta.client.refs import ObjectRef
from manta.client.values import INLINE_BYTES
from manta.serde import serialize, to_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manta.client.user import UserSession


class Pickling(Arguments):
    """Prepares the arguments of every call that is not plain: with refs, handles or large values in it."""

    _session: UserSession

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
            extra.refs = refs
            extra.held = held
            missing = self.hold(extra)
        return payload, missing


def dump(value: Any) -> bytes:
    """A value in one piece, for fields that only their reader unpickles."""
    return to_bytes(serialize(value))
