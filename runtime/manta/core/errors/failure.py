"""What user code raised, as plain fields.

Made in the worker, where the exception is; held, compared and passed on by owners, which never unpickle; turned into
an exception again by the process that asks for the result. `Failure` holds what protobuf's `TaskFailure` holds.
"""

from __future__ import annotations

import os

from manta.core.errors.base import MantaError, class_name, class_names, message_of, one_line
from manta.core.errors.dual import dual_of
from manta.core.errors.task import ARGUMENT_FAILED, TRACEBACK_LINE, RayTaskError, UnserializableException
from manta.core.errors.wire import MESSAGE_LIMIT, ErrorFields, from_fields, to_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from traceback import StackSummary, TracebackException
    from types import TracebackType
    from typing import Self

#: Folder of this package. Its frames are left out of tracebacks, `util`'s excepted: they are a library's.
_OURS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
_LIBRARY = _OURS + "util" + os.sep

#: Longest traceback that is kept: its first and last half of this.
TRACEBACK_LIMIT = 64 << 10


class Failure:
    """An exception that user code raised, as plain fields.

    Attributes:
        function: Name of the function, `Class.method` for actors.
        classes: Names of the exception's class and its bases along the MRO, `module.Name`.
        message: `str` of the exception.
        traceback: The user's frames.
        cause: The exception, pickled; b'' when `error` is set.
        error: The exception, when it is one of ours.
        pid: The worker.
        ip: Address of its node.
        actor_id: Hex id, for actors.
        actor_repr: `repr` of the actor, for actors.
    """

    __slots__ = (
        "actor_id",
        "actor_repr",
        "cause",
        "classes",
        "error",
        "function",
        "ip",
        "message",
        "pid",
        "traceback",
    )

    def __init__(
        self,
        function: str,
        traceback: str,
        *,
        classes: Sequence[str] = (),
        message: str = "",
        cause: bytes = b"",
        error: ErrorFields | None = None,
        pid: int = 0,
        ip: str = "",
        actor_id: str = "",
        actor_repr: str = "",
    ) -> None:
        self.function = function
        self.traceback = traceback
        self.classes = tuple(classes)
        self.message = message
        self.cause = cause
        self.error = error
        self.pid = pid
        self.ip = ip
        self.actor_id = actor_id
        self.actor_repr = actor_repr

    # --- made

    @classmethod
    def describe(
        cls,
        exception: BaseException,
        dumps: Callable[[BaseException], bytes],
        *,
        function: str,
        pid: int,
        ip: str,
        actor_id: str = "",
        actor_repr: str = "",
    ) -> Self:
        """The failure of a call whose user code raised `exception`. Never raises.

        An exception that came out of another task keeps its root cause: the failure's cause is never a `RayTaskError`.
        An exception that can't be pickled is replaced by a `RayError` that says so.

        Args:
            exception: What left the user's function, with its traceback.
            dumps: Pickles the cause.
            function: Name of the function, `Class.method` for actors.
            pid: This process.
            ip: Address of this node.
            actor_id: Hex id, for actors.
            actor_repr: `repr` of the actor, for actors.
        """
        failure = cls(
            function,
            format_traceback(exception),
            pid=pid,
            ip=ip,
            actor_id=actor_id,
            actor_repr=one_line(actor_repr),
        )
        root = exception.cause if isinstance(exception, RayTaskError) else exception
        if isinstance(exception, RayTaskError):
            failure.cause = _task_error(exception)._cause_bytes
        failure._set_cause(root, dumps)
        return failure

    @classmethod
    def of_argument(
        cls,
        argument: Failure | ErrorFields,
        *,
        function: str,
        pid: int,
        ip: str,
        actor_id: str = "",
        actor_repr: str = "",
    ) -> Self:
        """The failure of a call that never ran because an argument of it failed. Unpickles nothing.

        Args:
            argument: How the task that makes the argument ended.
            function: Name of the call's function.
            pid: This process.
            ip: Address of this node.
            actor_id: Hex id, for actors.
            actor_repr: `repr` of the actor, for actors.
        """
        if isinstance(argument, ErrorFields) and argument.code == RayTaskError.code:
            argument = Failure.from_fields(argument)
        if isinstance(argument, Failure):
            upstream = str(argument.to_error(None))
            kind = f"{RayTaskError.__module__}.{RayTaskError.__name__}"
        else:
            error = from_fields(argument)
            upstream = str(error)
            kind = class_name(type(error))
        text = f"{TRACEBACK_LINE}\n{ARGUMENT_FAILED}\n{kind}: {upstream}"
        failure = cls(function, _cut(text), pid=pid, ip=ip, actor_id=actor_id, actor_repr=one_line(actor_repr))
        if isinstance(argument, Failure):
            failure.classes, failure.message = argument.classes, argument.message
            failure.cause, failure.error = argument.cause, argument.error
        else:
            failure.classes, failure.message = class_names(type(error)), argument.message
            failure.error = argument
        return failure

    @classmethod
    def of(cls, error: RayTaskError) -> Self:
        """The failure that an error was made from, or as much of it as can be had without pickling."""
        error = _task_error(error)
        failure = cls(
            error.function_name,
            error.traceback_str,
            classes=class_names(type(error.cause)),
            message=message_of(error.cause)[:MESSAGE_LIMIT],
            cause=error._cause_bytes,
            pid=error.pid,
            ip=error.ip,
            actor_id=error._actor_id or "",
            actor_repr=error.actor_repr or "",
        )
        if not failure.cause and isinstance(error.cause, MantaError):
            failure.error = to_fields(error.cause)
        return failure

    def _set_cause(self, cause: BaseException, dumps: Callable[[BaseException], bytes]) -> None:
        self.classes = class_names(type(cause))
        self.message = message_of(cause)[:MESSAGE_LIMIT]
        if self.cause:
            return
        if type(cause).__module__ == MantaError.__module__ and isinstance(cause, MantaError):
            self.error = to_fields(cause)
            return
        try:
            self.cause = dumps(cause)
        except Exception as problem:  # noqa: BLE001 - user code: __reduce__, __getstate__, recursion without end
            text = (
                f"Exception {class_name(type(cause))} isn't serializable: {message_of(problem)}.\n"
                f"Original exception details:\n{self.traceback}"
            )
            self.error = to_fields(MantaError(text))

    # --- read

    def to_error(self, loads: Callable[[bytes], object] | None) -> MantaError:
        """The exception that `get` raises. Never raises itself.

        Args:
            loads: Unpickles the cause; None leaves it pickled.

        Returns:
            A `RayTaskError` that is also an instance of the cause's class; or an `UnserializableException` if the cause
            can't be loaded here.
        """
        cause: BaseException
        if self.error is not None:
            cause = from_fields(self.error, loads)
        elif loads is None or not self.cause:
            cause = MantaError(self.message)
        else:
            try:
                loaded = loads(self.cause)
            except Exception as problem:  # noqa: BLE001 - user code
                return self._unloadable(f"{class_name(type(problem))}: {message_of(problem)}")
            if not isinstance(loaded, BaseException):
                return self._unloadable(f"it loads as {class_name(type(loaded))}, which is no exception")
            cause = loaded
        error = RayTaskError(
            self.function,
            self.traceback,
            cause,
            pid=self.pid,
            ip=self.ip,
            actor_repr=self.actor_repr or None,
            actor_id=self.actor_id or None,
        )
        error._cause_bytes = self.cause
        return error if loads is None else dual_of(error)

    def _unloadable(self, reason: str) -> UnserializableException:
        name = self.classes[0].removeprefix("builtins.") if self.classes else "?"
        return UnserializableException(
            f"{RayTaskError.__module__}.{RayTaskError.__name__}: {self.to_error(None)}",
            f"{reason} (make sure that {name} can be imported here, and that its constructor accepts its `args`)",
        )

    # --- plain fields

    def to_fields(self) -> ErrorFields:
        """As fields of a `RayTaskError`."""
        fields = {
            "function": self.function,
            "traceback": self.traceback,
            "classes": "\n".join(self.classes),
            "message": self.message,
            "pid": str(self.pid),
            "ip": self.ip,
            "actor_id": self.actor_id,
            "actor_repr": self.actor_repr,
        }
        blobs = {"cause": self.cause} if self.cause else {}
        if self.error is not None:
            fields["error.code"] = self.error.code
            fields["error.message"] = self.error.message
            fields.update({f"error.fields.{name}": value for name, value in self.error.fields.items()})
            blobs.update({f"error.blobs.{name}": value for name, value in self.error.blobs.items()})
        name = self.classes[0].removeprefix("builtins.") if self.classes else "?"
        return ErrorFields(RayTaskError.code, f"{name}: {self.message}", fields, blobs)

    @classmethod
    def from_fields(cls, fields: ErrorFields) -> Self:
        """The failure whose `to_fields` these are."""
        texts, blobs = fields.fields, fields.blobs
        pid = texts.get("pid", "")
        failure = cls(
            texts.get("function", "?"),
            texts.get("traceback", ""),
            classes=tuple(texts["classes"].split("\n")) if texts.get("classes") else (),
            message=texts.get("message", fields.message),
            cause=blobs.get("cause", b""),
            pid=int(pid) if pid.isdecimal() and len(pid) < 12 else 0,
            ip=texts.get("ip", ""),
            actor_id=texts.get("actor_id", ""),
            actor_repr=texts.get("actor_repr", ""),
        )
        if "error.code" in texts:
            failure.error = ErrorFields(
                texts["error.code"],
                texts.get("error.message", ""),
                {name[13:]: text for name, text in texts.items() if name.startswith("error.fields.")},
                {name[12:]: blob for name, blob in blobs.items() if name.startswith("error.blobs.")},
            )
        return failure


