"""Asking nodes for their log files: which node and file is meant, and its text in pieces. Pure, but for the calls it makes."""

from __future__ import annotations

from dataclasses import dataclass

from manta.client import state_query
from manta.core import errors
from manta.rpc.v1 import control_pb2 as ctl
from manta.rpc.v1 import state_pb2 as st

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from manta.client.session import Control


@dataclass(frozen=True, slots=True)
class LogName:
    """Which log is meant: exactly one of the first four.

    Attributes:
        file: Name of a file in the folder of logs of a node.
        worker_id: A worker, in hex.
        pid: A worker, by its process id.
        actor_id: An actor, in hex: its last life.
        stderr: What it wrote to standard error.
    """

    file: str = ""
    worker_id: str = ""
    pid: int = 0
    actor_id: str = ""
    stderr: bool = False

    def query(self) -> st.LogQuery:
        """As nodes are asked.

        Raises:
            ValueError: An id is not hex.
        """
        return st.LogQuery(
            file=self.file,
            worker_id=bytes.fromhex(self.worker_id),
            pid=self.pid,
            actor_id=bytes.fromhex(self.actor_id),
            stderr=self.stderr,
        )


def listed(
    control: Control, node_ids: list[bytes], glob: str, timeout_s: float
) -> tuple[list[tuple[str, st.LogListAnswer]], dict[str, errors.MantaError]]:
    """(node, files) of each node that answered, and why others did not."""
    query = st.NodeQuery(log_list=st.LogListQuery(glob=glob))
    reply = state_query.ask(control, state_query.to_nodes(query, timeout_s, node_ids), timeout_s)
    return state_query.answers_of(reply, st.LogListAnswer)


def found(
    control: Control, name: LogName, node_ids: list[bytes], *, lines: int, timeout_s: float
) -> tuple[str, st.LogAnswer]:
    """The node that has the log, and its first piece.

    Args:
        control: Makes calls.
        name: Which.
        node_ids: Nodes to look on; empty: all.
        lines: Begin so many lines before the end; 0: at the beginning.
        timeout_s: How long nodes have.

    Raises:
        MantaError: No node has it, or several have; names them.
    """
    query = name.query()
    query.lines = lines
    question = state_query.to_nodes(st.NodeQuery(log=query), timeout_s, node_ids)
    told, failed = state_query.answers_of(state_query.ask(control, question, timeout_s), st.LogAnswer)
    if len(told) > 1:
        raise errors.MantaError(f"{len(told)} nodes have that log: name one of {', '.join(node for node, _ in told)}")
    if not told:
        reasons = "; ".join(dict.fromkeys(map(str, failed.values()))) or "there are no nodes"
        raise errors.MantaError(f"no node has that log: {reasons}")
    return told[0]


def pieces(control: Control, node_id: str, first: st.LogAnswer, timeout_s: float) -> Iterator[bytes]:
    """The log from its first piece on, until nothing new is there."""
    answer = first
    while answer.data:
        yield answer.data
        answer = after(control, node_id, answer, timeout_s)


def after(control: Control, node_id: str, last: st.LogAnswer, timeout_s: float) -> st.LogAnswer:
    """What comes after a piece; from the beginning if the file was begun anew.

    Raises:
        MantaError: The node does not answer, or the file is gone.
    """
    offset = last.offset + len(last.data)
    if last.size < offset:
        offset = 0
    query = st.NodeQuery(log=st.LogQuery(file=last.file, offset=offset))
    question = state_query.to_nodes(query, timeout_s, [bytes.fromhex(node_id)])
    reply: ctl.AskNodesResponse = state_query.ask(control, question, timeout_s)
    told, failed = state_query.answers_of(reply, st.LogAnswer)
    for error in failed.values():
        raise error
    answer: st.LogAnswer = told[0][1]
    return answer
