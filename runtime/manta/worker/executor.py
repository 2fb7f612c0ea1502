"""The worker's main loop: tasks in the order their owner pushed them, on the main thread; or one actor.

The main thread reads the sockets itself while it has nothing to run. While user code runs, the service thread does: it queues
what is pushed, answers borrowers and passes cancels on.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections import deque

from manta.client import current, failures
from manta.client.direct import DirectSession, counted_inside
from manta.client.pump import Waiter
from manta.client.running import Running, running
from manta.client.signals import open_to_interrupts
from manta.client.values import INLINE_BYTES
from manta.core import errors
from manta.core.errors.failure import Failure as Described
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.serde import deserialize, dump_exception, serialize, to_bytes
from manta.worker import logs
from manta.worker.outbox import Outbox

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from manta.client.links import Link
    from manta.worker.actors import ActorHost

log = logging.getLogger(__name__)

#: A finished result is not held back while a task starts that is expected to take longer than this, in microseconds.
HOLD_BACK_US = 200

#: How often a worker that should leave, but owns objects that others hold, looks whether they still do.
OWNER_LINGERS_S = 0.2

#: A task as it waits here: link, id of its first result, template, serialised arguments, what is special about it.
Queued = tuple["Link", bytes, "WorkerTemplate", bytes, "pb.TaskExtra | None"]


class WorkerTemplate:
    """What an owner's template number means."""

    __slots__ = ("calls", "definition", "estimate_us", "flush_first", "function", "name", "retry_classes")

    def __init__(self, definition: pb.DefineTemplate) -> None:
        self.definition = definition
        self.name: str = definition.name
        self.flush_first: bool = definition.flush_first
        #: The function, once it was needed.
        self.function: Callable[..., Any] | None = None
        #: How long it takes; a template not seen yet counts as long.
        self.estimate_us = 1_000_000
        #: Exception classes worth a retry, once they were needed.
        self.retry_classes: tuple[type[BaseException], ...] | None = None
        #: Tasks run so far, for `max_calls`.
        self.calls = 0


class ActorExit(SystemExit):
    """`exit_actor()` was called."""


