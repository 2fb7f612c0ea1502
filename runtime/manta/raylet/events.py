"""What the scheduler hears and what it wants done. Plain values; every one names its cause."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from manta.core.strategy import ANYWHERE, Strategy
from manta.raylet.scheduling.ledger import Amounts

#: Workers of one pool are interchangeable: (job, environment).
PoolKey = tuple[bytes, bytes]


# ---- events


@dataclass(slots=True)
class DemandSet:
    """An owner says how many workers it could use for one of its keys, those it has included."""

    owner: bytes
    job: bytes
    key: int
    amounts: Amounts
    wanted: int
    environment: bytes = b""
    name: str = ""
    depth: int = 0
    backlog: int = 0
    #: Where they may come from, and the node that is best.
    strategy: Strategy = ANYWHERE
    prefer: bytes = b""
    #: How many of `wanted` are asked of other nodes, which takes account of spills up to that number.
    away: int = 0
    spill_seen: int = 0
    #: Another node has sent the owner here: how long what it does not get may wait, seconds; None for demands of this node.
    patience_s: float | None = None
    cause: str = ""


@dataclass(slots=True)
class LeaseBack:
    """An owner gives a lease back."""

    owner: bytes
    lease_id: int
    retire: bool = False
    kill: bool = False
    cause: str = ""


@dataclass(slots=True)
class OwnerGone:
    """An owner is dead or has left; what it leased is worth nothing to anybody."""

    owner: bytes
    cause: str = ""


@dataclass(slots=True)
class ActorWanted:
    """Control wants one life of an actor to start here."""

    actor_id: bytes
    incarnation: int
    job: bytes
    place: Amounts
    hold: Amounts
    environment: bytes = b""
    name: str = ""
    detached: bool = False
    cause: str = ""


@dataclass(slots=True)
class ActorUnwanted:
    """Control wants one life of an actor to end, if it is not over or not begun."""

    actor_id: bytes
    incarnation: int
    reason: str = ""
    cause: str = ""


@dataclass(slots=True)
class JobStarted:
    """A driver was admitted: its first tasks are not far."""

    job: bytes
    cause: str = ""


@dataclass(slots=True)
class JobFinished:
    """The driver is gone: so is everything but detached actors."""

    job: bytes
    cause: str = ""


@dataclass(slots=True)
class WorkerReady:
    """A started worker has connected and waits for work."""

    worker_id: bytes
    pid: int = 0
    cause: str = ""


@dataclass(slots=True)
class SpareReady:
    """A worker that belongs to no job yet has connected: on this node, workers without an environment do start."""

    cause: str = ""


@dataclass(slots=True)
class WorkerDied:
    """A worker process ended, or could not be started.

    Attributes:
        status: Exit code, or minus the signal; None when there never was a process.
        text: How and why, for people.
    """

    worker_id: bytes
    status: int | None
    text: str
    out_of_memory: bool = False
    cause: str = ""


@dataclass(slots=True)
class WorkerBlocked:
    """The task or call that a worker runs waits for objects."""

    worker_id: bytes
    cause: str = ""


@dataclass(slots=True)
class WorkerUnblocked:
    """It runs again."""

    worker_id: bytes
    cause: str = ""


@dataclass(slots=True)
class NodeSeen:
    """What is known of a living node.

    Attributes:
        total: None when only what is free there is news; the labels and the rest are not then.
        raylet: Where its raylet is dialled, opaque.
    """

    node_id: bytes
    available: Amounts
    total: Amounts | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    raylet: object = None
    draining: bool = False


@dataclass(slots=True)
class ClusterSeen:
    """What has changed on living nodes, this one included; with `anew`, all that there is."""

    nodes: tuple[NodeSeen, ...] = ()
    gone: tuple[bytes, ...] = ()
    anew: bool = False
    cause: str = "cluster"


@dataclass(slots=True)
class BundlesWanted:
    """Control wants bundles of a placement group held back here, all or none; or those held back opened."""

    group: bytes
    #: None opens.
    amounts: Mapping[int, Amounts] | None
    indexes: tuple[int, ...] = ()
    cause: str = ""


@dataclass(slots=True)
class BundlesUnwanted:
    """Control wants bundles given back; who uses them ends."""

    group: bytes
    indexes: tuple[int, ...]
    cause: str = ""


@dataclass(slots=True)
class GroupGone:
    """A placement group was removed: nothing that asks for it ever runs."""

    group: bytes
    cause: str = "cluster"


@dataclass(slots=True)
class Tick:
    """Time passed."""

    cause: str = "time"


Event = (
    DemandSet
    | LeaseBack
    | OwnerGone
    | ActorWanted
    | ActorUnwanted
    | JobStarted
    | JobFinished
    | WorkerReady
    | SpareReady
    | WorkerDied
    | WorkerBlocked
    | WorkerUnblocked
    | ClusterSeen
    | BundlesWanted
    | BundlesUnwanted
    | GroupGone
    | Tick
)


# ---- commands


@dataclass(slots=True)
class StartWorker:
    """Fork a worker of this pool; `WorkerReady` or `WorkerDied` follows."""

    worker_id: bytes
    pool: PoolKey
    cause: str


@dataclass(slots=True)
class Grant:
    """Lend the worker to the owner."""

    lease_id: int
    owner: bytes
    key: int
    worker_id: bytes
    amounts: Amounts
    gpu_ids: tuple[str, ...]
    cause: str


@dataclass(slots=True)
class Spill:
    """Send the owner to another node for some of what it wants."""

    owner: bytes
    key: int
    number: int
    node_id: bytes
    raylet: object
    count: int
    patience_s: float
    cause: str


@dataclass(slots=True)
class Refuse:
    """Tell an owner of another node that it does not get some of what it was sent here for."""

    owner: bytes
    key: int
    count: int
    cause: str


@dataclass(slots=True)
class TellUnschedulable:
    """Tell the owner that its demand names what is not there. The demand is over."""

    owner: bytes
    key: int
    text: str
    cause: str


@dataclass(slots=True)
class TellGroupGone:
    """Tell the owner that the placement group of its demand was removed. The demand is over."""

    owner: bytes
    key: int
    cause: str


@dataclass(slots=True)
class BecomeActor:
    """Make the worker this life of this actor."""

    lease_id: int
    actor_id: bytes
    incarnation: int
    worker_id: bytes
    amounts: Amounts
    gpu_ids: tuple[str, ...]
    cause: str


@dataclass(slots=True)
class TellInfeasible:
    """Tell the owner that its demand waits in vain, and why."""

    owner: bytes
    key: int
    text: str
    cause: str


@dataclass(slots=True)
class TellEnvironmentFailed:
    """Tell the owner that the environment of its demand cannot be set up, and why. The demand is over."""

    owner: bytes
    key: int
    text: str
    cause: str


@dataclass(slots=True)
class TellActorWaits:
    """Tell people that an actor waits in vain, and why."""

    actor_id: bytes
    incarnation: int
    job: bytes
    text: str
    cause: str


@dataclass(slots=True)
class Reclaim:
    """Ask an owner for leases that others could use."""

    owner: bytes
    count: int
    cause: str


@dataclass(slots=True)
class AskExit:
    """Ask a worker to leave; it is not lent any more. It may stay for as long as somebody needs what it owns."""

    worker_id: bytes
    reason: str
    cause: str


@dataclass(slots=True)
class KillWorker:
    """End a worker and everything it started; `WorkerDied` follows."""

    worker_id: bytes
    reason: str
    cause: str


@dataclass(slots=True)
class EndStart:
    """End a worker that has not connected, or whatever keeps it from being forked; `WorkerDied` follows."""

    worker_id: bytes
    reason: str
    cause: str


@dataclass(slots=True)
class TellLeaseLost:
    """Tell an owner that the worker of its lease is dead."""

    owner: bytes
    lease_id: int
    worker_id: bytes
    status: int | None
    text: str
    out_of_memory: bool
    cause: str


@dataclass(slots=True)
class ReportActorDied:
    """Tell control that a life of an actor is over, or never began."""

    actor_id: bytes
    incarnation: int
    worker_id: bytes
    status: int | None
    text: str
    out_of_memory: bool
    cause: str


@dataclass(slots=True)
class ClosePool:
    """No worker of this pool will be needed any more."""

    pool: PoolKey
    cause: str


Command = (
    StartWorker
    | Grant
    | Spill
    | Refuse
    | TellUnschedulable
    | TellGroupGone
    | BecomeActor
    | TellInfeasible
    | TellEnvironmentFailed
    | TellActorWaits
    | Reclaim
    | AskExit
    | KillWorker
    | EndStart
    | TellLeaseLost
    | ReportActorDied
    | ClosePool
)
