"""Log files of a cluster's nodes: `list_logs` and `get_log` of the state API, which offers both."""

from __future__ import annotations

import time

from manta.client import current, log_query, state_query
from manta.core import terminal
from manta.core.errors import MantaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

#: Between two looks at a log that is followed, seconds.
INTERVAL_S = 0.5


class RayStateApiException(Exception):
    """A question that cannot be answered: it says what was wrong."""


def _control() -> Any:
    if current.session is None:
        raise RayStateApiException("there is no cluster to ask: call init() first")
    return current.session.control


def _nodes(node_id: str | None, node_ip: str | None, timeout: float) -> list[bytes]:
    """The nodes meant; empty for all."""
    if node_id:
        try:
            return [bytes.fromhex(node_id)]
        except ValueError:
            raise RayStateApiException(f"a node id is written in hex, got {node_id[:80]!r}") from None
    if not node_ip:
        return []
    rows = state_query.list_all(_control(), "nodes", timeout).rows
    found = [bytes.fromhex(row["node_id"]) for row in rows if row["node_ip"] == node_ip and row["state"] == "ALIVE"]
    if not found:
        raise RayStateApiException(f"no living node has the address {node_ip}")
    return found


def list_logs(
    address: str | None = None,
    node_id: str | None = None,
    node_ip: str | None = None,
    glob_filter: str | None = None,
    timeout: float = 30,
) -> dict[str, list[str]]:
    """Names of a node's log files, by what wrote them: worker_out, worker_err, raylet, control, other.

    Args:
        address: Not used: the question goes to the cluster this process is in.
        node_id: The node; this or the next is needed.
        node_ip: Its address.
        glob_filter: As shells match names.
        timeout: Seconds until it is given up.

    Raises:
        RayStateApiException: The node does not answer.
    """
    assert node_ip is not None or node_id is not None, "At least one of node ip and node id is required"
    try:
        told, failed = log_query.listed(_control(), _nodes(node_id, node_ip, timeout), glob_filter or "", timeout)
    except MantaError as error:
        raise RayStateApiException(str(error)) from error
    for node, reason in failed.items():
        raise RayStateApiException(f"node {node}: {reason}")
    groups: dict[str, list[str]] = {}
    for _, answer in told:
        for file in answer.files:
            groups.setdefault(_group(file.name), []).append(file.name)
    return groups


def _group(name: str) -> str:
    if name.startswith("worker-"):
        return "worker_err" if name.endswith(".err") else "worker_out"
    for group in ("raylet", "control", "gateway", "dashboard", "factory"):
        if name.startswith(group):
            return group
    return "other"


def get_log(
    address: str | None = None,
    node_id: str | None = None,
    node_ip: str | None = None,
    filename: str | None = None,
    actor_id: str | None = None,
    task_id: str | None = None,
    pid: int | None = None,
    follow: bool = False,
    tail: int = -1,
    timeout: float = 30,
    suffix: str = "out",
    encoding: str | None = "utf-8",
    errors: str | None = "strict",
    submission_id: str | None = None,
    attempt_number: int = 0,
    _interval: float | None = None,
    filter_ansi_code: bool = False,
) -> Iterator[Any]:
    """A log, in pieces as they come.

    Args:
        address: Not used.
        node_id: Where it is; needed with `pid` if several nodes have such a process. None looks on all.
        node_ip: The same, by address.
        filename: The file's name.
        actor_id: Instead: what an actor's process wrote.
        task_id: Instead: what the worker wrote that ran the task, all of it.
        pid: Instead: what a worker wrote.
        follow: Go on for ever with what is added.
        tail: So many last lines; -1 for all.
        timeout: Seconds that each look may take.
        suffix: "out" or "err", for workers.
        encoding: None gives bytes.
        errors: As in `bytes.decode`.
        submission_id: Logs of submitted jobs are had from the job client.
        attempt_number: Which attempt of the task.
        _interval: Seconds between looks when following.
        filter_ansi_code: Leave out colours and whatever else steers a terminal.

    Raises:
        RayStateApiException: There is no such log, or nodes do not answer.
    """
    if submission_id is not None:
        raise RayStateApiException("the log of a submitted job is had from JobSubmissionClient.get_job_logs")
    if suffix not in ("out", "err"):
        raise RayStateApiException(f"suffix is 'out' or 'err', got {suffix!r}")
    if sum(each is not None for each in (filename, actor_id, task_id, pid)) != 1:
        raise RayStateApiException("exactly one of filename, actor_id, task_id and pid says which log")
    return _log(
        node_id, node_ip, filename, actor_id, task_id, pid, follow, tail, timeout, suffix, encoding, errors or "strict",
        attempt_number, _interval or INTERVAL_S, filter_ansi_code,
    )  # fmt: skip


def _log(
    node_id: str | None, node_ip: str | None, filename: str | None, actor_id: str | None, task_id: str | None,
    pid: int | None, follow: bool, tail: int, timeout: float, suffix: str, encoding: str | None, errors: str,
    attempt: int, interval: float, plain: bool,
) -> Iterator[Any]:  # fmt: skip
    import codecs

    control = _control()
    filtered = terminal.Plain().feed if plain else bytes
    decode = codecs.getincrementaldecoder(encoding)(errors).decode if encoding else bytes
    try:
        nodes = _nodes(node_id, node_ip, timeout)
        worker_id = ""
        if task_id is not None:
            worker_id, nodes = _worker_of(control, task_id, attempt, timeout)
        name = log_query.LogName(filename or "", worker_id, pid or 0, actor_id or "", stderr=suffix == "err")
        node, answer = log_query.found(control, name, nodes, lines=max(0, tail), timeout_s=timeout)
        while True:
            if answer.data:
                if text := decode(filtered(answer.data)):
                    yield text
            elif follow:
                time.sleep(interval)
            else:
                return
            answer = log_query.after(control, node, answer, timeout)
    except (MantaError, ValueError) as error:
        raise RayStateApiException(str(error)) from error


def _worker_of(control: Any, task_id: str, attempt: int, timeout: float) -> tuple[str, list[bytes]]:
    for row in state_query.list_all(control, "tasks", timeout).rows:
        if row["task_id"] == task_id and row["attempt_number"] == attempt and row["worker_id"]:
            return row["worker_id"], [bytes.fromhex(row["node_id"])]
    raise RayStateApiException(f"no worker is remembered that ran attempt {attempt} of task {task_id[:60]}")
