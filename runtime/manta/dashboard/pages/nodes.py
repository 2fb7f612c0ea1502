"""Sections about nodes: what they have and lend, and what waits for more of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from manta.core.readable import amount, duration, size
from manta.dashboard.pages.facts import Facts
from manta.dashboard.pages.html import Html, bar, join, short, state, table, tag
from manta.dashboard.pages.sections import SHORT, clipped, counted, section
from manta.rpc.v1 import control_pb2 as pb


def nodes(facts: Facts, now: float) -> Html:
    """Nodes with their bars, the dead ones last."""
    ordered = sorted(
        facts.nodes, key=lambda node: (node.state == pb.NODE_STATE_DEAD, not node.head, node.started_unix_ms)
    )
    alive = sum(node.state == pb.NODE_STATE_ALIVE for node in facts.nodes)
    draining = sum(node_state(node) == "DRAINING" for node in facts.nodes)
    dead = sum(node.state == pb.NODE_STATE_DEAD for node in facts.nodes)
    rest = len(facts.nodes) - alive - dead
    return section(
        "nodes",
        "Nodes",
        counted((alive - draining, "alive"), (draining, "draining"), (dead, "dead"), (rest, "not heard of yet")),
        table(
            ("Node", "State", "CPUs lent", "Memory", "Object store", "Workers", "Other resources", "Since"),
            [_node(node, facts, now) for node in clipped(ordered)],
            name="Nodes",
            empty="No node has registered.",
            total=len(ordered),
        ),
    )


def node_state(node: pb.NodeInfo) -> str:
    """ALIVE, DRAINING, DEAD or EXPECTED."""
    name = pb.NodeState.Name(node.state).removeprefix("NODE_STATE_")
    return "DRAINING" if name == "ALIVE" and node.HasField("drain") else name


def _node(node: pb.NodeInfo, facts: Facts, now: float) -> list[str]:
    node_id, now_is = node.node_id.hex(), node_state(node)
    said = facts.told.get(node_id)
    called = join(
        tag("code", node_id[:SHORT], title=node_id),
        " ",
        short(node.name or node.host, 40),
        " (head)" if node.head else "",
        tag("small", short(node.host, 40)) if node.name and node.name != node.host else None,
    )
    why = node.death_reason or (node.drain.reason if now_is == "DRAINING" else "")
    shown = join(state(now_is), tag("small", short(why, 160)) if why else None)
    if node.state == pb.NODE_STATE_DEAD:
        since = f"dead for {duration(max(0.0, now - node.ended_unix_ms / 1000))}" if node.ended_unix_ms else ""
        return [called, shown, "", "", "", "", "", since]
    since = f"up {duration(max(0.0, now - node.started_unix_ms / 1000))}" if node.started_unix_ms else ""
    used, most = resource(node, facts, "CPU")
    cpus = bar(used, most, f"{amount(used)} of {amount(most)}", alarm=False)
    others = ", ".join(
        f"{short(name, 40)} {amount(one)} of {amount(all_)}" for name, (one, all_) in _others(node, facts).items()
    )
    if said is None:
        return [called, shown, cpus, "not told", "not told", "", short(others, 200), since]
    memory, store = said.get("memory"), said["store"]
    workers = ", ".join(f"{count} {name}" for name, count in sorted(said["workers"].items()))
    return [
        called,
        shown,
        cpus,
        bar(memory["used"], memory["limit"], f"{size(memory['used'])} of {size(memory['limit'])}") if memory else "",
        _store(store),
        short(workers or "none"),
        short(others, 200),
        since,
    ]


def _store(store: Mapping[str, int]) -> Html:
    used = store_used(store)
    objects = f"{store['objects']} object{'' if store['objects'] == 1 else 's'}"
    waiting = f"; {store['waiting_creates']} wait for room" if store["waiting_creates"] else ""
    drawn = bar(used, store["capacity_bytes"], f"{size(used)} of {size(store['capacity_bytes'])}")
    return join(drawn, tag("small", objects, waiting))


def store_used(store: Mapping[str, int]) -> int:
    """Bytes that objects take, those that are being written included."""
    return store["sealed_bytes"] + store["unsealed_bytes"]


def resource(node: pb.NodeInfo, facts: Facts, name: str) -> tuple[float, float]:
    """How much of a resource is lent, and how much there is: as the node says, else as control knows."""
    said = facts.told.get(node.node_id.hex())
    total, free = (said["total"], said["available"]) if said else (node.total.amounts, node.available.amounts)
    most = total.get(name, 0)
    return (most - free.get(name, 0)) / 10_000, most / 10_000


def _others(node: pb.NodeInfo, facts: Facts) -> dict[str, tuple[float, float]]:
    hidden = ("CPU", "memory", "object_store_memory")
    names = sorted(
        name for name in node.total.amounts if name not in hidden and ":" not in name and "_group_" not in name
    )
    return {name: resource(node, facts, name) for name in names}


def waiting(facts: Facts) -> Html:
    """What has no place yet, what never will have one first."""
    kinds = (("tasks", facts.demand.tasks), ("actors", facts.demand.actors))
    rows = [(kind, shape) for kind, shapes in kinds for shape in shapes]
    if not rows:
        return tag("section", id="waiting", hidden=True)
    never = sum(shape.count for _, shape in rows if shape.infeasible)
    return section(
        "waiting",
        "Waiting for room",
        counted((sum(shape.count for _, shape in rows) - never, "waiting"), (never, "that no node can ever take")),
        table(
            ("What", "Each asks for", "How many", "Why"),
            [
                [
                    f"{kind}: {short(shape.name)}" if shape.infeasible else kind,
                    _amounts(shape.resources.amounts),
                    str(shape.count),
                    tag("strong", f"no node can ever take it: {short(shape.infeasible, 200)}")
                    if shape.infeasible
                    else "every node that could is taken",
                ]
                for kind, shape in clipped(sorted(rows, key=lambda row: not row[1].infeasible))
            ],
            name="Waiting for room",
            empty="",
            total=len(rows),
        ),
    )


def _amounts(amounts: Mapping[str, int]) -> str:
    return short(", ".join(f"{name} {amount(one / 10_000)}" for name, one in sorted(amounts.items())) or "nothing", 200)