class Executor:
    """Runs what owners push."""

    def __init__(self, session: DirectSession) -> None:
        self.session = session
        self.queue: deque[Queued] = deque()
        self._functions: dict[bytes, bytes] = {}
        self._loaded: dict[bytes, Callable[..., Any]] = {}
        self._idle: Waiter | None = None
        self._outboxes: dict[Link, Outbox] = {}
        self._leases: dict[Link, int] = {}
        self._owners: dict[Link, common.Address] = {}
        #: Tasks that were taken back and whose turn came before the frame that says so, per link.
        self._dropped: dict[Link, int] = {}
        self.leaving: str | None = None
        self._exit_code = 0
        self.running: Running | None = None
        self._cancel: bytes | None = None
        self._blocked = 0
        self._received: list[bytes] = []
        #: Refs on their way home to their owner, by the result that brings them.
        self._homing: dict[bytes, list[bytes]] = {}
        self.actor: ActorHost | None = None
        self.streams: dict[bytes, Any] = {}
        self.gpu_ids: list[str] = []
        #: The node was given names for its GPUs: programs get them as strings.
        self.named_gpus = bool(os.environ.get("CUDA_VISIBLE_DEVICES"))
        self.resources: dict[str, int] = {}
        self._main = threading.get_ident()
        self._retire = False
        self._install()

    def _install(self) -> None:
        session = self.session
        on = session.links.on
        on(pb.OpenLease, self._open_lease)
        on(pb.DefineTemplate, self._define_template)
        on(pb.DefineFunction, self._define_function)
        on(pb.PushTasks, self._push_tasks)
        on(pb.TakeBack, self._take_back)
        on(pb.CancelTask, self._cancel_task)
        on(pb.LeaseStarted, self._lease_started)
        on(pb.StartActor, self._start_actor)
        on(pb.PushCalls, self._push_calls)
        on(pb.StreamConsumed, self._stream_consumed)
        session.on_exit = self._asked_to_leave
        session.on_infeasible = lambda text: session.background.run(lambda: log.warning("%s", text))
        session.on_link_closed = self._link_closed  # type: ignore[method-assign]
        session.blocking = (self._begin_wait, self._end_wait)
        session.title = self._title
        session.interrupts.wanted = self._interrupt_wanted
        session.actor_exit = ActorExit
        session.held_resources = lambda: self.resources  # type: ignore[method-assign]
        session.held_gpus = self._gpus  # type: ignore[method-assign]

    # -- frames, under the session's lock

    def _open_lease(self, link: Link, frame: pb.OpenLease, raw: bytes) -> None:
        self._leases[link] = frame.lease_id
        self._outboxes[link] = Outbox(self.session, link, frame.lease_id)

    def _define_template(self, link: Link, frame: pb.DefineTemplate, raw: bytes) -> None:
        link.templates[frame.number] = WorkerTemplate(frame)

    def _define_function(self, link: Link, frame: pb.DefineFunction, raw: bytes) -> None:
        self._functions[frame.hash] = frame.blob

    def _push_tasks(self, link: Link, frame: pb.PushTasks, raw: bytes) -> None:
        self._enqueue(link, frame)

    def _enqueue(self, link: Link, frame: pb.PushTasks | pb.PushCalls) -> None:
        ids: bytes = frame.ids
        numbers = list(frame.templates)
        templates = link.templates
        extras = {extra.index: extra for extra in frame.extras} if frame.extras else None
        append = self.queue.append
        same = templates[numbers[0]] if len(numbers) == 1 else None
        at = 0
        for index, payload in enumerate(frame.args):
            template = same if same is not None else templates[numbers[index]]
            append((link, ids[at : at + 28], template, payload, extras.get(index) if extras is not None else None))
            at += 28
        if self._idle is not None:
            self.session.pump.finish(self._idle)

    def _take_back(self, link: Link, frame: pb.TakeBack, raw: bytes) -> None:
        # Popping a task and taking its token happen together under the lock, so what has not been popped has no token left.
        left = frame.count - self._dropped.pop(link, 0)
        kept: list[Queued] = []
        while left and self.queue:
            task = self.queue.pop()
            if task[0] is link:
                left -= 1
            else:
                kept.append(task)
        self.queue.extend(reversed(kept))
        self.session.send(link, pb.TookBack(lease_id=frame.lease_id))

    def _cancel_task(self, link: Link, frame: pb.CancelTask, raw: bytes) -> None:
        task_id = frame.task_id
        for task in list(self.queue):
            if task[1][:24] == task_id:
                if link in self._leases:
                    return  # its owner takes it back by its token
                self.queue.remove(task)
                self._finish(task[0], task[1], self._cancelled_extra(task[2].name, task[1]), 0)
                self._flush(task[0])
                return
        now = self.running
        if now is None or now.oid[:24] != task_id:
            now = self.actor.now_running.get(task_id) if self.actor is not None else None
        if now is not None and frame.recursive:
            for child in now.children or ():
                self.session.cancel_owned(child, force=False, recursive=True)
        if self.actor is not None and self.actor.cancel(task_id):
            return
        if now is not None:
            now.cancelled = True
            if self.actor is None:
                self._cancel = task_id
                signal.pthread_kill(self._main, signal.SIGINT)

    def _interrupt_wanted(self) -> bool:
        now = self.running
        return now is not None and self._cancel is not None and now.oid[:24] == self._cancel

    def _lease_started(self, link: Link, frame: pb.LeaseStarted, raw: bytes) -> None:
        self.resources = dict(frame.resources.amounts)
        self.gpu_ids = list(frame.gpu_ids)
        from manta.worker.devices import apply_devices

        apply_devices(self.resources, self.gpu_ids)

    def _start_actor(self, link: Link, frame: pb.StartActor, raw: bytes) -> None:
        from manta.worker.actors import ActorHost
        from manta.worker.devices import apply_devices

        self.resources = dict(frame.resources.amounts)
        self.gpu_ids = list(frame.gpu_ids)
        apply_devices(self.resources, self.gpu_ids)
        self.actor = ActorHost(self, frame)
        if self._idle is not None:
            self.session.pump.finish(self._idle)

    def _push_calls(self, link: Link, frame: pb.PushCalls, raw: bytes) -> None:
        actor = self.actor
        if actor is None or frame.actor_id != actor.actor_id or frame.incarnation != actor.incarnation:
            return  # an earlier life's calls: their caller hears of it from control
        if link not in self._outboxes:
            self._outboxes[link] = Outbox(self.session, link, 0)
        if actor.accepts(link, frame):
            self._enqueue(link, frame)

    def _stream_consumed(self, link: Link, frame: pb.StreamConsumed, raw: bytes) -> None:
        stream = self.streams.get(frame.task_id)
        if stream is not None:
            stream.consumed(frame.count, stop=frame.stop)

    def _asked_to_leave(self, reason: str) -> None:
        self.leaving = reason
        if self._idle is not None:
            self.session.pump.finish(self._idle)
        if self.actor is not None:
            self.actor.wake()
        if self.session.broken is not None:
            os._exit(1)

    def _link_closed(self, link: Link) -> None:
        self._outboxes.pop(link, None)
        if self._leases.pop(link, None) is not None:
            self._dropped.pop(link, None)
            for task in [task for task in self.queue if task[0] is link]:
                self.queue.remove(task)

    def _title(self) -> str:
        if self.actor is not None:
            return f"actor {self.actor.class_name}"
        now = self.running
        return f"worker {now.name}" if now is not None else "worker idle"

    def _gpus(self) -> list[Any]:
        return [int(one) if one.isdigit() and not self.named_gpus else one for one in self.gpu_ids]

    # -- waits of user code

    def _begin_wait(self) -> None:
        with self.session.lock:
            self.flush_all()
            if self.running is None and self.actor is None:
                return
            self._blocked += 1
            if self._blocked == 1:
                self.session.raylet_send(pb.Blocked())
                for link, lease_id in self._leases.items():
                    self.session.send(link, pb.TaskBlocked(lease_id=lease_id))

    def _end_wait(self) -> None:
        with self.session.lock:
            if not self._blocked:
                return
            self._blocked -= 1
            if not self._blocked:
                self.session.raylet_send(pb.Unblocked())

    # -- the loop

    def run(self) -> int:
        """Run tasks, or the actor this worker becomes, until told to leave. Returns the exit code."""
        session = self.session
        session.capture.refs = self._received
        while True:
            if self.actor is not None:
                return self.actor.run()
            if not self.queue:
                with session.lock:
                    self.flush_all()
                    leaving = self.leaving is not None or self._retire
                    if leaving and not session.ownership.borrowers:
                        return self._exit_code
                    if self.queue or self.actor is not None:
                        continue
                    idle = self._idle = Waiter()
                # Whoever owns what others still need stays until they let go.
                session.pump.wait(idle, session.now() + OWNER_LINGERS_S if leaving else None)
                self._idle = None
                continue
            with session.lock:
                try:
                    task = self.queue.popleft()
                except IndexError:
                    continue
                link = task[0]
                try:
                    os.eventfd_read(link.tokens_fd)
                except BlockingIOError:
                    self._dropped[link] = self._dropped.get(link, 0) + 1
                    continue
                except OSError:
                    continue  # the owner is gone
                template = task[2]
                if template.flush_first or template.estimate_us > HOLD_BACK_US:
                    self.flush_all()
                now = self.running = Running(
                    task[1], template.name, task[4].attempt if task[4] is not None else 0, template
                )
            self._run_task(task, now)

    def _run_task(self, task: Queued, now: Running) -> None:
        link, oid, template, payload, extra = task
        running.set(now)
        began = time.perf_counter_ns()
        try:
            if template.function is None:
                template.function = self._load(template.definition.function_hash)
            args, kwargs = deserialize(payload)
            if extra is not None and extra.refs:
                args, kwargs = self.fill(args, kwargs, extra)
            value = call(template.function, args, kwargs)
            if template.definition.num_returns == -1:
                from manta.worker.streams import run_stream

                result: Any = run_stream(self, link, now, value)
            elif template.definition.num_returns == 1:
                serialized = serialize(value)
                if serialized.size <= INLINE_BYTES and not serialized.refs and not serialized.handles:
                    result = to_bytes(serialized)
                else:
                    result = self.special_result(link, oid, [value], [serialized])
            else:
                result = self.many_results(link, oid, template, value)
        except BaseException as error:  # noqa: BLE001 - the task's failure, whatever it is
            result = self._failed(now, template, error, oid)
        micros = (time.perf_counter_ns() - began) // 1000
        with self.session.lock:
            self.running = None
            running.set(None)
            if self._cancel is not None:
                self._cancel = None
                self.session.interrupts.forget()
            if micros > template.estimate_us or template.estimate_us == 1_000_000:
                template.estimate_us = micros
            else:
                template.estimate_us = (template.estimate_us * 7 + micros) >> 3
            template.calls += 1
            most = template.definition.max_calls
            if most and template.calls >= most:
                result = self._last(result)
            if self._received:
                # Drop our own references first: only what user code kept makes us a borrower.
                args = kwargs = value = None
                self.session._drain_released()
                received, self._received[:] = list(self._received), []
                self._report_borrows(link, oid, result, micros, received)
                return
            self._finish(link, oid, result, micros)
            outbox = self._outboxes.get(link)
            if outbox is not None and outbox.due(time.perf_counter_ns()):
                outbox.flush()
                look = True
            else:
                look = False
        if look:
            self.session.pump.poll_once()

    def _last(self, result: Any) -> pb.ResultExtra:
        """The last result before this worker retires."""
        self._retire = True
        if type(result) is bytes:
            result = pb.ResultExtra(returns=[pb.ReturnValue(value=result)])
        result.last_call = True
        return result  # type: ignore[no-any-return]

    def _report_borrows(self, link: Link, oid: bytes, result: Any, micros: int, received: list[bytes]) -> None:
        """Refs came with the arguments. Those user code still holds are told to their owners before the result goes."""
        ownership = self.session.ownership
        unknown = ownership.unregistered(received)
        if not unknown:
            self._finish(link, oid, result, micros)
            return
        mine: list[bytes] = []
        for one in unknown:
            owner = common.Address.FromString(ownership.borrows[one].owner)
            if owner.worker_id == link.worker_id:
                mine.append(one)
                ownership.lent(one)
        if mine:
            if type(result) is bytes:
                result = pb.ResultExtra(returns=[pb.ReturnValue(value=result)])
            result.borrowed.extend(mine)
        self.session.register_borrows(unknown, lambda: self._finish_and_flush(link, oid, result, micros))

    def _finish_and_flush(self, link: Link, oid: bytes, result: Any, micros: int) -> None:
        self._finish(link, oid, result, micros)
        self._flush(link)

    def _finish(self, link: Link, oid: bytes, result: Any, micros: int) -> None:
        """A result is ready to go. Called under the lock."""
        outbox = self._outboxes.get(link)
        homing = self._homing.pop(oid, None) if self._homing else None
        if outbox is None:
            if homing is not None:
                self.session.ownership.drop_many(homing)
            return  # nobody is there to take it
        if type(result) is bytes:
            outbox.add(oid, result, micros)
        else:
            outbox.add_extra(oid, result, micros)
        if homing is not None:
            outbox.flush()
            self.session.when_read(link, lambda: self.session.ownership.drop_many(homing))

    def finish(self, link: Link, oid: bytes, result: Any, micros: int) -> None:
        """A result is ready to go at once. From any thread."""
        with self.session.lock:
            self._finish_and_flush(link, oid, result, micros)

    def _flush(self, link: Link) -> None:
        outbox = self._outboxes.get(link)
        if outbox is not None:
            outbox.flush()

    def flush_all(self) -> None:
        """Send every finished result, and what was printed. Called under the lock."""
        if logs.unfinished:
            logs.settle()
        for outbox in self._outboxes.values():
            if outbox.since:
                outbox.flush()

    # -- what a call is made of

    def _load(self, digest: bytes) -> Callable[..., Any]:
        function = self._loaded.get(digest)
        if function is None:
            blob = self._functions.get(digest)
            if blob is None:
                raise errors.RaySystemError(f"the code of function {digest.hex()} did not arrive before its first task")
            function = self._loaded[digest] = deserialize(blob)
        return function

    def fill(self, args: tuple[Any, ...], kwargs: dict[str, Any], extra: pb.TaskExtra) -> tuple[Any, dict[str, Any]]:
        """Put the values of objects where their refs stood."""
        filled = list(args)
        large = [ref for ref in extra.refs if ref.size]
        views: dict[bytes, Any] = {}
        if large:
            wanted = list({ref.object_id for ref in large})
            got = self.session.store.get(wanted)
            assert got is not None
            views = dict(zip(wanted, got, strict=True))
        for ref in extra.refs:
            data = views[ref.object_id] if ref.size else ref.value
            value = deserialize(data)
            if ref.keyword:
                kwargs[ref.keyword] = value
            else:
                filled[ref.position] = value
        return tuple(filled), kwargs

    def return_value(self, link: Link, oid: bytes, serialized: Any) -> pb.ReturnValue:
        """One value on its way to its owner: inside the frame, or in the store."""
        session = self.session
        message = pb.ReturnValue()
        if serialized.size <= INLINE_BYTES:
            message.value = to_bytes(serialized)
        else:
            session.store.create(oid, serialized, link.worker_id)
            message.size = serialized.size
            message.node_id = session.welcome.node_id
        refs = counted_inside(serialized)
        if refs:
            self._lend(link, message, refs, oid[:24] + b"\1\0\0\0")
        return message

    def _lend(self, link: Link, message: pb.ReturnValue, refs: list[bytes], result: bytes) -> None:
        """Refs travel inside a result: the receiver is made a borrower of each before the result goes.

        One that goes home to its owner is held here until the owner has read the result: our release travels on another
        connection and must not be there first. What came with this very call is held by the call.
        """
        session = self.session
        receiver = common.Address(worker_id=link.worker_id, endpoint=link.endpoint)
        elsewhere: dict[bytes, list[bytes]] = {}
        with session.lock:
            for oid in refs:
                entry = message.contained.add(object_id=oid)
                borrow = session.ownership.borrows.get(oid)
                if borrow is None:
                    entry.owner.CopyFrom(session.address)
                    session.ownership.add_borrower(oid, link.worker_id)
                    continue
                owner = common.Address.FromString(borrow.owner)
                entry.owner.CopyFrom(owner)
                if owner.worker_id != link.worker_id:
                    elsewhere.setdefault(borrow.owner, []).append(oid)
                elif oid not in self._received:
                    session.ownership.add(oid)
                    self._homing.setdefault(result, []).append(oid)
            if not elsewhere:
                return
            waiter = Waiter()
            session.announce(elsewhere, receiver, lambda: session.pump.finish(waiter))
        session.pump.wait(waiter)

    def special_result(self, link: Link, oid: bytes, values: list[Any], serialized: list[Any]) -> pb.ResultExtra:
        """Results that are large, or contain refs, or are several."""
        extra = pb.ResultExtra()
        for number, one in enumerate(serialized):
            extra.returns.append(self.return_value(link, nth(oid, number), one))
        return extra

    def many_results(self, link: Link, oid: bytes, template: WorkerTemplate, value: Any) -> Any:
        """Results of a task that returns none or several."""
        count = template.definition.num_returns
        if count == 0:
            return pb.ResultExtra()
        if count == 1:
            return self.special_result(link, oid, [value], [serialize(value)])
        try:
            values = list(value)
        except TypeError:
            raise ValueError(
                f"Task {template.name} has num_returns={count} but returned a {type(value).__name__}, "
                f"which has no {count} items."
            ) from None
        if len(values) != count:
            raise ValueError(f"Task {template.name} returned {len(values)} objects, but num_returns={count}.")
        return self.special_result(link, oid, values, [serialize(one) for one in values])

    def _failed(self, now: Running, template: WorkerTemplate, error: BaseException, oid: bytes) -> pb.ResultExtra:
        if now.cancelled and isinstance(error, KeyboardInterrupt):
            return self._cancelled_extra(template.name, oid)
        if isinstance(error, SystemExit):
            # As a crash: the owner hears it from the raylet. Everything finished before goes out first.
            with self.session.lock:
                self.flush_all()
            raise error
        return self.failure_extra(template, error)

    def _cancelled_extra(self, name: str, oid: bytes) -> pb.ResultExtra:
        return pb.ResultExtra(failure=failures.cancelled(name, oid).fields)

    def failure_extra(self, template: WorkerTemplate, error: BaseException) -> pb.ResultExtra:
        """What user code raised, in fields."""
        actor = self.actor
        described = Described.describe(
            error,
            dump_exception,
            function=template.name,
            pid=os.getpid(),
            ip=self.session.welcome.node_ip,
            actor_id=actor.actor_id.hex() if actor is not None else "",
            actor_repr=actor.repr() if actor is not None else "",
        )
        message = failures.described(described)
        message.retry = self._worth_retry(template, error)
        return pb.ResultExtra(failure=message)

    def _worth_retry(self, template: WorkerTemplate, error: BaseException) -> bool:
        definition = template.definition
        if definition.retry_any:
            return isinstance(error, Exception)
        if not definition.retry_exceptions:
            return False
        if template.retry_classes is None:
            template.retry_classes = tuple(deserialize(definition.retry_exceptions))
        if isinstance(error, errors.RayTaskError) and isinstance(error.cause, template.retry_classes):
            return True
        return isinstance(error, template.retry_classes)


@open_to_interrupts
def call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """User code runs below this frame, and only there may an interrupt land."""
    return function(*args, **kwargs)


def nth(oid: bytes, number: int) -> bytes:
    """Id of a task's result number `number`, from 0."""
    return oid if not number else oid[:24] + (number + 1).to_bytes(4, "little")


def run_worker(worker_id: bytes, raylet: str) -> int:
    """Be a worker until told otherwise. Called in the process that the factory forked."""
    session = DirectSession(pb.ROLE_WORKER, worker_id)
    # Before the first frame can arrive: the service thread reads as soon as the process is connected.
    executor = Executor(session)
    path = raylet.removeprefix("unix:")
    session.connect(path, pb.Hello(python=".".join(map(str, sys.version_info[:3]))), directory=os.path.dirname(path))
    current.session = session
    from manta.worker.setup import apply_job

    apply_job(session)
    try:
        return executor.run()
    finally:
        with session.lock:
            executor.flush_all()
        session.close()
