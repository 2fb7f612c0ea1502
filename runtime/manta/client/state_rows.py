"""Rows of the state API, with Ray's columns, from what nodes and control answer. Pure; the asking is `state_query`'s."""

from __future__ import annotations

import json
from typing import Any

from manta.core.ids import is_put
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import control_pb2 as ctl
from manta.rpc.v1 import state_pb2 as st

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: One row: column to value.
Row = dict[str, Any]

#: A condition: column, "=" or "!=", value.
Filter = tuple[str, str, Any]

#: A node that has answered: its id in hex, and what.
Told = tuple[str, st.StateAnswer]

#: What there are lists of, with the column that names a row.
KINDS = {
    "nodes": "node_id",
    "actors": "actor_id",
    "tasks": "task_id",
    "objects": "object_id",
    "jobs": "job_id",
    "workers": "worker_id",
    "placement-groups": "placement_group_id",
}
#: Those that only nodes know.
OF_NODES = ("tasks", "workers", "objects")

#: Columns that rows of Ray have and Manta has nothing to say in: always None, so that programs that read them go on.
_UNKNOWN = {
    "actors": (
        "serialized_runtime_env", "placement_group_id", "repr_name", "num_restarts_due_to_lineage_reconstruction",
        "num_restarts_due_to_node_preemption", "call_site", "label_selector", "fallback_strategy",
    ),
    "tasks": (
        "parent_task_id", "required_resources", "runtime_env_info", "placement_group_id", "events", "profiling_data",
        "creation_time_ms", "task_log_info", "is_debugger_paused", "call_site", "label_selector", "fallback_strategy",
    ),
    "objects": ("attempt_number", "call_site"),
    "workers": ("worker_launch_time_ms", "worker_launched_time_ms", "debugger_port", "num_paused_threads"),
    "jobs": ("metadata", "runtime_env", "error_type", "driver_agent_http_address", "driver_node_id", "driver_exit_code"),
    "placement-groups": ("stats", "topology_strategy", "topology_assignments"),
}  # fmt: skip

_CREATION = b"\xff" * 8


def _whole(kind: str, rows: list[Row]) -> list[Row]:
    """The rows with every column of Ray's."""
    missing = dict.fromkeys(_UNKNOWN[kind])
    return [{**row, **missing} for row in rows]


def nodes(reply: ctl.ListNodesResponse) -> list[Row]:
    """Nodes, dead ones included."""
    return [
        {
            "node_id": node.node_id.hex(),
            "node_ip": node.host,
            "is_head_node": node.head,
            "state": _name(ctl.NodeState, node.state, "NODE_STATE_"),
            "state_message": node.death_reason
            or (f"draining: {node.drain.reason}" if node.HasField("drain") else None),
            "node_name": node.name,
            "resources_total": {name: amount / 10_000 for name, amount in sorted(node.total.amounts.items())},
            "labels": dict(node.labels),
            "start_time_ms": node.started_unix_ms or None,
            "end_time_ms": node.ended_unix_ms or None,
        }
        for node in reply.nodes
    ]


def actors(reply: ctl.ListActorsResponse) -> list[Row]:
    """Actors, the newest first."""
    return _whole(
        "actors",
        [
            {
                "actor_id": actor.actor_id.hex(),
                "class_name": actor.class_name,
                "state": _name(ctl.ActorPhase, actor.state, "ACTOR_PHASE_"),
                "job_id": actor.job_id.hex(),
                "name": actor.name or None,
                "node_id": actor.node_id.hex() or None,
                "pid": actor.pid or None,
                "ray_namespace": actor.namespace,
                "is_detached": actor.detached,
                "num_restarts": actor.num_restarts,
                "required_resources": {name: amount / 10_000 for name, amount in sorted(actor.hold.amounts.items())},
                "death_cause": actor.death_cause.message or None if actor.HasField("death_cause") else None,
                "waiting_reason": actor.waiting_reason or None,
            }
            for actor in reply.actors
        ],
    )


def jobs(reply: ctl.ListJobsResponse) -> list[Row]:
    """Jobs, running ones and the last that ended."""
    return _whole(
        "jobs",
        [
            {
                "job_id": job.job_id.hex(),
                "submission_id": None,
                "entrypoint": job.entrypoint,
                "type": "DRIVER",
                "status": _name(ctl.JobState, job.state, "JOB_STATE_"),
                "message": job.message or None,
                "start_time": job.started_unix_ms or None,
                "end_time": job.ended_unix_ms or None,
                "driver_info": {"id": job.job_id.hex(), "pid": str(job.driver_pid)},
            }
            for job in reply.jobs
        ],
    )


