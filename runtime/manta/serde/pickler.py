"""The pickler every value goes through: C speed for data, cloudpickle for code, hooks for refs and actor handles.

There is one path and no fast lane beside it. Checking in Python whether a value is plain data costs 0.3 µs for a pair, and
a *reused* C pickler writes `((1, "a"), {})` in 0.5 µs where a new one takes 1.7. The override below is asked only about
objects the C code has no opcode for, so plain data never enters Python at all.
"""

from __future__ import annotations

import sys

# What `pickle` re-exports. Imported directly it spares `import manta` the `re` and `enum` that `pickle` pulls in.
from _pickle import PickleBuffer, Pickler
from types import CodeType, FunctionType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

PROTOCOL = 5

#: A pickler whose stream was longer is not used again: its memo table keeps its size, and clearing a large one would tax
#: every later call. 4 KiB of stream hold about two thousand memo entries, which clear in about 2 µs.
REUSE_STREAM_BYTES = 4096


def _no_hook(obj: Any) -> Any:
    raise RuntimeError(f"install_hooks() has not said how {type(obj).__name__} is pickled")


# Module globals and not attributes of an object: `reducer_override` reads them for every object it is asked about.
_ref_type: type | None = None
_reduce_ref: Callable[[Any], Any] = _no_hook
_handle_type: type | None = None
_reduce_handle: Callable[[Any], Any] = _no_hook

#: cloudpickle's reducers by exact type, `register_serializer`'s among them; None until the first object that is not data.
_reducers: dict[type, Callable[[Any], Any]] | None = None
_new_cloud_pickler: Callable[[], Any]
#: Names of modules whose code the user wants pickled by value.
_modules_by_value: Callable[[], Collection[str]] = tuple

_CODE = frozenset((FunctionType, type))


def install_hooks(
    ref_type: type,
    reduce_ref: Callable[[Any], Any],
    handle_type: type | None = None,
    reduce_handle: Callable[[Any], Any] | None = None,
) -> None:
    """Say what a ref and an actor handle are, and how they are written. Called once, by the layer that owns them.

    Args:
        ref_type: Exact type of object refs. Every ref met inside a value is listed in `Serialized.refs`.
        reduce_ref: Called with a ref; returns its reduce value: `(callable, args)`, the callable at module level.
        handle_type: Exact type of actor handles, listed in `Serialized.handles`.
        reduce_handle: Same for handles.
    """
    global _ref_type, _reduce_ref, _handle_type, _reduce_handle
    _ref_type, _reduce_ref = ref_type, reduce_ref
    _handle_type, _reduce_handle = handle_type, reduce_handle or _no_hook


def hooked_types() -> tuple[type, ...]:
    """The types of refs and actor handles, as far as they have been installed."""
    return tuple(hooked for hooked in (_ref_type, _handle_type) if hooked is not None)


class Sink:
    """What a pickler takes for a file: anything with a `write`. A list's `append` collects the stream without copying it."""

    __slots__ = ("write",)

    def __init__(self, write: Callable[[Any], Any]) -> None:
        self.write = write


class LimitExceededError(Exception):
    """A value grew past the limit it was given."""


def size_of_part(part: bytes | bytearray | PickleBuffer) -> int:
    """Bytes of what a pickler writes. In band, a large buffer arrives as the `PickleBuffer` itself, uncopied."""
    return part.raw().nbytes if type(part) is PickleBuffer else len(part)


