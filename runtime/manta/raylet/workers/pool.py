"""Every factory and worker process of the node: performs the scheduler's starts and kills, and tells it of every end."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import signal
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from manta.core.environment import WORKER_ENVIRONMENT
from manta.core.errors import ProtocolError
from manta.raylet.events import PoolKey
from manta.raylet.workers import process
from manta.raylet.workers.factory import FactoryHandle
from manta.raylet.workers.guard import Guard
from manta.raylet.workers.last_words import STACK_LINES, last_words
from manta.raylet.workers.launch import FACTORY_LOG, Launched, launch
from manta.rpc.v1 import channel_pb2 as pb

log = logging.getLogger(__name__)

#: How long the factory's word on a dead worker is waited for, seconds. It comes at once unless the factory itself is in trouble.
_LAST_WORD_S: Final = 1.0
#: How long factories have to end by themselves when the node stops, seconds.
_STOP_S: Final = 0.5
#: Descriptors of the raylet: for each worker a pidfd, a connection or two and its files of lines; and for all the rest.
_FILES_PER_WORKER: Final = 6
_FILES_BESIDE: Final = 64


@dataclass(slots=True)
class WorkerProcess:
    """One worker, from the order to fork it until it is gone."""

    worker_id: bytes
    factory: FactoryHandle
    stdout: Path
    stderr: Path
    #: 0 until it is forked.
    pid: int = 0
    watch: process.Watch | None = None
    #: It has said Hello.
    connected: bool = False
    #: Why we ended it; None while we did not.
    doom: str | None = None
    #: It is ended because it did not become ready in time: the reason.
    overdue: str | None = None
    #: Its factory is gone and can say nothing about its end; this is what is known.
    orphaned: str | None = None
    #: It is ended because memory ran out.
    out_of_memory: bool = False


#: Called with (worker id, exit status or None, text, out of memory) once for each worker that ended or could not be started.
OnDied = Callable[[bytes, int | None, str, bool], None]


def environment_of(environment: bytes) -> dict[str, str]:
    """Variables that a worker environment sets.

    Args:
        environment: Empty, or a JSON object whose "env_vars" maps names to texts.

    Raises:
        ProtocolError: It is something else.
    """
    if not environment:
        return {}
    try:
        variables = json.loads(environment).get("env_vars") or {}
        if all(isinstance(name, str) and isinstance(text, str) for name, text in variables.items()):
            if any(not name or "=" in name or "\0" in name + text for name, text in variables.items()):
                raise ProtocolError("env_vars: a name is empty or holds '=', or something holds a NUL character")
            return dict(variables)
    except (ValueError, AttributeError):
        pass
    raise ProtocolError('an environment is a JSON object like {"env_vars": {"NAME": "text"}}')


class WorkerProcesses:
    """Factories by pool, workers by id.

    Args:
        guard: Starts factories, ends what dead workers leave behind, and everything when we are gone.
        raylet: Where workers find us: the path of our socket.
        logs: Folder of the workers' output.
        entry: What workers run; None for what they are made for.
        on_died: See `OnDied`.
        make_id: Makes the id of a worker that belongs to no job yet, or is new.
        on_unguarded: Called when the guard has ended before us.
    """

    def __init__(
        self,
        *,
        guard: Guard,
        raylet: str,
        logs: Path,
        entry: str | None,
        on_died: OnDied,
        make_id: Callable[[], bytes],
        on_unguarded: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._guard = guard
        self._on_unguarded = on_unguarded
        self._guard_watch = process.Watch(self._loop, guard.pid, self._guard_ended)
        self._raylet = raylet
        self._logs = logs
        self._entry = entry
        self._on_died = on_died
        self._make_id = make_id
        #: Out of descriptors, a raylet would lose those it has.
        self._most = (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _FILES_BESIDE) // _FILES_PER_WORKER
        self._workers: dict[bytes, WorkerProcess] = {}
        self._by_pid: dict[int, WorkerProcess] = {}
        self._factories: dict[PoolKey, FactoryHandle] = {}
        self._all_factories: dict[int, FactoryHandle] = {}
        #: Started before any job was known; the first one with a plain environment takes it over.
        self._spare: FactoryHandle | None = None
        #: Its workers.
        self._spare_workers: list[bytes] = []
        #: What a job's own environment sets, for jobs that set anything.
        self._job_variables: dict[bytes, dict[str, str]] = {}
        self._closing = False
        #: Set at each end of a factory or worker.
        self._some_end = asyncio.Event()

    # ---- before the first job

    def prepare(self, workers: int, launched: Launched | None) -> None:
        """Have a factory, and workers that wait, for the first job to come.

        Args:
            workers: How many.
            launched: A factory that was started already.
        """
        log_file = self._logs / FACTORY_LOG
        self._spare = (
            self._watch_factory(launched, log_file, 0) if launched is not None else self._new_factory({}, log_file)
        )
        for _ in range(workers):
            worker_id = self._make_id()
            self._fork(worker_id, self._spare)
            self._spare_workers.append(worker_id)

    def is_spare(self, worker_id: bytes) -> bool:
        """Whether it belongs to no job yet."""
        return worker_id in self._spare_workers

    def is_plain(self, pool: PoolKey) -> bool:
        """Whether its workers come from a factory with our own environment."""
        job, environment = pool
        return not environment and job not in self._job_variables

    def connected(self, worker_id: bytes) -> None:
        """A worker has said Hello: its start is over."""
        worker = self._workers.get(worker_id)
        if worker is not None:
            worker.connected = True

    def job_variables(self, job: bytes, variables: dict[str, str]) -> None:
        """Environment variables of all workers of a job; before its first worker."""
        if variables:
            self._job_variables[job] = variables

    def worker_id(self, pool: PoolKey) -> bytes:
        """The id of the next worker of a pool: a waiting spare's, if it may have one."""
        factory = self._factories.get(pool)
        if factory is None and self._spare is not None and self.is_plain(pool):
            factory = self._factories[pool] = self._spare
            self._spare = None
        if factory is not None and self._spare is None and self._spare_workers:
            first = self._workers.get(self._spare_workers[0])
            if first is not None and first.factory is factory:
                return self._spare_workers.pop(0)
        return self._make_id()

    # ---- one worker

    def start(self, worker_id: bytes, pool: PoolKey) -> None:
        """Fork a worker, unless it is a spare that lives already. Failures come by `on_died`."""
        if worker_id in self._workers:
            return
        if len(self._workers) >= self._most:
            text = f"the raylet's limit of open files allows {self._most} worker processes; raise it (ulimit -n)"
            self._loop.call_soon(self._on_died, worker_id, None, text, False)
            return
        factory = self._factories.get(pool)
        if factory is None:
            try:
                variables = {**self._job_variables.get(pool[0], {}), **environment_of(pool[1])}
                # Tasks that its tasks submit inherit the environment: the worker has to know what was added.
                variables[WORKER_ENVIRONMENT] = pool[1].decode()
                factory = self._factories[pool] = self._new_factory(variables, self._log_of(pool))
            except (OSError, ProtocolError, ValueError) as error:
                self._loop.call_soon(self._on_died, worker_id, None, f"its factory cannot be started: {error}", False)
                return
        self._fork(worker_id, factory)

    def kill(self, worker_id: bytes, reason: str, *, out_of_memory: bool = False) -> None:
        """End a worker and what it started."""
        worker = self._workers.get(worker_id)
        if worker is None or worker.doom is not None:
            return
        worker.doom, worker.out_of_memory = reason, out_of_memory
        if worker.watch is not None:
            # By pidfd: never somebody who got the number later. The factory ends the group before it frees the number.
            worker.watch.kill()

    def end_start(self, worker_id: bytes, reason: str) -> None:
        """End a worker that takes too long to become ready; if it is not even forked, the factory that does not do it."""
        worker = self._workers.get(worker_id)
        if worker is None or worker.connected:
            return
        worker.overdue = reason
        factory = worker.factory
        if worker.watch is not None:
            worker.watch.abort()
        elif any(other.factory is factory and other.connected for other in self._workers.values()):
            # What it forked before runs on. Whatever it forks now comes too late.
            self._let_go(factory)
            factory.retired = True
            self._gone(worker, None, reason)
        else:
            factory.abort()

    def worker_pids(self) -> list[int]:
        """Process ids of all workers, of those without a job too."""
        return [worker.pid for worker in self._workers.values() if worker.pid]

    def factory_pids(self) -> list[int]:
        """Process ids of all factories."""
        return list(self._all_factories)

    def get(self, worker_id: bytes) -> WorkerProcess | None:
        """A worker that is not dead."""
        return self._workers.get(worker_id)

    def pids(self) -> dict[int, bytes]:
        """Process ids of living workers."""
        return {pid: worker.worker_id for pid, worker in self._by_pid.items()}

    # ---- all of them

    def close_pool(self, pool: PoolKey) -> None:
        """No worker of this pool is needed any more."""
        factory = self._factories.pop(pool, None)
        if factory is not None:
            factory.close()
        if not any(job == pool[0] for job, _ in self._factories):
            self._job_variables.pop(pool[0], None)

    @staticmethod
    def reap() -> None:
        """Take the exit status of dead children: the guard, and orphans that come to us when it is gone. Call it on SIGCHLD."""
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    async def close(self) -> None:
        """End everything: factories, workers, and whatever they started."""
        self._closing = True
        living = {worker_id.hex()[:8] for worker_id in self._workers}
        for factory in self._all_factories.values():
            factory.close()
        deadline = self._loop.time() + _STOP_S
        await self._until(lambda: not self._all_factories, deadline)
        for factory in self._all_factories.values():
            log.warning("a factory did not end by itself: pid=%d", factory.pid)
            factory.kill()
        await self._until(lambda: not self._all_factories, deadline + _STOP_S)
        await self._until(lambda: not self._by_pid, deadline + _STOP_S)
        for worker in list(self._by_pid.values()):
            log.warning("a worker did not end: pid=%d", worker.pid)
            if worker.watch is not None:
                worker.watch.close()
        self._guard.close()
        await self._until(lambda: self._guard_watch.ended, deadline + 2 * _STOP_S)
        if not self._guard_watch.ended:
            # It goes on without us, for as long as that takes.
            log.warning("the guard did not end: pid=%d", self._guard.pid)
            self._guard_watch.close()
        # Only if the guard was killed: then orphans came to us, and their ends make their own children ours.
        while (orphans := process.children()) and self._loop.time() < deadline + 3 * _STOP_S:
            for pid in orphans:
                if pid != self._guard.pid:
                    process.kill(pid)
            self.reap()
            await asyncio.sleep(0.002)
        self._remove_sockets(living)

    # ---- inside

    def _remove_sockets(self, living: set[str]) -> None:
        """Remove what the last workers listened on; a node whose start failed has nobody else who would. Names bear ids."""
        for path in Path(self._raylet).parent.glob("*-*.sock"):
            if path.name.partition("-")[2][:8] in living:
                with suppress(OSError):
                    path.unlink()

    async def _until(self, done: Callable[[], bool], deadline: float) -> None:
        """Wait for ends until there have been enough, or the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while not done():
                    self._some_end.clear()
                    await self._some_end.wait()

    def _guard_ended(self, pid: int) -> None:
        self._some_end.set()
        if not self._closing:
            log.error("the guard ended: pid=%d", pid)
            self._on_unguarded()

    def _log_of(self, pool: PoolKey) -> Path:
        """Its factory's file. One of its own where somebody's variables may be why the factory dies: what it says is told."""
        if self.is_plain(pool):
            return self._logs / FACTORY_LOG
        return self._logs / f"factory-{pool[0].hex()}-{zlib.crc32(pool[1]):08x}.log"

    def _new_factory(self, variables: dict[str, str], log_file: Path) -> FactoryHandle:
        since = log_file.stat().st_size if log_file.exists() else 0
        return self._watch_factory(
            launch(self._guard, log_file, environment=variables, entry=self._entry), log_file, since
        )

    def _watch_factory(self, launched: Launched, log_file: Path, since: int) -> FactoryHandle:
        factory = FactoryHandle(
            launched=launched,
            last_words=partial(last_words, log_file, since),
            on_forked=self._forked,
            on_exited=self._exited,
            on_gone=self._factory_gone,
        )
        self._all_factories[factory.pid] = factory
        return factory

    def _fork(self, worker_id: bytes, factory: FactoryHandle) -> None:
        stem = f"worker-{worker_id.hex()[:16]}"
        worker = WorkerProcess(worker_id, factory, self._logs / f"{stem}.out", self._logs / f"{stem}.err")
        self._workers[worker_id] = worker
        factory.fork(
            pb.Fork(
                worker_id=worker_id, raylet=self._raylet, stdout_path=str(worker.stdout), stderr_path=str(worker.stderr)
            )
        )

    def _forked(self, worker_id: bytes, pid: int, error: str) -> None:
        worker = self._workers.get(worker_id)
        if worker is None:
            if pid:
                process.kill_group(pid)  # it was given up
            return
        if not pid:
            self._gone(worker, None, error)
            return
        worker.pid = pid
        self._by_pid[pid] = worker
        worker.watch = process.Watch(self._loop, pid, self._ended)
        if worker.doom is not None:
            worker.watch.kill()

    def _exited(self, pid: int, status: int) -> None:
        worker = self._by_pid.get(pid)
        if worker is not None:
            self._gone(worker, status, process.exit_text(status))

    def _ended(self, pid: int) -> None:
        """The kernel says that it is gone; the factory will say how."""
        worker = self._by_pid.get(pid)
        if worker is None:
            return
        if worker.orphaned is not None:
            self._gone(worker, -signal.SIGKILL, worker.orphaned)
        else:
            self._loop.call_later(_LAST_WORD_S, self._no_last_word, worker)

    def _no_last_word(self, worker: WorkerProcess) -> None:
        if self._by_pid.get(worker.pid) is worker:
            process.kill_group(worker.pid)
            self._gone(worker, None, process.exit_text(None))

    def _factory_gone(self, factory: FactoryHandle) -> None:
        self._all_factories.pop(factory.pid, None)
        self._some_end.set()
        self._let_go(factory)
        if not factory.closing and not self._closing:
            log.error("a factory ended: pid=%d", factory.pid)
        for worker in [worker for worker in self._workers.values() if worker.factory is factory]:
            if worker.pid and worker.watch is not None and not worker.watch.ended:
                # The kernel ends it with its factory; its group is ours to end. It is gone when its pidfd says so.
                worker.orphaned = "its factory ended"
                process.kill_group(worker.pid)
            elif worker.pid:
                self._gone(worker, -signal.SIGKILL, "its factory ended")
            else:
                self._gone(worker, None, f"its factory ended before it was forked{factory.last_words()}")

    def _let_go(self, factory: FactoryHandle) -> None:
        """Nothing more is asked of a factory."""
        if self._spare is factory:
            self._spare = None
        for pool in [pool for pool, other in self._factories.items() if other is factory]:
            del self._factories[pool]

    def _gone(self, worker: WorkerProcess, status: int | None, text: str) -> None:
        if self._workers.pop(worker.worker_id, None) is None:
            return
        if worker.worker_id in self._spare_workers:
            self._spare_workers.remove(worker.worker_id)
        if worker.pid:
            self._by_pid.pop(worker.pid, None)
            self._some_end.set()
            # What it started, and what left its group and lost its parents, is the guard's child by now.
            self._guard.worker_died(worker.worker_id)
        if worker.watch is not None:
            worker.watch.close()
        if worker.factory.retired and not any(other.factory is worker.factory for other in self._workers.values()):
            worker.factory.kill()
        if worker.doom is not None:
            text = worker.doom
        elif worker.overdue is not None:
            where = last_words(worker.stderr, lines=STACK_LINES) if worker.pid else ""
            text = worker.overdue + (where or worker.factory.last_words(lines=STACK_LINES))
        elif worker.pid and not worker.connected:
            text += last_words(worker.stderr)
        self._on_died(worker.worker_id, status, text, worker.out_of_memory)
