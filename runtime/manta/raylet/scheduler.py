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

from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final, assert_never

from manta.core.bundles import group_of
from manta.core.resources import CPU, UNIT
from manta.raylet.events import (
    ActorUnwanted,
    ActorWanted,
    BundlesUnwanted,
    BundlesWanted,
    ClusterSeen,
    Command,
    DemandSet,
    Event,
    GroupGone,
    JobFinished,
    JobStarted,
    LeaseBack,
    OwnerGone,
    PoolKey,
    Reclaim,
    SpareReady,
    TellEnvironmentFailed,
    TellGroupGone,
    TellInfeasible,
    Tick,
    WorkerBlocked,
    WorkerDied,
    WorkerReady,
    WorkerUnblocked,
)
from manta.raylet.scheduling import news
from manta.raylet.scheduling.alarm import Alarm
from manta.raylet.scheduling.audit import check
from manta.raylet.scheduling.blame import Blame, Fault
from manta.raylet.scheduling.bundles import Bundles
from manta.raylet.scheduling.cluster import Cluster
from manta.raylet.scheduling.demands import Demands
from manta.raylet.scheduling.leases import Leases
from manta.raylet.scheduling.ledger import Ledger
from manta.raylet.scheduling.limits import Limits
from manta.raylet.scheduling.placing import Placing
from manta.raylet.scheduling.pools import Pools
from manta.raylet.scheduling.records import Demand, Lease, Pool, Worker, WorkerState
from manta.raylet.scheduling.texts import why_broken, why_environment_failed, why_infeasible

#: Events remembered for `story`.
STORY_EVENTS: Final = 4096
#: Removed placement groups remembered.
GROUPS_GONE: Final = 10_000


