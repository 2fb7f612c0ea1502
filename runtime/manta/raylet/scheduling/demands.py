"""Who wants what: demands, the shapes that make them alike, and the lines they stand in."""

from __future__ import annotations

from typing import Final

from manta.core.bundles import group_of, is_cpu
from manta.raylet.events import ActorWanted, DemandSet, PoolKey
from manta.raylet.scheduling.ledger import Ledger
from manta.raylet.scheduling.pools import Pools
from manta.raylet.scheduling.records import Demand, Shape, ShapeKey, sorted_amounts

#: The "owner" of leases that actors hold; no process has this id.
CONTROL_OWNER: Final = b"control"


class Demands:
    """Every demand; its shape's sums, line and reservations always agree with it.

    Args:
        ledger: The node's resources.
        pools: Where workers are reserved.
        nothing_bound: Leases at a time of a shape that takes nothing at all.
    """

    def __init__(self, ledger: Ledger, pools: Pools, *, nothing_bound: int) -> None:
        self._ledger = ledger
        self._pools = pools
        self._nothing_bound = nothing_bound
        self.by_key: dict[tuple[bytes, int], Demand] = {}
        self.shapes: dict[ShapeKey, Shape] = {}
        #: Shapes that want more than they have, in the order in which they are served.
        self.waiting: dict[ShapeKey, Shape] = {}
        self._last_actor_key = 0

    def set(self, event: DemandSet, depth: int, now: float) -> None:
        """An owner says what it wants from now on; `depth` is that of its tasks."""
        demand = self.by_key.get((event.owner, event.key))
        if demand is None and event.wanted == 0:
            return
        amounts = sorted_amounts(event.amounts)
        strategy = None if event.patience_s is not None else event.strategy
        shape_key: ShapeKey = (
            (event.job, event.environment), depth, amounts, amounts, False, strategy, event.prefer,
        )  # fmt: skip
        if demand is not None and demand.shape != shape_key:
            # Another depth or other amounts under the same number: what is out stays out, the rest waits anew.
            self._want(demand, 0)
            demand.shape, demand.told = shape_key, False
        if demand is None:
            demand = Demand(event.owner, event.key, shape_key, event.job, spilled=event.spill_seen)
            self.by_key[event.owner, event.key] = demand
        demand.name, demand.backlog = event.name, event.backlog
        if event.wanted == 0:
            demand.told = False
        if event.patience_s is not None:
            demand.refuse_at = now + event.patience_s
        before = demand.missing
        demand.wanted, demand.away, demand.spill_seen = event.wanted, event.away, event.spill_seen
        demand.spills = [spill for spill in demand.spills if spill[0] > event.spill_seen]
        demand.spilt = sum(count for _, count in demand.spills)
        self._missing_changed(demand, before)
        self._forget_if_over(demand)

    def add_actor(self, actor: ActorWanted) -> Demand:
        """Control wants one life of an actor."""
        self._last_actor_key += 1
        holds, place = sorted_amounts(actor.hold), sorted_amounts(actor.place)
        # What it takes must fit; what placing it asks for must be free then, and stays free.
        needs = dict(holds)
        for name, amount in place:
            needs[name] = max(amount, needs.get(name, 0))
        key: ShapeKey = ((actor.job, actor.environment), 0, sorted_amounts(needs), holds, True, None, b"")
        demand = Demand(CONTROL_OWNER, self._last_actor_key, key, actor.job, name=actor.name, actor=actor)
        self.by_key[CONTROL_OWNER, demand.key] = demand
        self._want(demand, 1)
        return demand

    def give_up(self, demand: Demand) -> None:
        """Nothing more comes of it; what it has, it keeps."""
        self._want(demand, 0)
        self._forget_if_over(demand)

    def drop(self, demand: Demand) -> None:
        """Nobody wants it any more."""
        self._want(demand, 0)
        del self.by_key[demand.owner, demand.key]

    def of_owner(self, owner: bytes) -> list[Demand]:
        """What an owner wants."""
        return [demand for (of, _), demand in self.by_key.items() if of == owner]

    def of_job(self, job: bytes) -> list[Demand]:
        """What the processes of a job want."""
        return [demand for demand in self.by_key.values() if demand.job == job]

    # ---- leases come and go

    def next(self, shape: Shape) -> Demand:
        """Whose turn it is; it has one lease more from now on."""
        demand = shape.turns.next()
        shape.active += 1
        shape.missing -= 1
        demand.held += 1
        if not demand.missing:
            shape.turns.remove(demand)
        self._refile(shape)
        if demand.actor is not None:
            del self.by_key[demand.owner, demand.key]
        return demand

    def spill(self, shape: Shape) -> Demand:
        """Whose turn it is is sent elsewhere for one lease; `spilt` follows."""
        demand = shape.turns.next()
        before = demand.missing
        demand.spilling += 1
        self._missing_changed(demand, before)
        return demand

    @staticmethod
    def spilt(demand: Demand, count: int) -> int:
        """It is sent to one node for so many leases; the number of that."""
        demand.spilling -= count
        demand.spilled += 1
        demand.spills.append((demand.spilled, count))
        demand.spilt += count
        return demand.spilled

    def refuse(self, demand: Demand, count: int) -> None:
        """So many of its leases it does not get here."""
        self._want(demand, demand.wanted - count)
        self._forget_if_over(demand)

    def lease_ended(self, shape_key: ShapeKey, owner: bytes, key: int) -> None:
        """One lease of this shape is over."""
        shape = self.shapes[shape_key]
        shape.active -= 1
        # Something ended: the brake starts anew.
        shape.extra, shape.yields_at = 0, None
        demand = self.by_key.get((owner, key))
        if demand is not None:
            before = demand.missing
            demand.held -= 1
            self._missing_changed(demand, before)
            self._forget_if_over(demand)
        self._refile(shape)

    # ---- shapes

    def to_the_end(self, shape: Shape) -> None:
        """Behind the others that wait: the next free CPU is theirs."""
        if len(self.waiting) > 1 and self.waiting.pop(shape.key, None) is not None:
            self.waiting[shape.key] = shape

    def speaks_of(self, pool: PoolKey) -> bool:
        """Whether anybody wants, or has, a worker of this pool."""
        return any(shape.pool == pool for shape in self.shapes.values())

    def _shape(self, key: ShapeKey) -> Shape:
        shape = self.shapes.get(key)
        if shape is None:
            pool, depth, needs, holds, is_actor, strategy, prefer = key
            shape = self.shapes[key] = Shape(
                key, pool, depth, dict(needs), dict(holds), is_actor, self._ledger.feasible(dict(needs)),
                strategy, prefer, None if is_actor else self._bound(dict(holds)),
            )  # fmt: skip
        return shape

    def _bound(self, holds: dict[str, int]) -> int | None:
        for name, cpus in holds.items():
            if cpus and is_cpu(name):
                return max(1, self._ledger.total.get(name, 0) // cpus)
        # Other resources are not lent while their taker waits: they are bound enough.
        return None if holds else self._nothing_bound

    def total_changed(self) -> None:
        """What the node has is not what it was."""
        for shape in self.shapes.values():
            shape.feasible = self._ledger.feasible(shape.needs)

    def of_group(self, group: bytes) -> list[Demand]:
        """Demands for what a placement group holds."""
        return [
            demand
            for demand in self.by_key.values()
            if demand.shape in self.shapes and group_of(self.shapes[demand.shape].needs) == group
        ]

    # ---- sums

    def _want(self, demand: Demand, wanted: int) -> None:
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
            self._pools.drop_reservation(shape)
        self._refile(shape)

    def _refile(self, shape: Shape) -> None:
        """The shape waits or not; forget it when nothing speaks of it."""
        if shape.missing:
            self.waiting.setdefault(shape.key, shape)
            return
        self.waiting.pop(shape.key, None)
        shape.yields_at = None
        if not shape.active:
            self.shapes.pop(shape.key, None)

    def _forget_if_over(self, demand: Demand) -> None:
        if demand.wanted == 0 and demand.held == 0:
            self.by_key.pop((demand.owner, demand.key), None)
