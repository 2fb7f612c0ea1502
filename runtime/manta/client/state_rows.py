"""Rows of the state API, with Ray's columns, from what raylets and control answer. Pure; the asking is done elsewhere."""

from __future__ import annotations

import json
from typing import Any

from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import control_pb2 as ctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: One row: column to value.
Row = dict[str, Any]

#: A condition: column, "=" or "!=", value.
Filter = tuple[str, str, Any]

#: What there are lists of, with the column that names a row.
KINDS = {
    "nodes": "node_id",
    "actors": "actor_id",
    "tasks": "task_id",
    "objects": "object_id",
    "jobs": "job_id",
    "workers": "worker_id",
}

_CREATION = b"\xff" * 8


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
    return [
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
    ]


def jobs(reply: ctl.ListJobsResponse) -> list[Row]:
    """Jobs, running ones and the last that ended."""
    return [
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
    ]


def workers(replies: Iterable[pb.StateReply], node_id: str) -> list[Row]:
    """Worker processes and drivers of a node."""
    return [{**row, "node_id": node_id} for reply in replies if reply.json for row in json.loads(reply.json)]


def objects(replies: Iterable[pb.StateReply], node_id: str) -> list[Row]:
    """Objects in a node's store; small values live with their owners and are not listed."""
    rows: list[Row] = []
    for reply in replies:
        table = reply.objects
        owners = [
            (process.hex() or None, pid or None) for process, pid in zip(table.processes, table.pids, strict=True)
        ]
        for at, (size, readers, owner, secondary) in enumerate(
            zip(table.sizes, table.readers, table.owners, table.secondary, strict=True)
        ):
            rows.append(
                {
                    "object_id": table.ids[28 * at : 28 * at + 28].hex(),
                    "object_size": size,
                    "reference_type": "PINNED_IN_MEMORY" if readers else "LOCAL_REFERENCE",
                    "worker_id": owners[owner][0],
                    "pid": owners[owner][1],
                    "readers": readers,
                    "is_copy": secondary,
                    "node_id": node_id,
                }
            )
    return rows


def tasks(replies: Iterable[pb.StateReply], node_id: str) -> list[Row]:
    """Tasks and actor calls, one row per attempt, the newest last: owners and workers tell of the same ones."""
    rows: dict[tuple[bytes, int], Row] = {}
    rank: dict[tuple[bytes, int], int] = {}
    for reply in replies:
        report = reply.tasks
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
                "start_time_ms": started // 1000 or None,
                "end_time_ms": ended // 1000 or None,
            }
    return list(rows.values())


def _kind(task_id: bytes, by_actor: bool) -> str:
    if task_id[:8] == _CREATION:
        return "ACTOR_CREATION_TASK"
    return "ACTOR_TASK" if by_actor else "NORMAL_TASK"


def _name(enum: Any, number: int, prefix: str) -> str:
    name: str = enum.Name(number)
    return name.removeprefix(prefix)


def chosen(rows: Sequence[Row], filters: Iterable[Filter], known: Sequence[str]) -> list[Row]:
    """The rows that meet every condition. Texts are compared without regard to case, as Ray does.

    Raises:
        ValueError: A condition names no column, or another comparison.
    """
    conditions = list(filters)
    for column, how, _ in conditions:
        if how not in ("=", "!="):
            raise ValueError(f"a filter compares with = or !=, not {how!r}")
        if rows and column not in known:
            raise ValueError(f"there is no column {column!r} to filter by; there are {', '.join(known)}")
    return [
        row
        for row in rows
        if all((_text(row.get(column)) == _text(value)) == (how == "=") for column, how, value in conditions)
    ]


def _text(value: object) -> str:
    return "" if value is None else str(value).lower()


def summary(rows: Iterable[Row]) -> dict[str, dict[str, Any]]:
    """Tasks by name: how many are in which state."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        one = found.setdefault(
            row["name"], {"func_or_class_name": row["name"], "type": row["type"], "state_counts": {}}
        )
        one["state_counts"][row["state"]] = one["state_counts"].get(row["state"], 0) + 1
    return found
