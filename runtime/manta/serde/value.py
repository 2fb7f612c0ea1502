"""Values to bytes and back: `serialize`, the chunks it makes, and `deserialize`."""

from __future__ import annotations

from _io import BytesIO
from _pickle import Unpickler, loads

from manta.core.errors.base import MantaError, message_of
from manta.core.handler_errors import is_handler_s
from manta.serde.errors import DeserializationError
from manta.serde.layout import PICKLE_TAG, lay_out, take_apart
from manta.serde.pickler import REUSE_STREAM_BYTES, ValuePickler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from manta.serde.layout import Chunk

    Copy = Callable[[memoryview, memoryview], object]

#: From this size on a chunk is worth the set-up of a copy that releases the GIL.
LARGE_COPY_BYTES = 1 << 20

#: Picklers at rest. `pop` and `append` are atomic, so threads and a user's `__reduce__` that submits tasks each get their own.
_idle: list[ValuePickler] = []


class Serialized:
    """A value as bytes to be: what to write, how much it is, and the refs and actor handles inside.

    Ownership: chunks may be views of the user's own memory. Write them out before the user's code runs again, or a later
    change to an array changes the value.
    """

    __slots__ = ("chunks", "handles", "refs", "size")

    def __init__(
        self, chunks: Sequence[Chunk], size: int, refs: Sequence[Any] = (), handles: Sequence[Any] = ()
    ) -> None:
        #: bytes-like pieces; one after the other they are the value
        self.chunks = chunks
        #: bytes in all
        self.size = size
        #: every ref inside, in the order met; the same ref object is listed once
        self.refs = refs
        #: every actor handle inside, likewise
        self.handles = handles

    def write_into(self, target: memoryview, copy: Copy | None = None) -> int:
        """See `write_into` below."""
        return write_into(self, target, copy)


def serialize(
    value: Any, what: str | None = "value", *, parameters: Sequence[str] | None = None, limit: int | None = None
) -> Serialized:
    """Pickle a value, leaving its large buffers where they are.

    May be called from any thread, and again from inside (a `__reduce__` that submits tasks).

    Args:
        value: Anything cloudpickle can pickle, refs and actor handles included.
        what: What the value is to the user ("result of f()"); starts the path in an error. None: let pickle's own error
            through and look for no culprit.
        parameters: For a value that is the `(args, kwargs)` of a call: names of the positional parameters, as far as known,
            so that an error starts with "argument 'model'" instead.
        limit: Most bytes it may come to; None for no limit. Checked while pickling, so it bounds memory too.

    Raises:
        SerializationError: Something inside can't be pickled, or `limit` was passed; says which part and what to do.
    """
    if limit is None:
        try:
            pickler = _idle.pop()
        except IndexError:
            pickler = ValuePickler()
    else:
        pickler = ValuePickler(limit=limit)
    try:
        pickler.dump(value)
    except MantaError:
        raise  # typed already: a ref of another cluster, say
    except Exception as error:
        if what is None or is_handler_s(error):
            raise
        from manta.serde.culprit import serialization_error

        raise serialization_error(value, error, what, parameters) from error
    parts, buffers, refs, handles = pickler.parts, pickler.buffers, pickler.refs, pickler.handles
    # The lists are the pickler's for good (their `append` is bound in it): what is handed out are copies, if there is a need.
    chunks: Sequence[Chunk]
    if len(parts) == 1:
        stream = parts.pop()
        size = len(stream)
        if size <= REUSE_STREAM_BYTES and limit is None:
            pickler.reset()
            if buffers:
                chunks, size = lay_out((stream,), [buffer.raw() for buffer in buffers])
                buffers.clear()
            else:
                chunks = (stream,)
            if refs or handles:
                found = Serialized(chunks, size, tuple(refs), tuple(handles))
                refs.clear()
                handles.clear()
                _idle.append(pickler)
                return found
            _idle.append(pickler)
            return Serialized(chunks, size, (), ())
        parts = [stream]
    if buffers:
        chunks, size = lay_out(parts, [buffer.raw() for buffer in buffers])
    else:
        chunks, size = parts, sum(map(len, parts))
    return Serialized(chunks, size, refs, handles)


def to_bytes(serialized: Serialized) -> bytes:
    """The value in one piece. Costs nothing when it is one already, as small values without buffers are."""
    chunks = serialized.chunks
    if len(chunks) == 1:
        chunk = chunks[0]
        if type(chunk) is bytes:
            return chunk
    return b"".join(chunks)


def total_size(serialized: Serialized) -> int:
    """Bytes that `write_into` writes."""
    return serialized.size


def write_into(serialized: Serialized, target: memoryview, copy: Copy | None = None) -> int:
    """Write the value to the start of `target`.

    Args:
        serialized: What to write.
        target: Writable one-dimensional view of bytes, `total_size` or longer, 64-byte aligned if readers care for it.
        copy: `copy(target, source)`, called for chunks of 1 MiB and more with views of equal length; it may release the
            GIL. None copies them as the small ones.

    Returns:
        Bytes written.

    Raises:
        ValueError: `target` is too short; nothing was written.
    """
    if len(target) < serialized.size:
        raise ValueError(f"target has {len(target)} bytes, the value takes {serialized.size}")
    position = 0
    for chunk in serialized.chunks:
        end = position + len(chunk)
        if copy is not None and end - position >= LARGE_COPY_BYTES:
            copy(target[position:end], memoryview(chunk))
        else:
            target[position:end] = chunk
        position = end
    return position


class _Substituting(Unpickler):
    """Finds other things under some names."""

    def __init__(self, stream: Any, buffers: Iterable[Any] | None, found: Mapping[tuple[str, str], Any]) -> None:
        super().__init__(BytesIO(stream), buffers=buffers)
        self._found = found

    def find_class(self, module: str, name: str) -> Any:
        """See pickle."""
        return self._found.get((module, name)) or super().find_class(module, name)


def deserialize(data: bytes | bytearray | memoryview, found: Mapping[tuple[str, str], Any] | None = None) -> Any:
    """The value back. Its buffers are read-only slices of `data`, which stays alive as long as any of them does.

    Args:
        data: What `to_bytes` returned or `write_into` wrote; a view is one-dimensional and of bytes. Arrays are aligned as
            `data` is: fully at a 64-byte boundary, to 16 bytes in a `bytes` object. Copy a slice from the middle of
            something (`bytes(view)`) before passing it.
        found: What stands for a (module, name) of the pickle in place of what has that name.

    Raises:
        DeserializationError: `data` is cut off or damaged, or its objects can't be made here (a module that is not
            installed, a class that has changed, a `__setstate__` that raises); the reason is its cause.
    """
    try:
        if data[0] == PICKLE_TAG:
            return loads(data) if found is None else _Substituting(data, None, found).load()
        stream, buffers = take_apart(memoryview(data).toreadonly())
        return loads(stream, buffers=buffers) if found is None else _Substituting(stream, buffers, found).load()
    except DeserializationError:
        raise
    except Exception as error:
        if is_handler_s(error):
            raise
        raise _deserialization_error(data, error) from error


def _deserialization_error(data: bytes | bytearray | memoryview, error: Exception) -> DeserializationError:
    """What to raise for a value that could not be loaded: why, and what would help."""
    if len(data) == 0:
        return DeserializationError("serialized value is cut off: 0 bytes")
    text = f"can't load a value of {len(data)} bytes: {type(error).__name__}: {message_of(error)}"
    if isinstance(error, ImportError | AttributeError):
        text += (
            ". It names code that this process can't import: install it here, or put it where both sides import it from "
            "(code of the main program travels by value)"
        )
    return DeserializationError(text)
