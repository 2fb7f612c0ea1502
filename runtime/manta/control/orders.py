"""What nodes have to do: each order is kept until its node has answered it or is dead, and given again on each new line."""

from __future__ import annotations

from collections.abc import Callable

from manta.control import convert, failpoints
from manta.control.commands import (
    CommitOnNode,
    FinishJobOnNode,
    ForgetNode,
    KillOnNode,
    OnNode,
    PrepareOnNode,
    ReturnOnNode,
    StartOnNode,
)
from manta.control.events import BundlesAnswered, BundlesOpened, Event, StartAnswered, Verdict
from manta.control.logs import EventLog
from manta.control.model import Amounts, NodeId
from manta.control.state import ControlState
from manta.core.errors import MantaError
from manta.rpc.v1 import control_pb2, raylet_pb2


class Line:
    """One open stream to a node: what is to be said on it.

    Attributes:
        replies: To its calls.
        free: Those that need not wait for the disk should it be full.
        orders: Numbers of orders not given on it yet.
        questions: Of tools; nobody misses one that is lost with the line.
        ended: It has to be closed: its node is dead.
        wake: Called when there is something new.
    """

    __slots__ = ("ended", "free", "orders", "questions", "replies", "wake")

    def __init__(self, wake: Callable[[], None]) -> None:
        # Lists: an empty deque has 600 bytes, and a thousand lines have nothing to say most of the time.
        self.replies: list[control_pb2.LineReply] = []
        self.free: list[control_pb2.LineReply] = []
        self.orders: list[int] = []
        self.questions: list[control_pb2.NodeQuestion] = []
        self.ended = False
        self.wake = wake


