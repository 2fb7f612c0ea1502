"""Who is served next with what is free."""

from __future__ import annotations

from itertools import chain
from typing import Final

from manta.core.strategy import ANYWHERE
from manta.raylet.events import Command, Reclaim, Refuse, Spill
from manta.raylet.scheduling import news
from manta.raylet.scheduling.alarm import Alarm
from manta.raylet.scheduling.cluster import Cluster, Other
from manta.raylet.scheduling.demands import Demands
from manta.raylet.scheduling.fairness import whom_to_ask
from manta.raylet.scheduling.leases import Leases
from manta.raylet.scheduling.ledger import Ledger
from manta.raylet.scheduling.limits import Limits
from manta.raylet.scheduling.policy import Policy
from manta.raylet.scheduling.pools import Pools
from manta.raylet.scheduling.records import Demand, Shape

#: How long a demand waits where it was sent although nothing was free there, seconds.
PATIENCE_S: Final = 1.0

#: When more owners than this wait, it is worked out so often whom to ask for leases, seconds: a part of a turn.
MANY: Final = 100
MANY_PAUSE_S: Final = 0.01

#: Leases given out, here or elsewhere, before other events have their turn.
AT_ONCE: Final = 1_000


class Placing:
    """Serves shapes in turn. See `scheduler.py` for the rules.

    Args:
        ledger: The node's resources.
        pools: Workers to lend, or to start.
        demands: Who waits.
        leases: Who has been served.
        cluster: Other nodes.
        limits: What it does in moderation.
        cpus: Whole CPUs of the node, at least 1.
        alarm: Told when time will change something.
    """

    def __init__(
        self,
        ledger: Ledger,
        pools: Pools,
        demands: Demands,
        leases: Leases,
        cluster: Cluster,
        *,
        limits: Limits,
        cpus: int,
        alarm: Alarm,
    ) -> None:
        self._ledger = ledger
        self._pools = pools
        self._demands = demands
        self._leases = leases
        self._cluster = cluster
        self.policy = Policy(ledger, cluster)
        self._limits = limits
        self._cpus = cpus
        self._alarm = alarm
        self._reclaimed_at: dict[bytes, float] = {}
        #: When it was last worked out whom to ask for leases.
        self._looked_at = float("-inf")

    def serve(self, now: float, cause: str, out: list[Command]) -> None:
        """Serve whom it can, here or elsewhere; tell the others, and those who could help them."""
        waiting = self._demands.waiting
        spills: dict[tuple[bytes, int, bytes], tuple[Demand, Other, int, bool]] = {}
        progress = True
        left = AT_ONCE
        self.policy.begin()
        while progress and waiting:
            if left <= 0:
                self._alarm.by(now)
                break
            progress = False
            for shape in list(waiting.values()):
                if shape.wants > 0 and self._serve_one(shape, now, cause, out, spills):
                    progress = True
                    left -= 1
                    self._demands.to_the_end(shape)
        for demand, other, count, has_room in spills.values():
            number = self._demands.spilt(demand, count)
            patience_s = 0.0 if has_room else PATIENCE_S
            out.append(Spill(demand.owner, demand.key, number, other.node_id, other.raylet, count, patience_s, cause))
        if waiting:
            self._refuse(now, cause, out)
            if self._cluster.known:
                news.infeasible(self._demands, self.policy, self._cluster, self._ledger.total, cause, out)
            self._ask_back(now, cause, out)

    def owner_gone(self, owner: bytes) -> None:
        """It will not be asked again."""
        self._reclaimed_at.pop(owner, None)

    def _serve_one(
        self,
        shape: Shape,
        now: float,
        cause: str,
        out: list[Command],
        spills: dict[tuple[bytes, int, bytes], tuple[Demand, Other, int, bool]],
    ) -> bool:
        """Give the shape one lease, or one worker on its way, or send it elsewhere; False when it has to wait."""
        if shape.strategy is None or (shape.strategy is ANYWHERE and not self._cluster.others):
            # What only this node can give, and everything where there is no other.
            if not shape.feasible or not self._ledger.fits(shape.needs):
                return False
            if self._cluster.draining and any(demand.refuse_at is not None for demand in shape.turns):
                return False
        else:
            where = self.policy.choose(shape)
            if where is False:
                return False
            if where is not True:
                self._spill(shape, where, now, spills)
                return True
        pool = self._pools.pool(shape.pool)
        if not pool.idle and not self._pools.may_start(pool, now):
            return False
        if not self._brake(shape, now):
            return False
        self.policy.took_turn(shape, True)
        shares = self._ledger.take(shape.holds)
        if pool.idle:
            # The last one in is the warmest; the first ones in get old and leave.
            worker = self._pools.workers[pool.idle.pop()]
            self._leases.lend(shape, worker, shares, now, cause, out)
        else:
            self._pools.reserve(shape, shares, now, cause, out)
        return True

    def _spill(
        self,
        shape: Shape,
        other: Other,
        now: float,
        spills: dict[tuple[bytes, int, bytes], tuple[Demand, Other, int, bool]],
    ) -> None:
        self.policy.took_turn(shape, other)
        has_room = other.fits(shape.needs)
        demand = self._demands.spill(shape)
        self._cluster.promise(other, shape.needs, now)
        where = demand.owner, demand.key, other.node_id
        _, _, count, had_room = spills.get(where, (demand, other, 0, True))
        spills[where] = demand, other, count + 1, had_room and has_room

    def _refuse(self, now: float, cause: str, out: list[Command]) -> None:
        """Owners of other nodes that do not get what they were sent here for look elsewhere."""
        for shape in list(self._demands.waiting.values()):
            if shape.strategy is not None or shape.is_actor:
                continue
            if shape.feasible and self._ledger.fits(shape.needs) and not self._cluster.draining:
                # It is only a worker that is missing.
                continue
            for demand in list(shape.turns):
                if demand.refuse_at is None or shape.wants <= 0:
                    continue
                if now < demand.refuse_at and not self._cluster.draining:
                    self._alarm.by(demand.refuse_at)
                    continue
                count = min(demand.missing, shape.wants)
                self._demands.refuse(demand, count)
                out.append(Refuse(demand.owner, demand.key, count, cause))

    def _brake(self, shape: Shape, now: float) -> bool:
        """Whether one more lease of this shape may be out."""
        if shape.bound is None or shape.active + shape.reserved < shape.bound + shape.extra:
            return True
        if shape.yields_at is None:
            shape.brake_s = self._limits.brake_first_s
            shape.yields_at = now + shape.brake_s
        if now < shape.yields_at:
            self._alarm.by(shape.yields_at)
            return False
        shape.extra += min(shape.bound, self._cpus)
        shape.brake_s = min(self._limits.brake_cap_s, shape.brake_s * 2)
        shape.yields_at = now + shape.brake_s
        return True

    def _ask_back(self, now: float, cause: str, out: list[Command]) -> None:
        """Ask owners that have leases for as many as others wait for, at most once a turn each."""
        starved = [
            shape
            for shape in self._demands.waiting.values()
            if shape.feasible
            and not self._ledger.fits(shape.needs)
            and any(tier.here for tier in self.policy.tiers(shape))
        ]
        if not starved:
            return
        again = self._looked_at + MANY_PAUSE_S
        if now < again and sum(shape.turns.owners for shape in starved) > MANY:
            # Each event would look at all of them.
            self._alarm.by(again)
            return
        self._looked_at = now
        workers = self._pools.workers
        helpful, look_again = whom_to_ask(
            [
                lease
                for lease in self._leases.by_id.values()
                if lease.actor is None and not workers[lease.worker_id].lent
            ],
            chain.from_iterable(shape.turns for shape in starved),
            missing=sum(shape.missing for shape in starved),
            turn_s=self._limits.turn_s,
            now=now,
        )
        for owner, count in helpful.items():
            if now >= self._reclaimed_at.get(owner, float("-inf")) + self._limits.turn_s:
                self._reclaimed_at[owner] = now
                out.append(Reclaim(owner, count, cause))
        if look_again is not None:
            self._alarm.by(look_again)
