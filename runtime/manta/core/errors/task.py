"""What a task can end in: user code raised, it was cancelled, its worker died, it could not start."""

from __future__ import annotations

import os

from manta.core.errors.base import OPTIONAL_TEXT, TASK_ID, TEXT, MantaError, revive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ClassVar

    from manta.core.errors.base import Fields
    from manta.core.ids import TaskID

#: Colours of a remote traceback's title. Part of the text that programs match, so they are there off a terminal as well.
TITLE_COLOR = "\x1b[36m"
TITLE_RESET = "\x1b[39m"

#: What stands in the title before the function's name.
TITLE_PREFIX = "ray::"

#: First line of a traceback; the title replaces it.
TRACEBACK_LINE = "Traceback (most recent call last):"

#: Stands in a traceback in place of frames when the task never ran.
ARGUMENT_FAILED = "  At least one of the input arguments for this task could not be computed:"


class RayTaskError(MantaError):
    """User code raised. Raised by `get` as an error that is also an instance of what was raised, see `as_instanceof_cause`.

    Also named `TaskError`.

    Attributes:
        function_name: Name of the function, `Class.method` for actors.
        traceback_str: The remote traceback, the user's frames only.
        cause: What user code raised.
        proctitle: Title of the worker's process, `ray::<function>`.
        pid: Its process id.
        ip: Address of its node.
        actor_repr: `repr` of the actor, else None.
    """

    code = "TASK_EXECUTION_EXCEPTION"

    def __init__(
        self,
        function_name: str,
        traceback_str: str,
        cause: BaseException,
        proctitle: str | None = None,
        pid: int | None = None,
        ip: str | None = None,
        actor_repr: str | None = None,
        actor_id: str | None = None,
    ) -> None:
        self.function_name = function_name
        self.traceback_str = traceback_str
        self.cause = cause
        self.proctitle = proctitle or TITLE_PREFIX + function_name
        self.pid = pid or os.getpid()
        self.ip = ip or "127.0.0.1"
        self.actor_repr = actor_repr
        self._actor_id = actor_id
        #: The cause as it was pickled where it was raised, kept so that passing the error on pickles nothing again.
        self._cause_bytes = b""
        self.args = (function_name, traceback_str, cause, proctitle, pid, ip)

    def as_instanceof_cause(self) -> RayTaskError:
        """This error as an instance of the cause's class too, with the attributes of the cause.

        Returns:
            An error whose class is named `RayTaskError(<Cause>)`, or this one when it is an instance already or the
            class can't be subclassed (which a warning says).
        """
        from manta.core.errors.dual import dual_of  # late: most programs never see an error

        return dual_of(self)

    def make_dual_exception_instance(self) -> RayTaskError:
        """As `as_instanceof_cause`, but raises what keeps the cause's class from being subclassed."""
        from manta.core.errors.dual import make_dual

        return make_dual(self)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        # The pickled cause would travel twice.
        return revive, (type(self), self.args, {**self.__dict__, "_cause_bytes": b""})

    def _text(self) -> str:
        return title_traceback(self.traceback_str, self._title)

    @property
    def _title(self) -> str:
        """The line above the remote frames: which function, where."""
        where = f"pid={self.pid}, ip={self.ip}"
        if self.actor_repr:
            where += f", actor_id={self._actor_id}, repr={self.actor_repr}"
        return f"{TITLE_COLOR}{self.proctitle}(){TITLE_RESET} ({where})"


def title_traceback(traceback: str, title: str) -> str:
    """A traceback with `title` in place of its first line, or above it when that is no usual one."""
    lines = traceback.strip("\n").rstrip().split("\n")
    titled = [title if line == TRACEBACK_LINE else line for line in lines]
    if title not in titled:  # an exception group's, or one with no frames
        titled.insert(0, title)
    return "\n".join(titled)


