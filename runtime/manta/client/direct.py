"""A session of a process that lives on a node: it talks to its raylet, to workers and to other owners by itself.

Everything meets here, and nothing else happens: `submit` and `leasing` (tasks), `actors`, `counting` and `borrowing`
(references), `arguments`, `relay` (control), `store` (large values), `pump` (who reads the sockets).

An owner need not look into values: nothing here pickles or unpickles, and nothing here can (import-linter). The processes that
run user code have a `user.UserSession`, which does; the gateway owns objects for drivers outside with what is here.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref

from manta.client import current, failures, moved
from manta.client.actor_client import gone
from manta.client.actors import ActorClients
from manta.client.arguments import Arguments
from manta.client.background import Background
from manta.client.borrowing import Borrowing
from manta.client.cancelling import Cancelling
from manta.client.counting import Counting
from manta.client.fetching import Fetching
from manta.client.generators import StreamReader, closing, open_stream, unwanted_item
from manta.client.links import Link, Links
from manta.client.lost_nodes import LostNodes
from manta.client.ownership import Ownership
from manta.client.patience import Patient
from manta.client.pump import Pump
from manta.client.refs import released
from manta.client.relay import Relay
from manta.client.reporting import Reporter
from manta.client.signals import Interrupts
from manta.client.store import StoreClient
from manta.client.submit import Submitter
from manta.client.templates import Templates
from manta.client.values import Values
from manta.client.waiter import Waiter
from manta.core import errors
from manta.core.ids import IdMaker
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.transport.channel import NUMBER, PROTOCOL, Connection
from manta.transport.convert import error_from_proto

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from google.protobuf.message import Message

    from manta.client.arguments import Extra
    from manta.client.templates import Template
    from manta.client.values import Failure

log = logging.getLogger(__name__)

#: How long a raylet may take to let a process in, its job's registration included.
WELCOME_S = 30.0

#: Frames of workers' lines that may wait to be printed. A driver whose stdout does not take them misses what comes beyond that;
#: the session's log files have every line.
MAX_FRAMES_TO_PRINT = 10_000


class DirectSession(Patient):
    """The process's connection to its cluster, as an owner; `user.UserSession` makes a `session.Session` of it.

    Ownership: `connect` opens everything, `close` closes everything; the process has at most one (`current.session`).
    Thread safety: every method may be called from any thread.
    """

    def __init__(self, role: pb.Role, worker_id: bytes) -> None:
        self.role = role
        self.worker_id = worker_id
        self.lock = threading.RLock()
        self.now: Callable[[], float] = time.monotonic
        self.pid = os.getpid()
        self.closed = False
        #: Why the session ended by itself; every call raises it.
        self.broken: errors.MantaError | None = None
        #: Tasks run here, and what they submit is noted as theirs.
        self.runs_tasks = role == pb.ROLE_WORKER
        self.pump = Pump(self.lock)
        self.values = Values()
        self.ownership = Ownership()
        self.templates = Templates()
        self.links = Links(self.pump, worker_id, self._link_closed, self._pressure)
        self.lost_nodes = LostNodes(self)
        self.counting = Counting(self)
        self.borrowing = Borrowing(self)
        self.relay = Relay(self)
        self.fetching = Fetching(self)
        self.reporter = Reporter(self)
        #: Tasks that ran here and ended: the loops append.
        self.ended = self.reporter.ended
        self._make_parts()
        self.leasing = self.submitter.leasing
        self.actor_calls = self.actors.calls
        self.cancelling = Cancelling(self)
        self.background = Background()
        self.interrupts = Interrupts(self.pump.interrupt_main, self._attend)
        self._main = threading.main_thread().ident
        self.pump.interrupted = self.interrupts.pending
        self.pump.on_round = self._round
        self.pump.dropped = lambda: bool(released)
        self._name_parts()
        self.store: StoreClient = None  # type: ignore[assignment]
        self.welcome = pb.Welcome()
        self.address = common.Address()
        #: Encoded, as refs carry it.
        self.address_bytes = b""
        self.ids: IdMaker = None  # type: ignore[assignment]
        self.raylet: Link = None  # type: ignore[assignment]
        #: Streams this process reads, by task.
        self.streams: dict[bytes, StreamReader] = {}
        #: Environment variables this process's own environment adds to its job's: its children inherit them.
        self.environment: dict[str, str] = {}
        #: What `exit_actor` raises.
        self.actor_exit: type[BaseException] = SystemExit
        #: The actor this process is.
        self.actor_host: Any = None
        self.finish_lines: Callable[[], None] = lambda: None
        self.print_lines: Callable[[pb.LogLines], None] = lambda lines: None
        #: A task failed and its ref was dropped unread.
        self.on_unread: Callable[[Failure], None] = lambda failure: None
        self.on_infeasible: Callable[[str], None] = lambda text: None
        #: A link's `full` has changed.
        self.on_pressure: Callable[[Link], None] = lambda link: None
        self.on_exit: Callable[[str], None] = lambda reason: None

    arguments: Arguments
    submitter: Submitter
    actors: ActorClients

    def _make_parts(self) -> None:
        """The parts of which processes that run user code have others."""
        self.arguments = Arguments(self)
        self.submitter = Submitter(self)
        self.actors = ActorClients(self)

    def _name_parts(self) -> None:
        """What others call is looked up on the session and found in its part: a method here for each would be one more call."""
        links, counting, borrowing = self.links, self.counting, self.borrowing
        self.send, self.send_bytes = links.send, links.send_bytes
        self.know_actor, self.kill_actor = self.actors.know, self.actors.kill_actor
        self.fill_extra = self.arguments.fill
        self.control, self.control_async, self.post = self.relay.control, self.relay.control_async, self.relay.post
        self.capture, self.drain_released, self.perform = counting.capture, counting.drain_released, counting.perform
        self.ref_made, self.ref_received, self.export_ref = (
            counting.ref_made,
            counting.ref_received,
            counting.export_ref,
        )
        self.store_return = counting.store_return
        self.cancel, self.cancel_owned = self.cancelling.cancel, self.cancelling.cancel_owned
        self.poll_once, self.finish = self.pump.poll_once, self.pump.finish
        self.watch, self.announce, self.when_read = borrowing.watch, borrowing.announce, borrowing.when_read
        self.register_borrows = borrowing.register_borrows

    # -- life

    def connect(self, raylet: str, hello: pb.Hello, *, directory: str) -> None:
        """Join the node whose raylet listens at `raylet` (a path).

        Raises:
            ClusterNotFoundError, VersionMismatchError, AuthenticationError: Nobody is there, or it does not want us.
        """
        try:
            self._connect(raylet, hello, directory)
        except BaseException:
            self.closed = True
            self.links.close_all()
            self.pump.close()
            raise

    def _connect(self, raylet: str, hello: pb.Hello, directory: str) -> None:
        self.links.listen(os.path.join(directory, f"p-{self.worker_id[:8].hex()}.sock"))
        hello.protocol = PROTOCOL
        hello.role = self.role
        hello.worker_id = self.worker_id
        hello.endpoint = self.links.endpoint
        hello.pid = self.pid
        connection = Connection.dial(raylet)
        connection.settimeout(WELCOME_S)
        connection.send_first((hello,))
        number, message, _ = connection.read_frame()
        if number == NUMBER[pb.Refused]:
            connection.close()
            raise error_from_proto(message.error)
        if number != NUMBER[pb.Welcome]:
            connection.close()
            raise errors.ProtocolError(f"the raylet answered hello with a frame of type {number}")
        arena_fd = connection.take_descriptors()[0]
        self.welcome = message
        self.store = StoreClient(self, arena_fd, message.arena_bytes)
        self.address = common.Address(
            node_id=message.node_id, worker_id=self.worker_id, endpoint=self.links.endpoint, door=message.door
        )
        self.address_bytes = self.address.SerializeToString(deterministic=True)
        self.links.hello.job_id, self.links.hello.door = message.job_id, message.door
        self.links.hello.node_id = self.links.node_id = message.node_id
        if message.credentials:
            from manta.client.far import FarLinks

            self.links.far = FarLinks.of_node(self.links, message, self.now, self.pump.schedule)
        self.ids = IdMaker(message.job_id, os.urandom(12))
        self.raylet = Link(connection, endpoint=raylet)
        self._install_handlers()
        self.links.adopt(self.raylet)
        self.interrupts.install()
        self.pump.start()
        _sessions.add(self)

    def _install_handlers(self) -> None:
        on = self.links.on
        leasing, store, borrowing = self.leasing, self.store, self.borrowing
        on(pb.LeaseGranted, lambda link, frame, raw: leasing.granted(frame, link))
        on(pb.LeaseReclaim, lambda link, frame, raw: leasing.reclaim(frame.count, link))
        on(pb.LeaseInfeasible, lambda link, frame, raw: leasing.infeasible(frame))
        on(pb.LeaseFailed, lambda link, frame, raw: leasing.failed(frame, link))
        on(pb.LeaseSpill, lambda link, frame, raw: leasing.far.spilled(frame))
        on(pb.LeaseRefused, lambda link, frame, raw: leasing.far.refused(link, frame))
        on(pb.TokensTaken, lambda link, frame, raw: leasing.tokens_taken(frame))
        on(pb.Refused, lambda link, frame, raw: leasing.far.refused_us(link, frame))
        on(pb.WorkerDied, self._worker_died)
        on(pb.TaskResults, self._results)
        on(pb.TookBack, lambda link, frame, raw: leasing.took_back(frame.lease_id))
        on(pb.TaskBlocked, lambda link, frame, raw: leasing.blocked(frame.lease_id))
        on(pb.ObjectCreated, lambda link, frame, raw: store.created(frame))
        on(pb.BlockGranted, lambda link, frame, raw: store.block_granted(frame))
        on(pb.RecallBlocks, lambda link, frame, raw: store.recall(collect_garbage=frame.collect_garbage))
        on(pb.ObjectsReady, lambda link, frame, raw: store.ready(frame))
        on(pb.ObjectsLeft, lambda link, frame, raw: store.left(frame))
        on(pb.ObjectMoved, lambda link, frame, raw: moved.told(self, frame))
        on(pb.ControlReply, lambda link, frame, raw: self.relay.answered(frame))
        on(pb.ActorState, lambda link, frame, raw: self.actors.state(frame.info))
        on(pb.CallsResumed, self.actors.links.resumed)
        on(pb.AddBorrower, borrowing.add_borrower)
        on(pb.BorrowerAdded, borrowing.borrower_added)
        on(pb.ReleaseBorrow, borrowing.release_borrow)
        on(pb.WantObject, borrowing.want_object)
        on(pb.ObjectValue, borrowing.object_value)
        on(pb.CancelByRef, self.cancelling.cancel_by_ref)
        on(pb.LogLines, self._log_lines)
        on(pb.StackRequest, self._stack_request)
        on(pb.TaskInquiry, lambda link, frame, raw: self.reporter.asked(frame.request_id))
        on(pb.Farewell, self._farewell)
        on(pb.StreamItem, self._stream_item)
        on(pb.NodesDied, self.lost_nodes.heard)
        on(pb.Exit, lambda link, frame, raw: self.on_exit(frame.reason))

    def close(self) -> None:
        """Leave the cluster. Views that user code holds stay valid."""
        if self.closed:
            return
        self.closed = True
        ended: object = self
        if current.session is ended:
            current.session = None
        self.interrupts.remove()
        if self.broken is None and not self.raylet.connection.closed:
            self._say_goodbye()
        self.left()
        self.pump.close()
        self.background.run(self.finish_lines)
        self.background.finish(2.0)
        with self.lock:
            self.leasing.close()
            self.relay.close()
            self.links.close_all()
            self.store.close()
        released.clear()
        gone.clear()

    def left(self) -> None:
        """Everything of before was handled, and nothing is closed yet. For sessions that have to say so."""

    def _say_goodbye(self) -> None:
        farewell = self._farewell_waiter = Waiter()
        with self.lock:
            self.reporter.flush()
            self.raylet_send(pb.Goodbye(finished=True))
        try:
            self.pump.wait(farewell, self.now() + 5.0)
        except KeyboardInterrupt:
            pass

    _farewell_waiter: Waiter | None = None

    def _farewell(self, link: Link, frame: pb.Farewell, raw: bytes) -> None:
        if self._farewell_waiter is not None:
            self.pump.finish(self._farewell_waiter)

    def _after_fork(self) -> None:
        """User code forked: the child has no session, and must not speak for its parent."""
        if self.pid != os.getpid() and not self.closed:
            self.closed = True
            self.lock = threading.RLock()
            self.broken = errors.ForkedProcessError()
            self.interrupts.let_go()
            self.values.known.clear()  # so that no call gets by without looking
            self.links.after_fork()

    @property
    def is_worker(self) -> bool:
        """Whether this process runs tasks or an actor."""
        return self.role == pb.ROLE_WORKER

    @property
    def raylet_endpoint(self) -> str:
        """Where this process's raylet listens."""
        return self.raylet.endpoint

    def held_resources(self) -> dict[str, int]:
        """What the running task or actor holds, in 1/10000ths."""
        return {}

    def held_gpus(self) -> list[Any]:
        """GPUs the running task or actor may use."""
        return []

    def check(self) -> None:
        """Raise if the session has ended."""
        if self.broken is not None:
            raise self.broken
        if self.closed:
            raise errors.NotConnectedError

    # -- the pump's rounds

    def _attend(self) -> None:
        self.pump.schedule(0.0)

    def _round(self, now: float) -> float | None:
        """After every round of events, under the lock: count what was dropped, send what waits, run timers."""
        if released:
            self.drain_released()
        while closing:
            closing.pop().close()
        self.store.release()
        due = self.leasing.tick(now)
        other = self.actor_calls.tick(now)
        if other is not None and (due is None or other < due):
            due = other
        if self.relay.open:
            other = self.relay.tick(now)
            if other is not None and (due is None or other < due):
                due = other
        far = self.links.far
        if far is not None and far.busy:
            other = far.tick(now)
            if other is not None and (due is None or other < due):
                due = other
        if self.ended or self.reporter.dirty:
            other = self.reporter.tick(now)
            if other is not None and (due is None or other < due):
                due = other
        if self.interrupts.pending() and threading.get_ident() != threading.main_thread().ident:
            self.interrupts.try_again()
            due = now + 0.001 if due is None else min(due, now + 0.001)
        return due

    def flush(self) -> None:
        """Send whatever was gathered: somebody waits. Called under the lock."""
        if released:
            self.drain_released()
        self.submitter.flush()
        self.actor_calls.flush()

    # -- sending

    def raylet_send(self, message: Message) -> None:
        """A frame to the raylet."""
        self.links.send(self.raylet, message)

    def link_to(self, address: bytes) -> Link | None:
        """The link to the process with that encoded address; None when it is gone."""
        return self.links.peer(common.Address.FromString(address))

    def _link_closed(self, link: Link) -> None:
        if link is self.raylet:
            self._raylet_lost()
        elif link.lease is not None:
            if link.lease.connection is link:  # else it was closed here, on purpose
                self.leasing.broken(link.lease)
        elif self.leasing.far.raylet(link):
            if not self.closed:
                self.leasing.far.lost(link)
        elif link.tokens_fd < 0 and link.worker_id and not self.closed:
            self.borrowing.peer_lost(link)
            self.actors.links.lost(link)
        self.borrowing.link_closed(link)
        self.store.link_closed(link.worker_id)
        self.on_link_closed(link)

    def _pressure(self, link: Link) -> None:
        """The other side of a link has too much unread, or has read it: see `links.HIGH_BYTES`."""
        if link.lease is not None:
            self.leasing.pressure(link.lease, link.full)
        elif not link.full:
            self.actor_calls.drained(link)
            self.borrowing.drained(link)
        self.on_pressure(link)

    def on_link_closed(self, link: Link) -> None:
        """For the executor."""

    def _raylet_lost(self) -> None:
        if self.closed:
            return
        self.broken = errors.LocalRayletDiedError()
        failure = failures.system(self.broken)
        for oid in list(self.values.watchers):
            self.values.set(oid, failure)
        self.relay.raylet_lost(self.broken)
        for stream in list(self.streams.values()):
            stream.failed(failure)
        self.store.raylet_lost()
        self.on_exit("the raylet is gone")

    # -- what users call

    def task_template(
        self,
        identity: bytes,
        demand: pb.LeaseDemand,
        definition: pb.DefineTemplate,
        *,
        max_retries: int,
        function_blob: bytes,
    ) -> Template:
        """The template of a task; those of one `identity` can use the same workers."""
        with self.lock:
            key = self.templates.key_for(identity, demand)
            return self.templates.add(definition, key, max_retries=max_retries, function_blob=function_blob)

    def method_template(self, definition: pb.DefineTemplate, *, max_retries: int) -> Template:
        """The template of an actor's method."""
        with self.lock:
            return self.templates.add(definition, None, max_retries=max_retries)

    def where(self, oid: bytes) -> str:
        """How far an object's task is, in parentheses; empty when this process does not know. Called under the lock."""
        first = oid[:24] + b"\1\0\0\0"
        text = self.submitter.where(first) or self.actor_calls.where(first)
        borrow = self.ownership.borrows.get(oid)
        if not text and borrow is not None:
            text = f"owned by the process at {common.Address.FromString(borrow.owner).endpoint}"
        return f" ({text})" if text else ""

    def open_stream(self, task_id: bytes, extra: Extra, backpressure: int) -> None:
        """A generator task is about to be submitted: its stream has a reader. Called under the lock."""
        open_stream(StreamReader(self, task_id, backpressure), extra)

    # -- from the raylet and workers

    def _results(self, link: Link, frame: pb.TaskResults, raw: bytes) -> None:
        if link.lease is not None:
            self.submitter.results(link.lease, frame)
        else:
            self.actor_calls.results(link, frame)

    def _worker_died(self, link: Link, frame: pb.WorkerDied, raw: bytes) -> None:
        self.leasing.worker_died(frame)
        self.borrowing.borrower_died(frame.worker_id)

    def _stream_item(self, link: Link, frame: pb.StreamItem, raw: bytes) -> None:
        reader = self.streams.get(frame.task_id)
        if reader is not None:
            reader.item(link, frame)
        else:
            unwanted_item(self, link, frame)

    def _log_lines(self, link: Link, frame: pb.LogLines, raw: bytes) -> None:
        if self.background.waiting < MAX_FRAMES_TO_PRINT:
            self.background.run(lambda: self.print_lines(frame))

    def _stack_request(self, link: Link, frame: pb.StackRequest, raw: bytes) -> None:
        from manta.client.stacks import answer

        self.send(link, answer(self, frame))

    title: Callable[[], str] = staticmethod(lambda: "driver")


#: Sessions of this process, for a fork to cut off in the child.
_sessions: weakref.WeakSet[DirectSession] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for session in list(_sessions):
        session._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
