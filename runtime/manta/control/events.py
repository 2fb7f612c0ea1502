"""What can happen to control: every input of `state.py`. Each carries `cause`, what set it off, for logs and stories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from manta.control.model import (
    ActorId,
    ActorSpec,
    Address,
    Amounts,
    DeathCause,
    JobId,
    JobState,
    Node,
    NodeId,
    RunningActor,
    WorkerId,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened."""

    #: Id of the request, timer or stream that set it off.
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Event):
    """A mutating request of a client: repeating it changes nothing."""

    request_id: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterNode(Request):
    """A raylet presents itself and all it runs."""

    node: Node
    #: What is free there; None: everything.
    available: Amounts | None = None
    actors: tuple[RunningActor, ...] = ()
    driver_ids: frozenset[WorkerId] = frozenset()
    job_ids: tuple[JobId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat(Event):
    """A node lives and says what is free."""

    node_id: NodeId
    number: int
    available: Amounts
    gauges: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnregisterNode(Request):
    """A node leaves on purpose."""

    node_id: NodeId
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConnected(Event):
    """A node opened its watch stream."""

    node_id: NodeId
    stream: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDisconnected(Event):
    """That stream is closed."""

    node_id: NodeId
    stream: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersDied(Request):
    """Processes that may have owned actors are gone."""

    node_id: NodeId
    worker_ids: tuple[WorkerId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterJob(Request):
    """A driver begins. `anonymous_namespace` is the shell's randomness, used when `namespace` is empty."""

    driver: Address
    driver_pid: int = 0
    entrypoint: str = ""
    config: bytes = b""
    namespace: str = ""
    anonymous_namespace: str = "anonymous"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishJob(Request):
    """A driver ended."""

    job_id: JobId
    state: JobState
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownActor:
    """What an owner knows of an actor it announces again."""

    incarnation: int
    num_restarts: int = 0
    address: Address | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateActor(Request):
    """An owner wants an actor, or announces one it has."""

    spec: ActorSpec
    get_if_exists: bool = False
    dependencies_unready: bool = False
    known: KnownActor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DependenciesReady(Request):
    """The constructor's arguments exist; `spec` replaces the creation spec unless empty."""

    actor_id: ActorId
    spec: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class KillActor(Request):
    """Somebody kills an actor."""

    actor_id: ActorId
    no_restart: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseActor(Request):
    """The last handle is gone."""

    actor_id: ActorId


class Outcome(IntEnum):
    """What became of a start."""

    STARTED = 1
    CREATION_FAILED = 2
    DIED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportActor(Event):
    """A raylet says what became of an incarnation."""

    node_id: NodeId
    actor_id: ActorId
    incarnation: int
    outcome: Outcome
    address: Address | None = None
    pid: int = 0
    death: DeathCause | None = None
    available: Amounts | None = None


class Verdict(IntEnum):
    """A raylet's answer to a start; numbers equal the wire's."""

    ACCEPTED = 1
    STALE = 2
    REFUSED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class StartAnswered(Event):
    """A raylet answered a start command."""

    node_id: NodeId
    actor_id: ActorId
    incarnation: int
    verdict: Verdict
    reason: str = ""
    available: Amounts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KvPut(Request):
    """Store a value."""

    namespace: str
    key: bytes
    value: bytes
    overwrite: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class KvDel(Request):
    """Delete a key, or all that start with it."""

    namespace: str
    key: bytes
    prefix: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PutFunction(Request):
    """Leave a class's code."""

    job_id: JobId
    function_hash: bytes
    blob: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick(Event):
    """Time passed: whatever is due happens."""
