"""Who is asked to give leases back when others wait. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from manta.raylet.scheduling.records import Demand, Lease


def whom_to_ask(
    leases: Collection[Lease], waiting: Iterable[Demand], *, missing: int, turn_s: float, now: float
) -> tuple[dict[bytes, int], float | None]:
    """Choose owners whose leases would help those who wait.

    An owner is asked for the sake of a poorer one, who has fewer leases than it; and for its own sake, when it waits under
    another key. Asked for are leases that have lasted a turn: handing them round faster would cost more than it serves.

    Args:
        leases: Leases of tasks that run. One that waits has lent its CPU already.
        waiting: Demands that resources are missing for.
        missing: How many leases they miss together.
        turn_s: How long a lease lasts at least.
        now: Monotonic seconds.

    Returns:
        How many leases to ask each owner for; and when it is worth asking again, None if no lease can help.
    """
    held = Counter(lease.owner for lease in leases)
    keys: dict[bytes, set[int]] = {}
    nothing = False
    for demand in waiting:
        # Thousands may wait, of whom few have anything.
        if demand.owner in held:
            keys.setdefault(demand.owner, set()).add(demand.key)
        else:
            nothing = True
    poorest = 0 if nothing else min((held[owner] for owner in keys), default=0)
    helpful: Counter[bytes] = Counter()
    oldest: float | None = None
    for lease in leases:
        own = keys.get(lease.owner, set())
        # The poorest who waits cannot be the owner itself: nobody has fewer leases than it has.
        if not (own - {lease.key} or poorest < held[lease.owner]):
            continue
        oldest = lease.granted_at if oldest is None else min(oldest, lease.granted_at)
        if now >= lease.granted_at + turn_s:
            helpful[lease.owner] += 1
    return (
        {owner: min(count, missing) for owner, count in helpful.items()},
        None if oldest is None else max(now, oldest) + turn_s,
    )
