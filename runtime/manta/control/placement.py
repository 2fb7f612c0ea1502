"""Which node an actor goes to: a pure function of what is free. Hybrid policy: pack up to half full, then spread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from manta.control.model import NO_NODE, Amounts, NodeId

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
    """

    node_id: NodeId
    total: Amounts
    free: Amounts
    room: Amounts
    load: Amounts


@dataclass(frozen=True, slots=True)
class Choice:
    """Where to, or why nowhere.

    Attributes:
        node_id: The node; empty if none.
        reason: Why none, for people.
        infeasible: No node there is could ever take it.
    """

    node_id: NodeId
    reason: str = ""
    infeasible: bool = False


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
    affinity: NodeId = NO_NODE,
    affinity_soft: bool = False,
) -> Choice:
    """Choose a node for an actor.

    Args:
        place: What must be free while its constructor runs.
        hold: What it holds afterwards.
        nodes: Living nodes, in a stable order, which breaks ties.
        prefer: Wins among equals: its owner's node.
        affinity: The only node allowed, or with `affinity_soft` the first choice; empty for any.
        affinity_soft: See there.

    Returns:
        A node where `place` is free; else one where it will be once tasks end, as the raylet queues it fairly with
        everything else there; else none, as only another actor's end or a new node would help.
    """
    everyone = list(nodes)
    candidates = [node for node in everyone if node.node_id == affinity] if affinity else everyone
    if affinity:
        if candidates or not affinity_soft:
            if not candidates:
                return Choice(NO_NODE, f"infeasible: node {affinity.hex()} is not there", infeasible=True)
            choice = _choose(place, hold, candidates, prefer)
            if choice.node_id or not affinity_soft:
                return choice
        candidates = everyone
    return _choose(place, hold, candidates, prefer)


def _choose(place: Amounts, hold: Amounts, nodes: list[NodeView], prefer: NodeId) -> Choice:
    feasible = [node for node in nodes if fits(place, node.total) and fits(hold, node.total)]
    if not feasible:
        return Choice(NO_NODE, f"infeasible: needs {text(_larger(place, hold))}, {_largest(nodes)}", infeasible=True)
    wants_gpu = place.get("GPU", 0) > 0 or hold.get("GPU", 0) > 0

    def cost(position: int, node: NodeView, used: float) -> tuple[bool, float, bool, int]:
        wastes_gpu = not wants_gpu and node.total.get("GPU", 0) > 0
        return wastes_gpu, (used if used >= PACK_UP_TO else 0.0), node.node_id != prefer, position

    now = [
        (cost(position, node, utilisation(node.total, node.free)), node)
        for position, node in enumerate(feasible)
        if fits(place, node.free) and fits(hold, node.room)
    ]
    if now:
        return Choice(min(now, key=lambda pair: pair[0])[1].node_id)
    later = [
        (cost(position, node, utilisation(node.total, subtract(node.room, node.load))), node)
        for position, node in enumerate(feasible)
        if fits(hold, node.room)
    ]
    if later:
        return Choice(min(later, key=lambda pair: pair[0])[1].node_id)
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