class ValuePickler(Pickler):
    """Pickles one value at a time into `parts` and `buffers`, noting the refs and actor handles inside.

    Large `bytes` and `str` and full 64 KiB frames arrive in `parts` as objects of their own, uncopied.
    """

    __slots__ = ("_cloud", "_left", "_limit", "buffers", "handles", "parts", "refs")

    def __init__(self, *, limit: int | None = None, in_band: bool = False) -> None:
        """A pickler for many values, one after the other; with a limit for one.

        Args:
            limit: Stream and buffers together stop with `LimitExceededError` at this many bytes.
            in_band: Write buffers into the stream, as plain pickle does. What they carry is then writable when read.
        """
        self.parts: list[Any] = []
        self.buffers: list[PickleBuffer] = []
        self.refs: list[Any] = []
        self.handles: list[Any] = []
        #: A cloudpickle pickler that only reduces functions and classes for this one; its state lasts for one value.
        self._cloud: Any = None
        self._limit = self._left = limit or 0
        write = self.parts.append if limit is None else self._write_counted
        keep = self.buffers.append if limit is None else self._keep_counted
        super().__init__(Sink(write), PROTOCOL, buffer_callback=None if in_band else keep)

    def reducer_override(self, obj: Any) -> Any:
        """The C pickler's question for each object that has no opcode of its own."""
        kind = type(obj)
        if kind is _ref_type:
            self.refs.append(obj)
            return _reduce_ref(obj)
        if kind is _handle_type:
            self.handles.append(obj)
            return _reduce_handle(obj)
        reducers = _reducers
        if reducers is None:
            # What rebuilds a ref is a function of ours, and no reason to load cloudpickle.
            if kind in _CODE and "cloudpickle" not in sys.modules and _is_by_reference(obj):
                return NotImplemented
            reducers = load_cloudpickle()
        reduce = reducers.get(kind)
        if reduce is not None:
            return reduce(obj) if kind is not CodeType else _reduce_code(reduce(obj), obj.co_filename)
        if kind is FunctionType or kind is type or issubclass(kind, type):
            if _is_by_reference(obj):
                return NotImplemented  # the C code writes module and name
            if self._cloud is None:
                self._cloud = _new_cloud_pickler()
            return self._cloud.reducer_override(obj)
        return NotImplemented

    def reset(self) -> None:
        """Forget the value that was pickled, so that nothing of it is kept alive and the next one starts clean."""
        self.clear_memo()
        if self._cloud is not None:
            self._cloud = None

    def _write_counted(self, part: Any) -> None:
        self._count(size_of_part(part))
        self.parts.append(part)

    def _keep_counted(self, buffer: PickleBuffer) -> None:
        self._count(buffer.raw().nbytes)
        self.buffers.append(buffer)

    def _count(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise LimitExceededError(f"it comes to more than {self._limit} bytes")


def load_cloudpickle() -> dict[type, Callable[[Any], Any]]:
    """Import cloudpickle (15-40 ms) and take over its reducers. Happens at the first object that is not plain data."""
    global _reducers, _new_cloud_pickler, _modules_by_value
    import cloudpickle

    table: Any = cloudpickle.Pickler.dispatch_table
    # A ChainMap of cloudpickle's table and copyreg's. The C pickler reads copyreg's itself, and a lookup that misses costs
    # 1 µs in a ChainMap and 0.03 in the dict.
    reducers: dict[type, Callable[[Any], Any]] = table.maps[0]

    nowhere = Sink(len)
    _new_cloud_pickler = lambda: cloudpickle.Pickler(nowhere, PROTOCOL)  # noqa: E731
    _modules_by_value = cloudpickle.list_registry_pickle_by_value
    _reducers = reducers
    return reducers


def _reduce_code(reduced: tuple[Any, ...], filename: str) -> tuple[Any, ...]:
    """A code object as cloudpickle reduces it, with its file's name again: since 3.1.2 tracebacks would say "<dynamic-code>"."""
    make, args = reduced[:2]
    return (
        make,
        tuple(filename if type(arg) is str and arg == "<dynamic-code>" else arg for arg in args),
        *reduced[2:],
    )


def _is_by_reference(obj: Any) -> bool:
    """True if a function or class surely is what its module's name for it says. False means: let cloudpickle find out."""
    try:
        module_name = obj.__module__
        return (
            module_name != "__main__"
            and sys.modules[module_name].__dict__.get(obj.__qualname__) is obj
            and not _modules_by_value()
        )
    except Exception:  # noqa: BLE001 - metaclasses and odd modules may raise anything; cloudpickle knows them
        return False
