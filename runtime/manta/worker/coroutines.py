"""An async actor: calls are coroutines on one event loop, which also reads the process's sockets."""

from __future__ import annotations

import asyncio
import inspect
import time

from manta.client import failures
from manta.client.running import Running, running
from manta.rpc.v1 import channel_pb2 as pb
from manta.serde import deserialize
from manta.worker.executor import Executor, Queued

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manta.worker.actors import ActorHost


class AsyncActor:
    """Runs an actor's calls on an event loop in the main thread."""

    def __init__(self, executor: Executor, host: ActorHost) -> None:
        self._executor = executor
        self._session = executor.session
        self._host = host
        self._loop: asyncio.AbstractEventLoop = None  # type: ignore[assignment]
        self._tasks: dict[bytes, asyncio.Task[None]] = {}
        self._groups: dict[str, asyncio.Semaphore] = {}
        self._stop: asyncio.Event = None  # type: ignore[assignment]
        self._leaving: SystemExit | None = None
        self._flushing = False

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
        self._groups[""] = asyncio.Semaphore(self._host._concurrency())
        pump = self._session.pump
        pump.read_by_loop(self._loop, self._readable)
        self._drain()
        try:
            await self._stop.wait()
            if self._leaving is None:
                while self._tasks:
                    await asyncio.wait(list(self._tasks.values()))
        finally:
            pump.read_by_loop(None, self._readable)
            with self._session.lock:
                self._executor.flush_all()
            for task in self._tasks.values():
                task.cancel()

    def wake(self) -> None:
        """Look around: somebody asked this actor to leave."""
        if self._executor.leaving is not None:
            self._loop.call_soon_threadsafe(self._stop.set)

    def _readable(self) -> None:
        """The sockets have something."""
        self._session.pump.poll_once()
        self._drain()

    def _drain(self) -> None:
        queue = self._executor.queue
        while queue:
            task = queue.popleft()
            oid = task[1]
            running_task = self._loop.create_task(self._call(task))
            self._tasks[oid[:24]] = running_task

    async def _call(self, task: Queued) -> None:
        link, oid, template, payload, extra = task
        host = self._host
        now = host.now_running[oid[:24]] = Running(oid, template.name, 0, template)
        running.set(now)
        began = time.perf_counter_ns()
        result: Any
        group = self._groups.get(template.definition.concurrency_group) or self._groups[""]
        try:
            async with group:
                args, kwargs = deserialize(payload)
                if extra is not None and extra.refs:
                    args, kwargs = self._executor.fill(args, kwargs, extra)
                if template.function is None:
                    template.function = host.method(template)
                value = template.function(*args, **kwargs)
                if inspect.isawaitable(value):
                    value = await value
                if template.definition.num_returns == -1 and hasattr(value, "__aiter__"):
                    from manta.worker.streams import run_async_stream

                    result = await run_async_stream(self._executor, link, now, value)
                else:
                    result = host.result_of(link, oid, template, value, now)
        except asyncio.CancelledError:
            result = pb.ResultExtra(failure=failures.cancelled(template.name, oid).fields)
        except SystemExit as leaving:
            self._leaving = leaving
            self._stop.set()
            return
        except BaseException as error:  # noqa: BLE001 - the call's failure, whatever it is
            result = self._executor.failure_extra(template, error)
        finally:
            self._tasks.pop(oid[:24], None)
            del host.now_running[oid[:24]]
            args = kwargs = value = None
        with self._session.lock:
            host.deliver(task, result, (time.perf_counter_ns() - began) // 1000)
        if not self._flushing:
            # Calls that end in the same turn of the loop leave in one frame.
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        with self._session.lock:
            self._executor.flush_all()
        if not self._tasks and self._session.pump.look_around():
            # A caller that calls again as soon as it has its answer finds us awake.
            self._drain()

    def cancel(self, task_id: bytes) -> bool:
        """Cancel a call's coroutine; it may catch that."""
        task = self._tasks.get(task_id)
        if task is None:
            return False
        self._loop.call_soon_threadsafe(task.cancel)
        return True
