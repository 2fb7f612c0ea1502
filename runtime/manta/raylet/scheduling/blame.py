"""Deaths that would repeat themselves slow the next start down."""

from __future__ import annotations

from manta.raylet.events import WorkerDied
from manta.raylet.scheduling.limits import Limits
from manta.raylet.scheduling.records import Pool, Worker, WorkerState


def blame(pool: Pool, worker: Worker, event: WorkerDied, *, limits: Limits, now: float) -> bool:
    """Count the death of a worker, which is still in the state it died in.

    Returns:
        Whether those who wait for the pool have to be told that its workers do not start.
    """
    if worker.state is WorkerState.STARTING:
        pool.failed_starts += 1
        pool.failure = event.text
        over = pool.failed_starts - limits.failed_starts
        if over >= 0:
            pool.not_before = now + min(limits.failed_start_cap_s, 0.1 * 2 ** min(over, 16))
            return True
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
    return False
