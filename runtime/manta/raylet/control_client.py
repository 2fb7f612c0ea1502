"""The node's tie to control: registered, watched, reported to, relayed to; and tied anew when control comes back.

While control is away running work goes on and calls wait here until their time is up. Control counts the `Watch` stream as the
node's sign of life: it is opened again at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from manta.core.errors import MantaError
from manta.rpc.v1 import common_pb2 as common
from manta.rpc.v1 import control_pb2 as cpb
from manta.rpc.v1 import control_pb2_grpc
from manta.transport import auth, status
from manta.transport import grpc as transport

log = logging.getLogger(__name__)

Response = TypeVar("Response", bound=Message)

#: What a stream gives after its last message.
_EOF: Final[Any] = grpc.aio.EOF

_SERVICE: Final = "/manta.rpc.v1.ControlService/"

#: Between two looks whether control listens: short, the laptop's first task waits for it; then longer.
_PROBE_FIRST_S: Final = 0.003
_PROBE_CAP_S: Final = 0.2
#: How long one attempt of our own calls may take, seconds.
_ATTEMPT_S: Final = 10.0
#: Pause before a call that found control away is tried again, seconds.
_AGAIN_S: Final = 0.02


class NodeDeclaredDeadError(MantaError):
    """Control has given this node up; its work belongs to others by now."""

    code = "NODE_DEAD"


class ControlLink:
    """One node's connection to control.

    Args:
        target: gRPC target of control.
        token: The session's token; empty where the socket's folder is the credential.
        node_id: This node.
        describe: Makes the registration as things stand now.
        available: What is free on the node now.
        on_registered: Called with control's answer to each registration.
        on_actor: Called with each state of an actor that is watched.
    """

    def __init__(
        self,
        target: str,
        *,
        token: str,
        node_id: bytes,
        describe: Callable[[], cpb.RegisterNodeRequest],
        available: Callable[[], common.Resources],
        on_registered: Callable[[cpb.RegisterNodeResponse], None],
        on_actor: Callable[[cpb.ActorInfo], None],
    ) -> None:
        self._target = target
        self._metadata = auth.metadata(token)
        self._node_id = node_id
        self._describe = describe
        self._available = available
        self._on_registered = on_registered
        self._on_actor = on_actor
        self._channel: grpc.aio.Channel | None = None
        self._calls: dict[str, Callable[..., Awaitable[bytes]]] = {}
        #: Set once control knows the node; cleared while it has to be told again.
        self.registered = asyncio.Event()
        self._period_s = 1.0
        self._heartbeats = 0
        self._watched: set[bytes] = set()
        self._position: cpb.WatchPosition | None = None
        self._interest: asyncio.Queue[cpb.WatchRequest] = asyncio.Queue()
        #: Says what is free sooner than the next heartbeat would.
        self._news = asyncio.Event()
        #: Somebody at control waits for resources.
        self._wanted = False
        self._dead_workers: list[bytes] = []

    # ---- the tie

    async def run(self) -> None:
        """Tie, stay tied, tie again. Ends only by cancellation or by control's word that the node is dead.

        Raises:
            NodeDeclaredDeadError: That word.
        """
        while True:
            await self._wait_until_it_listens()
            async with self._open_channel():
                try:
                    await self._register()
                    await self._stay()
                except (grpc.aio.AioRpcError, ConnectionError, TimeoutError) as lost:
                    if isinstance(lost, grpc.aio.AioRpcError) and status.info_from(lost).code == "NODE_DEAD":
                        raise NodeDeclaredDeadError(status.info_from(lost).message) from lost
                    log.warning("the tie to control is lost: %s", _reason(lost))
                finally:
                    self.registered.clear()

    async def _wait_until_it_listens(self) -> None:
        """Ask the socket itself: gRPC's own waiting between attempts grows beyond what a start may take."""
        if not self._target.startswith("unix:"):
            return
        pause = _PROBE_FIRST_S
        while True:
            probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            probe.setblocking(False)
            try:
                probe.connect(self._target.removeprefix("unix:"))
                return
            except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
                await asyncio.sleep(pause)
                pause = min(_PROBE_CAP_S, pause * 1.1)
            finally:
                probe.close()

    @asynccontextmanager
    async def _open_channel(self) -> AsyncIterator[None]:
        channel = self._channel = transport.channel(self._target)
        self._calls.clear()
        try:
            yield
        finally:
            self._channel = None
            await channel.close(grace=None)

    async def _register(self) -> None:
        request = self._describe()
        request.request_id = os.urandom(16)
        assert self._channel is not None
        stub = control_pb2_grpc.ControlServiceStub(self._channel)
        response: cpb.RegisterNodeResponse = await stub.RegisterNode(
            request, timeout=_ATTEMPT_S, metadata=self._metadata
        )
        self._period_s = (response.heartbeat_period_ms or 1000) / 1000
        self.registered.set()
        self._on_registered(response)

    async def _stay(self) -> None:
        """Watch and beat; ends with the first of them."""
        tasks = [asyncio.create_task(self._watch(), name="watch"), asyncio.create_task(self._beat(), name="heartbeat")]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        assert self._channel is not None
        stream = control_pb2_grpc.ControlServiceStub(self._channel).Watch(metadata=self._metadata)
        first = cpb.WatchRequest(node_id=self._node_id, actor_ids=sorted(self._watched))
        if self._position is not None:
            first.after.CopyFrom(self._position)
        while not self._interest.empty():
            self._interest.get_nowait()
        await stream.write(first)
        writer = asyncio.create_task(self._tell_interest(stream), name="interest")
        try:
            last = 0
            while True:
                response = await stream.read()
                if response is _EOF:
                    raise ConnectionError("control ended the stream")
                if response.previous != last:
                    self._position = None
                    raise ConnectionError(f"events between {last} and {response.previous} were lost")
                last = response.position.number
                self._position = response.position
                self._event(response)
        finally:
            writer.cancel()
            stream.cancel()

    async def _tell_interest(self, stream: Any) -> None:
        """Say what changed; what changed meanwhile goes along, as actors are often born in tens."""
        while True:
            request = await self._interest.get()
            added, removed = set(request.actor_ids), set(request.remove_actor_ids)
            while not self._interest.empty():
                later = self._interest.get_nowait()
                # What was said last about an actor counts.
                added = added - set(later.remove_actor_ids) | set(later.actor_ids)
                removed = removed - set(later.actor_ids) | set(later.remove_actor_ids)
            await stream.write(cpb.WatchRequest(actor_ids=sorted(added), remove_actor_ids=sorted(removed)))

    def _event(self, response: cpb.WatchResponse) -> None:
        match response.WhichOneof("event"):
            case "actor":
                self._on_actor(response.actor)
            case "unknown_actor":
                # Without a state: who owns it has to say it again.
                self._on_actor(cpb.ActorInfo(actor_id=response.unknown_actor.actor_id))
            case "resync":
                # A new control knows from us that they run, and from nobody whether they may be restarted.
                for actor_id in sorted(self._watched):
                    self._on_actor(cpb.ActorInfo(actor_id=actor_id))
            case _:
                pass

    async def _beat(self) -> None:
        assert self._channel is not None
        stub = control_pb2_grpc.ControlServiceStub(self._channel)
        while True:
            self._heartbeats += 1
            self._news.clear()
            request = cpb.HeartbeatRequest(node_id=self._node_id, number=self._heartbeats, available=self._available())
            response: cpb.HeartbeatResponse = await stub.Heartbeat(request, timeout=_ATTEMPT_S, metadata=self._metadata)
            self._wanted = response.wanted
            with suppress(TimeoutError):
                async with asyncio.timeout(self._period_s):
                    await self._news.wait()

    def room(self) -> None:
        """Resources became free; control hears of it at once if somebody there waits for them."""
        if self._wanted:
            self._news.set()

    # ---- calls

    async def relay(self, method: str, payload: bytes, timeout_s: float) -> bytes:
        """Make one encoded call; while control is away, wait and try again until the time is up.

        Raises:
            grpc.aio.AioRpcError: Control's refusal, or that it stayed away.
            TimeoutError: It stayed away the whole time.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            async with asyncio.timeout_at(deadline):
                # Not before it knows this node again: what a call is about may be something that only we can tell it of.
                await self.registered.wait()
            call = self._call(method)
            try:
                return await call(payload, timeout=max(0.001, deadline - loop.time()), metadata=self._metadata)
            except grpc.aio.AioRpcError as error:
                # Every request carries an id that makes it safe to repeat.
                if error.code() is not grpc.StatusCode.UNAVAILABLE or loop.time() + _AGAIN_S >= deadline:
                    raise
            except asyncio.CancelledError:
                # A channel that is closed cancels its calls; that is not us being cancelled.
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
            except grpc.aio.UsageError:
                # The channel was closed between two steps of ours.
                pass
            await asyncio.sleep(_AGAIN_S)

    def _call(self, method: str) -> Callable[..., Awaitable[bytes]]:
        call = self._calls.get(method)
        if call is None:
            assert self._channel is not None
            call = self._calls[method] = self._channel.unary_unary(_SERVICE + method, None, None)
        return call

    async def call(self, method: str, request: Message, response: type[Response], *, timeout_s: float) -> Response:
        """Make one call of ours.

        Raises:
            MantaError: Control's refusal.
            TimeoutError: It stayed away.
        """
        try:
            return response.FromString(await self.relay(method, request.SerializeToString(), timeout_s))
        except grpc.aio.AioRpcError as error:
            raise status.error_from(error) from error

    async def tell(self, method: str, request: Message, response: type[Response]) -> Response | None:
        """Make a call that has to arrive, however long control is away. Returns None when control refuses it."""
        while True:
            await self.registered.wait()
            try:
                return response.FromString(await self.relay(method, request.SerializeToString(), _ATTEMPT_S))
            except TimeoutError:
                continue
            except grpc.aio.AioRpcError as error:
                if error.code() in transport.REPEATABLE:
                    await asyncio.sleep(_AGAIN_S)
                    continue
                log.warning("control refused %s: %s", method, status.info_from(error).message)
                return None

    def worker_died(self, worker_id: bytes, start: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        """Note that a process that owned things is gone; many at once are one message."""
        self._dead_workers.append(worker_id)
        if len(self._dead_workers) == 1:
            start(self._report_dead())

    async def _report_dead(self) -> None:
        await asyncio.sleep(0)
        await self.registered.wait()
        dead, self._dead_workers = self._dead_workers, []
        request = cpb.ReportWorkersDiedRequest(request_id=os.urandom(16), node_id=self._node_id, worker_ids=dead)
        await self.tell("ReportWorkersDied", request, cpb.ReportWorkersDiedResponse)

    # ---- interest

    def watch_actors(self, add: set[bytes], remove: set[bytes]) -> None:
        """Change which actors' states are wanted; asking again for one brings its present state again."""
        self._watched |= add
        self._watched -= remove
        if self.registered.is_set():
            self._interest.put_nowait(cpb.WatchRequest(actor_ids=sorted(add), remove_actor_ids=sorted(remove)))


def _reason(lost: BaseException) -> str:
    if isinstance(lost, grpc.aio.AioRpcError):
        return f"{lost.code().name}: {lost.details()}"
    return str(lost) or type(lost).__name__
