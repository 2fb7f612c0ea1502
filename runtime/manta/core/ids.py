"""Ids: what they are made of, how to make them fast, and the classes users see.

Layout, in bytes, first to last:

| id | bytes | parts |
|---|---|---|
| job | 4 | a number, little endian |
| actor | 16 | 12 random, job |
| task | 24 | 8 of its own, 16 of its maker (an actor id or an owner) |
| object | 28 | task, then an index of 4 bytes, little endian |
| placement group | 18 | 14 random, job |
| node, worker, unique, function | 28 | random |

The 8 own bytes of a task and its last 16 say where it came from:

| made by | own 8 bytes | last 16 bytes |
|---|---|---|
| `f.remote()` | a counter from 1, little endian | the owner: 12 bytes of prefix, job |
| `put()` | 0x00, then 7 bytes counting down from ff*7, one step for every 2**32 puts | the owner |
| actor call | 5 random bytes of the caller, a counter of 3 bytes | the actor |
| actor creation | ff*8 | the actor |

An owner's prefix is 12 random bytes, for a driver too: each new cluster counts its jobs from 1, and refs of an earlier one
must not look like its own. An object's
index is the number of the return value, from 1, or the low 32 bits of the owner's put counter, from 1.

Why no two are the same: a counter of tasks stays below 2**56, so byte 7 of a task is 00, and byte 7 of a put is ff for
the first 2**80 puts. Owners differ in their prefix, jobs in their last 4 bytes. Callers of one actor differ
in 5 random bytes, drawn again when their counter is used up.

On the hot path ids are plain `bytes`; the classes are made where a user looks at one.
"""

from __future__ import annotations

from itertools import count
from os import urandom

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar, Self

JOB_ID_BYTES = 4
ACTOR_ID_BYTES = 16
TASK_ID_BYTES = 24
OBJECT_ID_BYTES = 28
UNIQUE_ID_BYTES = 28
PLACEMENT_GROUP_ID_BYTES = 18

#: Bytes of any owner prefix.
PREFIX_BYTES = 12

_CREATION = b"\xff" * 8
_NO_CALLER = b"\xff" * 5
_PUTS_PER_EPOCH = 1 << 32
_LAST_PUT_EPOCH = (1 << 56) - 1
_CALLS_PER_DRAW = 1 << 24


# --- layout -----------------------------------------------------------------------------------------------------------


def return_id(task_id: bytes, index: int) -> bytes:
    """Object id of a task's return value number `index`, counted from 1."""
    return task_id + index.to_bytes(4, "little")


def return_ids(task_id: bytes, number: int) -> list[bytes]:
    """Object ids of a task's `number` return values, in order."""
    if number == 1:  # nearly every call; the loop costs three times as much
        return [task_id + b"\x01\x00\x00\x00"]
    return [task_id + index.to_bytes(4, "little") for index in range(1, number + 1)]


def task_of_object(object_id: bytes) -> bytes:
    """Id of the task that makes an object, or for a put the task part of its id."""
    return object_id[:TASK_ID_BYTES]


def index_of_object(object_id: bytes) -> int:
    """Number of the return value, from 1; for a put the low 32 bits of the owner's counter."""
    return int.from_bytes(object_id[TASK_ID_BYTES:], "little")


def is_put(object_id: bytes) -> bool:
    """Whether an object was made by `put()` and so by no task that could make it again."""
    return object_id[0] == 0 and object_id[7] == 0xFF


def actor_of_task(task_id: bytes) -> bytes:
    """Last 16 bytes of a task id: the actor for calls and creations, the owner for everything else."""
    return task_id[8:]


def job_of(some_id: bytes) -> bytes:
    """Job of an actor, task or placement group: the last 4 bytes. Not for object ids, see `job_of_object`."""
    return some_id[-JOB_ID_BYTES:]


def job_of_object(object_id: bytes) -> bytes:
    """Job of an object."""
    return object_id[20:24]


def creation_task_id(actor_id: bytes) -> bytes:
    """Id of the task that runs an actor's constructor."""
    return _CREATION + actor_id


