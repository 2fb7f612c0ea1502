"""Which node each bundle of a placement group goes to: pure, all or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from manta.control.groups.model import Group, Layout
from manta.control.model import Amounts, NodeId
from manta.control.placement import NodeView, fits, subtract, text, utilisation
from manta.core.strategy import matches

#: Bundles for which every way is tried when the usual ones fail, and how often one is put somewhere.
MOST_TRIED = 32
MOST_STEPS = 5_000

#: Where each of some bundles goes, by index; or why that is impossible now.
Packing = dict[int, NodeId] | str


def pack(group: Group, nodes: Iterable[NodeView]) -> Packing:
    """Find places for the bundles of a group that are nowhere, beside those that are somewhere."""
    views = {node.node_id: node for node in nodes}
    wanted = group.missing
    free = {node_id: dict(node.free) for node_id, node in views.items()}
    found = _laid_out(group, wanted, views, free)
    if found is not None:
        return found
    # Would it ever fit? Said by name, as for tasks and actors.
    room = {node_id: dict(node.total) for node_id, node in views.items()}
    if _laid_out(group, wanted, views, room) is None:
        what = ", ".join(text(group.bundles[index]) or "{}" for index in wanted[:8])
        more = f" and {len(wanted) - 8} more" if len(wanted) > 8 else ""
        return f"infeasible: {len(views)} nodes can never hold {group.layout.name} bundles {what}{more}"
    return "waiting for resources that others use"


def _laid_out(
    group: Group, wanted: list[int], views: dict[NodeId, NodeView], free: dict[NodeId, dict[str, int]]
) -> dict[int, NodeId] | None:
    match group.layout:
        case Layout.STRICT_PACK:
            return _on_one(group, wanted, views, free)
        case Layout.PACK:
            return (
                _on_one(group, wanted, views, free)
                or _on_few(group, wanted, views, free)
                or _somehow(group, wanted, views, free)
            )
        case Layout.STRICT_SPREAD:
            return _on_different(group, wanted, views, free)
        case _:
            return _on_many(group, wanted, views, free) or _somehow(group, wanted, views, free)


def _may(group: Group, index: int, node: NodeView) -> bool:
    return not group.selectors or matches(group.selectors[index], node.labels)


def _cost(group: Group, node: NodeView) -> tuple[bool, float]:
    """Nodes with GPUs are for bundles with GPUs; else the fuller one comes first, so that large holes stay."""
    wants_gpu = any(bundle.get("GPU", 0) for bundle in group.bundles)
    return not wants_gpu and node.total.get("GPU", 0) > 0, -utilisation(node.total, node.free)


def _on_one(
    group: Group, wanted: list[int], views: dict[NodeId, NodeView], free: dict[NodeId, dict[str, int]]
) -> dict[int, NodeId] | None:
    there = {node_id for node_id in group.nodes if node_id}
    need = _sum(group.bundles[index] for index in wanted)
    able = [
        node
        for node in views.values()
        if (not there or there == {node.node_id})
        and fits(need, free[node.node_id])
        and all(_may(group, index, node) for index in wanted)
    ]
    if not able:
        return None
    # How full a node is takes a look at all it has, the bundles of every group among it: only where there is a choice.
    best = able[0] if len(able) == 1 else min(able, key=lambda node: _cost(group, node))
    return dict.fromkeys(wanted, best.node_id)


def _on_few(
    group: Group, wanted: list[int], views: dict[NodeId, NodeView], free: dict[NodeId, dict[str, int]]
) -> dict[int, NodeId] | None:
    """Again and again the node that takes most of what is left."""
    left, found = sorted(wanted, key=lambda index: -_size(group.bundles[index])), {}
    remaining = {node_id: dict(amounts) for node_id, amounts in free.items()}
    while left:
        best: list[int] = []
        where: NodeView | None = None
        for node in sorted(views.values(), key=lambda node: _cost(group, node)):
            taken: list[int] = []
            have = remaining[node.node_id]
            for index in left:
                if fits(group.bundles[index], have) and _may(group, index, node):
                    taken.append(index)
                    have = subtract(have, group.bundles[index])
            if len(taken) > len(best):
                best, where = taken, node
        if where is None:
            return None
        for index in best:
            found[index] = where.node_id
            remaining[where.node_id] = subtract(remaining[where.node_id], group.bundles[index])
        left = [index for index in left if index not in best]
    return found


def _somehow(
    group: Group, wanted: list[int], views: dict[NodeId, NodeView], free: dict[NodeId, dict[str, int]]
) -> dict[int, NodeId] | None:
    """Any way at all, by trying: what is chosen bundle by bundle may miss the only one. Bounded; large groups are left alone."""
    if len(wanted) > MOST_TRIED:
        return None
    order = sorted(wanted, key=lambda index: -_size(group.bundles[index]))
    nodes = sorted(views.values(), key=lambda node: _cost(group, node))
    remaining = {node_id: dict(amounts) for node_id, amounts in free.items()}
    found: dict[int, NodeId] = {}
    steps = MOST_STEPS

    def place(at: int) -> bool:
        nonlocal steps
        if at == len(order):
            return True
        index = order[at]
        bundle = group.bundles[index]
        tried: list[dict[str, int]] = []
        for node in nodes:
            have = remaining[node.node_id]
            # A node with as much left as one that did not help does not help either.
            if not fits(bundle, have) or not _may(group, index, node) or (have in tried and not group.selectors):
                continue
            steps -= 1
            if steps < 0:
                return False
            tried.append(have)
            remaining[node.node_id] = subtract(have, bundle)
            found[index] = node.node_id
            if place(at + 1):
                return True
            remaining[node.node_id] = have
        return False

    return found if place(0) else None


def _on_many(
    group: Group, wanted: list[int], views: dict[NodeId, NodeView], free: dict[NodeId, dict[str, int]]
) -> dict[int, NodeId] | None:
    """Each on the node that has fewest of them."""
    different = _on_different(group, wanted, views, free)
    if different is not None:
        return different
    found: dict[int, NodeId] = {}
    remaining = {node_id: dict(amounts) for node_id, amounts in free.items()}
    count = dict.fromkeys(views, 0)
    for node_id in group.nodes:
        if node_id in count:
            count[node_id] += 1
    for index in sorted(wanted, key=lambda index: -_size(group.bundles[index])):
        able = [
            node
            for node in views.values()
            if fits(group.bundles[index], remaining[node.node_id]) and _may(group, index, node)
        ]
        if not able:
            return None
        node = min(able, key=lambda node: (count[node.node_id], *_cost(group, node)))
        found[index] = node.node_id
        count[node.node_id] += 1
        remaining[node.node_id] = subtract(remaining[node.node_id], group.bundles[index])
    return found


def _on_different(
    group: Group, wanted: list[int], views: dict[NodeId, NodeView], free: dict[NodeId, dict[str, int]]
) -> dict[int, NodeId] | None:
    """Each on another node: a matching, found by augmenting paths."""
    used = {node_id for node_id in group.nodes if node_id}
    able: dict[int, Sequence[NodeId]] = {
        index: [
            node.node_id
            for node in sorted(views.values(), key=lambda node: _cost(group, node))
            if node.node_id not in used and fits(group.bundles[index], free[node.node_id]) and _may(group, index, node)
        ]
        for index in wanted
    }
    owner: dict[NodeId, int] = {}

    def place(start: int) -> bool:
        """Breadth first, so that a group of thousands does not end in a deep recursion."""
        came: dict[NodeId, int] = {}
        queue = [start]
        for index in queue:
            for node_id in able[index]:
                if node_id in came:
                    continue
                came[node_id] = index
                if node_id in owner:
                    queue.append(owner[node_id])
                    continue
                # Free: everybody on the way moves one on.
                at: NodeId | None = node_id
                while at is not None:
                    mover = came[at]
                    before = next((other for other, holder in owner.items() if holder == mover), None)
                    owner[at] = mover
                    if before is not None:
                        del owner[before]
                    at = before
                return True
        return False

    for index in wanted:
        if not place(index):
            return None
    return {index: node_id for node_id, index in owner.items()}


def _sum(bundles: Iterable[Amounts]) -> dict[str, int]:
    total: dict[str, int] = {}
    for bundle in bundles:
        for name, amount in bundle.items():
            total[name] = total.get(name, 0) + amount
    return total


def _size(bundle: Amounts) -> int:
    return sum(amount for name, amount in bundle.items() if name in ("CPU", "GPU"))