class Orders:
    """All orders that are not answered, by node, and the newest line of each node.

    Args:
        log: For what goes wrong.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._state: ControlState | None = None
        self._decide: Callable[[Event], object] | None = None
        self._open: dict[NodeId, dict[int, OnNode]] = {}
        self._lines: dict[NodeId, Line] = {}
        self._last = 0

    def attach(self, state: ControlState, decide: Callable[[Event], object]) -> None:
        """Where facts are read and answers go."""
        self._state, self._decide = state, decide

    # ---- what is decided

    def tell(self, command: OnNode | ForgetNode) -> None:
        """Take a command for a node."""
        node_id = command.node_id
        line = self._lines.get(node_id)
        if isinstance(command, ForgetNode):
            self._open.pop(node_id, None)
            if line is not None:
                del self._lines[node_id]
                line.ended = True
                line.wake()
            return
        self._last += 1
        self._open.setdefault(node_id, {})[self._last] = command
        if line is not None:
            line.orders.append(self._last)
            line.wake()

    def ask(self, node_id: bytes, question: control_pb2.NodeQuestion) -> bool:
        """Put a tool's question on a node's line; False when it has none."""
        line = self._lines.get(NodeId(node_id))
        if line is None:
            return False
        line.questions.append(question)
        line.wake()
        return True

    # ---- lines

    def opened(self, node_id: NodeId, line: Line) -> None:
        """A node has a new line: everything that it has not answered is given on it, in order."""
        self._lines[node_id] = line
        line.orders.extend(self._open.get(node_id, ()))
        line.wake()

    def closed(self, node_id: NodeId, line: Line) -> None:
        """A line is gone; an older one than the newest means nothing."""
        if self._lines.get(node_id) is line:
            del self._lines[node_id]

    def encode(self, node_id: NodeId, number: int) -> raylet_pb2.Order | None:
        """An order for the wire; None when there is no point in it any more. Call it only once it is on disk."""
        command = self._open.get(node_id, {}).get(number)
        order = raylet_pb2.Order(number=number)
        match command:
            case StartOnNode():
                assert self._state is not None
                actor = command.actor
                if not self._state.actors.wanted_there(node_id, actor.actor_id, actor.incarnation):
                    del self._open[node_id][number]
                    return None
                failpoints.reached("before-start-on-node")
                job = self._state.jobs.rows.get(actor.spec.job_id)
                convert.fill_start(order.start_actor, command, job, self._state.epoch)
            case KillOnNode():
                order.kill_actor.actor_id = command.actor_id
                order.kill_actor.incarnation = command.incarnation
                order.kill_actor.graceful = command.graceful
                order.kill_actor.reason = command.reason
            case FinishJobOnNode():
                order.finish_job.job_id = command.job_id
            case PrepareOnNode():
                failpoints.reached("before-prepare-on-node")
                order.prepare_bundles.group_id = command.group_id
                for index, amounts in command.bundles.items():
                    order.prepare_bundles.bundles.add(index=index, amounts=convert.to_amounts(amounts))
            case CommitOnNode():
                failpoints.reached("before-open-on-node")
                order.commit_bundles.group_id = command.group_id
                order.commit_bundles.indexes.extend(command.indexes)
            case ReturnOnNode():
                failpoints.reached("before-return-on-node")
                order.return_bundles.group_id = command.group_id
                order.return_bundles.indexes.extend(command.indexes)
            case None:
                return None
        return order

    def answered(self, node_id: NodeId, answer: raylet_pb2.OrderAnswer) -> None:
        """A node says what it did with one; an answer that comes twice means nothing.

        Raises:
            InvalidRequestError: It is malformed; the order stays open.
        """
        available = None
        if answer.start_actor.HasField("available"):
            available = convert.amounts(answer.start_actor.available, "available")
        command = self._open.get(node_id, {}).pop(answer.number, None)
        if command is None:
            return
        if not self._open[node_id]:
            del self._open[node_id]
        if isinstance(command, PrepareOnNode):
            failpoints.reached("after-prepare-on-node")
            self._prepare_answered(command, answer)
        elif isinstance(command, CommitOnNode):
            failpoints.reached("after-open-on-node")
            assert self._decide is not None
            self._decide(
                BundlesOpened(node_id=node_id, group_id=command.group_id, attempt=command.attempt, cause=command.cause)
            )
        elif isinstance(command, StartOnNode):
            failpoints.reached("after-start-on-node")
            self._start_answered(command, answer, available)
        elif isinstance(command, ReturnOnNode):
            failpoints.reached("after-return-on-node")
        if answer.HasField("error") and not isinstance(command, PrepareOnNode | StartOnNode):
            self._log.event("order_refused", command=type(command).__name__, node=node_id, error=answer.error.message)

    def _start_answered(self, command: StartOnNode, answer: raylet_pb2.OrderAnswer, available: Amounts | None) -> None:
        assert self._decide is not None
        start = answer.start_actor
        refused = answer.HasField("error")
        try:
            self._decide(
                StartAnswered(
                    node_id=command.node_id,
                    actor_id=command.actor.actor_id,
                    incarnation=command.actor.incarnation,
                    verdict=Verdict.REFUSED if refused else convert.verdict(start.verdict),
                    reason=answer.error.message if refused else start.reason,
                    available=available,
                    cause=command.cause,
                )
            )
        except MantaError as error:
            self._log.event("answer_dropped", error=str(error))

    def _prepare_answered(self, command: PrepareOnNode, answer: raylet_pb2.OrderAnswer) -> None:
        assert self._decide is not None
        said = answer.prepare_bundles
        refused = answer.HasField("error")
        available = convert.amounts(said.available, "available") if said.HasField("available") else None
        self._decide(
            BundlesAnswered(
                node_id=command.node_id,
                group_id=command.group_id,
                attempt=command.attempt,
                accepted=said.accepted and not refused,
                reason=answer.error.message if refused else said.reason,
                available=available,
                cause=command.cause,
            )
        )

    def statistics(self) -> dict[str, int]:
        """Counts for people and tests."""
        return {"lines": len(self._lines), "orders_open": sum(map(len, self._open.values()))}
