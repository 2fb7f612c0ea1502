"""What a call of an actor can end in because of the actor: it died, it can't be reached now, it never came to be."""

from __future__ import annotations

from manta.core.errors.base import BOOL, OPTIONAL_TEXT, TEXT, MantaError
from manta.core.errors.task import RayTaskError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

    from manta.core.errors.base import Fields

# How an actor came to its end, in the words users know. `ActorDeath.error_message` is one of these.
KILLED = "The actor is dead because it was killed by `ray.kill`."
OUT_OF_SCOPE = "The actor is dead because all references to the actor were removed."
OWNER_DIED = "The actor is dead because its owner has died."
JOB_FINISHED = "The actor is dead because its job has finished."
NODE_DIED = "The actor is dead because its node has died."


def worker_died(exit_type: str, detail: str) -> str:
    """The end of an actor whose process ended.

    Args:
        exit_type: SYSTEM_ERROR, INTENDED_USER_EXIT, INTENDED_SYSTEM_EXIT, USER_ERROR or NODE_OUT_OF_MEMORY.
        detail: How, for example `EXIT_ACTOR` or "Worker exits with an exit code 3."
    """
    return f"The actor is dead because its worker process has died. Worker exit type: {exit_type} Worker exit detail: {detail}"


#: Detail of INTENDED_USER_EXIT.
EXIT_ACTOR = (
    "Worker exits by an user request. Worker exits with an exit code 0. exit_actor() is called: "
    "User requested to exit the actor."
)


class ActorDeath:
    """What is known about an actor that died of something else than its constructor's exception.

    Attributes:
        actor_id: Hex id.
        class_name: Its class.
        error_message: How it died, see the texts above.
        pid: Its last process; 0 if it had none.
        name: Its name, or ''.
        ray_namespace: The namespace of its name, or ''.
        node_ip_address: Its last node, or ''.
        never_started: It died before its constructor ran.
        preempted: Its node was taken away.
    """

    __slots__ = (
        "actor_id",
        "class_name",
        "error_message",
        "name",
        "never_started",
        "node_ip_address",
        "pid",
        "preempted",
        "ray_namespace",
    )

    def __init__(
        self,
        actor_id: str,
        class_name: str,
        error_message: str,
        *,
        pid: int = 0,
        name: str = "",
        ray_namespace: str = "",
        node_ip_address: str = "",
        never_started: bool = False,
        preempted: bool = False,
    ) -> None:
        self.actor_id = actor_id
        self.class_name = class_name
        self.error_message = error_message
        self.pid = pid
        self.name = name
        self.ray_namespace = ray_namespace
        self.node_ip_address = node_ip_address
        self.never_started = never_started
        self.preempted = preempted

    def text(self) -> str:
        """All of it, a line each; what is not known is left out."""
        lines = [ActorDiedError.BASE_ERROR_MSG, f"\tclass_name: {self.class_name}", f"\tactor_id: {self.actor_id}"]
        known = (
            ("pid", self.pid),
            ("name", self.name),
            ("namespace", self.ray_namespace),
            ("ip", self.node_ip_address),
        )
        lines += [f"\t{name}: {value}" for name, value in known if value]
        lines.append(self.error_message)
        if self.never_started:
            lines.append("The actor never ran - it was cancelled before it started running.")
        return "\n".join(lines)


class RayActorError(MantaError):
    """An actor had an outage. Raised as one of its subclasses.

    Attributes:
        actor_id: Hex id, if known.
        error_msg: The message.
    """

    code = "ACTOR_ERROR"
    _fields: ClassVar[Fields] = (
        ("actor_id", OPTIONAL_TEXT),
        ("error_msg", TEXT),
        ("_actor_init_failed", BOOL),
        ("_preempted", BOOL),
    )

    BASE_ERROR_MSG: ClassVar[str] = "The actor experienced an error before finishing this task."

    def __init__(
        self,
        actor_id: str | None = None,
        error_msg: str = BASE_ERROR_MSG,
        actor_init_failed: bool = False,
        preempted: bool = False,
    ) -> None:
        self.actor_id = actor_id
        self.error_msg = error_msg
        self._actor_init_failed = actor_init_failed
        self._preempted = preempted

    def _text(self) -> str:
        return self.error_msg

    @property
    def preempted(self) -> bool:
        """Whether the actor died because its node was taken away."""
        return self._preempted

    @property
    def actor_init_failed(self) -> bool:
        """Whether its constructor raised."""
        return self._actor_init_failed


