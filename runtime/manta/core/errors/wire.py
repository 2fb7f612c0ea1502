"""An error as plain fields, and back.

The fields are what a protobuf `ErrorInfo` holds. Whoever carries an error on - an owner, control, a log - needs no more
than these, and making the error from them unpickles nothing.
"""

from __future__ import annotations

from manta.core.errors import BY_CODE
from manta.core.errors import base as kinds
from manta.core.errors.base import MantaError, message_of
from manta.core.errors.task import RayTaskError
from manta.core.ids import TaskID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: Longest message that is put into fields. User code chose it, and every holder of the error pays for it.
MESSAGE_LIMIT = 1 << 20

#: What stands before a fact's name among the fields.
_FACT = "fact."
#: The field that holds the message of an error with no fields of its own.
_TEXT = "text"
#: The field that holds the nearest code that every process knows, for a class that only some processes have.
_BASE = "base"


class ErrorFields:
    """An error in plain fields: what protobuf's `ErrorInfo` holds.

    Attributes:
        code: The class, see `BY_CODE`.
        message: The text a person reads.
        fields: Attributes as text.
        blobs: Attributes that are bytes.
    """

    __slots__ = ("blobs", "code", "fields", "message")

    def __init__(
        self, code: str, message: str, fields: dict[str, str] | None = None, blobs: dict[str, bytes] | None = None
    ) -> None:
        self.code = code
        self.message = message
        self.fields = {} if fields is None else fields
        self.blobs = {} if blobs is None else blobs

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ErrorFields)
            and (self.code, self.message) == (other.code, other.message)
            and (self.fields, self.blobs) == (other.fields, other.blobs)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ErrorFields({self.code!r}, {self.message!r}, {self.fields!r}, {sorted(self.blobs)!r})"


def to_fields(error: BaseException) -> ErrorFields:
    """Plain fields of an error of ours; of any other, its type and message as a system error.

    A class outside of `core.errors` keeps its code and message; whoever lacks the class reads it as its nearest base.
    An error that user code raised keeps its pickled cause if it came with one, and loses the cause otherwise: `failure`
    is what pickles causes.
    """
    if isinstance(error, RayTaskError):
        from manta.core.errors.failure import Failure

        return Failure.of(error).to_fields()
    kind = next((base for base in type(error).__mro__ if BY_CODE.get(vars(base).get("code", "")) is base), None)
    if kind is None or not isinstance(error, MantaError):
        text = f"{kinds.class_name(type(error))}: {message_of(error)}"
        return ErrorFields(
            "SYSTEM_ERROR", f"System error: {text}"[:MESSAGE_LIMIT], {"client_exc": text[:MESSAGE_LIMIT]}
        )
    code: object = error.code
    result = ErrorFields(code if isinstance(code, str) else kind.code, message_of(error)[:MESSAGE_LIMIT])
    if result.code != kind.code:
        result.fields[_BASE] = kind.code
    if kind._fields:
        for name, how in kind._fields:
            value = getattr(error, name, None)
            if value is None:
                continue
            if how == kinds.BYTES:
                result.blobs[name] = value
            else:
                result.fields[name] = _WRITE[how](value)
    elif error.args:
        result.fields[_TEXT] = str(error.args[0])
    for name, fact in error.facts.items():
        result.fields[_FACT + name] = fact
    return result


def from_fields(fields: ErrorFields, loads: Callable[[bytes], object] | None = None) -> MantaError:
    """The error that `fields` were made from.

    Args:
        fields: From this version of Manta or another, this process or another. A code that is unknown here gives an error
            with that `code` and message, of the nearest base that both sides know; a field that is missing or garbled
            is None, or '' and the like where None is not allowed.
        loads: Unpickles the cause of a task's error. Without it, and where it fails, nothing is unpickled and the error
            shows the remote traceback only.
    """
    kind = BY_CODE.get(fields.code) or BY_CODE.get(fields.fields.get(_BASE, ""), MantaError)
    if kind is RayTaskError:
        from manta.core.errors.failure import Failure

        return Failure.from_fields(fields).to_error(loads)
    values: dict[str, Any] = {}
    for name, how in kind._fields:
        if how == kinds.BYTES:
            values[name] = fields.blobs.get(name)
        else:
            values[name] = _read(how, fields.fields.get(name))
    if kind._fields:
        args = tuple(values.values())
    else:
        args = (fields.fields[_TEXT],) if _TEXT in fields.fields else ()
    # Past the constructor, whose parameters need not be the fields.
    error: MantaError = kind.__new__(kind)
    error.args = args
    error.__dict__.update(values)
    facts = {name[len(_FACT) :]: value for name, value in fields.fields.items() if name.startswith(_FACT)}
    if facts:
        error.facts = facts
    if fields.code != kind.code:
        error.__dict__["code"] = fields.code
        error._shown = fields.message.removesuffix("".join(f"\n\t{name}: {value}" for name, value in facts.items()))
    return error


_WRITE: dict[str, Callable[[Any], str]] = {
    kinds.TEXT: lambda value: str(value)[:MESSAGE_LIMIT],
    kinds.OPTIONAL_TEXT: lambda value: str(value)[:MESSAGE_LIMIT],
    kinds.INT: str,
    kinds.FLOAT: repr,
    kinds.BOOL: lambda value: "true" if value else "false",
    kinds.TEXTS: "\n".join,
    kinds.TASK_ID: lambda value: value.hex(),
}

_READ: dict[str, Callable[[str], Any]] = {
    kinds.TEXT: str,
    kinds.OPTIONAL_TEXT: str,
    kinds.INT: int,
    kinds.FLOAT: float,
    kinds.BOOL: "true".__eq__,
    kinds.TEXTS: lambda text: tuple(text.split("\n")) if text else (),
    kinds.TASK_ID: TaskID.from_hex,
}


_NOTHING: dict[str, Any] = {kinds.TEXT: "", kinds.FLOAT: 0.0, kinds.BOOL: False, kinds.TEXTS: ()}


def _read(how: str, text: str | None) -> Any:
    if text is not None:
        try:
            return _READ[how](text)
        except ValueError:
            pass
    return _NOTHING.get(how)
