"""Deaths that would repeat themselves slow the next start down, and are somebody's fault: the node's, or an environment's."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from manta.raylet.events import PoolKey, WorkerDied
from manta.raylet.scheduling.limits import Limits
from manta.raylet.scheduling.records import Pool, Worker, WorkerState


class Fault(Enum):
    """What a death says of the pool."""

    #: Nothing that those who wait would have to know.
    NONE = "none"
    #: Workers of the pool do not start, and perhaps none does on this node: it may pass.
    NODE = "node"
    #: Workers without an environment start, those of this pool never did: it lies with what the pool sets.
    ENVIRONMENT = "environment"


class Blame:
    """Counts starts and deaths.

    Args:
        limits: How many of them are too many.
        is_plain: Whether workers of a pool have nothing set for them, neither by their job nor by an environment.
    """

    def __init__(self, limits: Limits, is_plain: Callable[[PoolKey], bool]) -> None:
        self._limits = limits
        self._is_plain = is_plain
        #: The last plain worker whose start is over did start.
        self._plain_starts = False

    def spare_started(self) -> None:
        """A plain worker of no pool has connected."""
        self._plain_starts = True

    def started(self, pool: Pool) -> None:
        """A worker has connected."""
        pool.failed_starts, pool.failure = 0, ""
        pool.started_once, pool.environment_failed = True, False
        if self._is_plain(pool.key):
            self._plain_starts = True

    def died(self, pool: Pool, worker: Worker, event: WorkerDied, now: float) -> Fault:
        """Count the death of a worker, which is still in the state it died in; what those who wait have to be told."""
        limits = self._limits
        if worker.state is WorkerState.STARTING:
            plain = self._is_plain(pool.key)
            if plain:
                self._plain_starts = False
            pool.failed_starts += 1
            pool.failure = event.text
            over = pool.failed_starts - limits.failed_starts
            if over >= 0:
                pool.not_before = now + min(limits.failed_start_cap_s, 0.1 * 2 ** min(over, 16))
                pool.environment_failed = not plain and not pool.started_once and self._plain_starts
                return Fault.ENVIRONMENT if pool.environment_failed else Fault.NODE
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
        return Fault.NONE