def placement_groups(reply: ctl.ListPlacementGroupsResponse) -> list[Row]:
    """Placement groups, removed ones included as long as they are remembered."""
    return _whole(
        "placement-groups",
        [
            {
                "placement_group_id": group.group_id.hex(),
                "name": group.name,
                "creator_job_id": group.job_id.hex(),
                "state": _name(ctl.PlacementGroupState, group.state, "PLACEMENT_GROUP_STATE_"),
                "strategy": _name(ctl.PlacementStrategy, group.strategy, "PLACEMENT_STRATEGY_"),
                "is_detached": group.detached,
                "bundles": [
                    {
                        "bundle_id": {"placement_group_id": group.group_id.hex(), "bundle_index": at},
                        "node_id": (group.nodes[at].hex() if at < len(group.nodes) else "") or None,
                        "unit_resources": {name: amount / 10_000 for name, amount in sorted(bundle.amounts.items())},
                    }
                    for at, bundle in enumerate(group.bundles)
                ],
                "waiting_reason": group.waiting_reason or None,
                "start_time_ms": group.created_unix_ms or None,
                "end_time_ms": group.ended_unix_ms or None,
            }
            for group in reply.groups
        ],
    )


def workers(told: Iterable[Told]) -> list[Row]:
    """Worker processes and drivers; of those that are dead the last ones of each node."""
    return _whole(
        "workers",
        [{**row, "node_id": node_id} for node_id, answer in told if answer.json for row in json.loads(answer.json)],
    )


def objects(told: Iterable[Told]) -> list[Row]:
    """Objects in nodes' stores; small values live with their owners and are not listed."""
    rows: list[Row] = []
    for node_id, answer in told:
        table = answer.objects
        owners = [
            (process.hex() or None, pid or None) for process, pid in zip(table.processes, table.pids, strict=True)
        ]
        for at, (size, readers, owner, secondary) in enumerate(
            zip(table.sizes, table.readers, table.owners, table.secondary, strict=True)
        ):
            object_id = table.ids[28 * at : 28 * at + 28]
            rows.append(
                {
                    "object_id": object_id.hex(),
                    "object_size": size,
                    "task_status": "NIL" if is_put(object_id) else "FINISHED",
                    "reference_type": "PINNED_IN_MEMORY" if readers else "LOCAL_REFERENCE",
                    "worker_id": owners[owner][0],
                    "type": "DRIVER" if is_put(object_id) and owners[owner][1] is None else "WORKER",
                    "pid": owners[owner][1],
                    "ip": answer.node_ip,
                    "readers": readers,
                    "is_copy": secondary,
                    "node_id": node_id,
                }
            )
    return _whole("objects", rows)


def tasks(told: Iterable[Told]) -> list[Row]:
    """Tasks and actor calls, one row per attempt, what is under way first and then the newest.

    Owners and workers of all nodes tell of the same ones.
    """
    rows: dict[tuple[bytes, int], Row] = {}
    rank: dict[tuple[bytes, int], int] = {}
    for node_id, report in ((node_id, report) for node_id, answer in told for report in answer.tasks):
        names, troubles = list(report.names), {one.index: one for one in report.troubles}
        columns = zip(report.name, report.state, report.attempt, report.started_us, report.ended_us, strict=True)
        for at, (name, state, attempt, started, ended) in enumerate(columns):
            task_id = report.ids[24 * at : 24 * at + 24]
            key = (task_id, attempt)
            # Several processes tell of one attempt: the latest state wins, and who ran it says more than who waits for it.
            own = 2 * int(state) + (1 if started else 0)
            if rank.get(key, -1) >= own:
                continue
            rank[key] = own
            ran = bool(started) or state == pb.TASK_STATE_RUNNING
            trouble = troubles.get(at)
            rows[key] = {
                "task_id": task_id.hex(),
                "attempt_number": attempt,
                "name": names[name],
                "state": _name(pb.TaskState, state, "TASK_STATE_"),
                "job_id": task_id[20:24].hex(),
                "actor_id": report.actor_id.hex() or None if ran else None,
                "type": _kind(task_id, ran and bool(report.actor_id)),
                "func_or_class_name": names[name],
                "node_id": node_id if ran else None,
                "worker_id": report.worker_id.hex() if ran else None,
                "worker_pid": report.pid if ran else None,
                "error_type": trouble.type if trouble is not None else None,
                "error_message": trouble.message if trouble is not None else None,
                "language": "PYTHON",
                "start_time_ms": started // 1000 or None,
                "end_time_ms": ended // 1000 or None,
            }
    return _whole("tasks", sorted(rows.values(), key=_age, reverse=True))


