"""`ObjectRef`: a promise of a value, counted while it lives."""

from __future__ import annotations

import ctypes
from collections import deque
from types import GenericAlias

from manta.client import current
from manta.core.generics import Awaitable, FitsAnywhere, T, T_co

TYPE_CHECKING = False
if TYPE_CHECKING:
    import concurrent.futures
    from asyncio import Future
    from collections.abc import AsyncIterator, Generator, Iterator
    from typing import Any

    from manta.core.ids import JobID, TaskID

#: Ids whose Python object is gone. `__del__` runs anywhere, in a collection, between two bytecodes of our own code, so it
#: appends here and does nothing else; the session counts when it next has a moment.
released: deque[bytes] = deque()

#: A ref holds one bytes object and can be in no cycle, yet the collector would visit each of a million of them: measured,
#: 98 ms per full collection tracked, 19 untracked, for 0.3 us at creation.
_untrack = ctypes.pythonapi.PyObject_GC_UnTrack
_untrack.argtypes = [ctypes.py_object]
_untrack.restype = None

SIZE = 28


class ObjectRef(Awaitable[T_co], FitsAnywhere):
    """A reference to an object somewhere in the cluster: the future result of a task, or a value that was put.

    The object lives as long as a reference to it lives anywhere. Pass refs to tasks, return them, store them in other objects;
    read the value with `get` or `await`.

    To type checkers a ref fits where any value is expected: a task's parameter says `int`, and is called with ints and with
    refs of ints, by position and by name; nothing else in the type system can say so. The price is that a forgotten `get` goes
    unnoticed there, unless a ref is indexed, called or looped over.

    Args:
        id: 28 bytes: the id of the task that makes the object, then its number in little endian.

    Raises:
        ValueError: `id` has another length.
    """

    __slots__ = ("_id",)
    _id: bytes
    #: The same under a name that nothing else has: an object with it is a ref, so `wait` need not ask for its type.
    _manta_id: bytes

    if TYPE_CHECKING:
        __getitem__: None
        __call__: None

        # What a generator task returns is an ObjectRefGenerator, but its function's type says no more than that it returns an
        # iterator. So a ref of an iterator can be iterated over, with refs for items; annotate a variable as
        # ObjectRefGenerator[T] for the rest of its methods.
        def __iter__(self: ObjectRef[Iterator[T]]) -> Iterator[ObjectRef[T]]: ...
        def __next__(self: ObjectRef[Iterator[T]]) -> ObjectRef[T]: ...
        def __aiter__(self: ObjectRef[Iterator[T]]) -> AsyncIterator[ObjectRef[T]]: ...
        def __anext__(self: ObjectRef[Iterator[T]]) -> Awaitable[ObjectRef[T]]: ...
    else:
        __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, id: bytes) -> None:  # noqa: A002 - Ray's name, and programs may use it
        if not isinstance(id, bytes) or len(id) != SIZE:  # type: ignore[redundant-expr]  # from users
            raise ValueError(f"an ObjectRef takes {SIZE} bytes, got {id!r:.100}")
        self._id = id
        session = current.session
        if session is not None:
            session.ref_made(id)

    def __del__(self, append: Any = released.append) -> None:
        try:
            append(self._id)
        except AttributeError:
            pass

    def __hash__(self) -> int:
        return hash(self._id)

    def __eq__(self, other: object) -> bool:
        return type(other) is ObjectRef and other._id == self._id

    def __repr__(self) -> str:
        return f"ObjectRef({self._id.hex()})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Plain pickle, outside of any task argument or value: nobody will ever tell us when the bytes are gone, so the object
        # is kept for the life of this process.
        session = current.require()
        return rebuild, (self._id, session.export_ref(self._id, forever=True))

    def binary(self) -> bytes:
        """The 28 bytes of the id."""
        return self._id

    def hex(self) -> str:
        """The id in lower-case hexadecimal."""
        return self._id.hex()

    def is_nil(self) -> bool:
        """Whether it refers to nothing."""
        return self._id == b"\xff" * SIZE

    def task_id(self) -> TaskID:
        """The task that makes the object."""
        from manta.core.ids import TaskID

        return TaskID(self._id[:24])

    def job_id(self) -> JobID:
        """The job it belongs to."""
        from manta.core.ids import JobID

        return JobID(self._id[20:24])

    def owner_address(self) -> bytes:
        """The encoded address of the process that owns the object."""
        return current.require().export_ref(self._id, forever=False)

    def call_site(self) -> str:
        """Where it was made; recorded nowhere, so always empty."""
        return ""

    @classmethod
    def nil(cls) -> ObjectRef[Any]:
        """A ref to nothing."""
        return cls(b"\xff" * SIZE)

    @classmethod
    def from_random(cls) -> ObjectRef[Any]:
        """A ref that no task will ever make; for tests."""
        import os

        return cls(os.urandom(SIZE))

    @classmethod
    def from_binary(cls, id_bytes: bytes) -> ObjectRef[Any]:
        """The ref with this id."""
        return cls(id_bytes)

    @classmethod
    def from_hex(cls, hex_id: str) -> ObjectRef[Any]:
        """The ref with this id, in hexadecimal."""
        return cls(bytes.fromhex(hex_id))

    @classmethod
    def size(cls) -> int:
        """Bytes of an id."""
        return SIZE

    def future(self) -> concurrent.futures.Future[T_co]:
        """A future of the value, for any thread. Cancelling it does not cancel the task."""
        return current.require().future_of(self)

    def as_future(self, _internal: bool = False) -> Future[T_co]:
        """A future of the value in the running event loop."""
        import asyncio

        return asyncio.wrap_future(self.future())

    def __await__(self) -> Generator[Any, None, T_co]:
        return self.as_future().__await__()


