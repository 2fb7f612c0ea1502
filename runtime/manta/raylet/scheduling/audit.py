"""The scheduler's invariants, counted the slow way. Tests check them after every event."""

from __future__ import annotations

from manta.core.bundles import is_cpu, is_group
from manta.core.resources import UNIT
from manta.core.strategy import ANYWHERE
from manta.raylet.scheduling.bundles import Bundles
from manta.raylet.scheduling.demands import Demands
from manta.raylet.scheduling.leases import Leases
from manta.raylet.scheduling.ledger import Amounts, GpuShares, Ledger
from manta.raylet.scheduling.pools import Pools
from manta.raylet.scheduling.records import ShapeKey, WorkerState


def check(
    ledger: Ledger,
    pools: Pools,
    demands: Demands,
    leases: Leases,
    bundles: Bundles,
    *,
    wake_at: float | None,
    now: float | None,
) -> None:
    """Raises AssertionError that names the first broken invariant. `now` is when the last event was, if there was one."""
    assert wake_at is None or now is None or wake_at > now, "the alarm is due at once: it would ring for ever"
    taken: dict[str, int] = {}
    gpu_free = dict.fromkeys(ledger.gpu_ids, UNIT)

    def count(amounts: Amounts, shares: GpuShares, lent: bool = False) -> None:
        for name, amount in amounts.items():
            taken[name] = taken.get(name, 0) + (0 if lent and is_cpu(name) else amount)
        if not any(map(is_group, amounts)):
            for gpu, share in shares:
                gpu_free[gpu] -= share

    for worker in pools.workers.values():
        count(worker.holds, worker.shares, worker.lent)
        pool = pools.by_key[worker.pool]
        assert worker.worker_id in pool.workers, "a worker's pool does not know it"
        assert (worker.worker_id in pool.idle) == (worker.state is WorkerState.IDLE), "idle line is wrong"
        assert (worker.worker_id in pool.starting) == (worker.state is WorkerState.STARTING), "starting set is wrong"
        assert not worker.holds or worker.state in (WorkerState.BUSY, WorkerState.DYING), "an idle worker holds"
        if worker.state is WorkerState.BUSY:
            assert worker.lease_id in leases.by_id, "a busy worker without a lease"
    for pool in pools.by_key.values():
        assert pool.workers <= pools.workers.keys(), "a pool knows dead workers"
        assert len(pool.reservations) <= len(pool.starting), "a reservation that no worker comes for"
        for reservation in pool.reservations:
            count(reservation.shape.holds, reservation.shares)
    for bundle in bundles.taken():
        count(bundle.amounts, bundle.shares)
    for name in ledger.total.keys() | ledger.available.keys():
        free = ledger.total.get(name, 0) - taken.get(name, 0)
        assert ledger.available.get(name, 0) == free, f"{name} is not conserved"
        # Of a bundle that is given back somebody may hold something still.
        assert free >= 0 or is_cpu(name) or (is_group(name) and name not in ledger.total), f"{name} was given twice"
    assert gpu_free == ledger.gpu_free(), "GPUs are not conserved"
    missing: dict[ShapeKey, int] = {}
    held: dict[tuple[bytes, int], int] = {}
    active: dict[ShapeKey, int] = {}
    for lease in leases.by_id.values():
        active[lease.shape] = active.get(lease.shape, 0) + 1
        assert pools.workers[lease.worker_id].lease_id == lease.lease_id, "two leases on one worker"
        if lease.actor is None:
            held[lease.owner, lease.key] = held.get((lease.owner, lease.key), 0) + 1
    for where, demand in demands.by_key.items():
        assert demand.held == held.pop(where, 0), "a demand miscounts its leases"
        assert demand.spilt == sum(count for _, count in demand.spills), "a demand miscounts its spills"
        if demand.missing:
            missing[demand.shape] = missing.get(demand.shape, 0) + demand.missing
    assert not held, "leases without a demand"
    for shape in demands.shapes.values():
        assert shape.missing == missing.get(shape.key, 0), "a shape miscounts what it misses"
        assert shape.active == active.get(shape.key, 0), "a shape miscounts its leases"
        assert 0 <= shape.reserved <= shape.missing, "more is reserved than missed"
        assert (shape.key in demands.waiting) == bool(shape.missing), "a shape waits wrongly"
        in_line = {(demand.owner, demand.key) for demand in shape.turns}
        expected = {where for where, demand in demands.by_key.items() if demand.shape == shape.key and demand.missing}
        assert in_line == expected, "a line has the wrong people in it"
    assert missing.keys() <= demands.shapes.keys(), "a demand without its shape"
    for shape in demands.waiting.values():
        pool_ = pools.by_key.get(shape.pool)
        if shape.strategy is not None and shape.strategy != ANYWHERE:
            # Where it waits may be a wish of its own.
            continue
        if shape.wants > 0 and shape.feasible and ledger.fits(shape.needs) and pool_ is not None and pool_.idle:
            assert shape.yields_at is not None, "somebody waits although a worker and the resources are free"
