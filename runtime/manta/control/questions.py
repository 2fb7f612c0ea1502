"""Questions of tools that only nodes can answer: who was asked, what each said, when it is enough. Pure.

Nothing of this is durable: a question lives as long as somebody waits for its answers, and is lost with the line it was put on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from manta.core.errors import MantaError, NodeDiedError, OverloadedError, RpcTimeoutError
from manta.core.ids import NodeID
from manta.rpc.v1 import control_pb2 as pb
from manta.transport.convert import error_to_proto

#: Questions that may be open at a time.
MOST_OPEN: Final = 16
#: What the answers to one question may have together, bytes.
ROOM_BYTES: Final = 16 << 20
#: And each of them, at most and at least.
MOST_EACH: Final = 4 << 20
LEAST_EACH: Final = 8 << 10
#: How long nodes have, seconds: at most, and if nothing is said.
MOST_S: Final = 30.0
USUAL_S: Final = 5.0


def room_for_each(nodes: int) -> int:
    """Bytes that the answer of each of so many nodes may have."""
    return max(LEAST_EACH, min(MOST_EACH, ROOM_BYTES // max(1, nodes)))


def patience_s(timeout_ms: int) -> float:
    """How long nodes have, as the asker said."""
    return min(MOST_S, timeout_ms / 1000) if timeout_ms else USUAL_S


@dataclass(slots=True, eq=False)
class Question:
    """One question to some nodes.

    Attributes:
        nodes: Who was asked, in the order of the answers.
        room: Bytes that each answer may have.
        timeout_s: How long they have.
        done: Called once all have answered.
    """

    nodes: tuple[bytes, ...]
    room: int
    timeout_s: float
    done: Callable[[], None]
    _answers: dict[bytes, pb.NodeAnswer] = field(default_factory=dict)

    def answered(self, node_id: bytes, answer: pb.AnswerQuestionRequest) -> None:
        """One node has answered; a second answer means nothing, one that is too large is none."""
        if node_id in self._answers:
            return
        found = pb.NodeAnswer(node_id=node_id)
        if answer.HasField("error"):
            found.error.CopyFrom(answer.error)
        elif len(answer.answer) > self.room + LEAST_EACH:
            found.error.CopyFrom(
                error_to_proto(MantaError(f"it answered with {len(answer.answer)} bytes, {self.room} were allowed"))
            )
        else:
            found.answer = answer.answer
        self._put(found)

    def refused(self, node_id: bytes, error: MantaError) -> None:
        """One node cannot be asked."""
        self._put(pb.NodeAnswer(node_id=node_id, error=error_to_proto(error)))

    def _put(self, answer: pb.NodeAnswer) -> None:
        self._answers[answer.node_id] = answer
        if len(self._answers) == len(self.nodes):
            self.done()

    def response(self) -> pb.AskNodesResponse:
        """What there is; whoever has not answered is named as such."""
        silent = RpcTimeoutError(f"it did not answer within {self.timeout_s:g} s")
        return pb.AskNodesResponse(
            answers=[
                self._answers.get(node_id) or pb.NodeAnswer(node_id=node_id, error=error_to_proto(silent))
                for node_id in self.nodes
            ]
        )


class Questions:
    """All questions that are open.

    Args:
        put: Puts a question on a node's line; False when the node has none now.
        make_key: 16 bytes that nobody can guess.
    """

    def __init__(self, put: Callable[[bytes, pb.NodeQuestion], bool], make_key: Callable[[], bytes]) -> None:
        self._put, self._make_key = put, make_key
        self._open: dict[Question, list[bytes]] = {}
        self._by_key: dict[bytes, tuple[Question, bytes]] = {}

    def ask(
        self, query: bytes, nodes: Sequence[bytes], alive: Iterable[bytes], timeout_s: float, done: Callable[[], None]
    ) -> Question:
        """Ask nodes; `done` is called when all have answered, which may be before this returns.

        Args:
            query: The question, encoded.
            nodes: Whom; empty for all that live.
            alive: Nodes that live.
            timeout_s: How long they have; the caller calls `close` after that.
            done: See `Question`.

        Raises:
            OverloadedError: Too many questions are open.
        """
        if len(self._open) >= MOST_OPEN:
            raise OverloadedError(f"{MOST_OPEN} questions to nodes are open already: ask again in a moment")
        living = dict.fromkeys(alive)
        asked = tuple(dict.fromkeys(nodes)) or tuple(living)
        question = Question(asked, room_for_each(len(asked)), timeout_s, done)
        keys = self._open[question] = []
        if not asked:
            done()
        for node_id in asked:
            if node_id not in living:
                question.refused(node_id, NodeDiedError(f"there is no living node {NodeID(node_id).hex()}"))
                continue
            key = self._make_key()
            keys.append(key)
            self._by_key[key] = question, node_id
            said = pb.NodeQuestion(key=key, query=query, room=question.room, timeout_ms=int(timeout_s * 1000))
            if not self._put(node_id, said):
                question.refused(node_id, RpcTimeoutError("it has no connection to control at the moment"))
        return question

    def answered(self, answer: pb.AnswerQuestionRequest) -> None:
        """A node has answered."""
        found = self._by_key.pop(answer.key, None)
        if found is not None:
            found[0].answered(found[1], answer)

    def close(self, question: Question) -> None:
        """Nobody waits for it any more."""
        for key in self._open.pop(question, ()):
            self._by_key.pop(key, None)

    def statistics(self) -> dict[str, int]:
        """Counts for people and tests."""
        return {"questions_open": len(self._open)}
