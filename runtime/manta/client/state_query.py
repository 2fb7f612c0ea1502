"""Asking a cluster what there is: which call to make, and what its answer means. Pure, but for `ask`, which makes the call.

Nodes, actors, jobs and placement groups are control's. Tasks, workers, objects and log files are asked of every node, through
control; a node that does not answer is named, and the others' rows are shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from manta.client import state_rows
from manta.client.state_rows import OF_NODES, Row
from manta.core import errors
from manta.rpc.v1 import control_pb2 as ctl
from manta.rpc.v1 import state_pb2 as st
from manta.transport.convert import error_from_proto

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from google.protobuf.message import Message

    #: Makes a call to control: method, request, type of the answer, seconds. Named here, as servers that decode answers must not
    #: reach what user code's processes have.
    Control = Callable[[str, Message, type[Any], float], Any]

#: Nodes have so much less time than who asks, seconds: their answers travel too.
_TRAVEL_S = 1.0
_LEAST_S = 0.5


@dataclass(frozen=True, slots=True)
class Question:
    """One call to control.

    Attributes:
        method: RPC's name.
        request: Its request.
        reply: The type of its answer.
    """

    method: str
    request: Message
    reply: type[Message]


@dataclass(slots=True)
class Found:
    """What a question found.

    Attributes:
        rows: What there is.
        failures: What is missing, and why: nodes that did not answer.
        notes: What else is to be said: processes that were too busy to answer, rows that were left out.
        left_out: Rows that there are and that nobody told.
    """

    rows: list[Row] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: int = 0


def question_of(kind: str, timeout_s: float, room: int = 0) -> Question:
    """How to ask for all rows of a kind; `room` bytes of each node are enough, if they are said."""
    match kind:
        case "nodes":
            return Question("ListNodes", ctl.ListNodesRequest(), ctl.ListNodesResponse)
        case "actors":
            return Question("ListActors", ctl.ListActorsRequest(), ctl.ListActorsResponse)
        case "jobs":
            return Question("ListJobs", ctl.ListJobsRequest(), ctl.ListJobsResponse)
        case "placement-groups":
            return Question("ListPlacementGroups", ctl.ListPlacementGroupsRequest(), ctl.ListPlacementGroupsResponse)
    return to_nodes(st.NodeQuery(state=st.StateQuery(what=kind, room=room)), timeout_s)


def to_nodes(query: st.NodeQuery, timeout_s: float, node_ids: Iterable[bytes] = ()) -> Question:
    """How to ask nodes; without ids all of them."""
    patience_ms = int(max(_LEAST_S, timeout_s - _TRAVEL_S) * 1000)
    request = ctl.AskNodesRequest(query=query.SerializeToString(), node_ids=list(node_ids), timeout_ms=patience_ms)
    return Question("AskNodes", request, ctl.AskNodesResponse)


def answers_of(
    reply: ctl.AskNodesResponse, kind: type[Any]
) -> tuple[list[tuple[str, Any]], dict[str, errors.MantaError]]:
    """(node, answer) of those that answered, and why the others did not, by node. Nodes are named by their ids in hex."""
    told: list[tuple[str, Any]] = []
    failed: dict[str, errors.MantaError] = {}
    for one in reply.answers:
        node_id = one.node_id.hex()
        if one.HasField("error"):
            failed[node_id] = error_from_proto(one.error)
        else:
            told.append((node_id, kind.FromString(one.answer)))
    return told, failed


def found_in(kind: str, reply: Any) -> Found:
    """What the answer to `question_of(kind)` says."""
    if kind not in OF_NODES:
        make: Callable[..., list[Row]] = getattr(state_rows, kind.replace("-", "_"))
        return Found(make(reply))
    told, failed = answers_of(reply, st.StateAnswer)
    found = Found(getattr(state_rows, kind)(told))
    found.failures = [f"node {node_id}: {error}" for node_id, error in failed.items()]
    silent = ", ".join(f"{one} ({answer.node_ip})" for _, answer in told for one in answer.silent)
    if silent:
        found.notes.append(f"did not answer in time: {silent}")
    untold = sum(answer.untold for _, answer in told)
    if untold and kind == "tasks":
        found.notes.append(f"{untold} tasks that ended are not listed one by one: the last ones of each node are")
    elif untold:
        found.left_out = untold
        found.notes.append(f"{len(found.rows) + untold} in all; {len(found.rows)} were looked at")
    return found


def ask(control: Control, question: Question, timeout_s: float) -> Any:
    """Make the call."""
    return control(question.method, question.request, question.reply, timeout_s)


def list_all(control: Control, kind: str, timeout_s: float) -> Found:
    """All rows of a kind."""
    return found_in(kind, ask(control, question_of(kind, timeout_s), timeout_s))
