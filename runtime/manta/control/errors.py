"""What control refuses and what can go wrong with its store, each with a code that the wire repeats."""

from __future__ import annotations

from manta.core.errors import MantaError, StorageError, StorageLockedError


class ControlError(MantaError):
    """A request that control refuses; nothing has changed.

    Attributes:
        message: What was wrong and what would be right.
    """

    code = "CONTROL_REFUSED"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidRequestError(ControlError):
    """A field of the request is malformed."""

    code = "INVALID_REQUEST"


class NodeNotFoundError(ControlError):
    """The node is not registered (any more): register it."""

    code = "NODE_NOT_FOUND"


class NodeDeadError(ControlError):
    """The node was declared dead: it must end all work and come back under a new id."""

    code = "NODE_DEAD"


class DrainRefusedError(ControlError):
    """The node cannot be drained; the text says why."""

    code = "DRAIN_REFUSED"


class JobNotFoundError(ControlError):
    """No such job is remembered."""

    code = "JOB_NOT_FOUND"


class JobFinishedError(ControlError):
    """The job is over."""

    code = "JOB_FINISHED"


class ActorNotFoundError(ControlError):
    """No such actor is remembered, or no living one has the name."""

    code = "ACTOR_NOT_FOUND"


class GroupNotFoundError(ControlError):
    """No such placement group is remembered, or no living one has the name."""

    code = "PLACEMENT_GROUP_NOT_FOUND"


class GroupAlreadyExistsError(ControlError):
    """Another living placement group has the name."""

    code = "PLACEMENT_GROUP_ALREADY_EXISTS"


class FunctionNotFoundError(ControlError):
    """No code of this hash was put."""

    code = "FUNCTION_NOT_FOUND"


class LimitExceededError(ControlError):
    """A bound of control would be exceeded; the text says which and how large it is."""

    code = "LIMIT_EXCEEDED"


class StoppingError(ControlError):
    """Control is stopping: repeat the request, with the same request_id, once it is back."""

    code = "CONTROL_STOPPING"


class StoreError(StorageError):
    """Something is wrong with control's store; control stops, as it can acknowledge nothing. A disk that fills up later is
    a StorageUnwritableError, and control goes on.

    Attributes:
        path: Which store.
        detail: What is wrong with it.
    """

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(f"control's store {path}: {detail}")
        self.path, self.detail = path, detail

    def _text(self) -> str:
        return f"control's store {self.path}: {self.detail}"


class StoreInUseError(StoreError, StorageLockedError):
    """Another control works on this store; two would contradict each other.

    Attributes:
        pid: The other process, 0 if it could not be read.
    """

    code = StorageLockedError.code

    def __init__(self, path: str, pid: int) -> None:
        who = f"process {pid}" if pid else "another process"
        super().__init__(path, f"is in use by {who}; stop that one first, or give this one another directory")
        self.pid = pid


class StoreCorruptError(StoreError):
    """A record is not what was written.

    Attributes:
        record: Which one.
    """

    code = "STORAGE_CORRUPT"

    def __init__(self, path: str, record: str, why: str) -> None:
        super().__init__(path, f"{record} is damaged ({why}); restore a backup, or start with a new directory")
        self.record = record


class NoRoomForStoreError(StoreError):
    """Control cannot start: its disk is full or read-only, and there is nothing on it that it could go on with.

    Attributes:
        reason: What is wrong with the disk.
        free_bytes: What is free there for control.
    """

    code = "STORAGE_FULL"

    def __init__(self, path: str, reason: str, free_bytes: int) -> None:
        super().__init__(
            path,
            f"a new one cannot be begun: {reason} ({free_bytes} bytes are free); make room there, or make it writable,"
            " and start control again",
        )
        self.reason, self.free_bytes = reason, free_bytes


class StoreVersionError(StoreError):
    """The store was written by a version of Manta that this one does not understand."""

    code = "STORAGE_VERSION"
