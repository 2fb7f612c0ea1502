"""The scheduler's books as plain values, and one fair queue. Decisions are in the modules around it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from manta.core.strategy import Strategy
from manta.raylet.events import ActorWanted, PoolKey
from manta.raylet.scheduling.cluster import Other
from manta.raylet.scheduling.ledger import Amounts, GpuShares

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What makes demands the same to the scheduler: pool, depth, amounts that must be free, amounts that are taken, actor or not,
#: where they may run (None: here and nowhere else), the node that is best for them.
ShapeKey = tuple[PoolKey, int, tuple[tuple[str, int], ...], tuple[tuple[str, int], ...], bool, Strategy | None, bytes]


class Tier(NamedTuple):
    """Nodes that are equally good."""

    #: This one is among them.
    here: bool
    others: tuple[Other, ...]


def sorted_amounts(amounts: Amounts) -> tuple[tuple[str, int], ...]:
    """Amounts as a key; zeros are as good as absent."""
    return tuple(sorted((name, amount) for name, amount in amounts.items() if amount))


class WorkerState(Enum):
    """Where a worker process stands."""

    #: Forked or about to be; not connected yet.
    STARTING = "starting"
    #: Waits for work.
    IDLE = "idle"
    #: Lent out, or an actor.
    BUSY = "busy"
    #: Asked to leave, never lent again; stays while somebody needs what it owns.
    LEAVING = "leaving"
    #: Being killed; holds what it held until it is gone.
    DYING = "dying"


@dataclass(slots=True)
class Worker:
    """One worker process."""

    worker_id: bytes
    pool: PoolKey
    #: When it was asked for.
    born_at: float
    state: WorkerState = WorkerState.STARTING
    pid: int = 0
    #: It took too long to start and is being ended.
    overdue: bool = False
    #: When it connected.
    ready_at: float = 0.0
    #: Since when it is idle.
    idle_since: float = 0.0
    #: What it holds of the node.
    holds: Amounts = field(default_factory=dict)
    #: Shares of single GPUs it holds.
    shares: GpuShares = ()
    #: Its CPU is lent to others while it waits.
    lent: bool = False
    #: The lease it is under; 0 for none.
    lease_id: int = 0
    #: How deep in tasks that wait for tasks its work is, or was last.
    depth: int = 0
    #: Leases that ended well.
    leases_done: int = 0


@dataclass(slots=True)
class Lease:
    """A worker's loan to an owner, or to control for an actor."""

    lease_id: int
    owner: bytes
    key: int
    worker_id: bytes
    shape: ShapeKey
    granted_at: float
    actor: ActorWanted | None = None


@dataclass(slots=True)
class Demand:
    """What one owner wants for one of its keys."""

    owner: bytes
    key: int
    shape: ShapeKey
    job: bytes
    wanted: int = 0
    #: Leases it has.
    held: int = 0
    name: str = ""
    backlog: int = 0
    #: How many of the wanted leases other nodes are asked for, as the owner said, having heard of the spill of this number.
    away: int = 0
    spill_seen: int = 0
    #: Spills that it had not heard of when it said so: number and count, and their sum. `spilling` are about to be one.
    spills: list[tuple[int, int]] = field(default_factory=list)
    spilt: int = 0
    spilling: int = 0
    #: Number of the last one.
    spilled: int = 0
    #: Another node has sent it here: when what it has not got is refused. None for demands of this node.
    refuse_at: float | None = None
    #: It was told that it waits in vain.
    told: bool = False
    actor: ActorWanted | None = None

    @property
    def missing(self) -> int:
        """How many leases it would still take from this node, or be sent elsewhere for."""
        return max(0, self.wanted - self.held - self.away - self.spilling - self.spilt)


