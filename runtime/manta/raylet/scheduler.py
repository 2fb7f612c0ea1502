"""Who gets a worker: events in, commands out. Pure; `now` is passed in, ids are made by an injected function.

The rules, in the order in which they bind:

1. Resources are taken before a worker is started and given back when the worker is done or dead: never promised twice.
2. Demands of one shape (pool, depth, amounts) are served owner by owner in turn; shapes are served in turn too, and one that does
   not fit never stands in the way of one that does. The price: small requests can overtake a large one for as long as they come.
3. A task that waits lends its CPU, nothing else, and takes it back at once when it wakes.
4. Of one shape at most as many leases are out as the node has CPUs for, waiting ones included; a deeper task is another shape. So
   recursion always gets its next level, and a thousand waiting tasks do not become a thousand processes; but the wait may be
   for a task of the same shape, so the brake yields step by step while nothing ends.
5. A pool whose workers die at the start is given time before the next try, and those who wait are told.

Cost: an event costs O(shapes that wait), never O(tasks queued): a demand is a number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, assert_never

from manta.core.resources import CPU, UNIT
from manta.raylet.audit import check
from manta.raylet.events import (
    ActorUnwanted,
    ActorWanted,
    AskExit,
    BecomeActor,
    ClosePool,
    ClusterSeen,
    Command,
    DemandSet,
    Event,
    Grant,
    JobFinished,
    JobStarted,
    KillWorker,
    LeaseBack,
    OwnerGone,
    PoolKey,
    Reclaim,
    ReportActorDied,
    StartWorker,
    TellActorWaits,
    TellInfeasible,
    TellLeaseLost,
    Tick,
    WorkerBlocked,
    WorkerDied,
    WorkerReady,
    WorkerUnblocked,
)
from manta.raylet.fairness import whom_to_ask
from manta.raylet.leases import (
    Demand,
    Lease,
    Pool,
    Reservation,
    Shape,
    ShapeKey,
    Worker,
    WorkerState,
    sorted_amounts,
)
from manta.raylet.ledger import Amounts, GpuShares, Ledger
from manta.raylet.texts import why_infeasible

#: The "owner" of leases that actors hold; no process has this id.
CONTROL_OWNER: Final = b"control"

#: Events remembered for `story`.
STORY_EVENTS: Final = 4096


@dataclass(frozen=True, slots=True)
class Limits:
    """What a node does in moderation."""

    #: Workers being started at one time. More do not start sooner, they only share the CPUs while the first is waited for.
    max_starting: int = 8
    #: Workers forked when a driver is admitted, for its first tasks.
    prestart: int = 4
    #: Idle workers kept for actors to come, at most.
    max_spares: int = 16
    #: An actor start is "lately" for so long, seconds.
    spare_window_s: float = 2.0
    #: An idle worker above the node's CPUs is asked to leave after this, seconds.
    idle_s: float = 1.0
    #: How long the brake on a shape's processes holds first and at most, seconds.
    brake_first_s: float = 0.25
    brake_cap_s: float = 10.0
    #: Leases of a shape that takes nothing at all.
    nothing_bound: int = 128
    #: A lease is asked back for others when it is this old, seconds; shorter turns would cost more than they serve.
    turn_s: float = 0.05
    #: Failed starts in a row before waiting (and before those who wait are told), and the longest wait, seconds.
    failed_starts: int = 3
    failed_start_cap_s: float = 5.0
    #: Workers that die within `young_s` of their start, in a row, before starts slow down; and the longest wait, seconds.
    #: The wait is short: a fork costs milliseconds, so five a second are no storm, and what is poisoned should fail soon.
    early_deaths: int = 10
    early_death_cap_s: float = 0.2
    young_s: float = 1.0


class Scheduler:
    """The leases of one node.

    Args:
        ledger: The node's resources; the scheduler's own from now on.
        make_id: Makes the id of a new worker of a pool.
        limits: What it does in moderation.
    """

    def __init__(self, ledger: Ledger, *, make_id: Callable[[PoolKey], bytes], limits: Limits | None = None) -> None:
        self.ledger = ledger
        self.limits = limits or Limits()
        self._make_id = make_id
        self._workers: dict[bytes, Worker] = {}
        self._pools: dict[PoolKey, Pool] = {}
        self._leases: dict[int, Lease] = {}
        self._demands: dict[tuple[bytes, int], Demand] = {}
        self._shapes: dict[ShapeKey, Shape] = {}
        #: Shapes that want more than they have, in the order in which they are served.
        self._waiting: dict[ShapeKey, Shape] = {}
        #: Actor lives that are queued or live here: (actor, incarnation) -> demand key or lease.
        self._actors: dict[bytes, Demand | Lease] = {}
        #: Jobs that are over; a detached actor may still start under one. Ids are never given twice, and 4 bytes long.
        self._over: set[bytes] = set()
        self._last_lease = 0
        self._last_actor_key = 0
        self._reclaimed_at: dict[bytes, float] = {}
        self._cluster: dict[bytes, Amounts] = {}
        self._cpus = max(1, ledger.total.get(CPU, 0) // UNIT)
        #: When `Tick` is due; None when time alone changes nothing.
        self.wake_at: float | None = None
        self._story: deque[tuple[float, Event, list[Command]]] = deque(maxlen=STORY_EVENTS)
        self._counts = {"granted": 0, "returned": 0, "started": 0, "died": 0, "actors": 0}

    # ---- what happens

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event; return what is to be done, in order."""
        out: list[Command] = []
        match event:
            case DemandSet():
                self._demand_set(event)
            case LeaseBack():
                self._lease_back(event, now, out)
            case WorkerBlocked():
                self._blocked(event.worker_id)
            case WorkerUnblocked():
                self._unblocked(event.worker_id)
            case WorkerReady():
                self._worker_ready(event, now, out)
            case WorkerDied():
                self._worker_died(event, now, out)
            case OwnerGone():
                self._owner_gone(event.owner, event.cause, out)
            case ActorWanted():
                self._actor_wanted(event)
            case ActorUnwanted():
                self._actor_unwanted(event, out)
            case JobStarted():
                self._job_started(event, now, out)
            case JobFinished():
                self._job_finished(event, out)
            case ClusterSeen():
                self._cluster = event.nodes
            case Tick():
                pass
            case _:
                assert_never(event)
        self._place(now, event.cause, out)
        self._story.append((now, event, out))
        return out

    def _demand_set(self, event: DemandSet) -> None:
        asking = self._workers.get(event.owner)
        if asking is not None and asking.state is WorkerState.DYING:
            return
        demand = self._demands.get((event.owner, event.key))
        if demand is None and event.wanted == 0:
            return
        pool_key = (event.job, event.environment)
        amounts = sorted_amounts(event.amounts)
        # What a task submits is one deeper than itself, whether its process says so or not.
        depth = max(event.depth, asking.depth + 1) if asking is not None else event.depth
        shape_key: ShapeKey = (pool_key, depth, amounts, amounts, False)
        if demand is not None and demand.shape != shape_key:
            # Another depth or other amounts under the same number: what is out stays out, the rest waits anew.
            self._want(demand, 0)
            demand.shape, demand.told = shape_key, False
        if demand is None:
            demand = Demand(event.owner, event.key, shape_key, event.job)
            self._demands[event.owner, event.key] = demand
        demand.name, demand.backlog = event.name, event.backlog
        if event.wanted == 0:
            demand.told = False
        self._want(demand, event.wanted)
        self._forget_if_over(demand)

    def _lease_back(self, event: LeaseBack, now: float, out: list[Command]) -> None:
        lease = self._leases.get(event.lease_id)
        if lease is None or lease.owner != event.owner or lease.actor is not None:
            return
        worker = self._workers[lease.worker_id]
        self._end_lease(lease)
        self._counts["returned"] += 1
        if worker.state is WorkerState.DYING:
            return
        if event.kill:
            self._kill(worker, "its owner asked for it", event.cause, out)
            return
        pool = self._pools[worker.pool]
        pool.early_deaths = 0
        worker.leases_done += 1
        self._release(worker)
        if event.retire:
            worker.state = WorkerState.LEAVING
            out.append(AskExit(worker.worker_id, "it has done its part", event.cause))
        else:
            self._worker_free(worker, pool, now, event.cause, out)

    def _blocked(self, worker_id: bytes) -> None:
        worker = self._workers.get(worker_id)
        if worker is None or worker.state is not WorkerState.BUSY or worker.lent:
            return
        worker.lent = True
        self.ledger.lend_cpu(worker.holds.get(CPU, 0))

    def _unblocked(self, worker_id: bytes) -> None:
        worker = self._workers.get(worker_id)
        if worker is None or not worker.lent:
            return
        worker.lent = False
        self.ledger.retake_cpu(worker.holds.get(CPU, 0))

    def _worker_ready(self, event: WorkerReady, now: float, out: list[Command]) -> None:
        worker = self._workers.get(event.worker_id)
        if worker is None or worker.state is not WorkerState.STARTING:
            return
        pool = self._pools[worker.pool]
        pool.starting.discard(worker.worker_id)
        pool.failed_starts, pool.failure = 0, ""
        worker.pid, worker.ready_at = event.pid, now
        self._worker_free(worker, pool, now, event.cause, out)

    def _worker_free(self, worker: Worker, pool: Pool, now: float, cause: str, out: list[Command]) -> None:
        """A worker of `pool` has nothing to do: what was reserved first comes first."""
        if pool.reservations:
            reservation = pool.reservations.popleft()
            reservation.shape.reserved -= 1
            self._lend(reservation.shape, worker, reservation.shares, now, cause, out)
            return
        worker.state = WorkerState.IDLE
        worker.idle_since = now
        pool.idle.append(worker.worker_id)

    def _worker_died(self, event: WorkerDied, now: float, out: list[Command]) -> None:
        worker = self._workers.pop(event.worker_id, None)
        if worker is None:
            return
        self._counts["died"] += 1
        pool = self._pools[worker.pool]
        pool.workers.discard(worker.worker_id)
        self._blame(pool, worker, event, now, out)
        if worker.state is WorkerState.STARTING:
            pool.starting.discard(worker.worker_id)
        elif worker.state is WorkerState.IDLE:
            pool.idle.remove(worker.worker_id)
        lease = self._leases.get(worker.lease_id)
        if lease is not None:
            self._end_lease(lease)
            if lease.actor is not None:
                out.append(self._actor_report(lease.actor, event))
            else:
                out.append(
                    TellLeaseLost(
                        lease.owner, lease.lease_id, worker.worker_id, event.status, event.text, event.out_of_memory,
                        event.cause,
                    )
                )  # fmt: skip
        self._release(worker)
        self._trim_reservations(pool)
        self._owner_gone(worker.worker_id, event.cause, out)
        self._close_if_over(pool, event.cause, out)

    def _blame(self, pool: Pool, worker: Worker, event: WorkerDied, now: float, out: list[Command]) -> None:
        """Count deaths that would repeat themselves, and slow the next start down."""
        limits = self.limits
        if worker.state is WorkerState.STARTING:
            pool.failed_starts += 1
            pool.failure = event.text
            over = pool.failed_starts - limits.failed_starts
            if over >= 0:
                pool.not_before = now + min(limits.failed_start_cap_s, 0.1 * 2 ** min(over, 16))
                self._tell_pool_broken(pool, event, out)
        elif (
            worker.state is not WorkerState.DYING
            and event.status not in (0, None)
            and worker.leases_done == 0
            and now - worker.ready_at < limits.young_s
        ):
            pool.early_deaths += 1
            over = pool.early_deaths - limits.early_deaths
            if over >= 0:
                pool.not_before = now + min(limits.early_death_cap_s, 0.05 * 2 ** min(over, 16))

    def _tell_pool_broken(self, pool: Pool, event: WorkerDied, out: list[Command]) -> None:
        text = (
            f"workers for it do not start: {pool.failed_starts} in a row ended before they were ready, the last with: "
            f"{pool.failure}"
        )
        for shape in [shape for shape in self._waiting.values() if shape.pool == pool.key]:
            for demand in list(shape.turns):
                if demand.actor is not None:
                    self._drop_actor(demand)
                    out.append(self._actor_report(demand.actor, event, text))
                elif not demand.told:
                    demand.told = True
                    out.append(TellInfeasible(demand.owner, demand.key, text, event.cause))

    @staticmethod
    def _actor_report(actor: ActorWanted, event: WorkerDied, text: str | None = None) -> ReportActorDied:
        status = event.status if text is None else None
        worker_id = event.worker_id if text is None else b""
        return ReportActorDied(
            actor.actor_id, actor.incarnation, worker_id, status, text or event.text, event.out_of_memory, event.cause
        )

    def _owner_gone(self, owner: bytes, cause: str, out: list[Command]) -> None:
        for demand in [demand for (of, _), demand in self._demands.items() if of == owner]:
            self._want(demand, 0)
            del self._demands[owner, demand.key]
        for lease in [lease for lease in self._leases.values() if lease.owner == owner]:
            self._end_lease(lease)
            self._kill(self._workers[lease.worker_id], "the owner of its task is gone", cause, out)
        self._reclaimed_at.pop(owner, None)

    def _actor_wanted(self, event: ActorWanted) -> None:
        if event.actor_id in self._actors:
            return
        self._last_actor_key += 1
        holds, place = sorted_amounts(event.hold), sorted_amounts(event.place)
        # What it takes must fit; what placing it asks for must be free then, and stays free.
        needs = dict(holds)
        for name, amount in place:
            needs[name] = max(amount, needs.get(name, 0))
        key: ShapeKey = ((event.job, event.environment), 0, sorted_amounts(needs), holds, True)
        demand = Demand(CONTROL_OWNER, self._last_actor_key, key, event.job, name=event.name, actor=event)
        self._demands[CONTROL_OWNER, demand.key] = demand
        self._actors[event.actor_id] = demand
        self._want(demand, 1)

    def _actor_unwanted(self, event: ActorUnwanted, out: list[Command]) -> None:
        found = self._actors.get(event.actor_id)
        if found is None or found.actor is None or found.actor.incarnation != event.incarnation:
            return
        if isinstance(found, Demand):
            self._drop_actor(found)
            text = event.reason or "killed before it was started"
            out.append(ReportActorDied(event.actor_id, event.incarnation, b"", None, text, False, event.cause))
        else:
            self._kill(self._workers[found.worker_id], event.reason or "the actor was killed", event.cause, out)

    def _job_started(self, event: JobStarted, now: float, out: list[Command]) -> None:
        pool = self._pool((event.job, b""))
        for _ in range(min(self._cpus, self.limits.prestart) - len(pool.workers)):
            if self._starting() < self.limits.max_starting:
                self._start(pool, now, event.cause, out)

    def _job_finished(self, event: JobFinished, out: list[Command]) -> None:
        self._over.add(event.job)
        stays = {
            lease.worker_id
            for lease in self._leases.values()
            if lease.actor is not None and lease.actor.job == event.job and lease.actor.detached
        }
        # What detached actors have leased goes on as well.
        stays |= {lease.worker_id for lease in self._leases.values() if lease.owner in stays}
        for pool in self._pools.values():
            if pool.key[0] == event.job:
                for worker_id in pool.workers - stays:
                    lease = self._leases.get(self._workers[worker_id].lease_id)
                    if lease is not None and lease.actor is None:
                        self._end_lease(lease)
        for demand in [demand for demand in self._demands.values() if demand.job == event.job]:
            if demand.actor is not None and demand.actor.detached:
                continue
            if demand.owner not in stays:
                if demand.actor is not None:
                    self._actors.pop(demand.actor.actor_id, None)
                self._want(demand, 0)
                del self._demands[demand.owner, demand.key]
        for pool in [pool for pool in self._pools.values() if pool.key[0] == event.job]:
            pool.job_over = True
            for worker_id in sorted(pool.workers - stays):
                self._kill(self._workers[worker_id], "its job is over", event.cause, out)
            self._close_if_over(pool, event.cause, out)

    # ---- placing

    def _place(self, now: float, cause: str, out: list[Command]) -> None:
        """Serve whom it can, then look after spares, idle workers and the next tick."""
        self.wake_at = None
        progress = True
        while progress and self._waiting:
            progress = False
            for shape in list(self._waiting.values()):
                if shape.wants > 0 and self._serve_one(shape, now, cause, out):
                    progress = True
                    if shape.key in self._waiting:
                        # Behind the others: the next free CPU is theirs.
                        del self._waiting[shape.key]
                        self._waiting[shape.key] = shape
        if self._waiting:
            self._tell_infeasible(cause, out)
            self._ask_back(now, cause, out)
        self._keep_spares(now, cause, out)
        self._let_go(now, cause, out)

    def _serve_one(self, shape: Shape, now: float, cause: str, out: list[Command]) -> bool:
        """Give the shape one lease, or one worker on its way; False when it has to wait."""
        if not shape.feasible or not self.ledger.fits(shape.needs):
            return False
        pool = self._pool(shape.pool)
        if not pool.idle and not self._may_start(pool, now):
            return False
        if not self._brake(shape, now):
            return False
        shares = self.ledger.take(shape.holds)
        if pool.idle:
            # The last one in is the warmest; the first ones in get old and leave.
            worker = self._workers[pool.idle.pop()]
            self._lend(shape, worker, shares, now, cause, out)
            return True
        shape.reserved += 1
        pool.reservations.append(Reservation(shape, shares))
        if len(pool.starting) < len(pool.reservations):
            self._start(pool, now, cause, out)
        return True

    def _may_start(self, pool: Pool, now: float) -> bool:
        if len(pool.starting) > len(pool.reservations):
            return True
        if now < pool.not_before:
            self._wake(pool.not_before)
            return False
        return self._starting() < self.limits.max_starting

    def _starting(self) -> int:
        return sum(len(pool.starting) for pool in self._pools.values())

    def _brake(self, shape: Shape, now: float) -> bool:
        """Whether one more lease of this shape may be out."""
        if shape.bound is None or shape.active + shape.reserved < shape.bound + shape.extra:
            return True
        if shape.yields_at is None:
            shape.brake_s = self.limits.brake_first_s
            shape.yields_at = now + shape.brake_s
        if now < shape.yields_at:
            self._wake(shape.yields_at)
            return False
        shape.extra += min(shape.bound, self._cpus)
        shape.brake_s = min(self.limits.brake_cap_s, shape.brake_s * 2)
        shape.yields_at = now + shape.brake_s
        return True

    def _lend(
        self, shape: Shape, worker: Worker, shares: GpuShares, now: float, cause: str, out: list[Command]
    ) -> None:
        """Give a worker to whoever's turn it is; the resources are taken already."""
        demand = shape.turns.next()
        self._last_lease += 1
        lease = Lease(self._last_lease, demand.owner, demand.key, worker.worker_id, shape.key, now, demand.actor)
        self._leases[lease.lease_id] = lease
        worker.state = WorkerState.BUSY
        worker.depth = shape.depth
        worker.holds, worker.shares, worker.lease_id = shape.holds, shares, lease.lease_id
        shape.active += 1
        shape.missing -= 1
        demand.held += 1
        if not demand.missing:
            shape.turns.remove(demand)
        self._refile(shape)
        gpu_ids = tuple(name for name, _ in shares)
        if demand.actor is None:
            self._counts["granted"] += 1
            out.append(Grant(lease.lease_id, demand.owner, demand.key, worker.worker_id, shape.holds, gpu_ids, cause))
            return
        self._counts["actors"] += 1
        actor = demand.actor
        self._actors[actor.actor_id] = lease
        del self._demands[demand.owner, demand.key]
        pool = self._pools[shape.pool]
        pool.burst = min(self.limits.max_spares, (pool.burst if now < pool.burst_until else 0) + 1)
        pool.burst_until = now + self.limits.spare_window_s
        out.append(
            BecomeActor(
                lease.lease_id, actor.actor_id, actor.incarnation, worker.worker_id, shape.holds, gpu_ids, cause
            )
        )

    def _start(self, pool: Pool, now: float, cause: str, out: list[Command]) -> None:
        worker = Worker(self._make_id(pool.key), pool.key, now)
        self._workers[worker.worker_id] = worker
        pool.workers.add(worker.worker_id)
        pool.starting.add(worker.worker_id)
        self._counts["started"] += 1
        out.append(StartWorker(worker.worker_id, pool.key, cause))

    def _tell_infeasible(self, cause: str, out: list[Command]) -> None:
        for shape in self._waiting.values():
            if shape.feasible:
                continue
            for demand in shape.turns:
                if demand.told:
                    continue
                demand.told = True
                text = why_infeasible(shape, demand, self._cluster.values(), self.ledger.total)
                if demand.actor is None:
                    out.append(TellInfeasible(demand.owner, demand.key, text, cause))
                else:
                    actor = demand.actor
                    out.append(TellActorWaits(actor.actor_id, actor.incarnation, demand.job, text, cause))

    def _ask_back(self, now: float, cause: str, out: list[Command]) -> None:
        """Ask owners that have leases for as many as others wait for, at most once a turn each."""
        starved = [shape for shape in self._waiting.values() if shape.feasible and not self.ledger.fits(shape.needs)]
        if not starved:
            return
        lent = {lease_id for lease_id, lease in self._leases.items() if self._workers[lease.worker_id].lent}
        helpful, look_again = whom_to_ask(
            [lease for lease in self._leases.values() if lease.actor is None and lease.lease_id not in lent],
            [demand for shape in starved for demand in shape.turns],
            turn_s=self.limits.turn_s,
            now=now,
        )
        for owner, count in helpful.items():
            if now - self._reclaimed_at.get(owner, float("-inf")) >= self.limits.turn_s:
                self._reclaimed_at[owner] = now
                out.append(Reclaim(owner, count, cause))
        if look_again is not None:
            self._wake(look_again)

    def _keep_spares(self, now: float, cause: str, out: list[Command]) -> None:
        """Fork workers before actors ask for them."""
        for pool in self._pools.values():
            if pool.job_over or not pool.burst:
                continue
            if now >= pool.burst_until:
                # One stays for the next actor, whenever that is.
                pool.burst = 1
            else:
                self._wake(pool.burst_until)
            while len(pool.idle) + len(pool.starting) - len(pool.reservations) < pool.burst:
                if now < pool.not_before or self._starting() >= self.limits.max_starting:
                    break
                self._start(pool, now, cause, out)

    def _let_go(self, now: float, cause: str, out: list[Command]) -> None:
        """Ask idle workers above what is worth keeping to leave, the longest idle first."""
        idle = sum(len(pool.idle) for pool in self._pools.values())
        spares = sum(pool.burst for pool in self._pools.values())
        keep = max(self._cpus, spares)
        if idle <= keep:
            return
        # Each pool's line is in order of idleness already.
        lines = [(self._workers[pool.idle[0]].idle_since, pool) for pool in self._pools.values() if pool.idle]
        while idle > keep and lines:
            lines.sort(key=lambda line: line[0])
            since, pool = lines[0]
            if now - since < self.limits.idle_s:
                self._wake(since + self.limits.idle_s)
                return
            worker = self._workers[pool.idle.pop(0)]
            worker.state = WorkerState.LEAVING
            out.append(AskExit(worker.worker_id, "it was idle", cause))
            idle -= 1
            if pool.idle:
                lines[0] = (self._workers[pool.idle[0]].idle_since, pool)
            else:
                del lines[0]

    # ---- books

    def _want(self, demand: Demand, wanted: int) -> None:
        """Set what a demand wants; its shape's sums, line and reservations follow."""
        before = demand.missing
        demand.wanted = wanted
        self._missing_changed(demand, before)

    def _missing_changed(self, demand: Demand, before: int) -> None:
        after = demand.missing
        if after == before:
            return
        shape = self._shape(demand.shape)
        shape.missing += after - before
        if not before:
            shape.turns.add(demand)
        elif not after:
            shape.turns.remove(demand)
        while shape.reserved > shape.missing:
            self._drop_reservation(shape)
        self._refile(shape)

    def _refile(self, shape: Shape) -> None:
        """The shape waits or not; forget it when nothing speaks of it."""
        if shape.missing:
            self._waiting.setdefault(shape.key, shape)
            return
        self._waiting.pop(shape.key, None)
        shape.yields_at = None
        if not shape.active:
            self._shapes.pop(shape.key, None)

    def _drop_reservation(self, shape: Shape) -> None:
        """Give back what was taken for a worker on its way; the worker comes all the same."""
        reservations = self._pools[shape.pool].reservations
        for at in range(len(reservations) - 1, -1, -1):
            if reservations[at].shape is shape:
                self.ledger.give_back(shape.holds, reservations[at].shares)
                del reservations[at]
                shape.reserved -= 1
                return
        raise AssertionError("a shape counts a reservation that its pool does not have")

    def _trim_reservations(self, pool: Pool) -> None:
        while len(pool.reservations) > len(pool.starting):
            self._drop_reservation(pool.reservations[-1].shape)

    def _end_lease(self, lease: Lease) -> None:
        """The owner has it no longer; the worker may hold its resources a while yet."""
        del self._leases[lease.lease_id]
        worker = self._workers.get(lease.worker_id)
        if worker is not None:
            worker.lease_id = 0
        shape = self._shapes[lease.shape]
        shape.active -= 1
        # Something ended: the brake starts anew.
        shape.extra, shape.yields_at = 0, None
        if lease.actor is not None:
            self._actors.pop(lease.actor.actor_id, None)
        else:
            demand = self._demands.get((lease.owner, lease.key))
            if demand is not None:
                before = demand.missing
                demand.held -= 1
                self._missing_changed(demand, before)
                self._forget_if_over(demand)
        self._refile(shape)

    def _forget_if_over(self, demand: Demand) -> None:
        if demand.wanted == 0 and demand.held == 0:
            self._demands.pop((demand.owner, demand.key), None)

    def _drop_actor(self, demand: Demand) -> None:
        assert demand.actor is not None
        self._want(demand, 0)
        del self._demands[demand.owner, demand.key]
        del self._actors[demand.actor.actor_id]

    def _release(self, worker: Worker) -> None:
        """Take back what a worker holds."""
        if worker.lent:
            worker.lent = False
            self.ledger.retake_cpu(worker.holds.get(CPU, 0))
        self.ledger.give_back(worker.holds, worker.shares)
        worker.holds, worker.shares = {}, ()

    def _kill(self, worker: Worker, reason: str, cause: str, out: list[Command]) -> None:
        if worker.state is WorkerState.DYING:
            return
        pool = self._pools[worker.pool]
        if worker.state is WorkerState.STARTING:
            pool.starting.discard(worker.worker_id)
        elif worker.state is WorkerState.IDLE:
            pool.idle.remove(worker.worker_id)
        worker.state = WorkerState.DYING
        self._trim_reservations(pool)
        out.append(KillWorker(worker.worker_id, reason, cause))

    def _close_if_over(self, pool: Pool, cause: str, out: list[Command]) -> None:
        wanted = any(shape.pool == pool.key for shape in self._shapes.values())
        if pool.job_over and not pool.workers and not wanted and self._pools.pop(pool.key, None) is not None:
            out.append(ClosePool(pool.key, cause))

    def _pool(self, key: PoolKey) -> Pool:
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = Pool(key, job_over=key[0] in self._over)
        return pool

    def _shape(self, key: ShapeKey) -> Shape:
        shape = self._shapes.get(key)
        if shape is None:
            pool, depth, needs, holds, is_actor = key
            shape = self._shapes[key] = Shape(
                key, pool, depth, dict(needs), dict(holds), is_actor, self.ledger.feasible(dict(needs)),
                None if is_actor else self._bound(dict(holds)),
            )  # fmt: skip
        return shape

    def _bound(self, holds: dict[str, int]) -> int | None:
        cpus = holds.get(CPU, 0)
        if cpus:
            return max(1, self.ledger.total.get(CPU, 0) // cpus)
        # Other resources are not lent while their taker waits: they are bound enough.
        return None if holds else self.limits.nothing_bound

    def _wake(self, at: float) -> None:
        self.wake_at = at if self.wake_at is None else min(at, self.wake_at)

    # ---- what others may ask

    def lease(self, lease_id: int) -> Lease | None:
        """A lease that is out."""
        return self._leases.get(lease_id)

    def worker(self, worker_id: bytes) -> Worker | None:
        """A worker that is not dead."""
        return self._workers.get(worker_id)

    def workers(self) -> list[Worker]:
        """Every worker that is not dead."""
        return list(self._workers.values())

    def holder(self, worker_id: bytes) -> Lease | None:
        """The lease that a worker is under."""
        worker = self._workers.get(worker_id)
        return self._leases.get(worker.lease_id) if worker is not None else None

    def name_of(self, worker_id: bytes) -> str:
        """What a worker is lent for; empty when it is not."""
        lease = self.holder(worker_id)
        if lease is None:
            return ""
        if lease.actor is not None:
            return lease.actor.name
        demand = self._demands.get((lease.owner, lease.key))
        return demand.name if demand is not None else ""

    def actor(self, actor_id: bytes) -> Demand | Lease | None:
        """Where an actor's life stands here: queued (Demand), started (Lease), or nothing."""
        return self._actors.get(actor_id)

    def available(self) -> dict[str, int]:
        """What is free; nothing where CPUs are over-committed."""
        return {name: max(0, amount) for name, amount in self.ledger.available.items()}

    def statistics(self) -> dict[str, Any]:
        """Counts and amounts for people and tests."""
        states: dict[str, int] = {}
        for worker in self._workers.values():
            states[worker.state.value] = states.get(worker.state.value, 0) + 1
        return {
            "total": dict(self.ledger.total),
            "available": dict(self.ledger.available),
            "workers": states,
            "leases": len(self._leases),
            "demands": [
                {
                    "name": demand.name,
                    "amounts": dict(self._shapes[demand.shape].needs) if demand.shape in self._shapes else {},
                    "wanted": demand.wanted,
                    "held": demand.held,
                    "backlog": demand.backlog,
                    "feasible": demand.shape not in self._shapes or self._shapes[demand.shape].feasible,
                }
                for demand in self._demands.values()
            ],
            **self._counts,
        }

    def story(self, wanted: bytes | int) -> list[tuple[float, Event, list[Command]]]:
        """The remembered events that touched an id, with what came of them; oldest first."""

        def touches(record: Event | Command) -> bool:
            return any(getattr(record, name) == wanted for name in record.__slots__)

        found = []
        for at, event, commands in self._story:
            touched = [command for command in commands if touches(command)]
            if touched or touches(event):
                found.append((at, event, touched))
        return found

    def validate(self) -> None:
        """Check every invariant. Raises AssertionError that names the broken one."""
        check(self)
