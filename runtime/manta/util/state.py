"""What a cluster has and does, as rows: `list_*`, `get_*`, `summarize_*` and logs, with the columns of `ray.util.state`.

The whole cluster is asked. A row is a `StateRow`: its columns are attributes, and it is a dictionary too.
"""

from __future__ import annotations

import warnings

from manta.client import current, state_query, state_rows
from manta.core.errors import MantaError
from manta.util.logs import RayStateApiException, get_log, list_logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from manta.client.state_query import Found
    from manta.client.state_rows import Filter, Row

__all__ = [
    "RayStateApiException",
    "StateRow",
    "get_actor",
    "get_job",
    "get_log",
    "get_node",
    "get_objects",
    "get_placement_group",
    "get_task",
    "get_worker",
    "list_actors",
    "list_jobs",
    "list_logs",
    "list_nodes",
    "list_objects",
    "list_placement_groups",
    "list_tasks",
    "list_workers",
    "summarize_actors",
    "summarize_objects",
    "summarize_tasks",
]

#: Rows that a list may have at most.
MOST_ROWS = 10_000


class StateRow(dict):  # type: ignore[type-arg]
    """One row, by key and by attribute."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"this row has no column {name!r}; it has {', '.join(self)}") from None


def _found(kind: str, timeout: float, *, whole: bool) -> Found:
    if current.session is None:
        raise RayStateApiException("there is no cluster to ask: call init() first")
    try:
        found = state_query.list_all(current.session.control, kind, timeout)
    except MantaError as failed:
        raise RayStateApiException(str(failed)) from failed
    if found.failures and whole:
        raise RayStateApiException(
            f"Failed to retrieve all {kind} from the cluster because they are not reachable due to query failures to the data "
            f"sources: {'; '.join(found.failures)}. To avoid raising an exception and allow having missing output, set "
            "`raise_on_missing_output=False`."
        )
    if found.left_out and whole:
        raise RayStateApiException(
            f"Failed to retrieve all {len(found.rows) + found.left_out} {kind} from the cluster because they are not reachable "
            f"due to data truncation. It happens when the returned data is too large (> {len(found.rows)}) To avoid raising an "
            "exception and allow having missing output, set `raise_on_missing_output=False`."
        )
    for failure in found.failures:
        warnings.warn(f"{kind} of a node are missing: {failure}", stacklevel=4)
    return found


def _list(
    kind: str, filters: Iterable[Filter] | None, limit: int, timeout: float, whole: bool = True
) -> list[StateRow]:
    if limit > MOST_ROWS:
        raise RayStateApiException(f"Given limit {limit} exceeds the supported limit {MOST_ROWS}. Use a lower limit.")
    if limit <= 0:
        raise RayStateApiException(f"limit must be from 1 to {MOST_ROWS}, got {limit}")
    rows = _found(kind, timeout, whole=whole).rows
    try:
        rows = state_rows.chosen(rows, filters or ())
    except ValueError as wrong:
        raise RayStateApiException(str(wrong)) from None
    return [StateRow(row) for row in rows[:limit]]


def _get(kind: str, wanted: str, timeout: float) -> StateRow | None:
    column = state_rows.KINDS[kind]
    rows = [row for row in _found(kind, timeout, whole=False).rows if row[column] == wanted]
    if not rows:
        return None
    # Of several attempts the last.
    last: Row = max(rows, key=lambda row: row.get("attempt_number") or 0)
    return StateRow(last)


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
        raise_on_missing_output: Refuse to answer when a node does not; else the rest is returned, with a warning.

    Raises:
        RayStateApiException: A filter or the limit makes no sense, or the answer would not be whole.
    """
    return _list("nodes", filters, limit, timeout, raise_on_missing_output)