ObjectRef._manta_id = ObjectRef.__dict__["_id"]  # the slot's descriptor, which reads it for either name

_new = ObjectRef.__new__


def make_ref(oid: bytes) -> ObjectRef[Any]:
    """A ref to an object whose reference the caller has counted already."""
    ref: ObjectRef[Any] = _new(ObjectRef)
    ref._id = oid
    _untrack(ref)
    return ref


def rebuild(oid: bytes, owner: bytes) -> ObjectRef[Any]:
    """A ref out of a pickle: counted here, and known to belong to `owner` (an encoded Address).

    Where a value may hold many, `Arriving.take` stands in its place.
    """
    session = current.session
    if session is None:
        session = current.require()
    session.ref_received(oid, owner)
    return make_ref(oid)


class Arriving:
    """Refs of one value that is being unpickled: taken one by one, counted together once the value is complete.

    A value may hold ten thousand, and taking the lock, looking at the owner and hiding from the collector for each was three
    quarters of reading it (benchmark `get_10k_refs`). They are held here until they are counted: one that user code drops
    before would be counted down first.

    Attributes:
        taken: The refs, each followed by its owner's encoded address.
        noted: Takes the ids when they are counted; None for nobody.
        outer: Of the value during whose unpickling this one is read.
        take: Stands in for `rebuild`.
    """

    __slots__ = ("noted", "outer", "take", "taken")

    def __init__(self, noted: list[bytes] | None, outer: Arriving | None) -> None:
        self.taken: list[Any] = []
        self.noted = noted
        self.outer = outer

        def take(
            oid: bytes, owner: bytes, new: Any = _new, kind: Any = ObjectRef, append: Any = self.taken.append
        ) -> Any:
            ref = new(kind)
            ref._id = oid
            append(ref)
            append(owner)
            return ref

        self.take = take


def reduce_ref(ref: ObjectRef[Any]) -> tuple[Any, ...]:
    """How a ref is written inside values that Manta itself carries; whoever carries them counts the refs inside."""
    session = current.session
    assert session is not None
    return rebuild, (ref._id, session.export_ref(ref._id, forever=False))