class Scheduler:
    """The leases of one node.

    Args:
        ledger: The node's resources; the scheduler's own from now on.
        make_id: Makes the id of a new worker of a pool.
        is_plain: Whether workers of a pool have nothing set for them, neither by their job nor by an environment.
        limits: What it does in moderation.
        cluster: The other nodes; None for none.
        first_lease: Lease numbers are above this.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        make_id: Callable[[PoolKey], bytes],
        is_plain: Callable[[PoolKey], bool] = lambda pool: not pool[1],
        limits: Limits | None = None,
        cluster: Cluster | None = None,
        first_lease: int = 0,
    ) -> None:
        self.ledger = ledger
        #: What is known of other nodes.
        self.cluster = cluster or Cluster()
        self.limits = limits or Limits()
        cpus = max(1, ledger.total.get(CPU, 0) // UNIT)
        self._alarm = Alarm()
        self._pools = Pools(ledger, make_id=make_id, limits=self.limits, cpus=cpus, alarm=self._alarm)
        self._demands = Demands(ledger, self._pools, nothing_bound=self.limits.nothing_bound)
        self._leases = Leases(self._demands, self._pools, first_lease)
        self._placing = Placing(
            ledger, self._pools, self._demands, self._leases, self.cluster,
            limits=self.limits, cpus=cpus, alarm=self._alarm,
        )  # fmt: skip
        self._blame = Blame(self.limits, is_plain)
        #: Bundles of placement groups on this node.
        self.bundles = Bundles(ledger)
        #: Placement groups that were removed, the last ones.
        self._groups_gone: dict[bytes, None] = {}
        self._returned = 0
        self._story: deque[tuple[float, Event, list[Command]]] = deque(maxlen=STORY_EVENTS)

    @property
    def wake_at(self) -> float | None:
        """When `Tick` is due, always later than the last event; None when time alone changes nothing."""
        return self._alarm.at

    # ---- what happens

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event; return what is to be done, in order."""
        out: list[Command] = []
        match event:
            case DemandSet():
                self._demand_set(event, now, out)
            case LeaseBack():
                self._lease_back(event, now, out)
            case WorkerBlocked():
                self._blocked(event.worker_id)
            case WorkerUnblocked():
                self._unblocked(event.worker_id)
            case WorkerReady():
                self._worker_ready(event, now, out)
            case SpareReady():
                self._blame.spare_started()
            case WorkerDied():
                self._worker_died(event, now, out)
            case OwnerGone():
                self._owner_gone(event.owner, event.cause, out)
            case ActorWanted():
                self._leases.want_actor(event)
                self._fail_if_known((event.job, event.environment), now, event.cause, out)
            case ActorUnwanted():
                self._actor_unwanted(event, out)
            case JobStarted():
                self._pools.prestart(event.job, now, event.cause, out)
            case JobFinished():
                self._job_finished(event, out)
            case ClusterSeen():
                draining = self.cluster.draining
                self.cluster.learn(event)
                if self.cluster.draining and not draining:
                    self._drain(event.cause, out)
            case BundlesWanted():
                self._bundles_wanted(event)
            case BundlesUnwanted():
                self._bundles_unwanted(event, out)
            case GroupGone():
                self._group_gone(event, out)
            case Tick():
                pass
            case _:
                assert_never(event)
        self.bundles.settle(self._pools.workers.values())
        self._alarm.reset()
        if self.cluster.others:
            look_again = self.cluster.forget_promises(now)
            if look_again is not None:
                self._alarm.by(look_again)
        self._placing.serve(now, event.cause, out)
        self._pools.keep_spares(now, event.cause, out)
        self._pools.end_overdue(now, event.cause, out)
        self._pools.let_go(now, event.cause, out)
        self._story.append((now, event, out))
        return out

    def _demand_set(self, event: DemandSet, now: float, out: list[Command]) -> None:
        asking = self._pools.workers.get(event.owner)
        if asking is not None and asking.state is WorkerState.DYING:
            return
        # What a task submits is one deeper than itself, whether its process says so or not.
        depth = max(event.depth, asking.depth + 1) if asking is not None else event.depth
        self._demands.set(event, depth, now)
        if self._groups_gone and event.wanted:
            group = group_of(event.amounts)
            if group in self._groups_gone:
                self._fail_group(group, event.cause, out)
        self._fail_if_known((event.job, event.environment), now, event.cause, out)

    def _drain(self, cause: str, out: list[Command]) -> None:
        """This node goes out of service: owners give back what they have leased, who has nothing to do leaves."""
        lent = Counter(lease.owner for lease in self._leases.by_id.values() if lease.actor is None)
        out += [Reclaim(owner, count, cause) for owner, count in lent.items()]
        for pool in self._pools.by_key.values():
            pool.burst = 0
            while pool.reservations:
                self._pools.drop_reservation(pool.reservations[-1].shape)
            while pool.idle:
                worker = self._pools.workers[pool.idle.pop()]
                self._pools.ask_to_leave(worker, "its node is being drained", cause, out)

    def _lease_back(self, event: LeaseBack, now: float, out: list[Command]) -> None:
        lease = self._leases.by_id.get(event.lease_id)
        if lease is None or lease.owner != event.owner or lease.actor is not None:
            return
        worker = self._pools.workers[lease.worker_id]
        self._leases.end(lease)
        self._returned += 1
        self._missed(lease, event.cause, out)
        if worker.state is WorkerState.DYING:
            return
        if event.kill:
            self._pools.kill(worker, "its owner asked for it", event.cause, out)
            return
        pool = self._pools.by_key[worker.pool]
        pool.early_deaths = 0
        worker.leases_done += 1
        self._pools.release(worker)
        if event.retire:
            self._pools.ask_to_leave(worker, "it has done its part", event.cause, out)
        else:
            self._worker_free(worker, pool, now, event.cause, out)

    def _blocked(self, worker_id: bytes) -> None:
        worker = self._pools.workers.get(worker_id)
        if worker is not None and worker.state is WorkerState.BUSY and not worker.lent:
            self._pools.lend_cpu(worker)

    def _unblocked(self, worker_id: bytes) -> None:
        worker = self._pools.workers.get(worker_id)
        if worker is not None and worker.lent:
            self._pools.retake_cpu(worker)

    def _worker_ready(self, event: WorkerReady, now: float, out: list[Command]) -> None:
        worker = self._pools.workers.get(event.worker_id)
        if worker is None or worker.state is not WorkerState.STARTING:
            return
        pool = self._pools.by_key[worker.pool]
        pool.starting.discard(worker.worker_id)
        self._blame.started(pool)
        worker.pid, worker.ready_at = event.pid, now
        self._worker_free(worker, pool, now, event.cause, out)

    def _worker_free(self, worker: Worker, pool: Pool, now: float, cause: str, out: list[Command]) -> None:
        """A worker of `pool` has nothing to do: what was reserved first comes first."""
        if pool.reservations:
            reservation = pool.reservations.popleft()
            reservation.shape.reserved -= 1
            self._leases.lend(reservation.shape, worker, reservation.shares, now, cause, out)
        elif self.cluster.draining:
            self._pools.ask_to_leave(worker, "its node is being drained", cause, out)
        else:
            self._pools.rest(worker, pool, now)

    def _worker_died(self, event: WorkerDied, now: float, out: list[Command]) -> None:
        worker = self._pools.workers.get(event.worker_id)
        if worker is None:
            return
        pool = self._pools.by_key[worker.pool]
        fault = self._blame.died(pool, worker, event, now)
        if fault is Fault.ENVIRONMENT:
            self._fail_environment(pool, event.cause, out)
        elif fault is Fault.NODE:
            self._tell_pool_broken(pool, event, out)
        lease = self._leases.of_worker(worker)
        self._pools.forget(worker, pool)
        if lease is not None:
            self._leases.end(lease)
            if lease.owner != worker.worker_id:
                # Else it was lent to itself, for tasks that its own last one left waiting.
                out.append(news.lease_lost(lease, event))
            self._missed(lease, event.cause, out)
        self._pools.release(worker)
        self._pools.trim_reservations(pool)
        self._owner_gone(worker.worker_id, event.cause, out)
        self._close_if_over(pool, event.cause, out)

    def _tell_pool_broken(self, pool: Pool, event: WorkerDied, out: list[Command]) -> None:
        text = why_broken(pool)
        for shape in [shape for shape in self._demands.waiting.values() if shape.pool == pool.key]:
            for demand in list(shape.turns):
                if demand.actor is not None:
                    actor = self._leases.drop_actor(demand)
                    out.append(news.not_startable(actor, text, event))
                elif not demand.told:
                    demand.told = True
                    out.append(TellInfeasible(demand.owner, demand.key, text, event.cause))

    def _fail_if_known(self, key: PoolKey, now: float, cause: str, out: list[Command]) -> None:
        """Until the pool's next try is due, whoever asks for it has the answer of the last one."""
        pool = self._pools.by_key.get(key)
        if pool is not None and pool.environment_failed and now < pool.not_before:
            self._fail_environment(pool, cause, out)

    def _fail_environment(self, pool: Pool, cause: str, out: list[Command]) -> None:
        """Nobody waits for a pool whose environment is at fault."""
        text = why_environment_failed(pool)
        for shape in [shape for shape in self._demands.waiting.values() if shape.pool == pool.key]:
            for demand in list(shape.turns):
                if demand.actor is not None:
                    out.append(news.never_began(self._leases.drop_actor(demand), text, cause))
                else:
                    self._demands.give_up(demand)
                    out.append(TellEnvironmentFailed(demand.owner, demand.key, text, cause))

    def _owner_gone(self, owner: bytes, cause: str, out: list[Command]) -> None:
        for demand in self._demands.of_owner(owner):
            self._demands.drop(demand)
        for lease in self._leases.of_owner(owner):
            self._leases.end(lease)
            self._pools.kill(self._pools.workers[lease.worker_id], "the owner of its task is gone", cause, out)
        self._placing.owner_gone(owner)

    def _actor_unwanted(self, event: ActorUnwanted, out: list[Command]) -> None:
        found = self._leases.actors.get(event.actor_id)
        if found is None or found.actor is None or found.actor.incarnation != event.incarnation:
            return
        if isinstance(found, Demand):
            actor = self._leases.drop_actor(found)
            out.append(news.never_began(actor, event.reason or "killed before it was started", event.cause))
        else:
            worker = self._pools.workers[found.worker_id]
            self._pools.kill(worker, event.reason or "the actor was killed", event.cause, out)

    def _job_finished(self, event: JobFinished, out: list[Command]) -> None:
        stays = {
            lease.worker_id
            for lease in self._leases.by_id.values()
            if lease.actor is not None
            and lease.actor.job == event.job
            and lease.actor.detached
            and self._pools.workers[lease.worker_id].state is not WorkerState.DYING
        }
        # What detached actors have leased goes on as well.
        stays |= {lease.worker_id for lease in self._leases.by_id.values() if lease.owner in stays}
        self._pools.job_over(event.job)
        pools = self._pools.of_job(event.job)
        for pool in pools:
            for worker_id in pool.workers - stays:
                lease = self._leases.of_worker(self._pools.workers[worker_id])
                if lease is not None and lease.actor is None:
                    self._leases.end(lease)
        for demand in self._demands.of_job(event.job):
            if demand.actor is None:
                if demand.owner not in stays:
                    self._demands.drop(demand)
            elif not demand.actor.detached:
                self._leases.drop_actor(demand)
        for pool in pools:
            for worker_id in sorted(pool.workers - stays):
                self._pools.kill(self._pools.workers[worker_id], "its job is over", event.cause, out)
            self._close_if_over(pool, event.cause, out)

    def _bundles_wanted(self, event: BundlesWanted) -> None:
        if event.amounts is not None:
            self.bundles.prepare(event.group, event.amounts)
        else:
            self.bundles.commit(event.group, event.indexes)
            self._demands.total_changed()

    def _bundles_unwanted(self, event: BundlesUnwanted, out: list[Command]) -> None:
        self.bundles.give_back(event.group, event.indexes)
        self._demands.total_changed()
        # Workers on their way for it are somebody else's.
        for demand in self._demands.of_group(event.group):
            shape = self._demands.shapes[demand.shape]
            while shape.reserved and not shape.feasible:
                self._pools.drop_reservation(shape)
        for worker in self.bundles.users(self._pools.workers.values()):
            self._pools.kill(worker, "its placement group was removed, or has moved", event.cause, out)

    def _group_gone(self, event: GroupGone, out: list[Command]) -> None:
        self._groups_gone[event.group] = None
        while len(self._groups_gone) > GROUPS_GONE:
            del self._groups_gone[next(iter(self._groups_gone))]
        self._fail_group(event.group, event.cause, out)

    def _missed(self, lease: Lease, cause: str, out: list[Command]) -> None:
        """A lease is over, and its demand may miss it: of a group that is gone there is no other, and the owner asks for none."""
        if self._groups_gone:
            group = group_of(dict(lease.shape[2]))
            if group in self._groups_gone:
                self._fail_group(group, cause, out)

    def _fail_group(self, group: bytes, cause: str, out: list[Command]) -> None:
        for demand in self._demands.of_group(group):
            if demand.actor is None and demand.missing:
                self._demands.give_up(demand)
                out.append(TellGroupGone(demand.owner, demand.key, cause))

    def _close_if_over(self, pool: Pool, cause: str, out: list[Command]) -> None:
        self._pools.close_if_over(pool, wanted=self._demands.speaks_of(pool.key), cause=cause, out=out)

    # ---- what others may ask

    def lease(self, lease_id: int) -> Lease | None:
        """A lease that is out."""
        return self._leases.by_id.get(lease_id)

    def worker(self, worker_id: bytes) -> Worker | None:
        """A worker that is not dead."""
        return self._pools.workers.get(worker_id)

    def workers(self) -> list[Worker]:
        """Every worker that is not dead."""
        return list(self._pools.workers.values())

    def holder(self, worker_id: bytes) -> Lease | None:
        """The lease that a worker is under."""
        worker = self._pools.workers.get(worker_id)
        return self._leases.of_worker(worker) if worker is not None else None

    def name_of(self, worker_id: bytes) -> str:
        """What a worker is lent for; empty when it is not."""
        lease = self.holder(worker_id)
        if lease is None:
            return ""
        if lease.actor is not None:
            return lease.actor.name
        demand = self._demands.by_key.get((lease.owner, lease.key))
        return demand.name if demand is not None else ""

    def actor(self, actor_id: bytes) -> Demand | Lease | None:
        """Where an actor's life stands here: queued (Demand), started (Lease), or nothing."""
        return self._leases.actors.get(actor_id)

    def actor_leases(self) -> int:
        """How many workers are actors."""
        return sum(lease.actor is not None for lease in self._leases.by_id.values())

    def available(self) -> dict[str, int]:
        """What is free; nothing where CPUs are over-committed."""
        return {name: max(0, amount) for name, amount in self.ledger.available.items()}

    def pending(self) -> list[tuple[dict[str, int], str, int, str]]:
        """What tasks ask for in vain, the most wanted first: (amounts, name of one, how many, why never)."""
        found = []
        for shape in self._demands.waiting.values():
            if shape.is_actor:
                # Of those control knows.
                continue
            counts = [(max(d.missing, d.backlog - d.held), d.name, d) for d in shape.turns]
            if not counts:
                continue
            _, name, first = max(counts, key=lambda one: one[0])
            never = ""
            if self.cluster.known and not self._placing.policy.tiers(shape):
                never = why_infeasible(shape, first, self.cluster.totals(self.ledger.total))
            found.append((dict(shape.needs), name, sum(count for count, _, _ in counts), never))
        return sorted(found, key=lambda one: -one[2])

    def statistics(self) -> dict[str, Any]:
        """Counts and amounts for people and tests."""
        shapes = self._demands.shapes
        return {
            "total": dict(self.ledger.total),
            "available": dict(self.ledger.available),
            "workers": dict(Counter(worker.state.value for worker in self._pools.workers.values())),
            "leases": len(self._leases.by_id),
            "demands": [
                {
                    "name": demand.name,
                    "amounts": dict(shapes[demand.shape].needs) if demand.shape in shapes else {},
                    "wanted": demand.wanted,
                    "held": demand.held,
                    "backlog": demand.backlog,
                    "feasible": demand.shape not in shapes or bool(self._placing.policy.tiers(shapes[demand.shape])),
                    "away": demand.away,
                }
                for demand in self._demands.by_key.values()
            ],
            "granted": self._leases.granted,
            "returned": self._returned,
            "started": self._pools.started,
            "died": self._pools.died,
            "actors": self._leases.actors_begun,
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
        now = self._story[-1][0] if self._story else None
        check(self.ledger, self._pools, self._demands, self._leases, self.bundles, wake_at=self.wake_at, now=now)