def list_actors(
    address: str | None = None,
    filters: Iterable[Filter] | None = None,
    limit: int = 100,
    timeout: float = 30,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[StateRow]:
    """Actors, the newest first; see `list_nodes` for the arguments."""
    return _list("actors", filters, limit, timeout, raise_on_missing_output)


def list_jobs(
    address: str | None = None,
    filters: Iterable[Filter] | None = None,
    limit: int = 100,
    timeout: float = 30,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[StateRow]:
    """Running jobs and the last that ended; see `list_nodes` for the arguments."""
    return _list("jobs", filters, limit, timeout, raise_on_missing_output)


def list_tasks(
    address: str | None = None,
    filters: Iterable[Filter] | None = None,
    limit: int = 100,
    timeout: float = 30,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[StateRow]:
    """Attempts of tasks and actor calls: those under way, and of each node the last 10,000 that ended.

    See `list_nodes` for the arguments.
    """
    return _list("tasks", filters, limit, timeout, raise_on_missing_output)


def list_workers(
    address: str | None = None,
    filters: Iterable[Filter] | None = None,
    limit: int = 100,
    timeout: float = 30,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[StateRow]:
    """Worker processes and drivers, the last dead ones too; see `list_nodes` for the arguments."""
    return _list("workers", filters, limit, timeout, raise_on_missing_output)


def list_objects(
    address: str | None = None,
    filters: Iterable[Filter] | None = None,
    limit: int = 100,
    timeout: float = 30,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[StateRow]:
    """Objects in shared memory; see `list_nodes` for the arguments."""
    return _list("objects", filters, limit, timeout, raise_on_missing_output)


def list_placement_groups(
    address: str | None = None,
    filters: Iterable[Filter] | None = None,
    limit: int = 100,
    timeout: float = 30,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[StateRow]:
    """Placement groups, removed ones too as long as they are remembered; see `list_nodes` for the arguments."""
    return _list("placement-groups", filters, limit, timeout, raise_on_missing_output)


def get_node(id: str, address: str | None = None, timeout: float = 30) -> StateRow | None:  # noqa: A002 - Ray's name
    """One node; None if it is not known."""
    return _get("nodes", id, timeout)


def get_actor(id: str, address: str | None = None, timeout: float = 30) -> StateRow | None:  # noqa: A002
    """One actor; None if it is not known."""
    return _get("actors", id, timeout)


def get_job(id: str, address: str | None = None, timeout: float = 30) -> StateRow | None:  # noqa: A002
    """One job; None if it is not known."""
    return _get("jobs", id, timeout)


def get_placement_group(id: str, address: str | None = None, timeout: float = 30) -> StateRow | None:  # noqa: A002
    """One placement group; None if it is not known."""
    return _get("placement-groups", id, timeout)


def get_worker(id: str, address: str | None = None, timeout: float = 30) -> StateRow | None:  # noqa: A002
    """One worker; None if it is not known."""
    return _get("workers", id, timeout)


def get_task(id: object, address: str | None = None, timeout: float = 30) -> StateRow | None:  # noqa: A002
    """The last attempt of a task, by its id in hex or by a ref of its result; None if it is not known."""
    wanted = id if isinstance(id, str) else id.task_id().hex()  # type: ignore[attr-defined]
    return _get("tasks", wanted, timeout)


def get_objects(id: str, address: str | None = None, timeout: float = 30) -> list[StateRow]:  # noqa: A002
    """Copies of one object."""
    return _list("objects", [("object_id", "=", id)], MOST_ROWS, timeout, False)


def summarize_tasks(
    address: str | None = None, timeout: float = 30, raise_on_missing_output: bool = True
) -> dict[str, Any]:
    """Tasks by name and state, as far as they are remembered."""
    return state_rows.summary("tasks", _found("tasks", timeout, whole=raise_on_missing_output).rows)


def summarize_actors(
    address: str | None = None, timeout: float = 30, raise_on_missing_output: bool = True
) -> dict[str, Any]:
    """Actors by class and state."""
    return state_rows.summary("actors", _found("actors", timeout, whole=raise_on_missing_output).rows)


def summarize_objects(
    address: str | None = None, timeout: float = 30, raise_on_missing_output: bool = True
) -> dict[str, Any]:
    """Objects in shared memory, all together: where they were made is not recorded."""
    return state_rows.summary("objects", _found("objects", timeout, whole=raise_on_missing_output).rows)
