"""Who is served next with what is free."""

from __future__ import annotations

from collections.abc import Collection

from manta.raylet.events import Command, Reclaim
from manta.raylet.scheduling import news
from manta.raylet.scheduling.alarm import Alarm
from manta.raylet.scheduling.demands import Demands
from manta.raylet.scheduling.fairness import whom_to_ask
from manta.raylet.scheduling.leases import Leases
from manta.raylet.scheduling.ledger import Amounts, Ledger
from manta.raylet.scheduling.limits import Limits
from manta.raylet.scheduling.pools import Pools
from manta.raylet.scheduling.records import Shape


class Placing:
    """Serves shapes in turn. See `scheduler.py` for the rules.

    Args:
        ledger: The node's resources.
        pools: Workers to lend, or to start.
        demands: Who waits.
        leases: Who has been served.
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
        *,
        limits: Limits,
        cpus: int,
        alarm: Alarm,
    ) -> None:
        self._ledger = ledger
        self._pools = pools
        self._demands = demands
        self._leases = leases
        self._limits = limits
        self._cpus = cpus
        self._alarm = alarm
        self._reclaimed_at: dict[bytes, float] = {}

    def serve(self, cluster: Collection[Amounts], now: float, cause: str, out: list[Command]) -> None:
        """Serve whom it can; tell the others (`cluster`: what each node has), and those who could help them."""
        waiting = self._demands.waiting
        progress = True
        while progress and waiting:
            progress = False
            for shape in list(waiting.values()):
                if shape.wants > 0 and self._serve_one(shape, now, cause, out):
                    progress = True
                    self._demands.to_the_end(shape)
        if waiting:
            news.infeasible(waiting.values(), cluster, self._ledger.total, cause, out)
            self._ask_back(now, cause, out)

    def owner_gone(self, owner: bytes) -> None:
        """It will not be asked again."""
        self._reclaimed_at.pop(owner, None)

    def _serve_one(self, shape: Shape, now: float, cause: str, out: list[Command]) -> bool:
        """Give the shape one lease, or one worker on its way; False when it has to wait."""
        if not shape.feasible or not self._ledger.fits(shape.needs):
            return False
        pool = self._pools.pool(shape.pool)
        if not pool.idle and not self._pools.may_start(pool, now):
            return False
        if not self._brake(shape, now):
            return False
        shares = self._ledger.take(shape.holds)
        if pool.idle:
            # The last one in is the warmest; the first ones in get old and leave.
            worker = self._pools.workers[pool.idle.pop()]
            self._leases.lend(shape, worker, shares, now, cause, out)
        else:
            self._pools.reserve(shape, shares, now, cause, out)
        return True

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
            shape for shape in self._demands.waiting.values() if shape.feasible and not self._ledger.fits(shape.needs)
        ]
        if not starved:
            return
        workers = self._pools.workers
        helpful, look_again = whom_to_ask(
            [
                lease
                for lease in self._leases.by_id.values()
                if lease.actor is None and not workers[lease.worker_id].lent
            ],
            [demand for shape in starved for demand in shape.turns],
            turn_s=self._limits.turn_s,
            now=now,
        )
        for owner, count in helpful.items():
            if now >= self._reclaimed_at.get(owner, float("-inf")) + self._limits.turn_s:
                self._reclaimed_at[owner] = now
                out.append(Reclaim(owner, count, cause))
        if look_again is not None:
            self._alarm.by(look_again)