def format_traceback(exception: BaseException) -> str:
    """The traceback of an exception and of what led to it, the user's frames only. Never raises."""
    import traceback  # late: 5 ms, and only failures need it

    try:
        summary = traceback.TracebackException(
            type(exception), exception, _first_user_frame(exception.__traceback__), compact=True
        )
        _strip(summary, set())
        text = "".join(summary.format())
    except Exception as problem:  # noqa: BLE001 - user code: __str__, __cause__, sources that changed
        text = f"{TRACEBACK_LINE}\n{class_name(type(exception))}: <traceback could not be formatted: {type(problem).__name__}>"
    return _cut(text)


def _task_error(error: RayTaskError) -> RayTaskError:
    """The plain error inside a dual one."""
    inner: RayTaskError = error.__dict__.get("_ray_task_error", error)
    return inner


def _is_ours(filename: str) -> bool:
    return filename.startswith(_OURS) and not filename.startswith(_LIBRARY)


def _first_user_frame(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback without our frames at its start. Formatting frames costs, and most of what is left out is there."""
    while traceback is not None and _is_ours(traceback.tb_frame.f_code.co_filename):
        traceback = traceback.tb_next
    return traceback


def _strip(summary: TracebackException, seen: set[int]) -> None:
    if id(summary) in seen:
        return
    seen.add(id(summary))
    stack: StackSummary = summary.stack
    stack[:] = [frame for frame in stack if not _is_ours(frame.filename)]
    for other in (summary.__cause__, summary.__context__, *(summary.exceptions or ())):
        if other is not None:
            _strip(other, seen)


def _cut(text: str) -> str:
    if len(text) <= TRACEBACK_LIMIT:
        return text
    half = TRACEBACK_LIMIT // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
