"""Who has what: leases of tasks, and those that actors hold for as long as they live."""

from __future__ import annotations

from manta.raylet.events import ActorWanted, BecomeActor, Command, Grant
from manta.raylet.scheduling.demands import Demands
from manta.raylet.scheduling.ledger import GpuShares
from manta.raylet.scheduling.pools import Pools
from manta.raylet.scheduling.records import Demand, Lease, Shape, Worker, WorkerState


class Leases:
    """Every loan of a worker, and every life of an actor from its being wanted on.

    Args:
        demands: What leases answer to.
        pools: Whose workers they are.
        first: Lease numbers are above this.
    """

    def __init__(self, demands: Demands, pools: Pools, first: int = 0) -> None:
        self._demands = demands
        self._pools = pools
        self.by_id: dict[int, Lease] = {}
        #: Lives of actors that are queued (their demand) or here (their lease).
        self.actors: dict[bytes, Demand | Lease] = {}
        self._last = first
        #: How many were ever granted to owners, and to actors.
        self.granted = self.actors_begun = 0

    def of_owner(self, owner: bytes) -> list[Lease]:
        """What an owner has."""
        return [lease for lease in self.by_id.values() if lease.owner == owner]

    def of_worker(self, worker: Worker) -> Lease | None:
        """The lease that a worker is under."""
        return self.by_id.get(worker.lease_id)

    def lend(self, shape: Shape, worker: Worker, shares: GpuShares, now: float, cause: str, out: list[Command]) -> None:
        """Give a worker to whoever's turn it is; the resources are taken already."""
        demand = self._demands.next(shape)
        self._last += 1
        lease = Lease(self._last, demand.owner, demand.key, worker.worker_id, shape.key, now, demand.actor)
        self.by_id[lease.lease_id] = lease
        worker.state = WorkerState.BUSY
        worker.depth = shape.depth
        worker.holds, worker.shares, worker.lease_id = shape.holds, shares, lease.lease_id
        gpu_ids = tuple(name for name, _ in shares)
        if demand.actor is None:
            self.granted += 1
            out.append(Grant(lease.lease_id, demand.owner, demand.key, worker.worker_id, shape.holds, gpu_ids, cause))
            return
        self.actors_begun += 1
        actor = demand.actor
        self.actors[actor.actor_id] = lease
        self._pools.actor_left_with_one(self._pools.by_key[shape.pool], now)
        out.append(
            BecomeActor(
                lease.lease_id, actor.actor_id, actor.incarnation, worker.worker_id, shape.holds, gpu_ids, cause
            )
        )

    def end(self, lease: Lease) -> None:
        """The owner has it no longer; the worker may hold its resources a while yet."""
        del self.by_id[lease.lease_id]
        worker = self._pools.workers.get(lease.worker_id)
        if worker is not None:
            worker.lease_id = 0
        if lease.actor is not None:
            self.actors.pop(lease.actor.actor_id, None)
        self._demands.lease_ended(lease.shape, lease.owner, lease.key)

    def want_actor(self, actor: ActorWanted) -> None:
        """Queue one life of an actor, unless one is here."""
        if actor.actor_id not in self.actors:
            self.actors[actor.actor_id] = self._demands.add_actor(actor)

    def drop_actor(self, demand: Demand) -> ActorWanted:
        """A queued life is not wanted any more, or cannot be given."""
        assert demand.actor is not None
        self._demands.drop(demand)
        del self.actors[demand.actor.actor_id]
        return demand.actor
