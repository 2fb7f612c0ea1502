"""Lists of what is on this node, for the state API and the command line: tasks, workers, objects; and the node in numbers.

Tasks and workers that ended are remembered here; for tasks under way every process is asked. Answers leave as they came: the
raylet sorts and formats nothing that the asker can.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from manta.core.errors import ProtocolError
from manta.core.resources import to_floats
from manta.raylet.clients import Client, Clients
from manta.raylet.memory import MemoryReader
from manta.raylet.objects.records import Object
from manta.raylet.objects.table import ObjectTable
from manta.raylet.scheduler import Scheduler
from manta.raylet.scheduling.records import Worker
from manta.raylet.tasks import TaskBook, ended_only, is_sound
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import state_pb2 as state

#: How long processes have to say what they are doing, seconds. One that runs C code may not be able to.
_ASKED_S: Final = 1.0
#: Rows of an answer.
MOST_ROWS: Final = 10_000
#: Dead workers remembered.
MOST_DEAD: Final = 1000
#: What one worker's row takes at most, and one object's, bytes.
_WORKER_BYTES: Final = 700
_OBJECT_BYTES: Final = 50

#: Takes an answer.
Done = Callable[[state.StateAnswer], None]


@dataclass(slots=True, eq=False)
class _Round:
    """One question to everybody."""

    answer: state.StateAnswer
    room: int
    done: Done
    waiting: set[bytes] = field(default_factory=set)
    timer: asyncio.TimerHandle | None = None


class StateService:
    """Takes TaskReport, answers StateQuery.

    Args:
        node_ip: Said in answers.
        clients: Who is connected.
        scheduler: Knows the workers.
        objects: Every object in the store.
        book: Remembers tasks.
    """

    def __init__(
        self, node_ip: str, clients: Clients, scheduler: Scheduler, objects: ObjectTable, book: TaskBook
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._node_ip = node_ip
        self._clients = clients
        self._scheduler = scheduler
        self._objects = objects
        self._book = book
        self._memory = MemoryReader()
        self._rounds: dict[int, _Round] = {}
        self._last = 0
        self._dead: deque[dict[str, Any]] = deque(maxlen=MOST_DEAD)

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
        asked.answer.tasks.append(message)
        if not asked.waiting:
            self._end(number)

    def ask(self, what: str, room: int, done: Done) -> None:
        """List something; `done` takes the answer, at once or after a second at most.

        Args:
            what: "tasks", "workers", "objects" or "node".
            room: Bytes that the answer may have; what is left out is counted.
            done: Called once.

        Raises:
            ProtocolError: There is no list of that.
        """
        match what:
            case "tasks":
                self._tasks(room, done)
            case "workers":
                done(self._workers_told(room))
            case "objects":
                done(self._objects_told(min(MOST_ROWS, room // _OBJECT_BYTES)))
            case "node":
                done(state.StateAnswer(node_ip=self._node_ip, json=json.dumps(self._node())))
            case other:
                raise ProtocolError(f"a node lists no {other!r:.100}; there are tasks, workers and objects")

    def _node(self) -> dict[str, Any]:
        """What bars and counts are drawn from, a few hundred bytes."""
        scheduling, memory = self._scheduler.statistics(), self._memory.usage()
        return {
            "total": scheduling["total"],
            "available": scheduling["available"],
            "workers": scheduling["workers"],
            "store": self._objects.statistics(),
            "memory": {"used": memory.used_bytes, "limit": memory.limit_bytes, "of": memory.of} if memory else None,
            "tasks": {"finished": self._book.finished, "failed": self._book.failed},
        }

    def _tasks(self, room: int, done: Done) -> None:
        self._last += 1
        number = self._last
        asked = self._rounds[number] = _Round(state.StateAnswer(node_ip=self._node_ip), room, done)
        for other in self._clients:
            if other.role in (pb.ROLE_DRIVER, pb.ROLE_WORKER) and other.welcomed:
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
        answer = asked.answer
        answer.silent.extend(
            f"pid {other.pid}" for one in asked.waiting if (other := self._clients.get(one)) is not None
        )
        live = list(answer.tasks)
        del answer.tasks[:]
        left = asked.room - sum(map(len, answer.silent)) - 1000
        kept: list[pb.TaskReport] = []
        untold = self._book.untold
        # What runs now comes first, then what ended last.
        for report in [*live, *reversed(self._book.reports())]:
            left -= report.ByteSize() + 8
            if left > 0:
                kept.append(report)
            else:
                untold += len(report.state)
        answer.tasks.extend(kept)
        answer.untold = untold
        asked.done(answer)

    # ---- workers

    def buried(self, worker_id: bytes, status: int | None, text: str, *, out_of_memory: bool) -> None:
        """A worker has died: its row stays, the last thousand do."""
        worker = self._scheduler.worker(worker_id)
        if worker is None or not worker.pid:
            return
        kind = "INTENDED_SYSTEM_EXIT" if status == 0 else "SYSTEM_ERROR"
        row = self._row(worker)
        row.update(
            is_alive=False,
            state="DEAD",
            exit_type="NODE_OUT_OF_MEMORY" if out_of_memory else kind,
            exit_detail=text[:300] or None,
            end_time_ms=int(time.time() * 1000),
        )
        self._dead.append(row)

    def worker_of(self, *, pid: int = 0, actor_id: str = "") -> str:
        """Worker id in hex of the last worker with that process id, or that was that actor; empty if there is none."""
        for row in [*self._live_rows(), *reversed(self._dead)]:
            if (pid and row["pid"] == pid) or (actor_id and row["actor_id"] == actor_id):
                found: str = row["worker_id"]
                return found
        return ""

    def _live_rows(self) -> list[dict[str, Any]]:
        return [self._row(worker) for worker in self._scheduler.workers()]

    def _row(self, worker: Worker) -> dict[str, Any]:
        lease = self._scheduler.holder(worker.worker_id)
        actor = lease.actor if lease is not None else None
        born_ms = int((time.time() - (time.monotonic() - worker.born_at)) * 1000)
        return {
            "worker_id": worker.worker_id.hex(),
            "is_alive": True,
            "worker_type": "WORKER",
            "state": worker.state.value.upper(),
            "exit_type": None,
            "ip": self._node_ip,
            "pid": worker.pid,
            "job_id": worker.pool[0].hex(),
            "actor_id": actor.actor_id.hex() if actor is not None else None,
            "is_actor": actor is not None,
            "runs": self._scheduler.name_of(worker.worker_id) or None,
            "resources": to_floats(dict(worker.holds)),
            "leases_done": worker.leases_done,
            "exit_detail": None,
            "start_time_ms": born_ms,
            "end_time_ms": None,
        }

    def _drivers(self) -> list[dict[str, Any]]:
        return [
            {
                "worker_id": client.worker_id.hex(),
                "is_alive": True,
                "worker_type": "DRIVER",
                "state": "BUSY",
                "exit_type": None,
                "ip": self._node_ip,
                "pid": client.pid,
                "job_id": client.job.hex(),
                "actor_id": None,
                "is_actor": False,
                "runs": None,
                "resources": {},
                "leases_done": 0,
                "exit_detail": None,
                "start_time_ms": None,
                "end_time_ms": None,
            }
            for client in self._clients
            if client.role == pb.ROLE_DRIVER
        ]

    def _workers_told(self, room: int) -> state.StateAnswer:
        rows = [*self._drivers(), *self._live_rows(), *reversed(self._dead)]
        most = min(MOST_ROWS, max(1, room // _WORKER_BYTES))
        return state.StateAnswer(node_ip=self._node_ip, json=json.dumps(rows[:most]), untold=max(0, len(rows) - most))

    # ---- objects

    def _objects_told(self, limit: int) -> state.StateAnswer:
        chosen = list(islice(self._objects.sealed(), limit))
        owners = {owner: at for at, owner in enumerate(dict.fromkeys(_owner(item) for item in chosen))}
        pids = [client.pid if (client := self._clients.get(owner)) is not None else 0 for owner in owners]
        return state.StateAnswer(
            node_ip=self._node_ip,
            untold=self._objects.statistics()["objects"] - len(chosen),
            objects=state.ObjectRows(
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
