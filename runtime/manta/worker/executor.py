"""The worker's main loop: tasks in the order their owner pushed them, on the main thread; or one actor.

The main thread reads the sockets itself while it has nothing to run. While user code runs, the service thread does: it queues
what is pushed, answers borrowers and passes cancels on.

Here everything meets: frames come in, the loop takes tasks from the `inbox`, runs them, and gives results to the `delivery`.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time

from manta.client import current
from manta.client.running import Running, running
from manta.client.user import UserSession
from manta.client.values import INLINE_BYTES
from manta.client.waiter import Waiter
from manta.rpc.v1 import channel_pb2 as pb
from manta.serde import deserialize, serialize, to_bytes
from manta.worker import raised
from manta.worker.arguments import Functions, fill
from manta.worker.blocked import Blocked
from manta.worker.call_order import Admission
from manta.worker.calls import HOLD_BACK_US, ActorExit, WorkerTemplate, call, leave_if_forked
from manta.worker.cancels import Interrupt, Verdict, verdict
from manta.worker.delivery import Delivery
from manta.worker.inbox import Inbox
from manta.worker.results import Results

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manta.client.links import Link
    from manta.worker.actors import ActorHost
    from manta.worker.calls import Queued
    from manta.worker.streams import Stream

log = logging.getLogger(__name__)

#: How long a worker that leaves waits for owners to take the results it has for them. One that reads nothing for so long loses
#: them as if the worker had crashed.
HAND_OVER_S = 30.0

#: How often a worker that should leave, but owns objects that others hold, looks whether they still do.
OWNER_LINGERS_S = 0.2


class Executor:
    """Runs what owners push."""

    def __init__(self, session: UserSession) -> None:
        self.session = session
        self.inbox = Inbox()
        self.delivery = Delivery(session)
        self.results = Results(session, self.delivery)
        self.functions = Functions()
        self.interrupt = Interrupt()
        self._blocked = Blocked()
        #: What the loop waits on while it has nothing to run.
        self.idle: Waiter | None = None
        self._leases: dict[Link, int] = {}
        #: The lease of which the raylet told last.
        self._started = 0
        self.leaving: str | None = None
        self.running: Running | None = None
        #: Refs that came out of pickles in the main thread since the call began that runs there.
        self.received: list[bytes] = []
        self.actor: ActorHost | None = None
        self.streams: dict[bytes, Stream] = {}
        self.gpu_ids: list[str] = []
        #: The node was given names for its GPUs: programs get them as strings.
        self.named_gpus = bool(os.environ.get("CUDA_VISIBLE_DEVICES"))
        self.resources: dict[str, int] = {}
        self._main = threading.get_ident()
        #: This process has run what it may run and begins nothing more.
        self._retire = False
        #: Runs of functions with `max_calls`, by hash.
        self._calls: dict[bytes, int] = {}
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
        on(pb.ResumeCalls, self._resume_calls)
        on(pb.StreamConsumed, self._stream_consumed)
        session.on_exit = self.asked_to_leave
        session.on_infeasible = lambda text: session.background.run(lambda: log.warning("%s", text))
        session.on_link_closed = self._link_closed  # type: ignore[method-assign]
        session.on_pressure = self._pressed
        session.blocking = (self._begin_wait, self._end_wait)
        self._captures = False
        session.title = self._title
        session.interrupts.wanted = lambda: self.interrupt.wanted(self.running)
        session.interrupts.active = lambda: self.running is not None
        session.actor_exit = ActorExit
        session.held_resources = lambda: self.resources  # type: ignore[method-assign]
        session.reporter.running = self._running_now
        session.held_gpus = self._gpus  # type: ignore[method-assign]

    # -- frames, under the session's lock

    def _open_lease(self, link: Link, frame: pb.OpenLease, raw: bytes) -> None:
        if frame.lease_id != self._started:
            # The raylet said it before the owner could, but on a socket that this round of reading may not have seen.
            self.session.links.read(self.session.raylet)
        self._leases[link] = frame.lease_id
        self.delivery.open(link, frame.lease_id)

    def _define_template(self, link: Link, frame: pb.DefineTemplate, raw: bytes) -> None:
        link.templates[frame.number] = WorkerTemplate(frame)
        if frame.captures:
            self.capture()

    def capture(self) -> None:
        """Something that runs here captures its children in its placement group."""
        if not self._captures:
            from manta.client.capturing import Capturing

            self._captures = True
            self.session.submit = Capturing(self.session).submit

    def _define_function(self, link: Link, frame: pb.DefineFunction, raw: bytes) -> None:
        self.functions.define(frame.hash, frame.blob)

    def _push_tasks(self, link: Link, frame: pb.PushTasks | pb.PushCalls, raw: bytes) -> None:
        self.inbox.add(link, frame)
        if link.far is not None and link.tokens_fd >= 0:
            # The owner, on another node, cannot.
            count = len(frame.ids) // 28
            os.eventfd_write(link.read_fd, count)
            os.eventfd_write(link.tokens_fd, count)
        if self.idle is not None:
            self.session.pump.finish(self.idle)

    def _take_back(self, link: Link, frame: pb.TakeBack, raw: bytes) -> None:
        self.inbox.take_back(link, frame.count)
        if self.idle is not None and self.inbox.queue:
            self.session.pump.finish(self.idle)  # what is left has its tokens
        self.session.send(link, pb.TookBack(lease_id=frame.lease_id))

    def _cancel_task(self, link: Link, frame: pb.CancelTask, raw: bytes) -> None:
        task_id = frame.task_id
        task = self.inbox.find(task_id)
        now = self.running
        if now is None or now.oid[:24] != task_id:
            now = self.actor.now_running.get(task_id) if self.actor is not None else None
        match verdict(queued=task is not None, leased=link in self._leases, runs=now is not None):
            case Verdict.DROP:
                assert task is not None
                self.inbox.remove(task)
                self.delivery.finish_now(task[0], task[1], raised.cancelled(task[2].name, task[1]), 0)
            case Verdict.STOP:
                assert now is not None
                if frame.recursive:
                    for child in now.children or ():
                        self.session.cancel_owned(child, force=False, recursive=True)
                if self.actor is None:
                    self.interrupt.ask(now)
                    signal.pthread_kill(self._main, signal.SIGINT)
                elif not self.actor.cancel(task_id):
                    now.cancelled = True

    def _lease_started(self, link: Link, frame: pb.LeaseStarted, raw: bytes) -> None:
        for before in [before for before in self._leases if before.far is not None and before.connection.fd < 0]:
            self.session.links.close(before)  # nobody comes back for it: the lease it served is over
        self._started = frame.lease_id
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
        if self.idle is not None:
            self.session.pump.finish(self.idle)

    def _push_calls(self, link: Link, frame: pb.PushCalls, raw: bytes) -> None:
        actor = self.actor
        if actor is None:
            return
        if link not in self.delivery.outboxes:
            self.delivery.open(link, 0)
        elif self.delivery.left(link):
            return
        order, caller = actor.order, (link.worker_id, frame.sequence)
        match order.admit(frame.actor_id, frame.incarnation, caller, frame.first, len(frame.args)):
            case Admission.NEXT:
                self._push_tasks(link, frame, raw)
                actor.arrived()
            case Admission.REPEATED | Admission.GAP:
                log.warning(
                    "calls %d.. of %s came when %d was next", frame.first, link.worker_id.hex(), order.next_of(caller)
                )
            # And an earlier life's calls: their caller hears of it from control.

    def _stream_consumed(self, link: Link, frame: pb.StreamConsumed, raw: bytes) -> None:
        stream = self.streams.get(frame.task_id)
        if stream is not None:
            stream.consumed(frame.count, stop=frame.stop)

    def asked_to_leave(self, reason: str) -> None:
        """The raylet, or the actor itself, wants this process to end when it has nothing to run."""
        self.leaving = reason
        if self.idle is not None:
            self.session.pump.finish(self.idle)
        if self.actor is not None:
            self.actor.wake()
        if self.session.broken is not None:
            os._exit(1)

    def _pressed(self, link: Link) -> None:
        """An owner has more unread results than may wait: none of its tasks begins. Or it has read them, and they go on."""
        if link.full:
            self.inbox.hold(link, self.actor.recall(link) if self.actor is not None else ())
        else:
            self._resume(link)

    def _resume(self, link: Link) -> None:
        self.inbox.release(link)
        for stream in list(self.streams.values()):
            if stream.link is link:
                stream.look()
        if self.actor is not None:
            self.actor.drained(link)
        if self.idle is not None:
            self.session.pump.finish(self.idle)

    def _resume_calls(self, link: Link, frame: pb.ResumeCalls, raw: bytes) -> None:
        actor = self.actor
        if actor is None or (frame.actor_id, frame.incarnation) != (actor.actor_id, actor.incarnation):
            return  # its caller hears of that life from control
        self.delivery.rejoin(link)
        mine = set(self.delivery.waiting(link.worker_id))
        ids = [task[1] for task in self.inbox.all() if task[0] in mine]
        ids += actor.under_way()
        if self.running is not None:
            ids.append(self.running.oid)
        number = actor.order.next_of((link.worker_id, frame.sequence))
        self.session.send(
            link,
            pb.CallsResumed(actor_id=actor.actor_id, incarnation=actor.incarnation, next=number, ids=b"".join(ids)),
        )

    def _link_closed(self, link: Link) -> None:
        lives = self.actor is not None and link.worker_id in self.session.links.peers
        if lives:
            self.delivery.broken(link)
        else:
            self.delivery.close(link)
        leased = self._leases.pop(link, None) is not None
        if leased:
            self.inbox.forget(link)
        for stream in list(self.streams.values()):
            if stream.link is link:
                stream.window.stopped = True  # nobody reads it any more
        self._resume(link)
        if not leased and self.actor is not None and not lives:
            self.actor.order.forget(link.worker_id)
            self.delivery.forget(link.worker_id)

    def _title(self) -> str:
        if self.actor is not None:
            return f"actor {self.actor.class_name}"
        now = self.running
        return f"worker {now.name}" if now is not None else "worker idle"

    def _running_now(self) -> list[Running]:
        now = self.running
        others = list(self.actor.now_running.values()) if self.actor is not None else []
        return [now, *others] if now is not None else others

    def _gpus(self) -> list[Any]:
        return [int(one) if one.isdigit() and not self.named_gpus else one for one in self.gpu_ids]

    # -- waits of user code

    def _begin_wait(self) -> None:
        with self.session.lock:
            self.delivery.flush_all()
            if self.running is None and self.actor is None:
                return
            if self._blocked.begins(threading.get_ident()):
                self.session.raylet_send(pb.Blocked())
                for link, lease_id in self._leases.items():
                    self.session.send(link, pb.TaskBlocked(lease_id=lease_id))

    def _end_wait(self) -> None:
        with self.session.lock:
            if self._blocked.ends(threading.get_ident()):
                self.session.raylet_send(pb.Unblocked())

    # -- the loop

    def run(self) -> int:
        """Run tasks, or the actor this worker becomes, until told to leave. Returns the exit code."""
        session, inbox, queue = self.session, self.inbox, self.inbox.queue
        session.capture.refs = self.received
        while True:
            if self.actor is not None:
                return self.actor.run()
            if not queue or self._retire:
                with session.lock:
                    self.delivery.flush_all()
                    leaving = self._retire or (self.leaving is not None and not inbox.held and not inbox.starved)
                    if leaving and not session.ownership.borrowers:
                        return 0
                    if (queue and not self._retire) or self.actor is not None:
                        continue
                    idle = self.idle = Waiter()
                # Whoever owns what others still need stays until they let go.
                session.pump.wait(idle, session.now() + OWNER_LINGERS_S if leaving else None)
                self.idle = None
                continue
            with session.lock:
                try:
                    task = queue.popleft()
                except IndexError:
                    continue
                template = task[2]
                sent = self._to_send_first(task[0]) if template.flush_first else None
                if sent is None:
                    try:
                        os.eventfd_read(task[0].tokens_fd)
                    except BlockingIOError:
                        if task[0].far is not None:
                            inbox.starve(task)
                        else:
                            inbox.without_token(task[0])
                        continue
                    except OSError:
                        continue  # the owner is gone
                    if template.estimate_us > HOLD_BACK_US:
                        self.delivery.flush_all()
                    now = self.running = Running(
                        task[1], template.name, task[4].attempt if task[4] is not None else 0, template
                    )
                else:
                    queue.appendleft(task)
            if sent is None:
                self._run_task(task, now)
            else:
                session.pump.wait(sent)

    def _to_send_first(self, link: Link) -> Waiter | None:
        """Send what is finished; what to wait for until all of it has left this process, which the next task may end.

        An owner on another node says what it has read, a round trip later; nobody waits for that.
        """
        self.delivery.flush_all()
        if not link.connection.unsent_bytes or link.far is not None or self.session.broken is not None:
            return None
        link.sent = Waiter()
        return link.sent

    def _run_task(self, task: Queued, now: Running) -> None:
        link, oid, template, payload, extra = task
        session = self.session
        running.set(now)
        began = time.perf_counter_ns()
        result: Any
        try:
            if template.function is None:
                template.function = self.functions.load(template.definition.function_hash)
            args, kwargs = deserialize(payload)
            if extra is not None and extra.refs:
                args, kwargs = fill(session, args, kwargs, extra.refs)
            came = tuple(self.received) if self.received else ()  # later ones come out of what user code reads
            value = call(template.function, args, kwargs)
            if session.closed:
                leave_if_forked(session, None)
            if template.num_returns == 1:
                serialized: Any = serialize(value)
                if serialized.size <= INLINE_BYTES and not serialized.refs and not serialized.handles:
                    result = to_bytes(serialized)
                else:
                    result = self.results.special(link, oid, [serialized], came)
            elif template.num_returns == -1:
                from manta.worker.streams import run_stream

                result = run_stream(self, link, now, value, came)
            else:
                result = self.results.of_values(link, oid, template, value, came)
        except BaseException as error:  # noqa: BLE001 - the task's failure, whatever it is
            result = self._failed(now, template, error)
        ended = time.perf_counter_ns()
        micros = (ended - began) // 1000
        with session.lock:
            self.running = None
            running.set(None)
            if self._blocked.threads:
                self._blocked.task_over()
                session.raylet_send(pb.Unblocked())
            if self.interrupt.task_id is not None or session.interrupts.deferred:
                self.interrupt.task_id = None
                session.interrupts.forget()
            if micros > template.estimate_us or template.estimate_us == 1_000_000:
                template.estimate_us = micros
            else:
                template.estimate_us = (template.estimate_us * 7 + micros) >> 3
            session.ended.append((now, micros, ended))
            if template.max_calls:
                result = self._counted(template, result)
            if self.received:
                # Drop our own references first: only what user code kept makes us a borrower.
                args = kwargs = value = serialized = None
                received, self.received[:] = list(self.received), []
                self.delivery.finish_with_refs(link, oid, result, micros, received)
                return
            outbox = self.delivery.outboxes.get(link)
            if type(result) is not bytes:
                self.delivery.finish(link, oid, result, micros)
            elif outbox is not None:
                outbox.add(oid, result, micros, ended)
            if outbox is None or not outbox.due(ended):
                return
            session.send(link, outbox.take())
        session.pump.poll_once()

    def _counted(self, template: WorkerTemplate, result: Any) -> Any:
        """A function with `max_calls` ran, whoever asked for it: its result, or the last before this worker retires."""
        function = template.definition.function_hash
        self._calls[function] = calls = self._calls.get(function, 0) + 1
        if calls < template.max_calls:
            return result
        self._retire = True
        if type(result) is bytes:
            result = pb.ResultExtra(returns=[pb.ReturnValue(value=result)])
        result.last_call = True
        return result

    def _failed(self, now: Running, template: WorkerTemplate, error: BaseException) -> pb.ResultExtra:
        session = self.session
        if session.closed:
            leave_if_forked(session, error)
        if isinstance(error, SystemExit):
            # As a crash: the owner hears it from the raylet. Everything finished before goes out first.
            with session.lock:
                self.delivery.flush_all()
            raise error
        result = raised.failed(session, template, error, now)
        session.reporter.raised(now.oid, result.failure)
        return result


def run_worker(worker_id: bytes, raylet: str) -> int:
    """Be a worker until told otherwise. Called in the process that the factory forked."""
    session = UserSession(pb.ROLE_WORKER, worker_id)
    # Before the first frame can arrive: the service thread reads as soon as the process is connected.
    executor = Executor(session)
    path = raylet.removeprefix("unix:")
    session.connect(path, pb.Hello(python=".".join(map(str, sys.version_info[:3]))), directory=os.path.dirname(path))
    current.session = session
    from manta.worker.setup import apply_job

    executor.functions.refusal = apply_job(session)
    try:
        return executor.run()
    finally:
        with session.lock:
            executor.delivery.flush_all()
        _hand_over(session)
        session.close()


def _hand_over(session: UserSession) -> None:
    """Wait until the kernel has every result: what waits in this process would end with it."""
    deadline = session.now() + HAND_OVER_S
    while session.broken is None and session.links.unsent() and session.now() < deadline:
        session.pump.wait(Waiter(), session.now() + 0.05)