def _age(row: Row) -> tuple[float, float, int]:
    return row["end_time_ms"] or float("inf"), row["start_time_ms"] or float("inf"), row["attempt_number"]


def _kind(task_id: bytes, by_actor: bool) -> str:
    if task_id[:8] == _CREATION:
        return "ACTOR_CREATION_TASK"
    return "ACTOR_TASK" if by_actor else "NORMAL_TASK"


def _name(enum: Any, number: int, prefix: str) -> str:
    name: str = enum.Name(number)
    return name.removeprefix(prefix)


def chosen(rows: Sequence[Row], filters: Iterable[Filter]) -> list[Row]:
    """The rows that meet every condition. Texts are compared without regard to case, as Ray does.

    Raises:
        ValueError: A condition names no column, or another comparison.
    """
    conditions = list(filters)
    for column, how, _ in conditions:
        if how not in ("=", "!="):
            raise ValueError(f"Unsupported filter predicate {how} is given. Available predicates: =, !=.")
        if rows and column not in rows[0]:
            raise ValueError(
                f"The given filter column {column} is not supported. Enter filters with --filter key=value or --filter "
                f"key!=value. Supported filter columns: {sorted(rows[0])}"
            )
    return [
        row
        for row in rows
        if all((_text(row.get(column)) == _text(value)) == (how == "=") for column, how, value in conditions)
    ]


def _text(value: object) -> str:
    return "" if value is None else str(value).lower()


def summary(kind: str, rows: Iterable[Row]) -> dict[str, Any]:
    """What `summarize_tasks`, `summarize_actors` and `summarize_objects` return."""
    whole: dict[str, Any] = _SUMMARIES[kind](list(rows))
    return {"cluster": whole}


def _of_tasks(rows: list[Row]) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {}
    types = {"NORMAL_TASK": 0, "ACTOR_TASK": 0, "ACTOR_CREATION_TASK": 0}
    for row in rows:
        name = row["name"]
        one = found.setdefault(name, {"func_or_class_name": name, "type": row["type"], "state_counts": {}})
        _count(one["state_counts"], row["state"])
        types[row["type"]] += 1
    return {
        "summary": found,
        "total_tasks": types["NORMAL_TASK"],
        "total_actor_tasks": types["ACTOR_TASK"],
        "total_actor_scheduled": types["ACTOR_CREATION_TASK"],
        "summary_by": "func_name",
    }


def _of_actors(rows: list[Row]) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        one = found.setdefault(row["class_name"], {"class_name": row["class_name"], "state_counts": {}})
        _count(one["state_counts"], row["state"])
    return {"summary": found, "total_actors": len(rows), "summary_by": "class"}


def _of_objects(rows: list[Row]) -> dict[str, Any]:
    """Manta keeps no call sites: all objects are one group, as in a Ray that does not record them."""
    one: dict[str, Any] = {
        "total_objects": len(rows),
        "total_size_mb": sum(row["object_size"] for row in rows) / (1 << 20),
        "total_num_workers": len({row["worker_id"] for row in rows}),
        "total_num_nodes": len({row["node_id"] for row in rows}),
        "task_state_counts": {},
        "task_attempt_number_counts": {},
        "ref_type_counts": {},
    }
    for row in rows:
        _count(one["task_state_counts"], row["task_status"])
        _count(one["ref_type_counts"], row["reference_type"])
    return {
        "summary": {"disabled": one} if rows else {},
        "total_objects": len(rows),
        "total_size_mb": one["total_size_mb"],
        "callsite_enabled": False,
        "summary_by": "callsite",
    }


def _count(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


_SUMMARIES = {"tasks": _of_tasks, "actors": _of_actors, "objects": _of_objects}
