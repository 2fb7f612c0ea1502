"""The node's tie to control: registered, attached by a line, relayed to; and tied anew when control comes back.

While control is away running work goes on and calls wait here until their time is up. Control counts the line as the node's
sign of life: it is opened again at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from manta.core.errors import MantaError
from manta.raylet.control_calls import ControlCalls, Done
from manta.raylet.looking import until_it_listens
from manta.raylet.refusals import NodeDeclaredDeadError, NotLetInError
from manta.rpc.v1 import common_pb2 as common
from manta.rpc.v1 import control_pb2 as cpb
from manta.rpc.v1 import control_pb2_grpc
from manta.rpc.v1 import raylet_pb2 as rpb
from manta.transport import auth, status
from manta.transport import grpc as transport
from manta.transport.channel import PROTOCOL
from manta.transport.convert import error_from_proto, error_to_proto
from manta.transport.tls import TlsFiles
from manta.version import __version__

log = logging.getLogger(__name__)

Response = TypeVar("Response", bound=Message)

#: What a stream gives after its last message.
_EOF: Final[Any] = grpc.aio.EOF

#: Refusals of a node that never was let in after which it need not ask again.
_FINAL: Final = frozenset({"AUTHENTICATION_FAILED", "CERTIFICATE_REFUSED", "VERSION_MISMATCH", "INVALID_REQUEST"})
#: How long a registration and a heartbeat may take, seconds.
_ATTEMPT_S: Final = 10.0
#: And a farewell.
_LEAVE_S: Final = 1.0
#: What nobody waits for is held back so long, to travel with what somebody does, seconds.
_PATIENCE_S: Final = 0.005
#: Bytes of calls in one message; one large call may have more.
_MESSAGE_BYTES: Final = 1 << 20


class ControlLink:
    """One node's connection to control.

    Args:
        target: gRPC target of control.
        token: Says what the session's tokens are now: the first is shown, none where the socket's folder is the credential.
        node_id: This node.
        describe: Makes the registration as things stand now.
        available: What is free on the node now.
        on_registered: Called with control's answer to each registration.
        on_order: Called with each order; does it or notes it, and says so.
        on_actor: Called with each state of an actor that is watched.
        files: This node's certificates, for a control on another machine.
        on_cluster: Called with what changes on other nodes.
        total: What the node has now; None if that is what it registered with.
        load: What work it has now.
    """

    def __init__(
        self,
        target: str,
        *,
        token: Callable[[], Sequence[str]],
        node_id: bytes,
        describe: Callable[[], cpb.RegisterNodeRequest],
        available: Callable[[], common.Resources],
        on_registered: Callable[[cpb.RegisterNodeResponse], None],
        on_order: Callable[[rpb.Order], rpb.OrderAnswer],
        on_actor: Callable[[cpb.ActorInfo], None],
        files: TlsFiles | None = None,
        on_cluster: Callable[[cpb.ClusterNews], None] = lambda news: None,
        total: Callable[[], common.Resources | None] = lambda: None,
        load: Callable[[], cpb.NodeLoad | None] = lambda: None,
        gauges: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._target = target
        self._files = None if target.startswith("unix:") else files
        #: The cluster that let us in; empty before.
        self._cluster_id = b""
        self._token = token
        self._node_id = node_id
        self._describe = describe
        self._available = available
        self._on_registered = on_registered
        self._on_order = on_order
        self._on_actor = on_actor
        self._on_cluster = on_cluster
        self._total = total
        self._load = load
        self._gauges = gauges
        #: Where our picture of the cluster stands.
        self._cluster: cpb.ClusterPosition | None = None
        #: Others want to hear what is free here, at most so often, seconds; 0 for nobody. What they heard last.
        self._report_s = 0.0
        self._report: asyncio.TimerHandle | None = None
        self._reported: common.Resources | None = None
        self._reported_total: common.Resources | None = None
        self._loop = asyncio.get_running_loop()
        self._channel: grpc.aio.Channel | None = None
        #: Set once control knows the node; cleared while it has to be told again.
        self.registered = asyncio.Event()
        self._period_s = 1.0
        self._heartbeats = 0
        #: There is something to say on the line.
        self._news = asyncio.Event()
        self._calls = ControlCalls(self._news.set, self._news_later)
        #: Will set `_news` for what can wait.
        self._later: asyncio.TimerHandle | None = None
        self._answers: list[rpb.OrderAnswer] = []
        self._watched: set[bytes] = set()
        #: Of those, and of what is no longer watched, what control has not been told.
        self._added: set[bytes] = set()
        self._removed: set[bytes] = set()
        self._position: cpb.WatchPosition | None = None
        #: Says what is free sooner than the next heartbeat would.
        self._room = asyncio.Event()
        #: Somebody at control waits for resources.
        self._wanted = False
        self._dead_workers: list[bytes] = []
        #: Takes what tools ask of the node.
        self.on_question: Callable[[cpb.NodeQuestion], None] = lambda question: None

    def close(self) -> None:
        """The node stops: whoever waits for control is told."""
        self._calls.close()

    # ---- the tie

    async def run(self) -> None:
        """Tie, stay tied, tie again. Ends only by cancellation or by control's word that the node is dead.

        Raises:
            NodeDeclaredDeadError: That word.
            NotLetInError: It never let the node in, and never will.
        """
        while True:
            await until_it_listens(self._target, self._files, lambda: bool(self._cluster_id))
            async with self._open_channel():
                try:
                    await self._register()
                    await self._stay()
                except (grpc.aio.AioRpcError, ConnectionError, TimeoutError) as lost:
                    if isinstance(lost, grpc.aio.AioRpcError):
                        self._check_final(lost)
                    log.warning("the tie to control is lost: %s", _reason(lost))
                finally:
                    self.registered.clear()

    def _check_final(self, lost: grpc.aio.AioRpcError) -> None:
        info = status.info_from(lost)
        if info.code == "NODE_DEAD":
            raise NodeDeclaredDeadError(info.message) from lost
        if not self._cluster_id and info.code in _FINAL:
            raise NotLetInError(error_from_proto(info)) from lost

    @asynccontextmanager
    async def _open_channel(self) -> AsyncIterator[None]:
        channel = self._channel = transport.channel(self._target, self._files)
        try:
            yield
        finally:
            self._channel = None
            await channel.close(grace=None)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        tokens = self._token()
        return auth.metadata(tokens[0]) if tokens else ()

    async def _register(self) -> None:
        request = self._describe()
        request.request_id = os.urandom(16)
        request.protocol, request.version = PROTOCOL, __version__
        request.python = ".".join(map(str, sys.version_info[:3]))
        assert self._channel is not None
        stub = control_pb2_grpc.ControlServiceStub(self._channel)
        response: cpb.RegisterNodeResponse = await stub.RegisterNode(
            request, timeout=_ATTEMPT_S, metadata=self._metadata()
        )
        if self._cluster_id and response.cluster_id != self._cluster_id:
            raise NodeDeclaredDeadError("another cluster answers where its control was")
        self._cluster_id = response.cluster_id
        self._period_s = (response.heartbeat_period_ms or 1000) / 1000
        self.registered.set()
        self._on_registered(response)

    async def _stay(self) -> None:
        """Speak, listen and beat; ends with the first of them."""
        assert self._channel is not None
        stream = control_pb2_grpc.ControlServiceStub(self._channel).Attach(metadata=self._metadata())
        tasks = [
            asyncio.create_task(self._speak(stream, self._first()), name="speak"),
            asyncio.create_task(self._listen(stream), name="listen"),
            asyncio.create_task(self._beat(), name="heartbeat"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            stream.cancel()

    # ---- the line

    def _first(self) -> cpb.AttachRequest:
        """Who we are, what interests us, and every call that nobody has answered."""
        self._calls.new_line()
        # Answers to orders of another line; whatever was not heard is ordered again.
        self._answers.clear()
        self._added.clear()
        self._removed.clear()
        first = cpb.AttachRequest(node_id=self._node_id, calls=self._calls.take(_MESSAGE_BYTES))
        first.watch.actor_ids.extend(sorted(self._watched))
        if self._position is not None:
            first.watch.after.CopyFrom(self._position)
        if self._cluster is not None:
            first.cluster.CopyFrom(self._cluster)
        return first

    async def _speak(self, stream: Any, request: cpb.AttachRequest | None) -> None:
        """Say everything that there is to say at a time, as actors are often born in tens."""
        while True:
            if request is not None:
                try:
                    await stream.write(request)
                except asyncio.InvalidStateError:
                    # gRPC's way to say that the line is over already. Should the node be dead, registering will say so.
                    raise ConnectionError("control ended the line") from None
            # What became known meanwhile and can wait is no reason for another message.
            await self._news.wait()
            self._news.clear()
            request = self._next()

    def _news_later(self) -> None:
        if self._later is None:
            self._later = self._loop.call_later(_PATIENCE_S, self._news_now)

    def _news_now(self) -> None:
        self._later = None
        self._news.set()

    def _next(self) -> cpb.AttachRequest | None:
        calls = self._calls.take(_MESSAGE_BYTES)
        answers, self._answers = self._answers, []
        if not (calls or answers or self._added or self._removed):
            return None
        request = cpb.AttachRequest(calls=calls, answers=answers)
        if self._added or self._removed:
            request.watch.actor_ids.extend(sorted(self._added))
            request.watch.remove_actor_ids.extend(sorted(self._removed))
            self._added.clear()
            self._removed.clear()
        return request

    async def _listen(self, stream: Any) -> None:
        last = 0
        while True:
            response = await stream.read()
            if response is _EOF:
                raise ConnectionError("control ended the line")
            for reply in response.replies:
                self._calls.answered(reply)
            for order in response.orders:
                answer = self._order(order)
                self._answers.append(answer)
                if answer.start_actor.reason or answer.HasField("error"):
                    # Another place has to be found for it.
                    self._news.set()
                else:
                    self._news_later()
            for question in response.questions:
                self.on_question(question)
            for event in response.events:
                if event.previous != last:
                    self._position = None
                    raise ConnectionError(f"events between {last} and {event.previous} were lost")
                last = event.position.number
                self._position = event.position
                self._event(event)
            if response.cluster:
                news = cpb.ClusterNews.FromString(response.cluster)
                self._cluster = news.position
                self._on_cluster(news)

    def _order(self, order: rpb.Order) -> rpb.OrderAnswer:
        try:
            answer = self._on_order(order)
        except MantaError as error:
            log.warning("an order of control's cannot be done: %s", error)
            answer = rpb.OrderAnswer(error=error_to_proto(error))
        answer.number = order.number
        return answer

    def _event(self, event: cpb.WatchResponse) -> None:
        match event.WhichOneof("event"):
            case "actor":
                self._on_actor(event.actor)
            case "unknown_actor":
                # Without a state: who owns it has to say it again.
                self._on_actor(cpb.ActorInfo(actor_id=event.unknown_actor.actor_id))
            case "resync":
                # A new control knows from us that they run, and from nobody whether they may be restarted.
                for actor_id in sorted(self._watched):
                    self._on_actor(cpb.ActorInfo(actor_id=actor_id))
            case _:
                pass

    async def _beat(self) -> None:
        while True:
            self._heartbeats += 1
            self._room.clear()
            self._reported = self._available()
            self._reported_total = self._total()
            request = cpb.HeartbeatRequest(
                node_id=self._node_id,
                number=self._heartbeats,
                available=self._reported,
                total=self._reported_total,
                load=self._load(),
                gauges=self._gauges(),
            )
            reply = await self._ask("Heartbeat", request, _ATTEMPT_S)
            if reply.error.code == "NODE_DEAD":
                raise NodeDeclaredDeadError(reply.error.message)
            if reply.HasField("error"):
                raise ConnectionError(f"control does not take our heartbeat: {reply.error.message}")
            answer = cpb.HeartbeatResponse.FromString(reply.payload)
            self._wanted, self._report_s = answer.wanted, answer.report_period_ms / 1000
            with suppress(TimeoutError):
                async with asyncio.timeout(self._period_s):
                    await self._room.wait()

    def room(self) -> None:
        """Resources became free; control hears of it at once if somebody there waits for them."""
        if self._wanted:
            self._room.set()

    def changed(self) -> None:
        """What is free, or what there is, may have changed; others hear of it soon."""
        if self._total() != self._reported_total:
            # Bundles came or went: somebody waits for them.
            self._room.set()
        if self._report_s and self._report is None:
            self._report = self._loop.call_later(self._report_s, self._report_now)

    def _report_now(self) -> None:
        self._report = None
        if self._available() != self._reported or self._total() != self._reported_total:
            self._room.set()

    # ---- calls

    def post(self, method: str, payload: bytes, done: Done, *, timeout_s: float | None, patient: bool = False) -> None:
        """Make one encoded call; while control is away it waits.

        Args:
            method: RPC's name.
            payload: Encoded request.
            done: Called once, with control's reply or, if there was none, with one that says why.
            timeout_s: How long it may take, seconds; None for a call that has to arrive, however long control is away.
            patient: It may be held back for some milliseconds, and so may its reply.
        """
        self._calls.add(method, payload, done, timeout_s, patient=patient)

    def _ask(self, method: str, request: Message, timeout_s: float | None) -> asyncio.Future[cpb.LineReply]:
        future: asyncio.Future[cpb.LineReply] = self._loop.create_future()

        def done(reply: cpb.LineReply) -> None:
            if not future.done():
                future.set_result(reply)

        self.post(method, request.SerializeToString(), done, timeout_s=timeout_s)
        return future

    async def call(self, method: str, request: Message, response: type[Response], *, timeout_s: float) -> Response:
        """Make one call of ours.

        Raises:
            MantaError: Control's refusal, or that it stayed away.
        """
        reply = await self._ask(method, request, timeout_s)
        if reply.HasField("error"):
            raise error_from_proto(reply.error)
        return response.FromString(reply.payload)

    def tell(
        self,
        method: str,
        request: Message,
        told: Callable[[bytes], None] | None = None,
        *,
        patient: bool = False,
    ) -> None:
        """Make a call that has to arrive, however long control is away.

        Args:
            method: RPC's name.
            request: Its request.
            told: Called with the encoded response, unless control refused.
            patient: See `post`.
        """

        def done(reply: cpb.LineReply) -> None:
            if reply.HasField("error"):
                log.warning("control refused %s: %s", method, reply.error.message)
            elif told is not None:
                told(reply.payload)

        self.post(method, request.SerializeToString(), done, timeout_s=None, patient=patient)

    def worker_died(self, worker_id: bytes) -> None:
        """Note that a process that owned things is gone; many at once are one message."""
        self._dead_workers.append(worker_id)
        if len(self._dead_workers) == 1:
            self._loop.call_soon(self._report_dead)

    def _report_dead(self) -> None:
        dead, self._dead_workers = self._dead_workers, []
        request = cpb.ReportWorkersDiedRequest(request_id=os.urandom(16), node_id=self._node_id, worker_ids=dead)
        self.tell("ReportWorkersDied", request, patient=True)

    async def leave(self, reason: str) -> None:
        """Tell a control on another machine that the node ends, so that it need not miss it first."""
        if self._target.startswith("unix:") or not self.registered.is_set():
            return
        request = cpb.UnregisterNodeRequest(request_id=os.urandom(16), node_id=self._node_id, reason=reason)
        with suppress(TimeoutError, MantaError):
            async with asyncio.timeout(_LEAVE_S):
                await self._ask("UnregisterNode", request, _LEAVE_S)

    # ---- interest

    def watch_actors(self, add: set[bytes], remove: set[bytes]) -> None:
        """Change which actors' states are wanted; of new ones the present state comes first."""
        add = add - self._watched
        self._watched |= add
        self._watched -= remove
        # What was said last about an actor counts.
        self._added = self._added - remove | add
        self._removed = self._removed - add | remove
        if add:
            self._news.set()
        else:
            self._news_later()


def _reason(lost: BaseException) -> str:
    if isinstance(lost, grpc.aio.AioRpcError):
        return f"{lost.code().name}: {lost.details()}"
    return str(lost) or type(lost).__name__
