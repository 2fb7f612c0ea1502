"""Who is told what."""

from __future__ import annotations

from manta.core.bundles import is_group
from manta.raylet.events import (
    ActorWanted,
    Command,
    ReportActorDied,
    TellActorWaits,
    TellInfeasible,
    TellLeaseLost,
    TellUnschedulable,
    WorkerDied,
)
from manta.raylet.scheduling.cluster import Cluster
from manta.raylet.scheduling.demands import Demands
from manta.raylet.scheduling.ledger import Amounts
from manta.raylet.scheduling.policy import Policy
from manta.raylet.scheduling.records import Lease
from manta.raylet.scheduling.texts import why_infeasible, why_not_there


def infeasible(
    demands: Demands, policy: Policy, cluster: Cluster, node: Amounts, cause: str, out: list[Command]
) -> None:
    """Tell those who wait for what no node has, once each. What names a node that cannot give it is over."""
    for shape in list(demands.waiting.values()):
        if policy.tiers(shape):
            continue
        for demand in list(shape.turns):
            strategy = shape.strategy
            if strategy is not None and strategy.node and not strategy.node_soft:
                demands.give_up(demand)
                out.append(TellUnschedulable(demand.owner, demand.key, why_not_there(shape, cluster, node), cause))
                continue
            if demand.told or demand.refuse_at is not None or any(map(is_group, shape.needs)):
                # Of a placement group that is not there (yet) control knows more.
                continue
            demand.told = True
            text = why_infeasible(shape, demand, cluster.totals(node))
            if demand.actor is None:
                out.append(TellInfeasible(demand.owner, demand.key, text, cause))
            else:
                actor = demand.actor
                out.append(TellActorWaits(actor.actor_id, actor.incarnation, demand.job, text, cause))


def lease_lost(lease: Lease, event: WorkerDied) -> TellLeaseLost | ReportActorDied:
    """Tell whoever had a worker that it is dead."""
    if lease.actor is not None:
        return ReportActorDied(
            lease.actor.actor_id, lease.actor.incarnation, event.worker_id, event.status, event.text,
            event.out_of_memory, event.cause,
        )  # fmt: skip
    return TellLeaseLost(
        lease.owner, lease.lease_id, event.worker_id, event.status, event.text, event.out_of_memory, event.cause
    )


def never_began(actor: ActorWanted, text: str, cause: str) -> ReportActorDied:
    """Tell control that a queued life of an actor ends before it begins, and would do so elsewhere."""
    return ReportActorDied(actor.actor_id, actor.incarnation, b"", None, text, False, cause)


def not_startable(actor: ActorWanted, text: str, event: WorkerDied) -> ReportActorDied:
    """Tell control that this node has no worker for a life of an actor: it failed with the last one that was tried."""
    return ReportActorDied(
        actor.actor_id, actor.incarnation, event.worker_id, None, text, event.out_of_memory, event.cause
    )
