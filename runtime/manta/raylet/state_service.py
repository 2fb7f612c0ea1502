"""Lists of what is on this node, for the state API and the command line: tasks, workers, objects.

Tasks that ended are remembered here; for those under way every process is asked. Answers leave as they came: the raylet sorts and
formats nothing that the asker can.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from manta.core.errors import ProtocolError
from manta.core.resources import to_floats
from manta.raylet.clients import Client, Clients
from manta.raylet.objects.records import Object
from manta.raylet.scheduler import Scheduler
from manta.raylet.tasks import TaskBook, ended_only, is_sound
from manta.rpc.v1 import channel_pb2 as pb

#: How long processes have to say what they are doing, seconds. One that runs C code may not be able to.
_ASKED_S: Final = 1.0
#: Rows of an answer.
MOST_ROWS: Final = 10_000


@dataclass(slots=True, eq=False)
class _Round:
    """One tool's question to everybody."""

    asker: Client
    request_id: int
    waiting: set[bytes] = field(default_factory=set)
    timer: asyncio.TimerHandle | None = None


class StateService:
    """Takes TaskReport and StateRequest.

    Args:
        clients: Who is connected.
        scheduler: Knows the workers.
        objects: Every object in the store, newest last.
        object_count: How many there are.
        book: Remembers tasks.
    """

    def __init__(
        self,
        *,
        clients: Clients,
        scheduler: Scheduler,
        objects: Callable[[], Iterable[Object]],
        object_count: Callable[[], int],
        book: TaskBook,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._clients = clients
        self._scheduler = scheduler
        self._objects = objects
        self._object_count = object_count
        self._book = book
        self._rounds: dict[int, _Round] = {}
        self._last = 0

    def report(self, client: Client, message: pb.TaskReport) -> None:
        """A process tells of its tasks."""
        if not is_sound(message):
            raise ProtocolError("TaskReport: its columns differ in length, or name what is not there")
        message.worker_id, message.pid, message.job_id = client.worker_id, client.pid, client.job
        number, message.request_id = message.request_id, 0
        self._book.add(ended_only(message) if number else message)
        asked = self._rounds.get(number)
        if asked is None or client.worker_id not in asked.waiting:
            return
        asked.waiting.discard(client.worker_id)
        asked.asker.connection.send(pb.StateReply(request_id=asked.request_id, tasks=message))
        if not asked.waiting:
            self._end(number)

    def asked(self, client: Client, message: pb.StateRequest) -> None:
        """A tool wants a list."""
        limit = min(message.limit or MOST_ROWS, MOST_ROWS)
        match message.what:
            case "tasks":
                self._tasks(client, message.request_id)
            case "workers":
                rows = self._workers()
                reply = pb.StateReply(request_id=message.request_id, last=True, total=len(rows))
                reply.json = json.dumps(rows[:limit])
                client.connection.send(reply)
            case "objects":
                client.connection.send(self._object_rows(message.request_id, limit))
            case other:
                raise ProtocolError(f"StateRequest: there are no {other!r}; there are tasks, workers and objects")

    def _tasks(self, client: Client, request_id: int) -> None:
        for report in self._book.reports():
            client.connection.send(pb.StateReply(request_id=request_id, tasks=report))
        self._last += 1
        number = self._last
        asked = self._rounds[number] = _Round(client, request_id)
        for other in self._clients:
            if other.role != pb.ROLE_TOOL and other.welcomed:
                asked.waiting.add(other.worker_id)
                other.connection.send(pb.TaskInquiry(request_id=number))
        asked.timer = self._loop.call_later(_ASKED_S, self._end, number)
        if not asked.waiting:
            self._end(number)

    def _end(self, number: int) -> None:
        asked = self._rounds.pop(number, None)
        if asked is None:
            return
        if asked.timer is not None:
            asked.timer.cancel()
        silent = [f"pid {other.pid}" for one in asked.waiting if (other := self._clients.get(one)) is not None]
        asked.asker.connection.send(
            pb.StateReply(request_id=asked.request_id, last=True, silent=silent, total=self._book.untold)
        )

    def _workers(self) -> list[dict[str, Any]]:
        now, wall = time.monotonic(), time.time()
        rows: list[dict[str, Any]] = []
        for worker in self._scheduler.workers():
            lease = self._scheduler.holder(worker.worker_id)
            rows.append(
                {
                    "worker_id": worker.worker_id.hex(),
                    "worker_type": "WORKER",
                    "state": worker.state.value.upper(),
                    "pid": worker.pid,
                    "job_id": worker.pool[0].hex(),
                    "is_actor": lease is not None and lease.actor is not None,
                    "runs": self._scheduler.name_of(worker.worker_id) or None,
                    "resources": to_floats(dict(worker.holds)),
                    "start_time_ms": int((wall - (now - worker.born_at)) * 1000),
                    "leases_done": worker.leases_done,
                }
            )
        rows += [
            {
                "worker_id": client.worker_id.hex(),
                "worker_type": "DRIVER",
                "state": "BUSY",
                "pid": client.pid,
                "job_id": client.job.hex(),
                "is_actor": False,
                "runs": None,
                "resources": {},
                "start_time_ms": None,
                "leases_done": 0,
            }
            for client in self._clients
            if client.role == pb.ROLE_DRIVER
        ]
        return rows

    def _object_rows(self, request_id: int, limit: int) -> pb.StateReply:
        chosen = list(islice(self._objects(), limit))
        owners = {owner: at for at, owner in enumerate(dict.fromkeys(_owner(item) for item in chosen))}
        pids = [client.pid if (client := self._clients.get(owner)) is not None else 0 for owner in owners]
        return pb.StateReply(
            request_id=request_id,
            last=True,
            total=self._object_count(),
            objects=pb.ObjectRows(
                ids=b"".join([item.object_id for item in chosen]),
                sizes=[item.size for item in chosen],
                readers=[len(item.pins) for item in chosen],
                owners=[owners[_owner(item)] for item in chosen],
                processes=list(owners),
                pids=pids,
                secondary=[item.secondary for item in chosen],
            ),
        )


def _owner(item: Object) -> bytes:
    """Worker id of the process that owns the object; empty for those that live until the end of their job."""
    owner = item.owner
    return owner if isinstance(owner, bytes) and len(owner) == 28 else b""
