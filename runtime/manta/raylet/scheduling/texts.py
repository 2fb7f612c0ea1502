"""What the scheduler tells people."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from manta.core.resources import MEMORY, OBJECT_STORE_MEMORY, UNIT
from manta.raylet.scheduling.cluster import Cluster
from manta.raylet.scheduling.ledger import Amounts
from manta.raylet.scheduling.records import Demand, Pool, Shape

#: Names of resources that say only which node it is, or that it is one.
#: Nodes that a message shows.
SHOWN_NODES: Final = 8
_NODES_OWN: Final = ("node:", OBJECT_STORE_MEMORY)


def why_infeasible(shape: Shape, demand: Demand, cluster: Collection[Amounts]) -> str:
    """Why a demand waits in vain, and what to do.

    Args:
        shape: What it asks for.
        demand: Who asks.
        cluster: What each node has.
    """
    what = "actor" if demand.actor is not None else "task"
    name = f" {demand.name!r}" if demand.name else ""
    has = [_for_people(amounts, shape.needs) for amounts in list(cluster)[:SHOWN_NODES]]
    more = len(cluster) - len(has)
    nodes = f"the only node has {has[0]}" if len(cluster) == 1 else f"the nodes have {'; '.join(has)}"
    where = shape.strategy.text() if shape.strategy is not None else ""
    return (
        f"the {what}{name} asks for {_for_people(shape.needs, shape.needs)}{where}, which no node can ever give: {nodes}"
        f"{f' and {more} more have less' if more else ''}. It waits until a node joins that can; ask for less, or cancel it."
    )


def why_not_there(shape: Shape, cluster: Cluster, here: Amounts) -> str:
    """Why a demand for one node only is over."""
    assert shape.strategy is not None
    node_id = shape.strategy.node
    total = here if node_id == cluster.node_id else cluster.others[node_id].total if node_id in cluster.others else None
    if total is None:
        there = "there is no such node"
    else:
        there = f"it has {_for_people(total, shape.needs)}, asked for is {_for_people(shape.needs, shape.needs)}"
    return (
        "The node specified via NodeAffinitySchedulingStrategy doesn't exist any more or is infeasible, and soft=False "
        f"was specified: {node_id.hex()}: {there}."
    )


def why_broken(pool: Pool) -> str:
    """Why nothing that waits for a worker of this pool gets one."""
    return (
        f"workers for it do not start: {pool.failed_starts} in a row ended before they were ready, the last with: "
        f"{pool.failure}"
    )


def why_environment_failed(pool: Pool) -> str:
    """Why nothing that asks for this pool's environment runs."""
    return (
        f"Workers with its environment variables do not start, while workers without them do: {pool.failed_starts} in a row "
        f"ended before they were ready, the last with: {pool.failure}"
    )


def why_overdue(start_s: float) -> str:
    """Why a worker that was on its way was ended."""
    return (
        f"it was not ready {start_s:g} s after it was asked for (MANTA_worker_register_timeout_seconds says how long that may "
        "take; below, if anything, is where it stood)"
    )


def _for_people(amounts: Amounts, asked: Amounts) -> str:
    """Amounts with what was asked for in any case, without what every node has and nobody asked for."""
    names = dict.fromkeys(asked)
    names.update(dict.fromkeys(name for name in amounts if name != MEMORY and not name.startswith(_NODES_OWN)))
    shown = []
    for name in sorted(names):
        amount = amounts.get(name, 0) / UNIT
        shown.append(f"{name}: {amount / (1 << 30):.2f} GiB" if name.endswith(MEMORY) else f"{name}: {amount:g}")
    return "{" + ", ".join(shown) + "}"
