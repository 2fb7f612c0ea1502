"""What can happen to control: every input of `state.py`. Each carries `cause`, what set it off, for logs and stories."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, ClassVar, dataclass_transform

from manta.control.groups.model import Group, GroupId
from manta.control.model import (
    ActorId,
    ActorSpec,
    Address,
    Amounts,
    DeathCause,
    JobId,
    JobState,
    Load,
    Node,
    NodeId,
    RunningActor,
    WorkerId,
)

_NOTHING: Mapping[str, int] = {}
_NO_BUNDLES: Mapping[GroupId, list[int]] = {}


# Not dataclasses: writing the methods of these twenty took 27 of the milliseconds in which control has to be ready.
@dataclass_transform(kw_only_default=True, frozen_default=True, eq_default=True)
class _Fields:
    """Fields are given by name; one without a default must be given."""

    _fields: ClassVar[dict[str, None]] = {}
    _required: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        own = vars(cls).get("__annotations__", {})
        cls._fields = cls._fields | dict.fromkeys(own)
        cls._required = cls._required | {name for name in own if name not in vars(cls)}

    def __init__(self, **fields: Any) -> None:
        given = fields.keys()
        if not (self._required <= given and given <= self._fields.keys()):
            missing, unknown = sorted(self._required - given), sorted(given - self._fields.keys())
            raise TypeError(f"{type(self).__name__}: missing {missing}, unknown {unknown}")
        self.__dict__.update(fields)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(getattr(self, name) == getattr(other, name) for name in self._fields)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self._fields)})"


class Event(_Fields):
    """Something that happened."""

    #: Id of the request, timer or stream that set it off.
    cause: str = ""


class Request(Event):
    """A mutating request of a client: repeating it changes nothing."""

    request_id: bytes


class RegisterNode(Request):
    """A raylet presents itself and all it runs."""

    node: Node
    #: What is free there; None: everything.
    available: Amounts | None = None
    actors: tuple[RunningActor, ...] = ()
    driver_ids: frozenset[WorkerId] = frozenset()
    job_ids: tuple[JobId, ...] = ()
    #: Bundles of placement groups that it holds.
    bundles: Mapping[GroupId, list[int]] = _NO_BUNDLES


class Heartbeat(Event):
    """A node lives and says what is free."""

    node_id: NodeId
    number: int
    available: Amounts
    gauges: Mapping[str, int] = _NOTHING
    #: What it has, if that has changed.
    total: Amounts | None = None
    load: Load | None = None


class DrainNode(Request):
    """Somebody takes a node out of service."""

    node_id: NodeId
    grace_ms: int
    reason: str = ""
    leaving: bool = False


class UnregisterNode(Request):
    """A node leaves on purpose."""

    node_id: NodeId
    reason: str = ""


class NodeConnected(Event):
    """A node opened its line."""

    node_id: NodeId
    stream: int


class NodeDisconnected(Event):
    """That line is closed."""

    node_id: NodeId
    stream: int


class WorkersDied(Request):
    """Processes that may have owned actors are gone."""

    node_id: NodeId
    worker_ids: tuple[WorkerId, ...]


class RegisterJob(Request):
    """A driver begins. `anonymous_namespace` is the shell's randomness, used when `namespace` is empty."""

    driver: Address
    driver_pid: int = 0
    entrypoint: str = ""
    config: bytes = b""
    namespace: str = ""
    anonymous_namespace: str = "anonymous"


class FinishJob(Request):
    """A driver ended."""

    job_id: JobId
    state: JobState
    message: str = ""


class KnownActor(_Fields):
    """What an owner knows of an actor it announces again."""

    incarnation: int
    num_restarts: int = 0
    address: Address | None = None


class CreateActor(Request):
    """An owner wants an actor, or announces one it has."""

    spec: ActorSpec
    get_if_exists: bool = False
    dependencies_unready: bool = False
    known: KnownActor | None = None


class DependenciesReady(Request):
    """The constructor's arguments exist; `spec` replaces the creation spec unless empty."""

    actor_id: ActorId
    spec: bytes = b""


class KillActor(Request):
    """Somebody kills an actor."""

    actor_id: ActorId
    no_restart: bool = True


class ReleaseActor(Request):
    """The last handle is gone."""

    actor_id: ActorId


class Outcome(IntEnum):
    """What became of a start."""

    STARTED = 1
    CREATION_FAILED = 2
    DIED = 3


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


class StartAnswered(Event):
    """A raylet answered a start command."""

    node_id: NodeId
    actor_id: ActorId
    incarnation: int
    verdict: Verdict
    reason: str = ""
    available: Amounts | None = None


class KvPut(Request):
    """Store a value."""

    namespace: str
    key: bytes
    value: bytes
    overwrite: bool = True


class KvDel(Request):
    """Delete a key, or all that start with it."""

    namespace: str
    key: bytes
    prefix: bool = False


class PutFunction(Request):
    """Leave a class's code."""

    job_id: JobId
    function_hash: bytes
    blob: bytes


class CreateGroup(Request):
    """A process wants a placement group."""

    group: Group


class RemoveGroup(Request):
    """A placement group ends."""

    group_id: GroupId


class BundlesAnswered(Event):
    """A raylet holds bundles back, or does not."""

    node_id: NodeId
    group_id: GroupId
    attempt: int
    accepted: bool
    reason: str = ""
    available: Amounts | None = None


class BundlesOpened(Event):
    """A raylet has opened bundles."""

    node_id: NodeId
    group_id: GroupId
    attempt: int


class Tick(Event):
    """Time passed: whatever is due happens."""
