"""What people and tools may ask of a node: its state, and where every process stands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from manta.raylet.clients import Client, Clients
from manta.rpc.v1 import channel_pb2 as pb

#: How long processes have to say where they stand, seconds. One that runs C code answers after it.
_STACKS_S: Final = 2.0


@dataclass(slots=True, eq=False)
class _Round:
    """One request for everybody's stacks."""

    asker: Client
    request_id: int
    waiting: set[bytes] = field(default_factory=set)
    timer: asyncio.TimerHandle | None = None


class Inspection:
    """Answers StatusRequest and StackRequest.

    Args:
        clients: Who is connected.
        describe: The node's state as a JSON-able object.
    """

    def __init__(self, clients: Clients, describe: Callable[[], dict[str, Any]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._clients = clients
        self._describe = describe
        self._rounds: dict[int, _Round] = {}
        self._last = 0

    def status(self, client: Client, message: pb.StatusRequest) -> None:
        """Answer at once."""
        client.connection.send(
            pb.StatusReply(request_id=message.request_id, json=json.dumps(self._describe(), sort_keys=True))
        )

    def stacks(self, client: Client, message: pb.StackRequest) -> None:
        """Ask everybody; answers are passed on as they come, and an empty one with `last` ends them."""
        self._last += 1
        number = self._last
        asked = _Round(client, message.request_id)
        self._rounds[number] = asked
        for other in self._clients:
            if other.role not in (pb.ROLE_TOOL, pb.ROLE_LEASER) and other.welcomed and other is not client:
                asked.waiting.add(other.worker_id)
                other.connection.send(pb.StackRequest(request_id=number))
        asked.timer = self._loop.call_later(_STACKS_S, self._end, number)
        if not asked.waiting:
            self._end(number)

    def stack(self, client: Client, message: pb.StackReply) -> None:
        """One process has answered."""
        asked = self._rounds.get(message.request_id)
        if asked is None or client.worker_id not in asked.waiting:
            return
        number = message.request_id
        asked.waiting.discard(client.worker_id)
        message.request_id, message.last = asked.request_id, False
        asked.asker.connection.send(message)
        if not asked.waiting:
            self._end(number)

    def _end(self, number: int) -> None:
        asked = self._rounds.pop(number, None)
        if asked is None:
            return
        if asked.timer is not None:
            asked.timer.cancel()
        for worker_id in asked.waiting:
            silent = self._clients.get(worker_id)
            if silent is not None:
                title = (
                    f"{pb.Role.Name(silent.role).removeprefix('ROLE_').lower()}: did not answer within {_STACKS_S:g} s"
                )
                # Who asks looks the number up: of another container's process it would find somebody else here.
                pid = silent.pid_here if silent.role == pb.ROLE_DRIVER else silent.pid
                asked.asker.connection.send(pb.StackReply(request_id=asked.request_id, pid=pid, title=title))
        asked.asker.connection.send(pb.StackReply(request_id=asked.request_id, last=True))
