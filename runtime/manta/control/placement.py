"""Which node an actor goes to: a pure function of what is free. Hybrid policy: pack up to half full, then spread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from manta.control.model import NO_NODE, Amounts, NodeId
from manta.core.strategy import ANYWHERE, Strategy, allowed

#: Below this utilisation nodes count as equally empty, so that work packs; from it on the emptier node wins.
PACK_UP_TO = 0.5


@dataclass(frozen=True, slots=True)
class NodeView:
    """A living node as placement sees it.

    Attributes:
        node_id: Its id.
        total: What it has.
        free: What should be free now: as reported, minus what was placed since.
        room: What would be free if all tasks ended: total minus what actors hold.
        load: Starts that wait there, in amounts; breaks ties between nodes that have room but nothing free.
        labels: Its labels, that of its id included.
        actors: How many were placed there and live.
    """

    node_id: NodeId
    total: Amounts
    free: Amounts
    room: Amounts
    load: Amounts
    labels: Mapping[str, str] = field(default_factory=dict)
    actors: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """Where to, or why nowhere.

    Attributes:
        node_id: The node; empty if none.
        reason: Why none, for people.
        infeasible: No node there is could ever take it.
        never: Nor will one that comes.
    """

    node_id: NodeId
    reason: str = ""
    infeasible: bool = False
    never: bool = False


def fits(need: Amounts, have: Amounts) -> bool:
    """Whether `have` covers every amount of `need`."""
    return all(have.get(name, 0) >= amount for name, amount in need.items() if amount > 0)


def utilisation(total: Amounts, free: Amounts) -> float:
    """The share in use of the resource that is used most; above 1 when more is promised than there is."""
    return max((1 - free.get(name, 0) / amount for name, amount in total.items() if amount > 0), default=0.0)


def choose(
    place: Amounts,
    hold: Amounts,
    nodes: Iterable[NodeView],
    *,
    prefer: NodeId = NO_NODE,
    strategy: Strategy = ANYWHERE,
) -> Choice:
    """Choose a node for an actor.

    Args:
        place: What must be free while its constructor runs.
        hold: What it holds afterwards.
        nodes: Living nodes, in a stable order, which breaks ties.
        prefer: Wins among equals: its owner's node.
        strategy: Which nodes are allowed, and which of them are better.

    Returns:
        A node where `place` is free; else one where it will be once tasks end, as the raylet queues it fairly with
        everything else there; else none, as only another actor's end or a new node would help.
    """
    everyone = list(nodes)

    def can(node: NodeView) -> bool:
        return fits(place, node.total) and fits(hold, node.total)

    tiers = allowed(strategy, everyone, can)
    if not tiers:
        if strategy.node and not strategy.node_soft:
            return Choice(NO_NODE, _not_there(place, hold, strategy.node, everyone), infeasible=True, never=True)
        needs = f"needs {text(_larger(place, hold))}{strategy.text()}"
        return Choice(NO_NODE, f"infeasible: {needs}, {_largest(everyone)}", infeasible=True)
    wants_gpu = place.get("GPU", 0) > 0 or hold.get("GPU", 0) > 0
    positions = {node.node_id: position for position, node in enumerate(everyone)}

    def cost(node: NodeView, used: float) -> tuple[float, ...]:
        wastes_gpu = not wants_gpu and node.total.get("GPU", 0) > 0
        if strategy.spread:
            return node.actors, used, node.node_id != prefer, positions[node.node_id]
        return wastes_gpu, (used if used >= PACK_UP_TO else 0.0), node.node_id != prefer, positions[node.node_id]

    for tier in tiers:
        now = [
            (cost(node, utilisation(node.total, node.free)), node)
            for node in tier
            if fits(place, node.free) and fits(hold, node.room)
        ]
        if now:
            return Choice(min(now, key=lambda pair: pair[0])[1].node_id)
    for tier in tiers:
        later = [
            (cost(node, utilisation(node.total, subtract(node.room, node.load))), node)
            for node in tier
            if fits(hold, node.room)
        ]
        if later:
            return Choice(min(later, key=lambda pair: pair[0])[1].node_id)
    if strategy.node and strategy.node_soft and tiers[0][0].node_id == strategy.node:
        # Full of others' actors, and it may be elsewhere.
        return choose(place, hold, everyone, prefer=prefer, strategy=ANYWHERE)
    return Choice(NO_NODE, f"waiting for {text(hold)} that other actors hold")


def subtract(have: Amounts, taken: Amounts) -> dict[str, int]:
    """`have` minus `taken`; may go below zero, which says by how much too much was promised."""
    left = dict(have)
    for name, amount in taken.items():
        left[name] = left.get(name, 0) - amount
    return left


def text(amounts: Amounts) -> str:
    """Amounts as people write them: {"CPU": 0.5}."""
    return "{" + ", ".join(f'"{name}": {amount / 10000:g}' for name, amount in sorted(amounts.items()) if amount) + "}"


def _larger(one: Amounts, other: Amounts) -> dict[str, int]:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in {**one, **other}}


def _largest(nodes: list[NodeView]) -> str:
    if not nodes:
        return "there is no node"
    most: dict[str, int] = {}
    for node in nodes:
        most = _larger(most, node.total)
    return f"the most that any node has is {text(most)}"


def _not_there(place: Amounts, hold: Amounts, node_id: bytes, nodes: list[NodeView]) -> str:
    there = next((node for node in nodes if node.node_id == node_id), None)
    why = (
        "there is no such node" if there is None else f"needs {text(_larger(place, hold))}, it has {text(there.total)}"
    )
    return (
        "The node specified via NodeAffinitySchedulingStrategy doesn't exist any more or is infeasible, and soft=False "
        f"was specified: {node_id.hex()}: {why}."
    )