def nil(size: int) -> bytes:
    """The id that means "none" among ids of `size` bytes."""
    return b"\xff" * size


# --- makers -----------------------------------------------------------------------------------------------------------


class IdMaker:
    """Makes the ids of what one owner (a driver or worker process, in one job) creates.

    Safe to use from several threads: `next()` of an `itertools.count` is one step under the interpreter's lock.

    Args:
        job: Id of the job.
        prefix: 12 random bytes that no other owner has.
    """

    __slots__ = ("_job", "_puts", "_suffix", "_tasks")

    def __init__(self, job: bytes, prefix: bytes) -> None:
        _check_size("a job id", job, JOB_ID_BYTES)
        _check_size("an owner prefix", prefix, PREFIX_BYTES)
        self._job = job
        self._suffix = prefix + job
        self._tasks = count(1)
        self._puts = count(1)

    def task(self) -> bytes:
        """A new task id, 24 bytes."""
        return next(self._tasks).to_bytes(8, "little") + self._suffix

    def put(self) -> bytes:
        """A new object id for a put, 28 bytes."""
        number = next(self._puts)
        if number < _PUTS_PER_EPOCH:
            return b"\x00\xff\xff\xff\xff\xff\xff\xff" + self._suffix + number.to_bytes(4, "little")
        epoch, low = divmod(number, _PUTS_PER_EPOCH)
        head = (_LAST_PUT_EPOCH - epoch).to_bytes(7, "little")
        return b"\x00" + head + self._suffix + low.to_bytes(4, "little")

    def actor(self) -> bytes:
        """A new actor id, 16 bytes."""
        return urandom(12) + self._job


class ActorCallIds:
    """Makes the task ids of one caller's calls to one actor. Safe to use from several threads.

    Args:
        actor_id: The actor, 16 bytes.
    """

    __slots__ = ("_actor_id", "_calls", "_heads")

    def __init__(self, actor_id: bytes) -> None:
        _check_size("an actor id", actor_id, ACTOR_ID_BYTES)
        self._actor_id = actor_id
        self._calls = count()
        #: Random bytes by draw. A call looks its own draw up, so that threads on both sides of a roll-over never share
        #: a pair; 5 bytes stay behind for every 16 million calls.
        self._heads: dict[int, bytes] = {0: _caller()}

    def next(self) -> bytes:
        """A new task id, 24 bytes."""
        draw, number = divmod(next(self._calls), _CALLS_PER_DRAW)
        head = self._heads.get(draw) or self._heads.setdefault(draw, _caller())
        return head + number.to_bytes(3, "little") + self._actor_id


def _caller() -> bytes:
    while (head := urandom(5)) == _NO_CALLER:  # would collide with the creation task
        pass
    return head


def _check_size(what: str, given: bytes, size: int) -> None:
    if len(given) != size:
        raise ValueError(f"{what} has {size} bytes, got {len(given)}")


# --- classes ----------------------------------------------------------------------------------------------------------


