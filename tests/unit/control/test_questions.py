"""Questions to nodes: who is asked, when it is enough, what is said of those that do not answer."""

import pytest

from manta.control.questions import MOST_OPEN, Questions, room_for_each
from manta.core.errors import OverloadedError
from manta.rpc.v1 import control_pb2 as pb

A, B, C = b"a" * 28, b"b" * 28, b"c" * 28


class Nodes:
    """What was put on which line, and whether all have answered."""

    def __init__(self, *, lost: bytes = b"") -> None:
        self.lost = lost
        self.keys: dict[bytes, bytes] = {}
        self.done = 0
        self._last = 0
        self.questions = Questions(self._put, self._key)

    def _put(self, node_id, question):
        self.keys[node_id] = question.key
        return node_id != self.lost

    def _key(self):
        self._last += 1
        return self._last.to_bytes(16, "big")

    def ask(self, *nodes, alive=(A, B)):
        return self.questions.ask(b"?", nodes, alive, 5.0, self._all)

    def _all(self):
        self.done += 1

    def says(self, node_id, text):
        self.questions.answered(pb.AnswerQuestionRequest(key=self.keys[node_id], answer=text))


def _codes(question):
    return [(one.answer, one.error.code) for one in question.response().answers]


def test_all_living_nodes_are_asked_and_the_last_answer_ends_it():
    nodes = Nodes()
    question = nodes.ask()

    nodes.says(A, b"1")
    assert 0 == nodes.done
    nodes.says(A, b"again")
    nodes.says(B, b"2")

    assert 1 == nodes.done
    assert [(b"1", ""), (b"2", "")] == _codes(question)


def test_a_node_that_is_silent_dead_or_without_a_line_is_named_beside_the_others():
    nodes = Nodes(lost=B)
    question = nodes.ask(A, B, C, alive=(A, B))

    assert [(b"", "RPC_TIMEOUT"), (b"", "RPC_TIMEOUT"), (b"", "NODE_DIED")] == _codes(question)
    nodes.says(A, b"1")
    assert (1, b"1") == (nodes.done, question.response().answers[0].answer)


def test_an_answer_that_is_late_forged_or_too_large_has_no_effect():
    nodes = Nodes()
    question = nodes.ask(A)
    nodes.questions.answered(pb.AnswerQuestionRequest(key=b"guess", answer=b"forged"))
    assert 0 == nodes.done
    nodes.says(A, bytes(question.room * 2))
    assert "MANTA_ERROR" == question.response().answers[0].error.code

    late = nodes.ask(B)
    nodes.questions.close(late)
    nodes.says(B, b"late")
    assert [(b"", "RPC_TIMEOUT")] == _codes(late)


def test_open_questions_are_bounded_and_what_they_hold_too():
    nodes = Nodes()
    opened = [nodes.ask() for _ in range(MOST_OPEN)]
    with pytest.raises(OverloadedError):
        nodes.ask()
    nodes.questions.close(opened[0])
    nodes.ask()

    assert room_for_each(1) * 4 == room_for_each(4) * 4 == 16 << 20
    assert room_for_each(1000) * 1000 <= 16 << 20