class ActorDiedError(RayActorError):
    """The actor is dead and will not come back. The call may have run or not; `ActorUnavailableError` is for the living."""

    code = "ACTOR_DIED"

    BASE_ERROR_MSG = "The actor died unexpectedly before finishing this task."

    def __init__(self, cause: RayTaskError | ActorDeath | None = None) -> None:
        if isinstance(cause, RayTaskError):
            text = f"The actor died because of an error raised in its creation task, {cause}"
            super().__init__(cause._actor_id, text, actor_init_failed=True)
        elif isinstance(cause, ActorDeath):
            super().__init__(cause.actor_id, cause.text(), preempted=cause.preempted)
        else:
            super().__init__(None, self.BASE_ERROR_MSG)

    @staticmethod
    def from_task_error(task_error: RayTaskError) -> ActorDiedError:
        """The death of an actor whose constructor raised `task_error`."""
        return ActorDiedError(task_error)


class ActorUnavailableError(RayActorError):
    """The actor can't be reached now and may come back. The call may have run or not."""

    code = "ACTOR_UNAVAILABLE"

    def __init__(self, error_message: str, actor_id: bytes | None) -> None:
        hex_id = None if actor_id is None else actor_id.hex()
        text = f"The actor {hex_id} is unavailable: {error_message}. The task may or may not have been executed on the actor."
        super().__init__(hex_id, text)


class ActorCreationError(RayActorError):
    """The actor could not be made, for a reason of the system's."""

    code = "ACTOR_CREATION_FAILED"


class ActorUnschedulableError(MantaError):
    """No node can ever hold the actor.

    Attributes:
        error_message: Why, with what was asked for and what there is.
    """

    code = "ACTOR_UNSCHEDULABLE_ERROR"
    _fields: ClassVar[Fields] = (("error_message", TEXT),)

    def __init__(self, error_message: str) -> None:
        self.error_message = error_message

    def _text(self) -> str:
        return f"The actor is not schedulable: {self.error_message}"


class ActorPlacementGroupRemoved(MantaError):
    """The placement group of the actor was removed."""

    code = "ACTOR_PLACEMENT_GROUP_REMOVED"

    def _text(self) -> str:
        return "The placement group corresponding to this Actor has been removed."


class PendingCallsLimitExceeded(MantaError):
    """The handle has `max_pending_calls` calls that have not ended."""

    code = "PENDING_CALLS_LIMIT_EXCEEDED"


class AsyncioActorExit(MantaError):
    """`exit_actor()` in an async actor."""

    code = "ASYNCIO_ACTOR_EXIT"
    _default = "exit_actor() is called."


class ActorAlreadyExistsError(MantaError, ValueError):
    """Another actor has the name."""

    code = "ACTOR_ALREADY_EXISTS"
    _fields: ClassVar[Fields] = (("error_message", TEXT),)

    def __init__(self, error_message: str) -> None:
        super().__init__(error_message)
        self.error_message = error_message


class ActorHandleNotFoundError(MantaError, ValueError):
    """The handle is of an earlier cluster, or of no actor of this one."""

    code = "ACTOR_HANDLE_NOT_FOUND"
    _fields: ClassVar[Fields] = (("error_message", TEXT),)

    def __init__(self, error_message: str) -> None:
        super().__init__(error_message)
        self.error_message = error_message
