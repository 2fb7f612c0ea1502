"""A worker that has become an actor: one instance, made here, and its calls served one after the other.

On threads they are served by `threads`, on an event loop by `coroutines`.
"""

from __future__ import annotations

import time

from manta.client.running import Running, running
from manta.client.values import INLINE_BYTES
from manta.client.waiter import Waiter
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.serde import deserialize, serialize, to_bytes
from manta.transport.convert import encodable
from manta.worker import logs, raised
from manta.worker.arguments import fill
from manta.worker.call_order import CallOrder
from manta.worker.calls import HOLD_BACK_US, ActorExit, WorkerTemplate, call, leave_if_forked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

    from manta.client.links import Link
    from manta.worker.calls import Queued
    from manta.worker.coroutines import AsyncActor
    from manta.worker.executor import Executor
    from manta.worker.threads import ThreadedActor

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
        #: `__init__` of its class, once that is loaded.
        self.constructor: Callable[..., Any] | None = None
        executor.session.actor_host = self
        self.restarted = frame.incarnation > 1
        self.order = CallOrder(frame.actor_id, frame.incarnation)
        self._async: AsyncActor | None = None
        self._threads: ThreadedActor | None = None
        self._repr = ""
        #: Calls that run on threads or as coroutines, by task.
        self.now_running: dict[bytes, Running] = {}

    def repr(self) -> str:
        """What error texts call it."""
        return self._repr or self.class_name

    def wake(self) -> None:
        """Something changed that the loop has to look at."""
        if self._async is not None:
            self._async.wake()

    def arrived(self) -> None:
        """Calls are in the inbox. Called under the lock, by the thread that read them."""
        if self._async is not None:
            self._async.arrived()

    def recall(self, link: Link) -> list[Queued]:
        """Calls of the link that left the inbox and have not begun, in order: they are its again. Called under the lock."""
        return self._threads.recall(link) if self._threads is not None else []

    def under_way(self) -> list[bytes]:
        """Calls that left the inbox for threads or the loop and are not over. Called under the lock."""
        waiting = self._threads.waiting() if self._threads is not None else []
        return [*waiting, *(now.oid for now in self.now_running.values())]

    def drained(self, link: Link) -> None:
        """The link's results were read, or nobody will read them. Called under the lock."""
        if self._async is not None:
            self._async.drained(link)

    @property
    def concurrency(self) -> int:
        """How many calls of no group may run at once."""
        return self.spec.max_concurrency or (ASYNC_CONCURRENCY if self.spec.is_async else 1)

    # -- life

    def run(self) -> int:
        """Construct the instance and serve its calls until the end. Returns the exit code."""
        if not self._construct():
            return 1
        try:
            if self.spec.is_async:
                from manta.worker.coroutines import AsyncActor

                self._async = AsyncActor(self._executor, self)
                return self._async.run()
            if self.concurrency > 1 or self.spec.concurrency_groups:
                from manta.worker.threads import ThreadedActor

                self._threads = ThreadedActor(self._executor, self)
                return self._threads.run()
            return self._run_serially()
        except SystemExit as leaving:
            return self._exiting(leaving)

    def _construct(self) -> bool:
        executor, session = self._executor, self._session
        now = Running(self.spec.creation_task_id + b"\1\0\0\0", f"{self.class_name}.__init__", 0, None)
        executor.running = now
        running.set(now)
        logs.actor_name = self.class_name
        template = WorkerTemplate(pb.DefineTemplate(name=f"{self.class_name}.__init__"))
        began = time.perf_counter_ns()
        message = pb.ActorStarted(actor_id=self.actor_id, incarnation=self.incarnation)
        try:
            executor.functions.check()
            actor_class = deserialize(self.spec.class_blob)
            self.constructor = actor_class.__init__
            args, kwargs = deserialize(self.spec.args)
            if self.spec.refs:
                args, kwargs = fill(session, args, kwargs, self.spec.refs)
            self.instance = call(actor_class, args, kwargs)
            if session.closed:
                leave_if_forked(session, None)
            if type(self.instance).__repr__ is not object.__repr__:  # type: ignore[comparison-overlap]
                self._repr = encodable(str(repr(self.instance))[:200])
                logs.actor_name = self._repr
                message.repr_name = self._repr
        except BaseException as error:
            if session.closed:
                leave_if_forked(session, error)
            if isinstance(error, SystemExit):
                self._exiting(error)
                raise
            message.failure.CopyFrom(raised.failed(session, template, error, now).failure)
            session.reporter.raised(now.oid, message.failure)
        args = kwargs = None
        ended = time.perf_counter_ns()
        session.ended.append((now, (ended - began) // 1000, ended))
        with session.lock:
            executor.running = None
            running.set(None)
            received, executor.received[:] = list(executor.received), []
            session.drain_released()
            session.register_borrows(received, lambda: session.raylet_send(message))
        return not message.HasField("failure")

    def _exiting(self, leaving: SystemExit) -> int:
        """The actor leaves on its own wish: say so before the process ends. Returns the exit code."""
        code = leaving.code
        # The kernel keeps eight bits, of numbers that fit a C int.
        number = code & 0xFF if isinstance(code, int) else (0 if code is None else 1)
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
            self._executor.delivery.flush_all()
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
        group = template.definition.concurrency_group
        if group and group not in self.spec.concurrency_groups:
            known = ", ".join(sorted(self.spec.concurrency_groups)) or "none"
            raise ValueError(f"{self.class_name} has no concurrency group {group!r}; it has {known}.")
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
        executor, session, delivery = self._executor, self._session, self._executor.delivery
        queue, received = executor.inbox.queue, executor.received
        while True:
            if not queue:
                with session.lock:
                    delivery.flush_all()
                    if queue:
                        continue
                    if executor.leaving is not None and not executor.inbox.held:
                        return 0
                    idle = executor.idle = Waiter()
                session.pump.wait(idle)
                executor.idle = None
                continue
            with session.lock:
                try:
                    task = queue.popleft()
                except IndexError:
                    continue
                template = task[2]
                if template.estimate_us > HOLD_BACK_US:
                    delivery.flush_all()
                now = executor.running = Running(
                    task[1], template.name, task[4].attempt if task[4] is not None else 0, template
                )
            result, micros, ended = self.run_one(task, now, received)
            link = task[0]
            with session.lock:
                executor.running = None
                outbox = delivery.outboxes.get(link)
                if received:
                    taken, received[:] = list(received), []
                    delivery.finish_with_refs(link, task[1], result, micros, taken)
                elif type(result) is not bytes:
                    delivery.finish(link, task[1], result, micros)
                elif outbox is not None:
                    outbox.add(task[1], result, micros, ended)
                if outbox is None or not outbox.due(ended):
                    continue
                delivery.flush(link)
            session.pump.poll_once()

    def run_one(self, task: Queued, now: Running, received: list[bytes]) -> tuple[Any, int, int]:
        """Run one call in this thread, whose pickles' refs go to `received`.

        Returns its result as it travels, its microseconds, and when it ended in `perf_counter_ns`.
        """
        link, oid, template, payload, extra = task
        running.set(now)
        began = time.perf_counter_ns()
        try:
            args, kwargs = deserialize(payload)
            if extra is not None and extra.refs:
                args, kwargs = fill(self._session, args, kwargs, extra.refs)
            came = tuple(received) if received else ()  # later ones come out of what user code reads
            if template.function is None:
                template.function = self.method(template)
            value = call(template.function, args, kwargs)
            if self._session.closed:
                leave_if_forked(self._session, None)
            if template.num_returns == 1:
                serialized: Any = serialize(value)
                if serialized.size <= INLINE_BYTES and not serialized.refs and not serialized.handles:
                    result: Any = to_bytes(serialized)
                else:
                    result = self._executor.results.special(link, oid, [serialized], came)
            else:
                result = self.result_of(link, oid, template, value, now, came)
        except BaseException as error:
            if self._session.closed:
                leave_if_forked(self._session, error)
            if isinstance(error, SystemExit):
                raise
            result = raised.failed(self._session, template, error, now)
            self._session.reporter.raised(oid, result.failure)
        finally:
            running.set(None)
            args = kwargs = value = serialized = None
        ended = time.perf_counter_ns()
        micros = (ended - began) // 1000
        if micros > template.estimate_us or template.estimate_us == 1_000_000:
            template.estimate_us = micros
        else:
            template.estimate_us = (template.estimate_us * 7 + micros) >> 3
        self._session.ended.append((now, micros, ended))
        return result, micros, ended

    def result_of(
        self, link: Link, oid: bytes, template: WorkerTemplate, value: Any, now: Running, received: Collection[bytes]
    ) -> Any:
        """A call's value as it travels."""
        if template.num_returns == 1:
            return self._executor.results.of_value(link, oid, value, received)
        if template.num_returns == -1:
            from manta.worker.streams import run_stream

            return run_stream(self._executor, link, now, value, received)
        return self._executor.results.of_values(link, oid, template, value, received)

    # -- cancelling

    def cancel(self, task_id: bytes) -> bool:
        """Cancel a call that runs here. Coroutines are cancelled; threads only see `is_canceled()`."""
        if self._async is not None:
            return self._async.cancel(task_id)
        now = self.now_running.get(task_id)
        if now is not None:
            now.cancelled = True
            return True
        return False


def _leave() -> None:
    raise ActorExit(0)