class TaskCancelledError(MantaError):
    """The task was cancelled.

    Attributes:
        task_id: The task that `cancel` named, if known.
        error_message: Why, if there is more to say.
    """

    code = "TASK_CANCELLED"
    _fields: ClassVar[Fields] = (("task_id", TASK_ID), ("error_message", OPTIONAL_TEXT))

    def __init__(self, task_id: TaskID | None = None, error_message: str | None = None) -> None:
        self.task_id = task_id
        self.error_message = error_message

    def _text(self) -> str:
        text = f"Task: {self.task_id} was cancelled. " if self.task_id else "The task was cancelled. "
        return (text + (self.error_message or "")).rstrip()


class WorkerCrashedError(MantaError):
    """The worker process died while it ran the task, and no retries were left.

    Attributes:
        reason: How it died, if known: "killed by signal 9", "exit code 7".
    """

    code = "WORKER_DIED"
    _fields: ClassVar[Fields] = (("reason", OPTIONAL_TEXT),)

    def __init__(self, reason: str | None = None) -> None:
        self.reason = reason

    def _text(self) -> str:
        text = "The worker died unexpectedly while executing this task."
        return f"{text} {self.reason}." if self.reason else text


class WorkerStartupError(MantaError):
    """No worker process could be started for the task."""

    code = "WORKER_STARTUP_FAILED"


class GetTimeoutError(MantaError, TimeoutError):
    """`get` waited as long as it was told to. The task goes on."""

    code = "GET_TIMEOUT"
    _default = "Get timed out: some object(s) not ready."


class RuntimeEnvSetupError(MantaError):
    """The runtime environment of a task or actor could not be made; it never ran.

    Attributes:
        error_message: Why.
    """

    code = "RUNTIME_ENV_SETUP_FAILED"
    _fields: ClassVar[Fields] = (("error_message", OPTIONAL_TEXT),)

    def __init__(self, error_message: str | None = None) -> None:
        self.error_message = error_message

    def _text(self) -> str:
        text = "Failed to set up runtime environment."
        return f"{text}\n{self.error_message}" if self.error_message else text


class TaskUnschedulableError(MantaError):
    """No node can ever run the task.

    Attributes:
        error_message: Why, with what was asked for and what there is.
    """

    code = "TASK_UNSCHEDULABLE_ERROR"
    _fields: ClassVar[Fields] = (("error_message", TEXT),)

    def __init__(self, error_message: str) -> None:
        self.error_message = error_message

    def _text(self) -> str:
        return f"The task is not schedulable: {self.error_message}"


class TaskPlacementGroupRemoved(MantaError):
    """The placement group of the task was removed."""

    code = "TASK_PLACEMENT_GROUP_REMOVED"

    def _text(self) -> str:
        return "The placement group corresponding to this task has been removed."


class UserCodeException(MantaError):
    """Wraps what user code raised inside a library; retries look at its cause."""

    code = "USER_CODE_EXCEPTION"


class UnserializableException(MantaError):
    """What user code raised can't be loaded here.

    Attributes:
        reason: What loading it raised; '' if unknown.
    """

    code = "UNSERIALIZABLE_EXCEPTION"
    _fields: ClassVar[Fields] = (("_original_stack_trace", TEXT), ("reason", TEXT))

    def __init__(self, original_stack_trace: str, reason: str = "") -> None:
        self._original_stack_trace = original_stack_trace
        self.reason = reason

    def _text(self) -> str:
        text = (
            "Failed to deserialize exception. Refer to "
            "https://docs.ray.io/en/latest/ray-core/objects/serialization.html#custom-serializers-for-exceptions "
            f"for more information.\nOriginal exception:\n{self._original_stack_trace}"
        )
        return f"{text}\nWhy it could not be loaded: {self.reason}" if self.reason else text


class ObjectRefStreamEndOfStreamError(MantaError):
    """A generator task has no more values."""

    code = "END_OF_STREAM"
    _default = "The generator has no more values."


class CrossLanguageError(MantaError):
    """An error from another language. Exists for programs that name it; there are no other languages."""

    code = "CROSS_LANGUAGE"
