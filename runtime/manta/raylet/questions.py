"""What tools ask of this node, by way of control: decode, ask who knows, answer once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError, Message

from manta.core.errors import MantaError, OverloadedError, ProtocolError
from manta.raylet import log_files
from manta.raylet.control_client import ControlLink
from manta.raylet.state_service import StateService
from manta.rpc.v1 import control_pb2 as cpb
from manta.rpc.v1 import state_pb2 as pb
from manta.transport.convert import error_to_proto

#: Questions that may be under way at a time.
MOST_OPEN: Final = 64


class Questions:
    """Answers NodeQuestions.

    Args:
        link: Answers leave on it.
        state: Knows tasks, workers and objects.
        logs: Folder of logs.
    """

    def __init__(self, link: ControlLink, state: StateService, logs: Path) -> None:
        self._link, self._state, self._logs = link, state, logs
        self._open = 0

    def asked(self, question: cpb.NodeQuestion) -> None:
        """A question has come: it is answered soon, whatever it is."""
        if self._open >= MOST_OPEN:
            self._refuse(question, OverloadedError(f"{MOST_OPEN} questions are open already: ask again in a moment"))
            return
        self._open += 1
        try:
            self._ask(question)
        except MantaError as error:
            self._open -= 1
            self._refuse(question, error)

    def _ask(self, question: cpb.NodeQuestion) -> None:
        try:
            query = pb.NodeQuery.FromString(question.query)
        except DecodeError:
            raise ProtocolError(f"a question of {len(question.query)} bytes is no NodeQuery") from None

        def done(answer: Message) -> None:
            self._open -= 1
            self._say(question, cpb.AnswerQuestionRequest(key=question.key, answer=answer.SerializeToString()))

        match query.WhichOneof("query"):
            case "state":
                room = min(question.room, query.state.room or question.room)
                self._state.ask(query.state.what, room, done)
            case "log_list":
                glob = query.log_list.glob
                self._read(question, lambda: log_files.listed(self._logs, glob, question.room))
            case "log":
                name = self._file(query.log)
                offset, lines = query.log.offset, query.log.lines
                self._read(
                    question,
                    lambda: log_files.read(self._logs, name, offset=offset, lines=lines, room=question.room),
                )
            case _:
                raise ProtocolError("a question asks for nothing that this node knows of")

    def _file(self, query: pb.LogQuery) -> str:
        if query.file:
            return query.file
        worker = query.worker_id.hex()
        if not worker:
            actor = query.actor_id.hex()
            worker = self._state.worker_of(pid=query.pid, actor_id=actor)
            if not worker:
                wanted = f"actor {actor}" if actor else f"process {query.pid}"
                raise log_files.LogNotFoundError(f"no worker of this node that is remembered was {wanted}")
        return f"worker-{worker[:16]}.{'err' if query.stderr else 'out'}"

    def _read(self, question: cpb.NodeQuestion, work: Callable[[], Message]) -> None:
        """Off the loop: a disk may be slow."""

        def finished(future: asyncio.Future[Message]) -> None:
            self._open -= 1
            error = future.exception()
            if isinstance(error, MantaError):
                self._refuse(question, error)
            elif error is not None:
                self._refuse(question, log_files.LogNotFoundError(f"it cannot be read: {error}"))
            else:
                answer = cpb.AnswerQuestionRequest(key=question.key, answer=future.result().SerializeToString())
                self._say(question, answer)

        asyncio.get_running_loop().run_in_executor(None, work).add_done_callback(finished)

    def _refuse(self, question: cpb.NodeQuestion, error: MantaError) -> None:
        self._say(question, cpb.AnswerQuestionRequest(key=question.key, error=error_to_proto(error)))

    def _say(self, question: cpb.NodeQuestion, answer: cpb.AnswerQuestionRequest) -> None:
        timeout_s = question.timeout_ms / 1000 or 1.0
        self._link.post("AnswerQuestion", answer.SerializeToString(), _told, timeout_s=timeout_s)


def _told(reply: cpb.LineReply) -> None:
    """Whether anybody still waited is nothing to us."""
