"""An async actor: calls are coroutines on one event loop, which also reads the process's sockets."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time

from manta.client.running import Running, running
from manta.serde import deserialize
from manta.worker import raised
from manta.worker.arguments import fill
from manta.worker.calls import leave_if_forked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manta.client.links import Link
    from manta.worker.actors import ActorHost
    from manta.worker.calls import Queued
    from manta.worker.executor import Executor


class AsyncActor:
    """Runs an actor's calls on an event loop in the main thread."""

    def __init__(self, executor: Executor, host: ActorHost) -> None:
        self._executor = executor
        self._session = executor.session
        self._host = host
        self._loop: asyncio.AbstractEventLoop = None  # type: ignore[assignment]
        self._thread = threading.get_ident()
        self._tasks: dict[bytes, asyncio.Task[None]] = {}
        self._groups: dict[str, asyncio.Semaphore] = {}
        self._stop: asyncio.Event = None  # type: ignore[assignment]
        self._leaving: SystemExit | None = None
        self._flushing = False
        #: Links whose results nobody reads, with what their calls wait for.
        self._held: dict[Link, asyncio.Event] = {}
        #: The loop reads the sockets, and looks afterwards for what came.
        self._reading = False
        #: The loop may be told of things. What came earlier is found when it begins.
        self._running = False
        #: The loop ends, and takes down what still runs.
        self._ending = False

    def run(self) -> int:
        """Serve until told to leave; the exit code."""
        asyncio.run(self._main())
        if self._leaving is not None:
            raise self._leaving
        return 0

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        spec = self._host.spec
        self._groups = {name: asyncio.Semaphore(size) for name, size in spec.concurrency_groups.items()}
        self._groups[""] = asyncio.Semaphore(self._host.concurrency)
        pump = self._session.pump
        pump.read_by_loop(self._loop, self._readable)
        with self._session.lock:
            self._running = True
            if self._executor.leaving is not None and not self._executor.inbox.held:
                self._stop.set()
        self._drain()
        try:
            await self._stop.wait()
            if self._leaving is None:
                while self._tasks:
                    await asyncio.wait(list(self._tasks.values()))
        finally:
            self._ending = True
            pump.read_by_loop(None, self._readable)
            with self._session.lock:
                self._running = False
                self._executor.delivery.flush_all()
            for task in self._tasks.values():
                task.cancel()

    def wake(self) -> None:
        """Look around: somebody asked this actor to leave."""
        if self._executor.leaving is not None and self._running and not self._executor.inbox.held:
            self._loop.call_soon_threadsafe(self._stop.set)

    def arrived(self) -> None:
        """Calls were read. Not always by the loop: the service thread may be in the middle of a round when the loop begins, and a
        call that waits in `get` reads by itself.
        """
        if self._running and not (self._reading and threading.get_ident() == self._thread):
            self._loop.call_soon_threadsafe(self._drain)

    def _readable(self) -> None:
        """The sockets have something."""
        self._reading = True
        try:
            self._session.pump.poll_once()
        finally:
            self._reading = False
        self._drain()

    def _drain(self) -> None:
        queue = self._executor.inbox.queue
        if not queue:
            return
        with self._session.lock:
            while queue:
                task = queue.popleft()
                oid, template = task[1], task[2]
                now = Running(oid, template.name, task[4].attempt if task[4] is not None else 0, template)
                self._host.now_running[oid[:24]] = now
                self._tasks[oid[:24]] = self._loop.create_task(self._call(task, now))

    async def _turn(self, link: Link, group: asyncio.Semaphore) -> None:
        """Take a place in the group, in which nobody waits for an owner that does not read its results."""
        await group.acquire()
        while link.full:
            group.release()
            await self._read(link)
            await group.acquire()

    async def _read(self, link: Link) -> None:
        """Wait until the link's results are read."""
        with self._session.lock:
            if not link.full:
                return
            moved = self._held.setdefault(link, asyncio.Event())
        await moved.wait()

    def drained(self, link: Link) -> None:
        """The link's results were read, or nobody will read them. Called under the lock, by the thread that read the sockets."""
        moved = self._held.pop(link, None)
        if moved is not None and self._running:
            self._loop.call_soon_threadsafe(moved.set)
        if self._executor.inbox.queue:
            self.arrived()
        self.wake()

    async def _call(self, task: Queued, now: Running) -> None:
        link, oid, template, payload, extra = task
        host, session = self._host, self._session
        running.set(now)
        began = time.perf_counter_ns()
        result: Any
        # Calls take turns on this thread: what comes out of this one's arguments is this one's to report.
        received: list[bytes] = []
        group = self._groups.get(template.definition.concurrency_group) or self._groups[""]
        try:
            await self._turn(link, group)
            try:
                stray = session.capture.refs
                session.capture.refs = received
                try:
                    args, kwargs = deserialize(payload)
                    if extra is not None and extra.refs:
                        args, kwargs = fill(session, args, kwargs, extra.refs)
                finally:
                    session.capture.refs = stray
                if template.function is None:
                    template.function = host.method(template)
                value = template.function(*args, **kwargs)
                if inspect.isawaitable(value):
                    value = await value
                if session.closed:
                    leave_if_forked(session, None)
                if template.num_returns == -1 and hasattr(value, "__aiter__"):
                    from manta.worker.streams import run_async_stream

                    result = await run_async_stream(self._executor, link, now, value, received)
                else:
                    result = host.result_of(link, oid, template, value, now, received)
            finally:
                group.release()
        except asyncio.CancelledError:
            if self._ending and not now.cancelled:
                return  # not this call but the whole actor ends: its callers hear how from control
            result = raised.cancelled(template.name, oid)
            session.reporter.raised(oid, result.failure)
        except SystemExit as leaving:
            if session.closed:
                leave_if_forked(session, leaving)
            self._leaving = leaving
            self._stop.set()
            return
        except BaseException as error:  # noqa: BLE001 - the call's failure, whatever it is
            if session.closed:
                leave_if_forked(session, error)
            result = raised.failed(session, template, error, now)
            session.reporter.raised(oid, result.failure)
        finally:
            self._tasks.pop(oid[:24], None)
            del host.now_running[oid[:24]]
            args = kwargs = value = None
        ended = time.perf_counter_ns()
        micros = (ended - began) // 1000
        session.ended.append((now, micros, ended))
        with session.lock:
            self._deliver(task, result, micros, received)
        if not self._flushing:
            # Calls that end in the same turn of the loop leave in one frame.
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _deliver(self, task: Queued, result: Any, micros: int, received: list[bytes]) -> None:
        """A call is over. Called under the lock."""
        delivery, stray = self._executor.delivery, self._executor.received
        if received:
            delivery.finish_with_refs(task[0], task[1], result, micros, received)
        else:
            delivery.finish(task[0], task[1], result, micros)
        if stray:
            # Out of pickles that user code loaded by itself, in whichever call: their owners are told, and no result waits.
            taken, stray[:] = list(stray), []
            self._session.drain_released()
            self._session.register_borrows(taken, lambda: None)

    def _flush(self) -> None:
        self._flushing = False
        with self._session.lock:
            self._executor.delivery.flush_all()
        if not self._tasks:
            self._reading = True
            try:
                self._session.pump.look_around()
            finally:
                self._reading = False
            # A caller that calls again as soon as it has its answer finds us awake.
            self._drain()

    def cancel(self, task_id: bytes) -> bool:
        """Cancel a call's coroutine; it may catch that."""
        task = self._tasks.get(task_id)
        if task is None:
            return False
        now = self._host.now_running.get(task_id)
        if now is not None:
            now.cancelled = True
        self._loop.call_soon_threadsafe(task.cancel)
        return True
