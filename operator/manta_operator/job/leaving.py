"""What is to be done about a MantaJob that is being deleted: what runs of it is stopped first. Pure.

A cluster that is gone, going or suspended takes what runs on it along: nobody is waited for then. A head that is not heard is
waited for, but not for ever.
"""

from __future__ import annotations

from typing import Final

from manta_operator.job import times
from manta_operator.job.actions import Plan, Release, Stop
from manta_operator.job.seen import Seen
from manta_operator.job.submission import submission_id
from manta_operator.job.tries import over
from manta_operator.kube.events import WARNING, Event

#: How long a head that cannot be reached is waited for, seconds.
PATIENCE_S: Final = 300.0


def plan(seen: Seen, now: float) -> Plan:
    """As `plan.plan`, for an object with a deletion time."""
    if not seen.held:
        return Plan()
    cluster = seen.cluster
    if over(seen.status) or cluster is None or cluster.going or cluster.suspended:
        return Plan(actions=(Release(),))
    if not seen.head.synced:
        since = times.read(seen.job.metadata.deletion_timestamp) or now
        if now >= since + PATIENCE_S:
            message = f"its cluster's head could not be reached for {PATIENCE_S:g} s: what ran of it may run on there"
            return Plan(actions=(Release(),), events=(Event("NotStopped", message, WARNING),))
        return Plan(again_at=since + PATIENCE_S)
    # The last try, and one that was submitted and never written down.
    tries = (
        submission_id(seen.job.metadata.uid, number) for number in (seen.status.attempts, seen.status.attempts + 1)
    )
    running = [one for each in tries if (one := seen.head.jobs.get(each)) is not None and not one.state.over]
    if not running:
        return Plan(actions=(Release(),))
    return Plan(actions=tuple(Stop(one.submission_id) for one in running if not one.stopping))
