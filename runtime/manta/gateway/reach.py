"""Whether control can be reached from here: asked now and then, through the raylet, as drivers' sessions would."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from manta.core.errors import MantaError
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import control_pb2 as ctl
from manta.transport.channel import NUMBER, PROTOCOL, Connection
from manta.transport.convert import error_from_proto

#: Between two questions while all is well, and while it is not; and how long an answer may take.
EVERY_S: Final = 2.0
AGAIN_S: Final = 0.25
ANSWER_S: Final = 3.0
#: Frames that may come before the answer.
_MOST_FRAMES: Final = 32


class Reach:
    """Knows what the last question found."""

    def __init__(self, raylet: str) -> None:
        self._raylet = raylet
        #: Why control cannot be reached; empty when it can.
        self.why = "control was not asked yet"

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            self.why = await asyncio.to_thread(ask, self._raylet)
            await asyncio.sleep(AGAIN_S if self.why else EVERY_S)


def ask(raylet: str) -> str:
    """One question, on a connection of its own; why it failed, or nothing."""
    try:
        connection = Connection.dial(raylet, timeout_s=ANSWER_S)
    except OSError:
        return "the raylet cannot be reached"
    try:
        connection.settimeout(ANSWER_S)
        connection.send_first(
            [pb.Hello(protocol=PROTOCOL, role=pb.ROLE_TOOL, worker_id=os.urandom(28), pid=os.getpid())]
        )
        call = pb.ControlCall(
            request_id=1, method="ListJobs", payload=ctl.ListJobsRequest().SerializeToString(), timeout_s=ANSWER_S
        )
        for _ in range(_MOST_FRAMES):
            number, message, _raw = connection.read_frame()
            if number == NUMBER[pb.Welcome]:
                connection.send(call)
            elif number == NUMBER[pb.Refused] or (number == NUMBER[pb.ControlReply] and message.HasField("error")):
                return f"control cannot be reached: {error_from_proto(message.error)}".replace("\n", " ")
            elif number == NUMBER[pb.ControlReply]:
                return ""
        return "the raylet does not pass questions on to control"
    except (OSError, EOFError, MantaError):
        return "control does not answer"
    finally:
        connection.close()
