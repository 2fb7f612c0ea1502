"""A tool's connection to a raylet: it asks, and gets an answer within a deadline or says who did not answer."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from manta.cli.failures import SilentError
from manta.cli.processes import glimpse
from manta.core.errors import ProtocolError
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.channel import NUMBER, PROTOCOL, Connection
from manta.transport.convert import error_from_proto

#: How long a raylet may take for what it knows by itself, seconds.
ANSWER_S: Final = 5.0
#: How long control may take behind it.
CONTROL_S: Final = 3.0
#: Frames read while waiting for an answer, at most: a raylet has nothing else to say to a tool.
_MOST_FRAMES: Final = 100_000

Reply = TypeVar("Reply", bound=Message)


class Tool:
    """A connection in the role of a tool. Use it in a `with` block.

    Args:
        path: The raylet's socket.
        timeout_s: How long it may take to let the tool in, and for each answer; None means ANSWER_S.
    Raises:
        SilentError: Nobody listens at `path`, or who does says nothing.
        MantaError: The raylet refuses; says why.
    """

    def __init__(self, path: str, *, timeout_s: float | None = None) -> None:
        self._path = path
        self._timeout_s = timeout_s = ANSWER_S if timeout_s is None else timeout_s
        self._requests = 0
        try:
            self._connection = Connection.dial(path, timeout_s=timeout_s)
        except OSError as gone:
            raise SilentError(f"nobody answers at {path}: {gone}") from gone
        try:
            self._connection.send_first(
                [pb.Hello(protocol=PROTOCOL, role=pb.ROLE_TOOL, worker_id=os.urandom(28), pid=os.getpid())]
            )
            self.welcome: pb.Welcome = self._answer(pb.Welcome, timeout_s)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Tool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._connection.close()

    def status(self) -> dict[str, Any]:
        """The raylet's own account of its node."""
        self._send(pb.StatusRequest(request_id=self._next()))
        answer = json.loads(self._answer(pb.StatusReply, self._timeout_s).json)
        if not isinstance(answer, dict):
            raise ProtocolError(f"a raylet's status is a JSON object, got {type(answer).__name__}")
        return answer

    def keep(self, name: str, pid: int, command: Sequence[str]) -> None:
        """Have the raylet start a process of the head's again should it end.

        Raises:
            MantaError: It does not want to.
        """
        self._send(pb.KeepService(name=name, pid=pid, command=command))
        self.status()

    def control(self, method: str, request: Message, reply: type[Reply], timeout_s: float = CONTROL_S) -> Reply:
        """Ask control, through the raylet.

        Raises:
            SilentError: No answer in time.
            MantaError: Control's own.
        """
        self._send(
            pb.ControlCall(
                request_id=self._next(), method=method, payload=request.SerializeToString(), timeout_s=timeout_s
            )
        )
        answer = self._answer(pb.ControlReply, timeout_s + 1.0)
        if answer.HasField("error"):
            raise error_from_proto(answer.error)
        return reply.FromString(answer.payload)

    def stacks(self) -> Iterator[pb.StackReply]:
        """Where every process stands, as they answer; those that do not are named by the raylet after its own deadline."""
        self._send(pb.StackRequest(request_id=self._next()))
        deadline = time.monotonic() + self._timeout_s + 2.0
        while True:
            reply = self._answer(pb.StackReply, max(0.0, deadline - time.monotonic()))
            if reply.last:
                return
            yield reply

    def _pid(self) -> int:
        """The raylet's process: whoever made the socket we are connected to; 0 for one in another container."""
        with socket.socket(fileno=os.dup(self._connection.fd)) as sock:
            pid, _uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)

    def _next(self) -> int:
        self._requests += 1
        return self._requests

    def _send(self, message: Message) -> None:
        try:
            self._connection.settimeout(self._timeout_s)
            self._connection.send(message)
        except BrokenPipeError:
            pass  # what it said before it closed, a refusal perhaps, is read next
        except OSError as gone:
            raise SilentError(f"the raylet at {self._path} does not listen any more: {gone}") from gone

    def _answer(self, kind: type[Reply], timeout_s: float) -> Reply:
        """The next answer of that kind to the last request."""
        deadline = time.monotonic() + timeout_s
        for _ in range(_MOST_FRAMES):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._connection.settimeout(left)
            try:
                number, message, _raw = self._connection.read_frame()
            except TimeoutError:
                break
            except (EOFError, OSError) as gone:
                raise SilentError(f"the raylet at {self._path} closed the connection") from gone
            if number == NUMBER[pb.Refused]:
                raise error_from_proto(message.error)
            # An answer to an earlier question may still come after its deadline.
            if isinstance(message, kind) and getattr(message, "request_id", self._requests) == self._requests:
                return message
        raise SilentError(
            f"the raylet did not answer within {timeout_s:g} s: "
            + (f"pid {pid}, {glimpse(pid).told()}" if (pid := self._pid()) else "it runs in another container")
        )