class Turns:
    """Demands that miss something, owner by owner in turn, and key by key within an owner."""

    __slots__ = ("_by_owner", "_owners")

    def __init__(self) -> None:
        self._owners: deque[bytes] = deque()
        self._by_owner: dict[bytes, deque[Demand]] = {}

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._by_owner.values())

    @property
    def owners(self) -> int:
        """How many owners are in line."""
        return len(self._owners)

    def __iter__(self) -> Iterator[Demand]:
        for owner in self._owners:
            yield from self._by_owner[owner]

    def add(self, demand: Demand) -> None:
        """At the end of its owner's line; no matter if it stands there already."""
        queue = self._by_owner.get(demand.owner)
        if queue is None:
            self._owners.append(demand.owner)
            self._by_owner[demand.owner] = deque((demand,))
        elif not any(other is demand for other in queue):
            queue.append(demand)

    def remove(self, demand: Demand) -> None:
        """Out of the line; no matter if it is not there."""
        queue = self._by_owner.get(demand.owner)
        if queue is None:
            return
        self._by_owner[demand.owner] = queue = deque(other for other in queue if other is not demand)
        if not queue:
            del self._by_owner[demand.owner]
            self._owners.remove(demand.owner)

    def next(self) -> Demand:
        """Whose turn it is; it and its owner go to the end of their lines."""
        owner = self._owners[0]
        self._owners.rotate(-1)
        queue = self._by_owner[owner]
        demand = queue[0]
        queue.rotate(-1)
        return demand


@dataclass(slots=True)
class Shape:
    """Demands that are the same to the scheduler, and how many leases they have together."""

    key: ShapeKey
    pool: PoolKey
    depth: int
    #: What must be free when one starts.
    needs: dict[str, int]
    #: What one then takes.
    holds: dict[str, int]
    is_actor: bool
    #: This node could give it, were it empty.
    feasible: bool
    #: Where it may run; None for here alone.
    strategy: Strategy | None
    #: The node that is best for it; empty for none.
    prefer: bytes
    #: Leases at a time before the brake on processes begins; None for no brake.
    bound: int | None
    turns: Turns = field(default_factory=Turns)
    #: Sum of what its demands miss.
    missing: int = 0
    #: Resources taken for workers that are still starting.
    reserved: int = 0
    #: Leases out, waiting ones included.
    active: int = 0
    #: Leases that the brake has allowed beyond `bound`.
    extra: int = 0
    #: When the brake yields next; None when nothing pushes against it.
    yields_at: float | None = None
    #: How long it held the last time.
    brake_s: float = 0.0
    #: Where it may run, as worked out for this version of what is known.
    tiers: list[Tier] = field(default_factory=list)
    tiers_of: tuple[int, int] | None = None
    #: What was known of others when none in a tier had room, and which tier that was.
    full: tuple[int, int] | None = None
    #: SPREAD: when each node last had its turn.
    spread_turns: dict[bytes, int] = field(default_factory=dict)

    @property
    def wants(self) -> int:
        """Leases to find a place for."""
        return self.missing - self.reserved


@dataclass(slots=True)
class Reservation:
    """Resources taken for a shape until a worker of its pool is there."""

    shape: Shape
    shares: GpuShares


@dataclass(slots=True)
class Pool:
    """Workers that are the same to everybody: one job, one environment."""

    key: PoolKey
    #: Workers without work, the most recently used last.
    idle: list[bytes] = field(default_factory=list)
    #: Workers on their way.
    starting: set[bytes] = field(default_factory=set)
    #: Every worker that is not dead.
    workers: set[bytes] = field(default_factory=set)
    #: What waits for the next worker, oldest first.
    reservations: deque[Reservation] = field(default_factory=deque)
    #: Starts that failed in a row, and workers that died young in a row.
    failed_starts: int = 0
    early_deaths: int = 0
    #: Why the last one failed.
    failure: str = ""
    #: One of its workers connected once; and the pool's environment is what keeps them from it.
    started_once: bool = False
    environment_failed: bool = False
    #: No start before this.
    not_before: float = 0.0
    #: Actors that took a worker lately: how many spares are worth keeping, and until when.
    burst: int = 0
    burst_until: float = 0.0
    #: Its job is over; it goes with its last worker.
    job_over: bool = False
