"""Exceptions as bytes that come back as the same exception, also where pickle's own way would not.

`core.errors.failure` describes a failure in plain fields and takes `dump_exception` for the one field that is pickled;
`deserialize` reads it.
"""

from __future__ import annotations

from manta.core.errors import SerializationError
from manta.core.errors.base import class_name, message_of, revive
from manta.serde.value import Serialized, deserialize, serialize, to_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def dump_exception(error: BaseException) -> bytes:
    """As `serialize_exception`, in one piece and without the refs."""
    return to_bytes(serialize_exception(error))


def serialize_exception(error: BaseException) -> Serialized:
    """Pickle an exception so that it can be loaded again, and try that here, where there is still something to be done.

    Most exceptions whose constructor takes arguments of its own pickle well and then can't be loaded: `__reduce__` passes
    `args`, which is not what such a constructor wants. They go a second way, past the constructor, as do those whose
    `__reduce__` raises: class, `args` and attributes are what they were.

    Raises:
        SerializationError: Neither way works; says what in the exception can't be pickled, or why it can't be loaded.
    """
    try:
        return _tried(error, error)
    except Exception as first:  # noqa: BLE001 - user code
        try:
            return _tried(_Revivable(error), error)
        except Exception as second:
            what = f"the exception {class_name(type(error))}"
            if isinstance(second, _NotTheSameError):
                reason = message_of(first) or type(first).__name__
                raise SerializationError(what, f"it does not survive pickling: {reason}") from first
            from manta.serde.culprit import serialization_error

            raise serialization_error((error.args, error.__dict__), second, what) from second


class _NotTheSameError(Exception):
    pass


class _Revivable:
    """Pickles as an exception that is made again without its constructor."""

    __slots__ = ("_error",)

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return revive, (type(self._error), self._error.args, self._error.__dict__)


def _tried(candidate: object, error: BaseException) -> Serialized:
    serialized = serialize(candidate, None)
    # Loading refs would register borrows. Exceptions that carry refs are rare: they go untried.
    if not serialized.refs and not serialized.handles:
        try:
            back = deserialize(to_bytes(serialized))
        except Exception as failure:
            raise _NotTheSameError(message_of(failure.__cause__ or failure)) from failure
        if not isinstance(back, type(error)):
            raise _NotTheSameError(f"it comes back as {class_name(type(back))}")
    return serialized
