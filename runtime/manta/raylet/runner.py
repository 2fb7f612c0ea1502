"""Between the scheduler and the world: feeds it events in order, performs its commands, keeps its time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import assert_never

from manta.core.errors import RuntimeEnvSetupError, TaskPlacementGroupRemoved, TaskUnschedulableError
from manta.raylet import events as ev
from manta.raylet.actors import Actors
from manta.raylet.clients import Clients
from manta.raylet.scheduler import Scheduler
from manta.raylet.timings import Timings
from manta.raylet.workers.pool import WorkerProcesses
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.transport.convert import error_to_proto

log = logging.getLogger(__name__)


class Runner:
    """Performs what the scheduler decides.

    Args:
        scheduler: Decides.
        processes: Starts and ends workers.
        clients: Who is connected.
        actors: What is known about actors that live here.
        node_id: This node.
        on_started: Called with a worker's id when the scheduler has asked for it: it may be here already.
        on_lent: Called with a worker's id and process id when it gets something to do.
        on_room: Called when resources may have become free.
        on_changed: Called when what is free may have changed.
        begun: Called with a lease whose worker is dead; how many tasks of an owner elsewhere were begun on it.
        say: Tells the people of a job: (job, text).
    """

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        processes: WorkerProcesses,
        clients: Clients,
        actors: Actors,
        node_id: bytes,
        on_started: Callable[[bytes], None],
        on_lent: Callable[[bytes, int], None],
        on_room: Callable[[], None],
        on_changed: Callable[[], None] = lambda: None,
        begun: Callable[[int], int] = lambda lease_id: 0,
        say: Callable[[bytes, str], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.scheduler = scheduler
        self._processes = processes
        self._clients = clients
        self._actors = actors
        self._node_id = node_id
        self._on_started = on_started
        self._on_lent = on_lent
        self._on_room = on_room
        self._on_changed = on_changed
        self._begun = begun
        self._say = say
        self._events: deque[ev.Event] = deque()
        self._busy = False
        self.timings = Timings()
        self._timer: asyncio.TimerHandle | None = None

    def tell(self, event: ev.Event) -> None:
        """Let the scheduler hear of something; its commands are performed before this returns.

        Events that arise while commands are performed wait their turn: the scheduler never sees half a step.
        """
        self._events.append(event)
        if self._busy:
            return
        self._busy = True
        try:
            while self._events:
                event = self._events.popleft()
                now = time.monotonic()
                commands = self.scheduler.handle(event, now)
                self.timings.seen(event, commands, now)
                for command in commands:
                    self._perform(command)
                if isinstance(event, (ev.LeaseBack, ev.WorkerDied, ev.WorkerBlocked)):
                    self._on_room()
        finally:
            self._busy = False
        self._on_changed()
        self._set_timer()

    def close(self) -> None:
        """No more ticks."""
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake_at = self.scheduler.wake_at
        if wake_at is not None:
            delay = max(0.0, wake_at - time.monotonic())
            self._timer = self._loop.call_later(delay, self.tell, ev.Tick())

    def _perform(self, command: ev.Command) -> None:
        match command:
            case ev.StartWorker():
                self._processes.start(command.worker_id, command.pool)
                self._on_started(command.worker_id)
            case ev.Grant():
                self._grant(command)
            case ev.Spill():
                self._spill(command)
            case ev.Refuse():
                self._clients.send(command.owner, pb.LeaseRefused(key=command.key, count=command.count))
            case ev.TellUnschedulable():
                error = error_to_proto(TaskUnschedulableError(command.text))
                self._clients.send(command.owner, pb.LeaseFailed(key=command.key, error=error))
            case ev.TellGroupGone():
                error = error_to_proto(TaskPlacementGroupRemoved())
                self._clients.send(command.owner, pb.LeaseFailed(key=command.key, error=error))
            case ev.BecomeActor():
                self._actors.begin(command)
                self._lent(command.worker_id)
            case ev.TellInfeasible():
                self._clients.send(command.owner, pb.LeaseInfeasible(key=command.key, text=command.text))
            case ev.TellEnvironmentFailed():
                error = error_to_proto(RuntimeEnvSetupError(command.text))
                self._clients.send(command.owner, pb.LeaseFailed(key=command.key, error=error))
            case ev.TellActorWaits():
                self._say(command.job, command.text)
            case ev.Reclaim():
                self._clients.send(command.owner, pb.LeaseReclaim(count=command.count))
            case ev.AskExit():
                self._clients.send(command.worker_id, pb.Exit(reason=command.reason))
            case ev.KillWorker():
                self._processes.kill(command.worker_id, command.reason)
            case ev.EndStart():
                self._processes.end_start(command.worker_id, command.reason)
            case ev.TellLeaseLost():
                self._lease_lost(command)
            case ev.ReportActorDied():
                self._actors.died(command)
            case ev.ClosePool():
                self._processes.close_pool(command.pool)
            case _:
                assert_never(command)

    def _grant(self, command: ev.Grant) -> None:
        worker, owner = self._clients.get(command.worker_id), self._clients.get(command.owner)
        if worker is None or owner is None:
            # One of them is about to be declared dead; that settles the lease.
            return
        amounts = common.Resources(amounts=command.amounts)
        # The worker hears of it first: the owner's first frame to it must not be a surprise.
        worker.connection.send(
            pb.LeaseStarted(
                lease_id=command.lease_id,
                resources=amounts,
                gpu_ids=command.gpu_ids,
                owner=owner.address(self._node_id),
            )
        )
        self._on_lent(worker.worker_id, worker.pid)
        owner.connection.send(
            pb.LeaseGranted(
                key=command.key, lease_id=command.lease_id, worker=worker.address(self._node_id), pid=worker.pid
            )
        )

    def _spill(self, command: ev.Spill) -> None:
        assert isinstance(command.raylet, common.Address)
        self._clients.send(
            command.owner,
            pb.LeaseSpill(
                key=command.key,
                number=command.number,
                raylet=command.raylet,
                count=command.count,
                patience_ms=int(command.patience_s * 1000),
            ),
        )

    def _lent(self, worker_id: bytes) -> None:
        worker = self._clients.get(worker_id)
        if worker is not None:
            self._on_lent(worker_id, worker.pid)

    def _lease_lost(self, command: ev.TellLeaseLost) -> None:
        status = -9 if command.status is None else command.status
        self._clients.send(
            command.owner,
            pb.WorkerDied(
                lease_id=command.lease_id,
                worker_id=command.worker_id,
                cause=command.text,
                status=status,
                out_of_memory=command.out_of_memory,
                intended=status >= 0,
                started=self._begun(command.lease_id),
            ),
        )
