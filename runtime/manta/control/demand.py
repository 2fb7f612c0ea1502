"""What the cluster waits for and what of it is idle: a pure function of control's tables, for autoscalers and people."""

from __future__ import annotations

from typing import Final

from manta.control import convert
from manta.control.groups.convert import to_group
from manta.control.groups.model import GroupState
from manta.control.model import ActorState, Amounts, NodeState
from manta.control.state import ControlState
from manta.rpc.v1 import control_pb2 as pb

#: Rows of each list; what is left off is counted.
MOST_ROWS: Final = 1000
#: The most that a count can be on the wire.
_LARGEST: Final = (1 << 64) - 1
_PLACELESS: Final = (ActorState.PENDING_CREATION, ActorState.RESTARTING)


class _Shapes:
    """Rows of what waits, summed by what they ask for."""

    def __init__(self) -> None:
        self._found: dict[tuple[tuple[tuple[str, int], ...], str], tuple[int, str, Amounts]] = {}

    def add(self, amounts: Amounts, count: int, name: str, infeasible: str) -> None:
        key = tuple(sorted(amounts.items())), infeasible
        before, first, _ = self._found.get(key, (0, name, amounts))
        self._found[key] = before + count, first, amounts

    def rows(self) -> list[pb.PendingShape]:
        """The most wanted first."""
        ordered = sorted(self._found.items(), key=lambda item: (-item[1][0], item[0]))
        return [
            pb.PendingShape(
                resources=convert.to_amounts(amounts), count=min(count, _LARGEST), name=name, infeasible=infeasible
            )
            for (_, infeasible), (count, name, amounts) in ordered
        ]


def demand(state: ControlState) -> pb.Demand:
    """What waits and what is idle, as last reported. The same tables give the same bytes."""
    nodes, tasks, actors = state.nodes, _Shapes(), _Shapes()
    for node_id in nodes.alive():
        for each in nodes.load(node_id).pending:
            tasks.add(each.amounts, each.count, each.name, each.infeasible)
    for row in state.actors.rows.values():
        if row.state in _PLACELESS and not row.node_id:
            reason = row.waiting_reason if row.waiting_reason.startswith("infeasible") else ""
            larger = {name: max(row.spec.place.get(name, 0), row.spec.hold.get(name, 0)) for name in
                      {**row.spec.place, **row.spec.hold}}  # fmt: skip
            actors.add(larger, 1, row.spec.class_name, reason.removeprefix("infeasible: "))
    groups = [row for row in state.groups.rows.values() if row.missing and row.state is not GroupState.REMOVED]
    found = pb.Demand(epoch=state.epoch)
    task_rows, actor_rows = tasks.rows(), actors.rows()
    found.tasks.extend(task_rows[:MOST_ROWS])
    found.actors.extend(actor_rows[:MOST_ROWS])
    found.groups.extend(to_group(row) for row in groups[:MOST_ROWS])
    there = [row for row in nodes.rows.values() if row.state is not NodeState.DEAD or row.drain is not None]
    for node in there[:MOST_ROWS]:
        load = nodes.load(node.node_id)
        found.nodes.add(
            node_id=node.node_id,
            name=node.name,
            head=node.head,
            idle_since_unix_ms=nodes.idle_since_unix_ms(node.node_id),
            objects=load.objects,
            object_bytes=load.object_bytes,
            drain=convert.to_drain(node),
            holds=convert.to_load(load) if node.drain is not None and node.state is not NodeState.DEAD else None,
        )
    lengths = len(task_rows), len(actor_rows), len(groups), len(there)
    found.left_off = sum(max(0, length - MOST_ROWS) for length in lengths)
    return found
