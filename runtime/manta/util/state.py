"""What a cluster has and does, as rows: `list_*`, `get_*` and `summarize_tasks`, with the columns of `ray.util.state`.

Nodes, actors and jobs are control's; tasks, workers and objects are those of this process's node. A row is a `StateRow`: its
columns are attributes, and it is a dictionary too.
"""

from __future__ import annotations

from manta.client import current, state_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from manta.client.state_rows import Filter, Row

__all__ = [
    "RayStateApiException",
    "StateRow",
    "get_actor",
    "get_job",
    "get_node",
    "get_objects",
    "get_task",
    "get_worker",
    "list_actors",
    "list_jobs",
    "list_nodes",
    "list_objects",
    "list_tasks",
    "list_workers",
    "summarize_tasks",
]

#: Rows that a list may have at most.
MOST_ROWS = 10_000


class RayStateApiException(Exception):
    """A question that cannot be answered: it says what was wrong."""


class StateRow(dict):  # type: ignore[type-arg]
    """One row, by key and by attribute."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"this row has no column {name!r}; it has {', '.join(self)}") from None


def _session() -> Any:
    if current.session is None:
        raise RayStateApiException("there is no cluster to ask: call init() first")
    return current.session


def _rows(kind: str, timeout: float) -> list[Row]:
    from manta.rpc.v1 import control_pb2 as ctl

    session = _session()
    node_id = session.welcome.node_id.hex()
    match kind:
        case "nodes":
            return state_rows.nodes(
                session.control("ListNodes", ctl.ListNodesRequest(), ctl.ListNodesResponse, timeout)
            )
        case "actors":
            reply = session.control("ListActors", ctl.ListActorsRequest(), ctl.ListActorsResponse, timeout)
            return state_rows.actors(reply)
        case "jobs":
            return state_rows.jobs(session.control("ListJobs", ctl.ListJobsRequest(), ctl.ListJobsResponse, timeout))
    query = getattr(session, "state_query", None)
    if query is None:
        raise RayStateApiException(
            f"{kind} are asked of a node, and this driver is outside of the cluster: ask from a task"
        )
    make: Callable[..., list[Row]] = getattr(state_rows, kind)
    return make(query.ask(kind, timeout_s=timeout), node_id)


def _list(kind: str, filters: Iterable[Filter] | None, limit: int, timeout: float) -> list[StateRow]:
    if not 0 < limit <= MOST_ROWS:
        raise RayStateApiException(f"limit must be from 1 to {MOST_ROWS}, got {limit}")
    rows = _rows(kind, timeout)
    try:
        rows = state_rows.chosen(rows, filters or (), list(rows[0]) if rows else ())
    except ValueError as wrong:
        raise RayStateApiException(str(wrong)) from None
    return [StateRow(row) for row in rows[:limit]]


def _get(kind: str, wanted: str, timeout: float) -> StateRow | None:
    column = state_rows.KINDS[kind]
    return next((StateRow(row) for row in reversed(_rows(kind, timeout)) if row[column] == wanted), None)


def list_nodes(
    address: str | None = None,
    filters: Iterable[Filter] | None = None,
    limit: int = 100,
    timeout: float = 30,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[StateRow]:
    """Nodes, dead ones included as long as they are remembered.

    Args:
        address: Not used: the question goes to the cluster this process is in.
        filters: Conditions that all must hold: (column, "=" or "!=", value).
        limit: Rows at most, up to 10,000.
        timeout: Seconds until it is given up.
        detail: Not used: every row has all its columns.
        raise_on_missing_output: Not used.

    Raises:
        RayStateApiException: A filter or the limit makes no sense.
    """
    return _list("nodes", filters, limit, timeout)


def list_actors(
    address: str | None = None,
    filters: Iterable[Filter] | None = None,
    limit: int = 100,
    timeout: float = 30,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[StateRow]:
    """Actors, the newest first; see `list_nodes` for the arguments."""
    return _list("actors", filters, limit, timeout)


def list_jobs(
    address: str | None = None,
    filters: Iterable[Filter] | None = None,
    limit: int = 100,
    timeout: float = 30,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[StateRow]:
    """Running jobs and the last that ended; see `list_nodes` for the arguments."""
    return _list("jobs", filters, limit, timeout)


def list_tasks(
    address: str | None = None,
    filters: Iterable[Filter] | None = None,
    limit: int = 100,
    timeout: float = 30,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[StateRow]:
    """Attempts of tasks and actor calls: those under way, and the last 10,000 that ended; see `list_nodes` for the arguments."""
    return _list("tasks", filters, limit, timeout)


def list_workers(
    address: str | None = None,
    filters: Iterable[Filter] | None = None,
    limit: int = 100,
    timeout: float = 30,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[StateRow]:
    """Worker processes and drivers; see `list_nodes` for the arguments."""
    return _list("workers", filters, limit, timeout)


def list_objects(
    address: str | None = None,
    filters: Iterable[Filter] | None = None,
    limit: int = 100,
    timeout: float = 30,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[StateRow]:
    """Objects in shared memory; see `list_nodes` for the arguments."""
    return _list("objects", filters, limit, timeout)


def get_node(id: str, address: str | None = None, timeout: float = 30) -> StateRow | None:  # noqa: A002 - Ray's name
    """One node; None if it is not known."""
    return _get("nodes", id, timeout)


def get_actor(id: str, address: str | None = None, timeout: float = 30) -> StateRow | None:  # noqa: A002
    """One actor; None if it is not known."""
    return _get("actors", id, timeout)


def get_job(id: str, address: str | None = None, timeout: float = 30) -> StateRow | None:  # noqa: A002
    """One job; None if it is not known."""
    return _get("jobs", id, timeout)


def get_worker(id: str, address: str | None = None, timeout: float = 30) -> StateRow | None:  # noqa: A002
    """One worker; None if it is not known."""
    return _get("workers", id, timeout)


def get_task(id: object, address: str | None = None, timeout: float = 30) -> StateRow | None:  # noqa: A002
    """The last attempt of a task, by its id in hex or by a ref of its result; None if it is not known."""
    wanted = id if isinstance(id, str) else id.task_id().hex()  # type: ignore[attr-defined]
    return _get("tasks", wanted, timeout)


def get_objects(id: str, address: str | None = None, timeout: float = 30) -> list[StateRow]:  # noqa: A002
    """Copies of one object."""
    return _list("objects", [("object_id", "=", id)], MOST_ROWS, timeout)


def summarize_tasks(address: str | None = None, timeout: float = 30) -> dict[str, Any]:
    """Tasks by name and state, as far as they are remembered."""
    rows = _rows("tasks", timeout)
    found = state_rows.summary(rows)
    counts = {"ACTOR_TASK": 0, "NORMAL_TASK": 0, "ACTOR_CREATION_TASK": 0}
    for row in rows:
        counts[row["type"]] += 1
    return {
        "cluster": {
            "summary": found,
            "total_tasks": counts["NORMAL_TASK"],
            "total_actor_tasks": counts["ACTOR_TASK"],
            "total_actor_scheduled": counts["ACTOR_CREATION_TASK"],
            "summary_by": "func_name",
        }
    }