class BaseID:
    """An id: some bytes with a type. Equal to ids of the same type and bytes; hashable; picklable.

    Args:
        binary: The id's bytes, exactly `size()` of them.

    Raises:
        TypeError: `binary` is not bytes.
        ValueError: It has another length.
    """

    __slots__ = ("_binary",)

    #: Bytes of an id of this type.
    SIZE: ClassVar[int] = UNIQUE_ID_BYTES

    def __init__(self, binary: bytes) -> None:
        if not isinstance(binary, bytes):
            raise TypeError(f"Unsupported type: {type(binary)}, expected bytes")
        if len(binary) != self.SIZE:
            raise ValueError(
                f"ID string needs to have length {self.SIZE}, got {len(binary)} (for a {type(self).__name__})"
            )
        self._binary = binary

    @classmethod
    def from_binary(cls, binary: bytes) -> Self:
        """The id with these bytes."""
        return cls(binary)

    @classmethod
    def from_hex(cls, text: str) -> Self:
        """The id that `hex()` wrote as `text`.

        Raises:
            TypeError: `text` is no string.
            ValueError: It is not `2 * size()` hexadecimal digits.
        """
        if not isinstance(text, str):
            raise TypeError(f"Unsupported type: {type(text)}, expected str")
        if len(text) == 2 * cls.SIZE:
            try:
                return cls(bytes.fromhex(text))
            except ValueError:  # not hexadecimal, or spaces, which fromhex() skips
                pass
        raise ValueError(f"a {cls.__name__} is written as {2 * cls.SIZE} hexadecimal digits, got {_shown(text)}")

    @classmethod
    def from_random(cls) -> Self:
        """A random id."""
        return cls(urandom(cls.SIZE))

    @classmethod
    def nil(cls) -> Self:
        """The id that means "none"."""
        return cls(nil(cls.SIZE))

    @classmethod
    def size(cls) -> int:
        """Number of bytes of an id of this type."""
        return cls.SIZE

    def binary(self) -> bytes:
        """The id's bytes."""
        return self._binary

    def hex(self) -> str:
        """The id's bytes as lower-case hexadecimal digits."""
        return self._binary.hex()

    def is_nil(self) -> bool:
        """Whether this is the id that means "none"."""
        return self._binary == nil(self.SIZE)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._binary == self._binary

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._binary))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._binary.hex()})"

    def __reduce__(self) -> tuple[type[Self], tuple[bytes]]:
        return type(self), (self._binary,)


class UniqueID(BaseID):
    """28 random bytes."""

    __slots__ = ()


class NodeID(UniqueID):
    """A node of the cluster, in one life of its raylet."""

    __slots__ = ()


class WorkerID(UniqueID):
    """A driver or worker process."""

    __slots__ = ()


class FunctionID(UniqueID):
    """A function or class, by its content."""

    __slots__ = ()


class ActorClassID(UniqueID):
    """A class of actors, by its content."""

    __slots__ = ()


class JobID(BaseID):
    """A job: everything that one driver made."""

    __slots__ = ()
    SIZE = JOB_ID_BYTES

    @classmethod
    def from_int(cls, number: int) -> Self:
        """The job with this number, 0 to 2**32 - 2."""
        return cls(number.to_bytes(JOB_ID_BYTES, "little"))

    def int(self) -> int:
        """The job's number."""
        return int.from_bytes(self._binary, "little")


class ActorID(BaseID):
    """An actor, through all its restarts."""

    __slots__ = ()
    SIZE = ACTOR_ID_BYTES

    @property
    def job_id(self) -> JobID:
        """The job that made it."""
        return JobID(job_of(self._binary))


class TaskID(BaseID):
    """One call of a function or method, through all its attempts."""

    __slots__ = ()
    SIZE = TASK_ID_BYTES

    @classmethod
    def for_actor_creation_task(cls, actor_id: ActorID) -> Self:
        """The task that runs an actor's constructor."""
        return cls(creation_task_id(actor_id.binary()))

    def actor_id(self) -> ActorID:
        """The actor that runs it. For a call of a function: an id of no actor, made of its owner."""
        return ActorID(actor_of_task(self._binary))

    def job_id(self) -> JobID:
        """The job it belongs to."""
        return JobID(job_of(self._binary))


class ObjectID(BaseID):
    """The bytes of an object's id, without the ownership that makes an `ObjectRef`."""

    __slots__ = ()
    SIZE = OBJECT_ID_BYTES

    def task_id(self) -> TaskID:
        """The task that makes it; for a put an id of no task."""
        return TaskID(task_of_object(self._binary))

    def job_id(self) -> JobID:
        """The job it belongs to."""
        return JobID(job_of_object(self._binary))


class PlacementGroupID(BaseID):
    """A placement group."""

    __slots__ = ()
    SIZE = PLACEMENT_GROUP_ID_BYTES

    @classmethod
    def of(cls, job_id: JobID) -> Self:
        """A new random id for a group of this job."""
        return cls(urandom(PLACEMENT_GROUP_ID_BYTES - JOB_ID_BYTES) + job_id.binary())

    def job_id(self) -> JobID:
        """The job that made it."""
        return JobID(job_of(self._binary))


def _shown(text: str) -> str:
    """A user's text, cut to a length that a message can carry."""
    return repr(text if len(text) <= 64 else text[:61] + "...")
