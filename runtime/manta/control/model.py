"""The nouns of control as frozen values: what tables hold, the store keeps and watchers see.

Ids are bytes, amounts are 1/10000ths in a plain mapping. Rows are replaced, never changed, so that a command may carry one and
whoever performs it later sees the state as it was decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NewType

from manta.core.strategy import ANYWHERE, Strategy

NodeId = NewType("NodeId", bytes)
WorkerId = NewType("WorkerId", bytes)
JobId = NewType("JobId", bytes)
ActorId = NewType("ActorId", bytes)

#: Resource name to 1/10000ths of its unit; absent means none.
Amounts = Mapping[str, int]

NO_NODE = NodeId(b"")


@dataclass(frozen=True, slots=True)
class Instant:
    """Now, twice: what intervals are measured on, and what people read.

    Attributes:
        s: Monotonic seconds; every decision uses this one.
        unix_ms: Wall clock; only stored and shown, as it may jump.
    """

    s: float
    unix_ms: int = 0


@dataclass(frozen=True, slots=True)
class Address:
    """Where a process can be reached on the channel; equal fields of the wire's Address."""

    node_id: NodeId
    worker_id: WorkerId
    endpoint: str = ""
    door: str = ""


class NodeState(IntEnum):
    """Numbers equal the wire's."""

    ALIVE = 1
    DEAD = 2
    #: Known from the store, not yet heard of since control started.
    EXPECTED = 3


class JobState(IntEnum):
    """Numbers equal the wire's."""

    RUNNING = 1
    SUCCEEDED = 2
    FAILED = 3


class ActorState(IntEnum):
    """Numbers equal the wire's ActorPhase."""

    DEPENDENCIES_UNREADY = 1
    PENDING_CREATION = 2
    ALIVE = 3
    RESTARTING = 4
    DEAD = 5


class DeathKind(IntEnum):
    """Numbers equal the wire's."""

    CREATION_FAILED = 1
    KILLED = 2
    OUT_OF_SCOPE = 3
    OWNER_DIED = 4
    JOB_FINISHED = 5
    NODE_DIED = 6
    SYSTEM_ERROR = 7
    INTENDED_USER_EXIT = 8
    USER_ERROR = 9
    OUT_OF_MEMORY = 10
    ENVIRONMENT_FAILED = 11
    UNSCHEDULABLE = 12
    PLACEMENT_GROUP_REMOVED = 13


@dataclass(frozen=True, slots=True)
class DeathCause:
    """Why an incarnation ended.

    Attributes:
        kind: For decisions.
        message: For people.
        error: The encoded ErrorInfo that came with it, handed on unread; empty if none did.
    """

    kind: DeathKind
    message: str = ""
    error: bytes = b""


@dataclass(frozen=True, slots=True)
class Drain:
    """A node is being taken out of service.

    Attributes:
        reason: For people.
        grace_ms: How long what runs may take, in all.
        deadline_unix_ms: Until when that is. The wall clock, as it is kept through restarts.
    """

    reason: str
    grace_ms: int
    deadline_unix_ms: int


@dataclass(frozen=True, slots=True)
class Pending:
    """Tasks of one shape that wait on one node."""

    amounts: Amounts
    count: int
    name: str = ""
    infeasible: str = ""


@dataclass(frozen=True, slots=True)
class Load:
    """What a node says of its work; see the wire's NodeLoad."""

    tasks: int = 0
    owners: int = 0
    actors: int = 0
    drivers: int = 0
    objects: int = 0
    object_bytes: int = 0
    pending: tuple[Pending, ...] = ()
    stuck_objects: int = 0
    stuck_bytes: int = 0
    stuck_reason: str = ""

    @property
    def idle(self) -> bool:
        """Whether nothing would be missed but objects."""
        return not (self.tasks or self.owners or self.actors or self.drivers)


@dataclass(frozen=True, slots=True)
class Node:
    """One raylet's life. A raylet that starts again is another node."""

    node_id: NodeId
    raylet_target: str
    channel_endpoint: str = ""
    #: How other nodes dial it; empty for not at all.
    door: str = ""
    host: str = ""
    name: str = ""
    pid: int = 0
    total: Amounts = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    head: bool = False
    state: NodeState = NodeState.ALIVE
    started_unix_ms: int = 0
    ended_unix_ms: int = 0
    death_reason: str = ""
    drain: Drain | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One driver and everything it made."""

    job_id: JobId
    namespace: str
    driver: Address
    driver_pid: int = 0
    entrypoint: str = ""
    config: bytes = b""
    #: The request that made it.
    request_id: bytes = b""
    state: JobState = JobState.RUNNING
    started_unix_ms: int = 0
    ended_unix_ms: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class ActorSpec:
    """What the owner said about an actor; never changes but for `spec` once its dependencies are there."""

    actor_id: ActorId
    job_id: JobId
    owner: Address
    #: Opaque creation spec.
    spec: bytes = b""
    #: Opaque, for handles.
    handle: bytes = b""
    name: str = ""
    namespace: str = ""
    detached: bool = False
    #: Taken while the constructor runs.
    place: Amounts = field(default_factory=dict)
    #: Held afterwards.
    hold: Amounts = field(default_factory=dict)
    #: -1 is for ever.
    max_restarts: int = 0
    env_hash: bytes = b""
    class_name: str = ""
    function_hash: bytes = b""
    #: Of its folders.
    piece_hashes: tuple[bytes, ...] = ()
    #: Where it may be placed.
    strategy: Strategy = ANYWHERE

    @property
    def durable(self) -> bool:
        """Whether it is written: nobody would announce it again after a restart, or others find it by name."""
        return self.detached or bool(self.name)

    @property
    def blobs(self) -> tuple[bytes, ...]:
        """Hashes of all that it is started from, and that is kept for it."""
        return (self.function_hash, *self.piece_hashes) if self.function_hash else self.piece_hashes


@dataclass(frozen=True, slots=True)
class Actor:
    """An actor's present state."""

    spec: ActorSpec
    state: ActorState
    #: Number of the latest start; 0 before the first. Calls and reports are fenced by it.
    incarnation: int = 0
    #: Where that start was placed; empty while it waits for a place.
    node_id: NodeId = NO_NODE
    #: Set while ALIVE.
    address: Address | None = None
    pid: int = 0
    #: Set when RESTARTING or DEAD.
    death: DeathCause | None = None
    num_restarts: int = 0
    #: Why it has no place yet.
    waiting_reason: str = ""
    #: Its last handle is gone: it ends after the calls it has.
    released: bool = False
    #: False: a raylet told of it after a restart and its owner has not yet; there is no creation spec.
    announced: bool = True
    created_unix_ms: int = 0
    ended_unix_ms: int = 0

    @property
    def actor_id(self) -> ActorId:
        """Its id."""
        return self.spec.actor_id


@dataclass(frozen=True, slots=True)
class RunningActor:
    """An actor as a raylet reports it when it registers."""

    actor_id: ActorId
    incarnation: int
    job_id: JobId
    owner: Address
    #: None while its constructor runs.
    address: Address | None = None
    pid: int = 0
    detached: bool = False
    hold: Amounts = field(default_factory=dict)
    class_name: str = ""
