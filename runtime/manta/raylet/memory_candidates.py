"""Whose end could relieve the node's memory: `memory` chooses among them."""

from __future__ import annotations

from manta.raylet.memory import Candidate, MemoryReader
from manta.raylet.scheduler import Scheduler
from manta.raylet.scheduling.records import WorkerState
from manta.raylet.workers.pool import WorkerProcesses


def candidates(scheduler: Scheduler, processes: WorkerProcesses, reader: MemoryReader) -> list[Candidate]:
    """Every worker that runs and is not about to end anyway."""
    found = []
    for worker in scheduler.workers():
        process = processes.get(worker.worker_id)
        if process is None or not process.pid or worker.state is WorkerState.DYING:
            continue
        lease = scheduler.holder(worker.worker_id)
        found.append(
            Candidate(
                worker_id=worker.worker_id,
                pid=process.pid,
                private_bytes=reader.private_bytes(process.pid),
                idle=worker.state in (WorkerState.IDLE, WorkerState.STARTING),
                is_actor=lease is not None and lease.actor is not None,
                since=lease.granted_at if lease is not None else worker.idle_since,
                name=scheduler.name_of(worker.worker_id),
            )
        )
    return found
