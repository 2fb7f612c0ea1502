"""A worker that has become an actor: one instance, and its calls serially, on threads, or on an event loop."""

from __future__ import annotations

import logging
import time

from manta.client.pump import Waiter
from manta.client.running import Running, running
from manta.client.values import INLINE_BYTES
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.serde import deserialize, serialize, to_bytes
from manta.transport.convert import encodable
from manta.worker import logs
from manta.worker.executor import HOLD_BACK_US, ActorExit, Executor, Queued, WorkerTemplate, call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor
    from typing import Any

    from manta.client.links import Link

log = logging.getLogger(__name__)

#: Concurrent calls of an actor with coroutine methods, unless it says otherwise.
ASYNC_CONCURRENCY = 1000


class ActorHost:
    """The actor of this process."""

    def __init__(self, executor: Executor, frame: pb.StartActor) -> None:
        self._executor = executor
        self._session = executor.session
        self.spec = pb.ActorSpec.FromString(frame.spec)
        self.actor_id: bytes = frame.actor_id
        self.incarnation: int = frame.incarnation
        self.class_name: str = self.spec.class_name
        self.table = pb.MethodTable.FromString(self.spec.methods)
        self.instance: Any = None
        executor.session.actor_host = self
        self.restarted = frame.incarnation > 1
        self._expected: dict[tuple[bytes, int], int] = {}
        self._cancelled: set[bytes] = set()
        self._async: Any = None
        self._repr = ""
        self.now_running: dict[bytes, Running] = {}

    def repr(self) -> str:
        """What error texts call it."""
        return self._repr or self.class_name

    def accepts(self, link: Link, frame: pb.PushCalls) -> bool:
        """Whether the calls are the caller's next ones; a repetition is dropped."""
        key = (link.worker_id, frame.sequence)
        expected = self._expected.get(key, 0)
        if frame.first != expected:
            log.warning("calls %d.. of %s came when %d was next", frame.first, link.worker_id.hex(), expected)
            return False
        self._expected[key] = expected + len(frame.args)
        return True

    def wake(self) -> None:
        """Something changed that the loop has to look at."""
        if self._async is not None:
            self._async.wake()

    # -- life

    def run(self) -> int:
        """Construct the instance and serve its calls until the end. Returns the exit code."""
        if not self._construct():
            return 1
        try:
            if self.spec.is_async:
                from manta.worker.coroutines import AsyncActor

                self._async = AsyncActor(self._executor, self)
                return int(self._async.run())
            if self._concurrency() > 1 or self.spec.concurrency_groups:
                return self._run_threads()
            return self._run_serially()
        except SystemExit as leaving:
            return self._exiting(leaving)

    def _concurrency(self) -> int:
        return self.spec.max_concurrency or (ASYNC_CONCURRENCY if self.spec.is_async else 1)

    def _construct(self) -> bool:
        executor, session = self._executor, self._session
        now = Running(self.spec.creation_task_id + b"\1\0\0\0", f"{self.class_name}.__init__", 0, None)
        executor.running = now
        running.set(now)
        logs.actor_name = self.class_name
        template = WorkerTemplate(pb.DefineTemplate(name=f"{self.class_name}.__init__"))
        message = pb.ActorStarted(actor_id=self.actor_id, incarnation=self.incarnation)
        try:
            actor_class = deserialize(self.spec.class_blob)
            args, kwargs = deserialize(self.spec.args)
            if self.spec.refs:
                args, kwargs = executor.fill(args, kwargs, pb.TaskExtra(refs=self.spec.refs))
            self.instance = call(actor_class, args, kwargs)
            if type(self.instance).__repr__ is not object.__repr__:  # type: ignore[comparison-overlap]
                self._repr = encodable(str(repr(self.instance))[:200])
                logs.actor_name = self._repr
                message.repr_name = self._repr
        except SystemExit as leaving:
            self._exiting(leaving)
            raise
        except BaseException as error:  # noqa: BLE001 - the constructor's failure, whatever it is
            message.failure.CopyFrom(executor.failure_extra(template, error).failure)
        args = kwargs = None
        with session.lock:
            executor.running = None
            running.set(None)
            received, executor._received[:] = list(executor._received), []
            session._drain_released()
            session.register_borrows(received, lambda: session.raylet_send(message))
        return not message.HasField("failure")

    def _exiting(self, leaving: SystemExit) -> int:
        """The actor leaves on its own wish: say so before the process ends."""
        code = leaving.code
        number = code if isinstance(code, int) else (0 if code is None else 1)
        if isinstance(leaving, ActorExit) or number == 0:
            detail = (
                "exit_actor() is called: User requested to exit the actor."
                if isinstance(leaving, ActorExit)
                else ("sys.exit() was called.")
            )
            kind = "INTENDED_USER_EXIT"
            text = (
                "The actor is dead because its worker process has died. Worker exit type: INTENDED_USER_EXIT Worker exit "
                f"detail: Worker exits by an user request. Worker exits with an exit code 0. {detail}"
            )
        else:
            kind = "USER_ERROR"
            text = (
                "The actor is dead because its worker process has died. Worker exit type: USER_ERROR Worker exit detail: "
                f"Worker exits with an exit code {number}."
            )
        with self._session.lock:
            self._executor.flush_all()
            self._session.raylet_send(
                pb.ActorExiting(
                    actor_id=self.actor_id,
                    incarnation=self.incarnation,
                    cause=common.ErrorInfo(code=kind, message=text),
                )
            )
        return number

    # -- calls

    def method(self, template: WorkerTemplate) -> Callable[..., Any]:
        """The bound method a template names."""
        name = template.definition.method
        if name == "__ray_ready__":
            return lambda: True
        if name == "__ray_terminate__":
            return _leave
        if name == "__ray_call__":
            return lambda function, *args, **kwargs: function(self.instance, *args, **kwargs)
        method: Callable[..., Any] = getattr(self.instance, name)
        return method

    def _run_serially(self) -> int:
        executor, session = self._executor, self._session
        queue = executor.queue
        while True:
            if not queue:
                with session.lock:
                    executor.flush_all()
                    if queue:
                        continue
                    if executor.leaving is not None:
                        return 0
                    idle = executor._idle = Waiter()
                session.pump.wait(idle)
                executor._idle = None
                continue
            with session.lock:
                try:
                    task = queue.popleft()
                except IndexError:
                    continue
                template = task[2]
                if template.estimate_us > HOLD_BACK_US:
                    executor.flush_all()
                now = executor.running = Running(
                    task[1], template.name, task[4].attempt if task[4] is not None else 0, template
                )
            result, micros = self.run_one(task, now)
            with session.lock:
                executor.running = None
                self.deliver(task, result, micros)
                outbox = executor._outboxes.get(task[0])
                look = outbox is not None and outbox.due(time.perf_counter_ns())
                if look:
                    outbox.flush()  # type: ignore[union-attr]
            if look:
                session.pump.poll_once()

    def run_one(self, task: Queued, now: Running) -> tuple[Any, int]:
        """Run one call in this thread. Returns its result as it travels, and its microseconds."""
        link, oid, template, payload, extra = task
        running.set(now)
        began = time.perf_counter_ns()
        try:
            args, kwargs = deserialize(payload)
            if extra is not None and extra.refs:
                args, kwargs = self._executor.fill(args, kwargs, extra)
            if template.function is None:
                template.function = self.method(template)
            value = call(template.function, args, kwargs)
            result = self.result_of(link, oid, template, value, now)
        except SystemExit:
            raise
        except BaseException as error:  # noqa: BLE001 - the call's failure, whatever it is
            result = self._executor.failure_extra(template, error)
        finally:
            running.set(None)
            args = kwargs = value = None
        micros = (time.perf_counter_ns() - began) // 1000
        if micros > template.estimate_us or template.estimate_us == 1_000_000:
            template.estimate_us = micros
        else:
            template.estimate_us = (template.estimate_us * 7 + micros) >> 3
        return result, micros

    def result_of(self, link: Link, oid: bytes, template: WorkerTemplate, value: Any, now: Running) -> Any:
        """A call's value as it travels."""
        count = template.definition.num_returns
        if count == -1:
            from manta.worker.streams import run_stream

            return run_stream(self._executor, link, now, value)
        if count != 1:
            return self._executor.many_results(link, oid, template, value)
        serialized = serialize(value)
        if serialized.size <= INLINE_BYTES and not serialized.refs and not serialized.handles:
            return to_bytes(serialized)
        return self._executor.special_result(link, oid, [value], [serialized])

    def deliver(self, task: Queued, result: Any, micros: int) -> None:
        """A call is over. Called under the lock."""
        executor = self._executor
        received = executor._received
        if received:
            self._session._drain_released()
            taken, received[:] = list(received), []
            executor._report_borrows(task[0], task[1], result, micros, taken)
        else:
            executor._finish(task[0], task[1], result, micros)

    # -- threads

    def _run_threads(self) -> int:
        from concurrent.futures import ThreadPoolExecutor

        executor, session = self._executor, self._session
        pools: dict[str, ThreadPoolExecutor] = {
            name: ThreadPoolExecutor(size, f"manta-{name}") for name, size in self.spec.concurrency_groups.items()
        }
        pools[""] = ThreadPoolExecutor(self._concurrency(), "manta-actor")
        failed: list[SystemExit] = []
        under_way = 0

        def work(task: Queued) -> None:
            nonlocal under_way
            session.capture.refs = executor._received
            now = Running(task[1], task[2].name, 0, task[2])
            with session.lock:
                self.now_running[task[1][:24]] = now
            try:
                result, micros = self.run_one(task, now)
                with session.lock:
                    self.deliver(task, result, micros)
                    executor._flush(task[0])
            except SystemExit as leaving:
                failed.append(leaving)
                self._executor._asked_to_leave("the actor exits")
            finally:
                with session.lock:
                    under_way -= 1
                    self.now_running.pop(task[1][:24], None)
                    if executor._idle is not None:
                        session.pump.finish(executor._idle)

        while True:
            with session.lock:
                while executor.queue:
                    task = executor.queue.popleft()
                    group = task[2].definition.concurrency_group
                    under_way += 1
                    pools.get(group, pools[""]).submit(work, task)
                if failed:
                    raise failed[0]
                if executor.leaving is not None and not under_way:
                    executor.flush_all()
                    return 0
                idle = executor._idle = Waiter()
            session.pump.wait(idle)
            executor._idle = None

    # -- cancelling

    def cancel(self, task_id: bytes) -> bool:
        """Cancel a call that runs here. Coroutines are cancelled; threads only see `is_canceled()`."""
        if self._async is not None:
            return bool(self._async.cancel(task_id))
        now = self.now_running.get(task_id)
        if now is not None:
            now.cancelled = True
            return True
        return False


def _leave() -> None:
    raise ActorExit(0)


def current_actor() -> ActorHost:
    """The actor of this process, for `exit_actor` and the runtime context.

    Raises:
        TypeError: This process is no actor.
    """
    from manta.client import current

    host = getattr(current.session, "actor_host", None)
    if host is None:
        raise TypeError("exit_actor called on a non-actor process; it can only be called inside an actor.")
    return host  # type: ignore[no-any-return]
