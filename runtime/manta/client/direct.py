"""A session of a process that lives on a node: it talks to its raylet, to workers and to other owners by itself.

Everything meets here; decisions live next door: `ownership` (who refers to what), `lease` and `submit` (tasks), `actors`,
`store` (large values), `pump` (who reads the sockets).
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from itertools import chain
from operator import attrgetter

from manta.client import current, failures
from manta.client.actors import ActorClients, gone
from manta.client.background import Background
from manta.client.generators import closing
from manta.client.links import Link, Links
from manta.client.ownership import Borrow, Ownership
from manta.client.pump import Pump, Waiter
from manta.client.refs import ObjectRef, make_ref, reduce_ref, released
from manta.client.running import running
from manta.client.signals import Interrupts
from manta.client.store import StoreClient
from manta.client.submit import Extra, Submitter, Template
from manta.client.values import INLINE_BYTES, All, Call, Failure, Some, Stored, Values
from manta.core import errors
from manta.core.ids import IdMaker
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.rpc.v1 import control_pb2 as ctl
from manta.serde import Serialized, deserialize, install_hooks, serialize, to_bytes
from manta.transport.channel import NUMBER, PROTOCOL, Connection
from manta.transport.convert import error_from_proto

TYPE_CHECKING = False
if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from google.protobuf.message import Message

    from manta.client.actors import ActorClient
    from manta.client.generators import StreamReader
    from manta.client.lease import Lease
    from manta.client.values import Value

log = logging.getLogger(__name__)

#: A `get` that has waited this long says once what it waits for.
NOTICE_S = 10.0

#: How long a raylet may take to let a process in, its job's registration included.
WELCOME_S = 30.0

#: Frames of workers' lines that may wait to be printed. A driver whose stdout does not take them misses what comes beyond that;
#: the session's log files have every line.
MAX_FRAMES_TO_PRINT = 10_000

_ids_of = attrgetter("_id")

#: Types of what is known of an object that has no value (yet).
_NO_VALUE = frozenset((type(None), Failure))
_NO_KWARGS: dict[str, Any] = {}


class Capture(threading.local):
    """Per thread: a list that takes the ids of refs coming out of pickles, while somebody wants to know them."""

    refs: list[bytes] | None = None


class Reply(Waiter):
    """Waits for the answer to a relayed call."""

    __slots__ = ("frame",)

    def __init__(self) -> None:
        super().__init__()
        self.frame: Any = None


class DirectSession:
    """The process's connection to its cluster.

    Ownership: `connect` opens everything, `close` closes everything; the process has at most one (`current.session`).
    Thread safety: every method may be called from any thread.
    """

    def __init__(self, role: pb.Role, worker_id: bytes) -> None:
        self.role = role
        self.worker_id = worker_id
        self.lock = threading.RLock()
        self.now: Callable[[], float] = time.monotonic
        self.pump = Pump(self.lock)
        self.values = Values()
        self.ownership = Ownership()
        self.links = Links(self.pump, worker_id, self._link_closed)
        self.send = self.links.send
        self.send_bytes = self.links.send_bytes
        self.failures = failures
        self.submitter = Submitter(self)
        self.actors = ActorClients(self)
        self.background = Background()
        self.interrupts = Interrupts(self.pump.interrupt_main, self._attend)
        self.pump.interrupted = self.interrupts.pending
        self.pump.on_round = self._round
        self.pump.dropped = lambda: bool(released)
        self.store: StoreClient = None  # type: ignore[assignment]
        self.welcome = pb.Welcome()
        self.address = common.Address()
        #: Encoded, as refs carry it.
        self.address_bytes = b""
        self.ids: IdMaker = None  # type: ignore[assignment]
        self.raylet: Link = None  # type: ignore[assignment]
        self.closed = False
        #: Why the session ended by itself; every call raises it.
        self.broken: errors.MantaError | None = None
        self._replies: dict[int, Reply | Callable[[Any], None]] = {}
        self._requests = 0
        self._wanted: dict[bytes, bytes] = {}
        #: Streams this process reads, by task.
        self.streams: dict[bytes, StreamReader] = {}
        #: Environment variables this process's own environment adds to its job's: its children inherit them.
        self.environment: dict[str, str] = {}
        #: What `exit_actor` raises.
        self.actor_exit: type[BaseException] = SystemExit
        #: The actor this process is.
        self.actor_host: Any = None
        #: Questions to owners whose answers are awaited: the link, the question, what to do then.
        self._borrow_acks: dict[int, tuple[Link, pb.AddBorrower, Callable[[], None]]] = {}
        self.pid = os.getpid()
        #: Tasks run here, and what they submit is noted as theirs.
        self.runs_tasks = role == pb.ROLE_WORKER
        #: Called around waits of a worker's task: (begins, ends).
        self.blocking: tuple[Callable[[], None], Callable[[], None]] | None = None
        #: Where refs that come out of pickles in this thread are noted.
        self.capture = Capture()
        self.finish_lines: Callable[[], None] = lambda: None
        self.print_lines: Callable[[pb.LogLines], None] = lambda lines: None
        #: A task failed and its ref was dropped unread.
        self.on_unread: Callable[[Failure], None] = lambda failure: None
        self.on_infeasible: Callable[[str], None] = lambda text: None
        self.on_exit: Callable[[str], None] = lambda reason: None

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
        install_hooks(ObjectRef, reduce_ref)
        self.actors.install_hooks()
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
        self.address = common.Address(node_id=message.node_id, worker_id=self.worker_id, endpoint=self.links.endpoint)
        self.address_bytes = self.address.SerializeToString(deterministic=True)
        self.links.hello.job_id = message.job_id
        self.links.hello.node_id = message.node_id
        self.ids = IdMaker(message.job_id, os.urandom(12))
        self.raylet = Link(connection, endpoint=raylet)
        self._install_handlers()
        self.links.adopt(self.raylet)
        self.interrupts.install()
        self.pump.start()
        _sessions.add(self)

    def _install_handlers(self) -> None:
        on = self.links.on
        submitter, store = self.submitter, self.store
        on(pb.LeaseGranted, lambda link, frame, raw: submitter.granted(frame))
        on(pb.LeaseReclaim, lambda link, frame, raw: submitter.reclaim(frame.count))
        on(pb.LeaseInfeasible, lambda link, frame, raw: submitter.infeasible(frame))
        on(pb.WorkerDied, self._worker_died)
        on(pb.TaskResults, self._results)
        on(pb.TookBack, lambda link, frame, raw: submitter.took_back(frame.lease_id))
        on(pb.TaskBlocked, lambda link, frame, raw: submitter.blocked(frame.lease_id))
        on(pb.ObjectCreated, lambda link, frame, raw: store.created(frame))
        on(pb.BlockGranted, lambda link, frame, raw: store.block_granted(frame))
        on(pb.RecallBlocks, lambda link, frame, raw: store.recall())
        on(pb.ObjectsReady, lambda link, frame, raw: store.ready(frame))
        on(pb.ControlReply, self._control_reply)
        on(pb.ActorState, lambda link, frame, raw: self.actors.state(frame.info))
        on(pb.AddBorrower, self._add_borrower)
        on(pb.BorrowerAdded, self._borrower_added)
        on(pb.ReleaseBorrow, self._release_borrow)
        on(pb.WantObject, self._want_object)
        on(pb.ObjectValue, self._object_value)
        on(pb.CancelByRef, self._cancel_by_ref)
        on(pb.LogLines, self._log_lines)
        on(pb.StackRequest, self._stack_request)
        on(pb.Farewell, self._farewell)
        on(pb.StreamItem, self._stream_item)
        on(pb.Exit, lambda link, frame, raw: self.on_exit(frame.reason))

    def close(self) -> None:
        """Leave the cluster. Views that user code holds stay valid."""
        if self.closed:
            return
        self.closed = True
        if current.session is self:
            current.session = None
        self.interrupts.remove()
        if self.broken is None and not self.raylet.connection.closed:
            self._say_goodbye()
        self.pump.close()
        self.background.run(self.finish_lines)
        self.background.finish(2.0)
        with self.lock:
            self.submitter.close()
            self.links.close_all()
            self.store.close()
        released.clear()
        gone.clear()

    def _say_goodbye(self) -> None:
        farewell = self._farewell_waiter = Reply()
        with self.lock:
            self.raylet_send(pb.Goodbye(finished=True))
        try:
            self.pump.wait(farewell, self.now() + 5.0)
        except KeyboardInterrupt:
            pass

    _farewell_waiter: Reply | None = None

    def _farewell(self, link: Link, frame: pb.Farewell, raw: bytes) -> None:
        if self._farewell_waiter is not None:
            self.pump.finish(self._farewell_waiter)

    def _after_fork(self) -> None:
        """User code forked: the child has no session, and must not speak for its parent."""
        if self.pid != os.getpid() and not self.closed:
            self.closed = True
            self.lock = threading.RLock()
            self.broken = errors.ForkedProcessError()
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
            self._drain_released()
        while closing:
            closing.pop().close()
        self.store.release()
        due = self.submitter.tick(now)
        other = self.actors.tick(now)
        if other is not None and (due is None or other < due):
            due = other
        if self.interrupts.pending() and threading.get_ident() != threading.main_thread().ident:
            self.interrupts.send_again()
            due = now + 0.001 if due is None else min(due, now + 0.001)
        return due

    def _drain_released(self) -> None:
        ownership = self.ownership
        counts = ownership.counts
        known = self.values.known
        drop = ownership.drop
        try:
            while True:
                oid = released.popleft()
                count = counts.get(oid, 0)
                if count > 1:
                    counts[oid] = count - 1
                elif (
                    count == 1
                    and type(known.get(oid)) is bytes
                    and oid not in ownership.contains
                    and oid not in ownership.borrows
                    and oid not in ownership.borrowers
                ):
                    # By far the most: a small owned value, read and dropped.
                    del counts[oid]
                    del known[oid]
                else:
                    drop(oid)
        except IndexError:
            pass
        self.perform()

    def perform(self) -> None:
        """Do what reference counting asks for. Called under the lock."""
        commands = self.ownership.take_commands()
        if commands is None:
            return
        known = self.values.known
        stored: list[bytes] = []
        for oid in commands.freed:
            value = known.pop(oid, None)
            if type(value) is Stored:
                stored.append(oid)
            elif value is None:
                self.actors.handle_freed(oid)
            elif type(value) is Failure:
                self._unread_failure(oid, value)
        for oid in commands.forgotten:
            known.pop(oid, None)
            self._wanted.pop(oid, None)
        by_owner: dict[bytes, list[bytes]] = {}
        for owner, oid in commands.releases:
            by_owner.setdefault(owner, []).append(oid)
        for owner, oids in by_owner.items():
            link = self.link_to(owner)
            if link is not None:
                self.send(link, pb.ReleaseBorrow(object_ids=oids))
        if stored:
            self.raylet_send(pb.FreeObjects(object_ids=stored))

    def _unread_failure(self, oid: bytes, failure: Failure) -> None:
        """A failed ref was dropped: if nobody ever saw what its task raised, say so."""
        if failure.read or self.closed or failure.fields.kind != pb.FAILURE_KIND_APPLICATION:
            return
        self.background.run(lambda: self.on_unread(failure))

    # -- sending

    def raylet_send(self, message: Message) -> None:
        """A frame to the raylet."""
        self.links.send(self.raylet, message)

    def link_to(self, address: bytes) -> Link | None:
        """The link to the process with that encoded address; None when it is gone."""
        where = common.Address.FromString(address)
        return self.links.peer(where.worker_id, where.endpoint)

    def dial_lease(self, lease: Lease, endpoint: str) -> Link | None:
        """Connect to a leased worker, handing over the semaphore."""
        link = self.links.dial(
            endpoint,
            first=(pb.OpenLease(lease_id=lease.lease_id),),
            descriptors=(lease.tokens.fd,),  # type: ignore[attr-defined]
        )
        if link is not None:
            link.worker_id = lease.worker_id
            link.lease = lease
        return link

    def hang_up(self, link: Link) -> None:
        """Close a lease's link."""
        link.lease = None
        self.links.close(link)

    def _link_closed(self, link: Link) -> None:
        if link is self.raylet:
            self._raylet_lost()
        elif link.lease is not None:
            self.submitter.lease_broken(link.lease)
        elif link.tokens_fd < 0 and link.worker_id:
            self._peer_lost(link)
        if self._borrow_acks:
            self._ask_again(link)
        self.on_link_closed(link)

    def _ask_again(self, link: Link) -> None:
        """Questions whose answers were to come on a link that is closed go to the same process on another, if it lives."""
        for request, (asked_on, question, done) in list(self._borrow_acks.items()):
            if asked_on is not link:
                continue
            other = self.links.peers.get(link.worker_id)
            if other is None:
                # The dead answer nobody, and have nothing left to hold.
                del self._borrow_acks[request]
                done()
            else:
                self._borrow_acks[request] = (other, question, done)
                self.send(other, question)
        self.perform()

    def on_link_closed(self, link: Link) -> None:
        """For the executor."""

    def _raylet_lost(self) -> None:
        if self.closed:
            return
        self.broken = errors.LocalRayletDiedError()
        failure = failures.system(self.broken)
        for oid in list(self.values.watchers):
            self.values.set(oid, failure)
        for reply in self._replies.values():
            if isinstance(reply, Reply):
                self.pump.finish(reply)
        for stream in list(self.streams.values()):
            stream.failed(failure)
        self.store.raylet_lost()
        self.on_exit("the raylet is gone")

    def _peer_lost(self, link: Link) -> None:
        """A process is gone, or has closed: what it borrowed is released, what it owned is lost."""
        if self.closed:
            return
        self.actors.peer_lost(link)
        if link.worker_id in self.links.peers:
            return
        alive = self.links.dial(link.endpoint) if link.endpoint else None
        if alive is not None:
            alive.worker_id = link.worker_id
            self.links.peers[link.worker_id] = alive
            for oid, owner in list(self._wanted.items()):
                if common.Address.FromString(owner).worker_id == link.worker_id:
                    self.send(alive, pb.WantObject(object_ids=[oid]))
            return
        self.ownership.borrower_died(link.worker_id)
        for oid, owner in list(self._wanted.items()):
            if common.Address.FromString(owner).worker_id == link.worker_id:
                self._owner_died(oid, owner)
        self.perform()

    def _owner_died(self, oid: bytes, owner: bytes) -> None:
        self._wanted.pop(oid, None)
        if oid not in self.values.known:
            self.values.set(oid, failures.owner_died(oid, owner))

    # -- refs

    def ref_made(self, oid: bytes) -> None:
        """User code made a ref out of an id. What nothing here refers to cannot be found: only refs carry their owner."""
        with self.lock:
            if not self.ownership.alive(oid):
                self.values.set(oid, failures.stale(oid))
            self.ownership.add(oid)

    def ref_received(self, oid: bytes, owner: bytes) -> None:
        """A ref came out of a pickle."""
        captured = self.capture.refs
        if captured is not None:
            captured.append(oid)
        with self.lock:
            self.ownership.receive(oid, owner, owner == self.address_bytes)

    def export_ref(self, oid: bytes, *, forever: bool) -> bytes:
        """The owner's encoded address, to travel with the ref."""
        with self.lock:
            if forever:
                self.ownership.add(oid)
            borrow = self.ownership.borrows.get(oid)
            return self.address_bytes if borrow is None else borrow.owner

    def loads_capturing(self, data: bytes | memoryview) -> tuple[Any, list[bytes]]:
        """Deserialise, and the ids of the refs that came out."""
        before = self.capture.refs
        refs: list[bytes] = []
        self.capture.refs = refs
        try:
            return deserialize(data), refs
        finally:
            self.capture.refs = before

    def _check_current(self, held: Iterable[bytes], serialized: Serialized) -> None:
        """Refs and handles that are about to travel are of this session. Called under the lock.

        Raises:
            StaleRefError, ActorHandleNotFoundError: One is of an earlier cluster.
        """
        for handle in serialized.handles:
            handle.check_session()
        self._check_counted(held)

    def _check_counted(self, oids: Iterable[bytes]) -> None:
        # Every ref of this session is counted while it lives: one that is not was made by a session that is over.
        counts = self.ownership.counts
        for oid in oids:
            if oid not in counts:
                raise errors.StaleRefError(oid.hex())

    def hold_contained(self, oid: bytes, inner: Sequence[bytes]) -> None:
        """The value of `oid` contains these refs: they live as long as it does. Called under the lock."""
        for one in inner:
            self.ownership.add(one)
        self.ownership.store_contained(oid, inner)

    def _add_borrower(self, link: Link, frame: pb.AddBorrower, raw: bytes) -> None:
        borrower = frame.borrower.worker_id or link.worker_id
        missing = [oid for oid in frame.object_ids if not self.ownership.add_borrower(oid, borrower)]
        known = borrower in (link.worker_id, self.worker_id)
        if not known and self.links.peer(borrower, frame.borrower.endpoint) is None:
            # Registered by somebody else, and dead by now. Alive it is linked from now on: else nobody would tell of its death.
            self.ownership.borrower_died(borrower)
            self.perform()
        if frame.request_id:
            self.send(link, pb.BorrowerAdded(request_id=frame.request_id, missing=missing))

    def _borrower_added(self, link: Link, frame: pb.BorrowerAdded, raw: bytes) -> None:
        done = self._borrow_acks.pop(frame.request_id, None)
        if done is not None:
            done[2]()
        self.perform()

    def _release_borrow(self, link: Link, frame: pb.ReleaseBorrow, raw: bytes) -> None:
        for oid in frame.object_ids:
            self.ownership.remove_borrower(oid, link.worker_id)
        self.perform()

    def when_read(self, link: Link, then: Callable[[], None]) -> None:
        """`then()` once the other side has read everything sent on the link so far, or is dead. Called under the lock."""
        self._requests += 1
        question = pb.AddBorrower(request_id=self._requests, borrower=self.address)
        self._borrow_acks[self._requests] = (link, question, then)
        self.send(link, question)

    def register_borrows(self, oids: Iterable[bytes], then: Callable[[], None]) -> None:
        """Tell the owners of these refs that this process holds them; `then()` once all have written it down."""
        by_owner: dict[bytes, list[bytes]] = {}
        for oid in self.ownership.unregistered(oids):
            by_owner.setdefault(self.ownership.borrows[oid].owner, []).append(oid)
        self.announce(by_owner, self.address, then)

    def announce(self, by_owner: dict[bytes, list[bytes]], borrower: common.Address, then: Callable[[], None]) -> None:
        """Tell owners that `borrower` holds refs of theirs; `then()` once all have written it down."""
        waiting = 1

        def one_done() -> None:
            nonlocal waiting
            waiting -= 1
            if not waiting:
                then()

        mine = borrower.worker_id == self.worker_id
        for owner, oids in by_owner.items():
            link = self.link_to(owner)
            if link is None:
                continue  # dead: reading will say so
            self._requests += 1
            request = self._requests
            asked = [borrow for oid in oids if (borrow := self.ownership.asked(oid)) is not None] if mine else []

            def acknowledged(asked: list[Borrow] = asked) -> None:
                for borrow in asked:
                    self.ownership.acknowledged(borrow)
                one_done()

            waiting += 1
            question = pb.AddBorrower(request_id=request, object_ids=oids, borrower=borrower)
            self._borrow_acks[request] = (link, question, acknowledged)
            self.send(link, question)
        one_done()

    # -- values

    def watch(self, oid: bytes, watcher: Any) -> None:
        """Call `watcher.ready` once the object is there; at once if it is. Called under the lock."""
        value = self.values.known.get(oid)
        if value is not None:
            watcher.ready(oid, value)
            return
        self.values.watch(oid, watcher)
        self._want(oid)

    def _want(self, oid: bytes) -> None:
        """Make sure that news of the object will come."""
        borrow = self.ownership.borrows.get(oid)
        if borrow is None:
            if oid not in self.ownership.counts:
                self.values.set(oid, failures.lost(oid))
            return
        if oid in self._wanted:
            return
        self._wanted[oid] = borrow.owner
        link = self.link_to(borrow.owner)
        if link is None:
            self._owner_died(oid, borrow.owner)
        else:
            self.send(link, pb.WantObject(object_ids=[oid]))

    def _want_object(self, link: Link, frame: pb.WantObject, raw: bytes) -> None:
        for oid in frame.object_ids:
            value = self.values.known.get(oid)
            if value is not None:
                self._tell_value(link, oid, value)
            elif not self.ownership.alive(oid):
                self.send(link, pb.ObjectValue(object_id=oid, unknown=True))
            else:
                self.values.watch(oid, Call(lambda oid, value: self._tell_value(link, oid, value)))

    def _tell_value(self, link: Link, oid: bytes, value: Value) -> None:
        message = pb.ObjectValue(object_id=oid)
        if type(value) is bytes:
            message.value.value = value
        elif type(value) is Stored:
            message.value.size = value.size
            message.value.node_id = value.node_id
        else:
            value.read = True  # type: ignore[union-attr]
            message.failure.CopyFrom(value.fields)  # type: ignore[union-attr]
        self.send(link, message)

    def _object_value(self, link: Link, frame: pb.ObjectValue, raw: bytes) -> None:
        oid = frame.object_id
        self._wanted.pop(oid, None)
        if oid not in self.ownership.counts:
            return
        if frame.HasField("failure"):
            self.values.set(oid, Failure(frame.failure))
        elif frame.unknown:
            self.values.set(oid, failures.lost(oid))
        elif frame.value.size:
            self.values.set(oid, Stored(frame.value.size, frame.value.node_id))
        else:
            self.values.set(oid, frame.value.value)

    def store_return(self, oid: bytes, value: pb.ReturnValue) -> None:
        """One result of a finished task arrived. Called under the lock."""
        alive = self.ownership.alive(oid)
        if value.contained:
            inner = []
            for ref in value.contained:
                owner = ref.owner.SerializeToString(deterministic=True)
                self.ownership.receive(ref.object_id, owner, owner == self.address_bytes)
                self.ownership.lent(ref.object_id)
                inner.append(ref.object_id)
            if alive:
                self.ownership.store_contained(oid, inner)
            else:
                self.ownership.drop_many(inner)
                self.perform()
        if value.size:
            if alive:
                self.values.set(oid, Stored(value.size, value.node_id))
            else:
                self.raylet_send(pb.FreeObjects(object_ids=[oid]))
        elif alive:
            self.values.set(oid, value.value)

    def read(self, oid: bytes, value: Value, deadline: float | None = None) -> Any:
        """The Python value of an object that is there.

        Raises:
            What the task raised, as its reader sees it.
        """
        kind = type(value)
        if kind is Failure:
            value.read = True  # type: ignore[union-attr]
            raise failures.exception_of(value)  # type: ignore[arg-type]
        if kind is Stored:
            views = self.store.get([oid], deadline)
            if views is None:
                raise errors.GetTimeoutError(f"the value of {oid.hex()} was not here in time")
            value = views[0]  # type: ignore[assignment]
        if self.ownership.borrows.get(oid) is None:
            return deserialize(value)  # type: ignore[arg-type]
        result, refs = self.loads_capturing(value)  # type: ignore[arg-type]
        if refs:
            with self.lock:
                # The lender is the object whose value brought them: it stays until their owners know us.
                self.ownership.add(oid)
                self.register_borrows(refs, lambda: self.ownership.drop(oid))
                self.perform()
        return result

    # -- what users call

    def put(self, value: Any) -> ObjectRef[Any]:
        """Store a value; it may be changed afterwards without effect."""
        self.check()
        serialized = serialize(value)
        if serialized.refs or serialized.handles:
            inner = counted_inside(serialized)
            with self.lock:
                self._check_current(inner, serialized)
        oid = self.ids.put()
        if serialized.size <= INLINE_BYTES:
            data: Any = to_bytes(serialized)
        else:
            self.store.create(oid, serialized, self.worker_id)
            data = Stored(serialized.size, self.welcome.node_id)
        with self.lock:
            self.ownership.counts[oid] = 1
            if serialized.refs or serialized.handles:
                self.hold_contained(oid, inner)
            self.values.known[oid] = data
            if len(released) > 64:
                self._drain_released()
        return make_ref(oid)

    def get_one(self, ref: ObjectRef[Any], deadline: float | None) -> Any:
        """The value of one ref."""
        oid = ref._id
        value = self.values.known.get(oid)
        if value is None:
            self._await_all([oid], deadline)
            value = self.values.known.get(oid)
            if value is None:
                raise self._timed_out([oid])
        if type(value) is bytes and oid not in self.ownership.borrows:
            return deserialize(value)
        return self.read(oid, value, deadline)

    def get_many(self, refs: Sequence[ObjectRef[Any]], deadline: float | None) -> list[Any]:
        """The values of some refs, in order."""
        ids = list(map(_ids_of, refs))
        known = self.values.known
        missing = [oid for oid in ids if oid not in known]
        if missing:
            failed = self._await_all(missing, deadline)
            if failed is not None:
                self.read(failed, known[failed])
            missing = [oid for oid in missing if oid not in known]
            if missing:
                raise self._timed_out(missing)
        borrows = self.ownership.borrows
        results = []
        for oid in ids:
            value = known[oid]
            if type(value) is bytes and oid not in borrows:
                results.append(deserialize(value))
            else:
                results.append(self.read(oid, value, deadline))
        return results

    def _await_all(self, missing: list[bytes], deadline: float | None) -> bytes | None:
        """Wait for objects; the first that failed, if one did."""
        with self.lock:
            self.check()
            self._check_counted(missing)
            waiter = All(len(missing), self.pump.finish)
            for oid in missing:
                self.watch(oid, waiter)
                if waiter.done:
                    break
            if not waiter.done:
                self.flush()
        try:
            self.wait_for(waiter, lambda: self._describe(missing), deadline)
        finally:
            if not waiter.done or waiter.failed is not None:
                with self.lock:
                    self.values.unwatch(missing, waiter)
        return waiter.failed

    def wait_for_values(self, oids: Sequence[bytes]) -> None:
        """Wait until objects are there; a failed one raises what its task raised."""
        missing = [oid for oid in oids if oid not in self.values.known]
        failed = self._await_all(missing, None) if missing else None
        if failed is not None:
            self.read(failed, self.values.known[failed])

    def wait_for(self, waiter: Waiter, what: str | Callable[[], str], deadline: float | None = None) -> bool:
        """Wait, saying once what for when it takes long; tells the raylet that a task's CPU is free meanwhile."""
        if waiter.done:
            return True
        blocking = self.blocking
        if blocking is not None:
            blocking[0]()
        try:
            notice = self.now() + NOTICE_S
            if deadline is None or notice < deadline:
                if not self.pump.wait(waiter, notice) and not self.interrupts.pending() and not self.closed:
                    text = what if isinstance(what, str) else what()
                    log.warning("waiting for %s since %d s", text, NOTICE_S)
                    self.pump.wait(waiter, deadline)
            else:
                self.pump.wait(waiter, deadline)
        finally:
            if blocking is not None:
                blocking[1]()
        self.interrupts.raise_pending()
        if not waiter.done:
            if self.broken is not None:
                raise self.broken
            if self.closed:
                raise errors.NotConnectedError("the cluster was left by shutdown() while this waited")
        return waiter.done

    def _describe(self, missing: Sequence[bytes]) -> str:
        """What a long wait waits for."""
        left = [oid for oid in missing if oid not in self.values.known]
        first = left[0].hex() if left else "?"
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        with self.lock:
            where = self._where(left[0]) if left else ""
            statistics = self.submitter.statistics()
        return (
            f"ObjectRef({first}){where}{more}; of this process's tasks {statistics['inflight']} are with workers, "
            f"{statistics['pending']} wait for one"
        )

    def _where(self, oid: bytes) -> str:
        """How far an object's task is, in parentheses; empty when this process does not know. Called under the lock."""
        first = oid[:24] + b"\1\0\0\0"
        text = self.submitter.where(first) or self.actors.where(first)
        borrow = self.ownership.borrows.get(oid)
        if not text and borrow is not None:
            text = f"owned by the process at {common.Address.FromString(borrow.owner).endpoint}"
        return f" ({text})" if text else ""

    def _timed_out(self, missing: Sequence[bytes]) -> errors.GetTimeoutError:
        return errors.GetTimeoutError(
            f"Get timed out: some object(s) not ready: {len(missing)} of them, first ObjectRef({missing[0].hex()})"
        )

    def flush(self) -> None:
        """Send whatever was gathered: somebody waits. Called under the lock."""
        if released:
            self._drain_released()
        self.submitter.flush()
        self.actors.flush()

    def wait(
        self, refs: list[ObjectRef[Any]], ids: list[bytes], num_returns: int, deadline: float | None
    ) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]:
        """Split refs into ready and not, once enough are ready or time is up."""
        known = self.values.known
        ready = self._ready(ids, num_returns)
        if len(ready) < num_returns and deadline != 0:
            with self.lock:
                self.check()
                there = sum(map(known.__contains__, ids))
                waiter = Some(num_returns - there, self.pump.finish)
                if there < num_returns:
                    missing = [oid for oid in ids if oid not in known]
                    self._check_counted(missing)
                    for oid in missing:
                        self.watch(oid, waiter)
                    self.flush()
                else:
                    missing = []
                    waiter.done = True
            try:
                self.wait_for(waiter, lambda: self._describe(ids), deadline)
            finally:
                with self.lock:
                    self.values.unwatch(missing, waiter)
            ready = self._ready(ids, num_returns)
        elif deadline == 0 and len(ready) < num_returns:
            with self.lock:
                missing = [oid for oid in ids if oid not in known]
                self._check_counted(missing)
                for oid in missing:
                    self._want(oid)
                self.flush()
            self.pump.poll_once()
            ready = self._ready(ids, num_returns)
        if len(ready) == 1:
            at = ready[0]
            return [refs[at]], refs[:at] + refs[at + 1 :]
        chosen = set(ready)
        return [refs[at] for at in ready], [ref for at, ref in enumerate(refs) if at not in chosen]

    def _ready(self, ids: list[bytes], most: int) -> list[int]:
        known = self.values.known
        ready = []
        for at, oid in enumerate(ids):
            if oid in known:
                ready.append(at)
                if len(ready) == most:
                    break
        return ready

    def future_of(self, ref: ObjectRef[Any]) -> concurrent.futures.Future[Any]:
        """A future of the value, completed outside of the pump."""
        from manta.client.futures import ObjectFuture

        future = ObjectFuture(ref)
        oid = ref._id

        def complete(oid: bytes, value: Value) -> None:
            self.background.run(lambda: future.complete(self, oid, value))

        with self.lock:
            self.check()
            self._check_counted((oid,))
            self.watch(oid, Call(complete))
            self.flush()
        self.pump.attend()
        return future

    def submit(self, template: Template, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a task. Returns its ref, a list of refs, or None, as the template says."""
        for arg in args:
            if type(arg) is ObjectRef:
                return self._submit_special(template, args, kwargs)
        for arg in kwargs.values():
            if type(arg) is ObjectRef:
                return self._submit_special(template, args, kwargs)
        serialized = serialize((args, kwargs))
        if serialized.size > INLINE_BYTES or serialized.refs or serialized.handles or template.num_returns != 1:
            return self._submit_special(template, args, kwargs)
        # All that may be interrupted comes before the first change of state.
        payload = to_bytes(serialized)
        oid = self.ids.task() + b"\1\0\0\0"
        if self.runs_tasks:
            self.note_child(oid)
        with self.lock:
            if self.broken is not None or self.closed:
                self.check()
            self.ownership.counts[oid] = 1
            self.submitter.unfinished += 1
            look = self.submitter.enqueue(template, (oid, template.number, payload))
        if look:
            if len(released) > 64:
                with self.lock:
                    self._drain_released()
            self.pump.poll_once()
        return make_ref(oid)

    def note_child(self, oid: bytes) -> None:
        """A task or call was submitted by what runs in this thread, so that cancelling that can cancel this too."""
        now = running.get()
        if now is None:
            return
        children = now.children
        if children is None:
            now.children = [oid]
            return
        children.append(oid)
        if len(children) >= now.prune_at:
            with self.lock:
                under_way = self.submitter.under_way() | self.actors.under_way()
                children[:] = [one for one in children if one in under_way]
            now.prune_at = max(1024, 2 * len(children))

    def prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any], extra: Extra) -> tuple[bytes, list[bytes]]:
        """Serialise arguments: refs at the top become values later, large ones become objects.

        Returns:
            The bytes, and the argument objects that are not there yet.
        """
        refs: list[tuple[int, str, bytes]] = []
        held: list[bytes] = []
        keep: list[ObjectRef[Any]] = []
        plain_args = list(args)
        plain_kwargs = dict(kwargs)
        for position, keyword, arg in chain(
            ((at, "", arg) for at, arg in enumerate(args)), ((0, name, arg) for name, arg in kwargs.items())
        ):
            if type(arg) is not ObjectRef:
                continue
            refs.append((position, keyword, arg._id))
            held.append(arg._id)
            if keyword:
                plain_kwargs[keyword] = None
            else:
                plain_args[position] = None
        serialized = serialize((tuple(plain_args), plain_kwargs))
        if serialized.size > INLINE_BYTES:
            # The large ones become objects of their own, so that a queued task stays small and a retry copies nothing.
            for position, keyword, arg in [
                *((at, "", arg) for at, arg in enumerate(plain_args)),
                *((0, name, arg) for name, arg in plain_kwargs.items()),
            ]:
                if arg is None or type(arg) in (int, float, bool):
                    continue
                if serialize(arg).size <= INLINE_BYTES // 8:
                    continue
                ref = self.put(arg)
                keep.append(ref)
                refs.append((position, keyword, ref._id))
                held.append(ref._id)
                if keyword:
                    plain_kwargs[keyword] = None
                else:
                    plain_args[position] = None
            serialized = serialize((tuple(plain_args), plain_kwargs))
        held.extend(counted_inside(serialized))
        payload = to_bytes(serialized)
        with self.lock:
            self._check_current(held, serialized)
            for oid in held:
                self.ownership.add(oid)
            known = self.values.known
            # One that has failed counts as missing: whoever waits for it hears of the failure at once.
            missing = [oid for _, _, oid in refs if type(known.get(oid)) in _NO_VALUE]
        extra.refs = refs
        extra.held = held
        return payload, missing

    def _submit_special(self, template: Template, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        extra = Extra()
        payload, missing = self.prepare(args, kwargs, extra)
        task_id = self.ids.task()
        oid = task_id + b"\1\0\0\0"
        if self.runs_tasks:
            self.note_child(oid)
        count = template.num_returns
        result: Any
        with self.lock:
            self.check()
            oids = [task_id + (number + 1).to_bytes(4, "little") for number in range(max(count, 0))]
            for one in oids:
                self.ownership.counts[one] = 1
            if count == -1:
                from manta.client.generators import open_stream

                result = open_stream(self, task_id, extra, template.definition.backpressure)
            self.submitter.unfinished += 1
            if extra.held or extra.stream is not None:
                self.submitter.extras[oid] = extra
            record = (oid, template.number, payload)
            if missing:
                self.submitter.submit_waiting(template, record, set(missing))
            else:
                self.submitter.enqueue(template, record)
        if count == 1:
            return make_ref(oid)
        if count == 0:
            return None
        if count == -1:
            return result
        return [make_ref(one) for one in oids]

    def fill_extra(self, message: pb.TaskExtra, index: int, extra: Extra) -> None:
        """Write what is special about a task into its frame. Called under the lock, when all its arguments are there."""
        message.index = index
        message.attempt = extra.attempt
        known = self.values.known
        for position, keyword, oid in extra.refs:
            value = known[oid]
            entry = message.refs.add(position=position, keyword=keyword, object_id=oid)
            if type(value) is bytes:
                entry.value = value
            elif type(value) is Stored:
                entry.size = value.size
                entry.node_id = value.node_id

    def cancel(self, oid: bytes, *, force: bool, recursive: bool) -> None:
        """Cancel the task that makes the object."""
        with self.lock:
            self.check()
            if oid in self.values.known:
                return
            borrow = self.ownership.borrows.get(oid)
            if borrow is not None:
                link = self.link_to(borrow.owner)
                if link is not None:
                    self.send(link, pb.CancelByRef(object_id=oid, force=force, recursive=recursive))
                return
            self.cancel_owned(oid, force=force, recursive=recursive)
            self.flush()
        self.pump.attend()

    def cancel_owned(self, oid: bytes, *, force: bool, recursive: bool) -> None:
        """Cancel the task or call of this process's that makes the object, if it is not over. Called under the lock."""
        first = oid[:24] + b"\1\0\0\0"
        if not self.actors.cancel(first, force=force, recursive=recursive):
            self.submitter.cancel(first, force=force, recursive=recursive)

    def _cancel_by_ref(self, link: Link, frame: pb.CancelByRef, raw: bytes) -> None:
        self.cancel_owned(frame.object_id, force=frame.force, recursive=frame.recursive)

    def kill_actor(self, client: ActorClient, *, no_restart: bool) -> None:
        """Kill an actor: its later calls fail, or wait for its next life."""
        with self.lock:
            self.check()
            self.actors.kill(client, no_restart=no_restart)
            named = client.info is not None and client.info.name
        self.pump.attend()
        if named:
            # Its name has to be free when we return.
            self.control("GetActor", ctl.GetActorRequest(actor_id=client.actor_id), ctl.GetActorResponse)

    # -- control, relayed

    def control(self, method: str, request: Message, reply: Any, timeout_s: float = 30.0) -> Any:
        """Call control through the raylet and return its decoded answer.

        Raises:
            MantaError: As control said; RpcTimeoutError when it did not answer in time.
        """
        waiter = Reply()
        with self.lock:
            self.check()
            self._requests += 1
            number = self._requests
            self._replies[number] = waiter
            self.raylet_send(
                pb.ControlCall(
                    request_id=number, method=method, payload=request.SerializeToString(), timeout_s=timeout_s
                )
            )
        try:
            done = self.wait_for(waiter, f"control's answer to {method}", self.now() + timeout_s + 1.0)
        finally:
            with self.lock:
                self._replies.pop(number, None)
        self.check()
        if not done or waiter.frame is None:
            raise errors.RpcTimeoutError(f"control did not answer {method} within {timeout_s} s")
        if waiter.frame.HasField("error"):
            raise error_from_proto(waiter.frame.error)
        return reply.FromString(waiter.frame.payload)

    def control_async(self, method: str, request: Message, then: Callable[[Any], None]) -> None:
        """Call control; `then(frame)` under the lock once it answered. Called under the lock."""
        self._requests += 1
        number = self._requests
        self._replies[number] = then
        self.raylet_send(
            pb.ControlCall(request_id=number, method=method, payload=request.SerializeToString(), timeout_s=60.0)
        )

    def _control_reply(self, link: Link, frame: pb.ControlReply, raw: bytes) -> None:
        waiter = self._replies.get(frame.request_id)
        if isinstance(waiter, Reply):
            waiter.frame = frame
            self.pump.finish(waiter)
        elif waiter is not None:
            del self._replies[frame.request_id]
            waiter(frame)

    # -- from the raylet and workers

    def _results(self, link: Link, frame: pb.TaskResults, raw: bytes) -> None:
        if link.lease is not None:
            self.submitter.results(link.lease, frame)
        else:
            self.actors.results(link, frame)

    def _worker_died(self, link: Link, frame: pb.WorkerDied, raw: bytes) -> None:
        self.submitter.worker_died(frame)
        self.actors.worker_died(frame)
        self.ownership.borrower_died(frame.worker_id)
        self.perform()

    def _stream_item(self, link: Link, frame: pb.StreamItem, raw: bytes) -> None:
        reader = self.streams.get(frame.task_id)
        if reader is not None:
            reader.item(link, frame)
        else:
            self.send(link, pb.StreamConsumed(task_id=frame.task_id, stop=True))

    def _log_lines(self, link: Link, frame: pb.LogLines, raw: bytes) -> None:
        if self.background.waiting < MAX_FRAMES_TO_PRINT:
            self.background.run(lambda: self.print_lines(frame))

    def _stack_request(self, link: Link, frame: pb.StackRequest, raw: bytes) -> None:
        from manta.client.stacks import stacks

        self.send(
            link,
            pb.StackReply(request_id=frame.request_id, pid=self.pid, title=self.title(), stacks=stacks(self)),
        )

    title: Callable[[], str] = staticmethod(lambda: "driver")


def counted_inside(serialized: Serialized) -> list[bytes]:
    """Ids of the refs and of the counted actor handles inside a value."""
    inner = [ref._id for ref in serialized.refs]
    inner.extend(handle._client.handle for handle in serialized.handles if handle._counted)
    return inner


#: Sessions of this process, for a fork to cut off in the child.
_sessions: weakref.WeakSet[DirectSession] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for session in list(_sessions):
        session._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
