"""RPCs by which tools ask nodes, through their lines."""

# The methods are named as the RPCs, and what each promises is stated once: in control.proto.
# ruff: noqa: D102, N802

from __future__ import annotations

import asyncio
import os

from manta.control import convert
from manta.control.model import NodeState
from manta.control.orders import Orders
from manta.control.questions import Questions, patience_s
from manta.control.runner import Runner
from manta.rpc.v1 import control_pb2 as pb


class QuestionRpcs:
    """AskNodes, AnswerQuestion.

    Args:
        runner: Knows the nodes.
        orders: Has their lines.
    """

    def __init__(self, runner: Runner, orders: Orders) -> None:
        self._state = runner.state
        self.questions = Questions(orders.ask, lambda: os.urandom(16))

    async def AskNodes(self, request: pb.AskNodesRequest, cause: str) -> pb.AskNodesResponse:
        nodes = [convert.node_id(each) for each in request.node_ids]
        alive = [row.node_id for row in self._state.nodes.rows.values() if row.state is NodeState.ALIVE]
        timeout_s = patience_s(request.timeout_ms)
        all_answered = asyncio.Event()
        question = self.questions.ask(request.query, nodes, alive, timeout_s, all_answered.set)
        try:
            async with asyncio.timeout(timeout_s):
                await all_answered.wait()
        except TimeoutError:
            pass
        finally:
            self.questions.close(question)
        return question.response()

    def AnswerQuestion(self, request: pb.AnswerQuestionRequest, cause: str) -> pb.AnswerQuestionResponse:
        self.questions.answered(request)
        return pb.AnswerQuestionResponse()
