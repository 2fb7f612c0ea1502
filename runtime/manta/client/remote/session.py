"""A driver's session outside of the cluster; a `session.Session`.

Everything meets here: `line` (the connection, opened again when it breaks), `outbox` and `inbox`, `calling`, `counting`, `store`.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time

from manta.client import current, failures
from manta.client.actor_client import gone
from manta.client.background import Background
from manta.client.fetching import Fetching
from manta.client.generators import closing
from manta.client.handles import ActorHandle, reduce_handle
from manta.client.objects import Objects
from manta.client.ownership import Ownership
from manta.client.patience import Patient
from manta.client.pickling import Pickling, dump
from manta.client.pump import Pump
from manta.client.refs import ObjectRef, make_ref, reduce_ref, released
from manta.client.remote.absent import Reporter
from manta.client.remote.calling import Calls
from manta.client.remote.counting import RemoteCounting, Watching
from manta.client.remote.inbox import Inbox, Reply, Requests
from manta.client.remote.outbox import GATHER_S, Outbox
from manta.client.remote.store import RemoteStore
from manta.client.signals import Interrupts
from manta.client.values import INLINE_BYTES, Stored, Values
from manta.client.waiter import Waiter
from manta.core import errors
from manta.core.ids import IdMaker
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.rpc.v1 import gateway_pb2 as gw
from manta.serde import install_hooks, serialize, to_bytes
from manta.transport.convert import error_from_proto

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from google.protobuf.message import Message

    from manta.client.generators import StreamReader
    from manta.client.remote.address import Gateway
    from manta.client.remote.line import Line
    from manta.client.values import Failure
    from manta.transport.message_data import WithData

log = logging.getLogger("manta")

#: Version of `gateway.proto`'s meaning; a gateway that speaks another refuses.
PROTOCOL = 1

#: Between two tries to connect again.
AGAIN_S = 0.05
AGAIN_CAP_S = 1.0

#: How long the gateway may take to have everything settled when the driver leaves.
FAREWELL_S = 5.0


class RemoteSession(Patient):
    """The process's connection to its cluster, through a gateway.

    Ownership: `connect` opens everything, `close` closes everything. Thread safety: every method may be called from any thread.
    """

    actor_host: Any = None
    actor_exit: type[BaseException] = SystemExit
    is_worker = False
    runs_tasks = False
    dump = staticmethod(dump)

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.pid = os.getpid()
        self.lock = threading.RLock()
        self.now: Callable[[], float] = time.monotonic
        self.closed = False
        self.broken: errors.MantaError | None = None
        self.environment: dict[str, str] = {}
        self.values = Values()
        self.ownership = Ownership()
        self.streams: dict[bytes, StreamReader] = {}
        self.background = Background()
        self.pump = Pump(self.lock)
        self.interrupts = Interrupts(self.pump.interrupt_main, lambda: self.pump.schedule(0.0))
        self.pump.interrupted = self.interrupts.pending
        self.pump.on_round = self._round
        self.pump.dropped = lambda: bool(released)
        self._main = threading.main_thread().ident
        self.outbox = Outbox(lambda: self.pump.schedule(self.now() + GATHER_S), self.pump.finish)
        self.say = self.outbox.say
        self.requests = Requests(self)
        self.post = self.requests.post
        self.store = RemoteStore(self)
        self.counting = RemoteCounting(self)
        self.capture, self.perform = self.counting.capture, self.counting.perform
        self.ref_made, self.ref_received = self.counting.ref_made, self.counting.ref_received
        self.export_ref, self.store_return = self.counting.export_ref, self.counting.store_return
        self.borrowing = Watching(self)
        self.watch, self.register_borrows = self.borrowing.watch, self.borrowing.register_borrows
        session: Any = self  # what these use of a session is here
        self.prepare = Pickling(session).prepare
        self.fetching = Fetching(session)  # nothing is far: the session's process fetches
        self.reporter = Reporter()
        objects = self._objects = Objects(session)
        self.get_one, self.get_many, self.wait = objects.get_one, objects.get_many, objects.wait
        self.read, self.future_of, self.wait_for_values = objects.read, objects.future_of, objects.wait_for_values
        calls = self._calls = Calls(self)
        self.task_template, self.method_template, self.cancel = calls.task_template, calls.method_template, calls.cancel
        self.submit, self.call_actor, self.know_actor = calls.submit, calls.call, calls.know
        self.create_actor, self.kill_actor = calls.create_actor, calls.kill
        self.poll_once, self.finish = self.pump.poll_once, self.pump.finish
        self.inbox = Inbox(self)
        self.welcome = pb.Welcome()
        self.address_bytes = b""
        self.worker_id = b""
        self.ids: IdMaker = None  # type: ignore[assignment]
        #: Stands for the connection where streams name the one that their items come on.
        self.line_link: Any = object()
        self._line: Line | None = None
        self._opened = gw.SessionOpened()
        #: The line waits for the kernel to take what was said.
        self._writing = False
        self._over = Waiter()
        #: Connects again.
        self._thread: threading.Thread | None = None
        self.print_lines: Callable[[pb.LogLines], None] = lambda lines: None
        self.finish_lines: Callable[[], None] = lambda: None
        self.on_unread: Callable[[Failure], None] = lambda failure: None
        self.on_infeasible: Callable[[str], None] = lambda text: None

    # -- life

    def connect(self, hello: gw.OpenSession) -> None:
        """Open a session.

        Raises:
            ClusterNotFoundError, AuthenticationError, VersionMismatchError: Nobody is there, it is not who it should be, or it
                does not want us.
        """
        from manta.client.remote.line import Line

        install_hooks(ObjectRef, reduce_ref, ActorHandle, reduce_handle)
        hello.protocol = PROTOCOL
        line = Line(self._gateway)
        try:
            first, more = line.open(gw.ConnectRequest(open=hello))
        except BaseException:
            line.close()
            self.pump.close()
            raise
        opened = self._opened = first.opened
        self.welcome, self.address_bytes = opened.welcome, opened.address
        self.worker_id = common.Address.FromString(opened.address).worker_id
        self.ids = IdMaker(opened.welcome.job_id, os.urandom(12))
        self.interrupts.install()
        _live.append(self)
        with self.lock:
            self._use(line, more)
        self.pump.start()

    def check(self) -> None:
        """Raise if the session has ended."""
        if self.broken is not None:
            raise self.broken
        if self.closed:
            raise errors.NotConnectedError

    def close(self) -> None:
        """Leave the cluster. Values that user code holds stay valid."""
        if self.closed:
            return
        ended: object = self
        if current.session is ended:
            current.session = None
        if self.pid != os.getpid():
            self.closed = True
            return
        self.interrupts.remove()
        with self.lock:
            if self.broken is None:
                self.say(gw.DriverAction(goodbye=pb.Goodbye(finished=True)))
                self.outbox.flush()
        if self.broken is None:
            try:
                self.pump.wait(self._over, self.now() + FAREWELL_S)
            except KeyboardInterrupt:
                pass
        with self.lock:
            self.closed = True
            self._end_waits(errors.NotConnectedError("the cluster was left by shutdown() while this waited"))
            if self._line is not None:
                self.pump.remove(self._line.fd)
                self._line.close()
        self._gateway.close()
        self.pump.close()
        self.background.run(self.finish_lines)
        self.background.finish(2.0)
        if self._thread is not None:
            self._thread.join(2.0)
        if self in _live:
            _live.remove(self)
        released.clear()
        gone.clear()

    def ended(self, reason: errors.MantaError) -> None:
        """The session is over, by the gateway's word or for lack of one. Called under the lock."""
        self.pump.finish(self._over)
        if self.broken is None and not self.closed:
            self.broken = reason
            self._end_waits(reason)

    def _end_waits(self, reason: errors.MantaError) -> None:
        failure = failures.system(reason)
        for oid in list(self.values.watchers):
            self.values.set(oid, failure)
        for stream in list(self.streams.values()):
            stream.failed(failure)
        self.requests.lost(reason)
        self.store.lost()
        self.outbox.let_go()

    # -- the connection

    def _use(self, line: Line, messages: list[bytes]) -> None:
        """Speak over this one from now on; what it has brought already comes first. Called under the lock."""
        self._line = line
        self._writing = False
        self.outbox.pass_on = self._pass_on
        self.pump.add(line.fd, self._ready)
        self._take(messages)
        self._look_to_write(line)

    def _pass_on(self, data: bytes | WithData) -> None:
        line = self._line
        if line is not None:
            line.send(data)
            if line.wants_to_write and not self._writing:
                self._look_to_write(line)

    def _look_to_write(self, line: Line) -> None:
        if line.wants_to_write != self._writing and line is self._line:
            self._writing = line.wants_to_write
            self.pump.want_write(line.fd, self._writing)

    def _ready(self, mask: int) -> None:
        """The connection can be read or written. Called under the lock, by whoever waits."""
        line = self._line
        if line is None:
            return
        try:
            self._take(line.receive())
        except (OSError, errors.ProtocolError) as broken:
            self._broke(line, broken)
            return
        if line.over:
            self._broke(line, errors.RpcError("the connection broke"))
        else:
            self._look_to_write(line)

    def _take(self, messages: list[bytes]) -> None:
        for data in messages:
            if self.closed:
                return
            try:
                self.inbox.message(data)
            except Exception as wrong:  # noqa: BLE001 - the session ends by it, and says so
                self.ended(errors.ProtocolError(f"the gateway said what this driver cannot take: {wrong}"))

    def _broke(self, line: Line, why: BaseException) -> None:
        """The connection is gone: open another, beside whoever waits here."""
        if line is not self._line:
            return
        self._line = None
        self.outbox.pass_on = lambda data: None
        self.pump.remove(line.fd)
        line.close()
        if not self._is_over():
            log.debug("the connection to the gateway broke: %s", why)
            self._thread = threading.Thread(target=self._connect_again, name="manta-gateway", daemon=True)
            self._thread.start()

    def _is_over(self) -> bool:
        return self.closed or self.broken is not None or self._over.done

    def _connect_again(self) -> None:
        from manta.client.remote.line import Line

        deadline = self.now() + self._opened.grace_s
        pause = AGAIN_S
        last: errors.MantaError = errors.RpcError("the connection broke")
        while not self.closed and self.now() < deadline:
            again = Line(self._gateway)
            try:
                resume = gw.ResumeSession(
                    session_id=self._opened.session_id,
                    secret=self._opened.secret,
                    received=self.outbox.log.received,
                    protocol=PROTOCOL,
                )
                first, more = again.open(gw.ConnectRequest(resume=resume))
                with self.lock:
                    if self._is_over():
                        again.close()
                        return
                    for data in self.outbox.log.resume(first.resumed.received):
                        again.send(data)
                    self.outbox.let_go()
                    self._use(again, more)
                self.pump.attend()
                return
            except (errors.RpcError, errors.ClusterNotFoundError, errors.KubeconfigError) as failed:
                again.close()
                last = failed
            except errors.MantaError as refused:
                again.close()
                last = refused
                if not (isinstance(refused, errors.AuthenticationError) and self._gateway.renew()):
                    break
            time.sleep(pause * (0.5 + random.random()))  # noqa: S311 - spreads drivers out
            pause = min(2 * pause, AGAIN_CAP_S)
        with self.lock:
            self.ended(
                errors.RaySystemError(f"the session at {self._gateway.address} is lost, and all it owned: {last}")
            )

    def _round(self, now: float) -> float | None:
        """After every round of events, under the lock: count what was dropped, send what gathered, see that the line lives."""
        if self.closed or self.broken is not None:
            return None
        self.flush()
        due: float | None = None
        line = self._line
        if line is not None:
            try:
                due = line.tick(now)
            except TimeoutError as silent:
                self._broke(line, silent)
        if self.interrupts.pending() and threading.get_ident() != self._main:
            self.interrupts.try_again()
            due = now + 0.001
        return due

    def _after_fork(self) -> None:
        """User code forked: the child has no session."""
        if self.pid != os.getpid() and not self.closed:
            self.closed = True
            self.lock = threading.RLock()
            self.broken = errors.ForkedProcessError()
            self.interrupts.let_go()
            self.values.known.clear()

    # -- objects

    def put(self, value: Any) -> ObjectRef[Any]:
        """Store a value; it may be changed afterwards without effect."""
        from manta.client.counting import counted_inside

        self.check()
        serialized = serialize(value)
        inner = counted_inside(serialized) if serialized.refs or serialized.handles else []
        if inner:
            with self.lock:
                self.counting.check_current(inner, serialized)
        oid = self.ids.put()
        if serialized.size > INLINE_BYTES:
            self.store.put(oid, serialized, inner)
            with self.lock:
                self.ownership.counts[oid] = 1
                self.values.known[oid] = Stored(serialized.size, self.welcome.node_id)
            return make_ref(oid)
        data = to_bytes(serialized)
        if self.outbox.log.full:
            self.await_room()
        with self.lock:
            self.check()
            self.ownership.counts[oid] = 1
            self.values.known[oid] = data
            self.say(gw.DriverAction(put=gw.PutObject(object_id=oid, value=data, contained=inner)))
        return make_ref(oid)

    def where(self, oid: bytes) -> str:
        """How far an object's task is: the session process knows, and nobody asks it."""
        return ""

    # -- control

    def control(self, method: str, request: Message, reply: Any, timeout_s: float = 30.0) -> Any:
        """Call control through the gateway and return its decoded answer.

        Raises:
            MantaError: As control said; RpcTimeoutError when it did not answer in time.
        """
        with self.lock:
            self.check()
            number, waiter = self.requests.waited_for()
            call = pb.ControlCall(
                request_id=number, method=method, payload=request.SerializeToString(), timeout_s=timeout_s
            )
            self.say(gw.DriverAction(control=call))
        return reply.FromString(self.answer(number, waiter, f"control's answer to {method}", timeout_s).payload)

    def answer(self, number: int, waiter: Reply, what: str, timeout_s: float) -> pb.ControlReply:
        """Wait for a request's answer.

        Raises:
            MantaError: What it says; RpcTimeoutError when none came in time.
        """
        with self.lock:
            self.flush()
        try:
            done = self.wait_for(waiter, what, self.now() + timeout_s + 1.0)
        finally:
            with self.lock:
                self.requests.forget(number)
        self.check()
        if not done or waiter.frame is None:
            raise errors.RpcTimeoutError(f"{what} did not come within {timeout_s} s")
        if waiter.frame.HasField("error"):
            raise error_from_proto(waiter.frame.error)
        return waiter.frame

    # -- waiting

    def send(self, link: object, frame: pb.StreamConsumed) -> None:
        """How far a stream was read. Called under the lock."""
        self.say(gw.DriverAction(consumed=frame))

    def flush(self) -> None:
        """Send whatever was gathered: somebody waits. Called under the lock."""
        if released:
            self.counting.drain_released()
        while closing:
            closing.pop().close()
        if gone:
            self._calls.drain_gone()
        self.outbox.flush()

    def await_room(self) -> None:
        """Wait until the session has taken enough of what was said; a driver that is cut off waits here too."""
        while True:
            with self.lock:
                self.check()
                if not self.outbox.log.full:
                    return
                waiter = Waiter()
                self.outbox.waiters.append(waiter)
            self.wait_for(waiter, "the gateway to take what was said")

    # -- who and where this process is

    @property
    def raylet_endpoint(self) -> str:
        """Where this process's gateway listens."""
        return self._gateway.address

    def held_resources(self) -> dict[str, int]:
        """A driver holds nothing."""
        return {}

    def held_gpus(self) -> list[Any]:
        """A driver holds nothing."""
        return []

    @property
    def submitter(self) -> Any:
        """For messages of waits that take long."""
        return self

    def statistics(self) -> dict[str, int]:
        """Tasks of which nothing has been heard; where they are the session process knows."""
        with self.lock:
            unheard = len(self.ownership.counts.keys() - self.values.known.keys())
        return {"inflight": unheard, "pending": 0}


#: The session of this process, for a fork to cut off in the child.
_live: list[RemoteSession] = []


def _after_fork_in_child() -> None:
    for session in _live:
        session._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
