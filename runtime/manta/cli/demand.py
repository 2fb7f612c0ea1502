"""What a cluster waits for and what leaves it, as control tells it: for `manta status`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from manta.cli.screen import Screen, amount, duration, harmless, size
from manta.core.resources import to_floats
from manta.rpc.v1 import control_pb2 as ctl

#: Rows of a list before the rest is only counted, unless asked for all.
ROWS: Final = 20

#: What may hold a node that is drained, with its singular and plural.
_HOLDS: Final = (
    ("tasks", "task", "tasks"),
    ("actors", "actor", "actors"),
    ("drivers", "driver", "drivers"),
    ("objects", "object", "objects"),
    ("owners", "process that owns objects", "processes that own objects"),
)


def facts(demand: ctl.Demand) -> dict[str, Any]:
    """The same as plain values: amounts are floats, sizes bytes."""
    return {
        "tasks": [_shape(shape) for shape in demand.tasks],
        "actors": [_shape(shape) for shape in demand.actors],
        "placement_groups": [_group(group) for group in demand.groups],
        "draining": [
            _draining(node)
            for node in demand.nodes
            if node.HasField("drain") and node.drain.state == ctl.DRAIN_STATE_DRAINING
        ],
        "left_off": demand.left_off,
    }


def holds(load: ctl.NodeLoad) -> dict[str, Any]:
    """What holds a node, as plain values."""
    found: dict[str, Any] = {name: getattr(load, name) for name, _, _ in _HOLDS}
    found["object_bytes"] = load.object_bytes
    found |= {name: getattr(load, name) for name in ("stuck_objects", "stuck_bytes", "stuck_reason")}
    return found


def what_holds(held: Mapping[str, Any]) -> str:
    """What a drain waits for, for people; of `holds`."""
    found = ", ".join(f"{held[name]} {one if held[name] == 1 else many}" for name, one, many in _HOLDS if held[name])
    if not found:
        return "nothing holds it"
    stuck = ""
    if held["stuck_objects"]:
        count = held["stuck_objects"]
        stuck = (
            f"; {count} {'objects' if count != 1 else 'object'}, {size(held['stuck_bytes'])}, "
            f"{'have' if count != 1 else 'has'} nowhere to go: {harmless(held['stuck_reason'], 300)}"
        )
    return f"it still holds {found}{stuck}"


def render_tasks(tasks: Sequence[Mapping[str, Any]], screen: Screen, *, wide: bool) -> None:
    """Tasks that wait, by shape; what no node can give is said with its reason."""
    screen.heading("Waiting for a worker", "" if tasks else "   nothing")
    _render_shapes(tasks, screen, wide=wide)


def render(demand: Mapping[str, Any], screen: Screen, *, wide: bool) -> None:
    """Actors and groups without a place, and nodes that are drained; nothing where there are none."""
    if demand["actors"]:
        screen.heading("Actors without a place")
        _render_shapes(demand["actors"], screen, wide=wide)
    if demand["placement_groups"]:
        screen.heading("Placement groups that wait")
        rows = [
            (
                group["placement_group_id"] if wide else group["placement_group_id"][:8],
                group["state"],
                harmless(group["name"], 40),
                f"{group['waiting']} of {group['bundles']} bundles",
                harmless(group["waiting_reason"], 400 if wide else 100),
            )
            for group in demand["placement_groups"]
        ]
        _limited(rows, screen, wide=wide)
    if demand["draining"]:
        screen.heading("Nodes that are drained")
        now = time.time()
        rows = [
            (
                node["node_id"] if wide else node["node_id"][:8],
                harmless(node["name"], 40),
                f"{duration(max(0.0, node['deadline_unix_ms'] / 1000 - now))} left",
                what_holds(node["holds"]),
                harmless(node["reason"], 60),
            )
            for node in demand["draining"]
        ]
        _limited(rows, screen, wide=wide)
    if demand["left_off"]:
        screen.line(f"  and {demand['left_off']} rows more of what waits, which control has left off")


def _render_shapes(shapes: Sequence[Mapping[str, Any]], screen: Screen, *, wide: bool) -> None:
    rows = []
    for shape in sorted(shapes, key=lambda shape: (not shape["infeasible"], -shape["count"])):
        needs = ", ".join(
            f"{harmless(name, 60)} {amount(number)}" for name, number in sorted(shape["resources"].items())
        )
        why = harmless(shape["infeasible"] or "", 400 if wide else 120)
        rows.append(
            (
                harmless(shape["name"], 60),
                f"{shape['count']} x",
                f"{{{needs}}}",
                screen.paint("red", why) if why else "",
            )
        )
    _limited(rows, screen, wide=wide)


def _limited(rows: Sequence[Sequence[str]], screen: Screen, *, wide: bool) -> None:
    shown = rows if wide else rows[:ROWS]
    screen.table(shown)
    if len(rows) > len(shown):
        screen.line(f"  and {len(rows) - len(shown)} more (-o wide shows all)")


def _shape(shape: ctl.PendingShape) -> dict[str, Any]:
    return {
        "name": shape.name,
        "resources": to_floats(dict(shape.resources.amounts)),
        "count": shape.count,
        "infeasible": shape.infeasible or None,
    }


def _group(group: ctl.PlacementGroupInfo) -> dict[str, Any]:
    return {
        "placement_group_id": group.group_id.hex(),
        "name": group.name,
        "state": ctl.PlacementGroupState.Name(group.state).removeprefix("PLACEMENT_GROUP_STATE_"),
        "bundles": len(group.bundles),
        "waiting": sum(not node_id for node_id in group.nodes),
        "waiting_reason": group.waiting_reason,
    }


def _draining(node: ctl.NodeDemand) -> dict[str, Any]:
    return {
        "node_id": node.node_id.hex(),
        "name": node.name,
        "reason": node.drain.reason,
        "grace_s": node.drain.grace_ms / 1000,
        "deadline_unix_ms": node.drain.deadline_unix_ms,
        "holds": holds(node.holds),
    }
