"""A thread that forwards connections to ports of a head's pod: a socket to speak through, or a port that others dial.

A driver's connection looks the pod up anew. A head that was replaced is another pod, and whoever dials again reaches that one.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, Final, TypeVar

from manta.aio.supervisor import Supervisor
from manta.client.kube import resource
from manta.client.kube.access import Access
from manta.client.kube.carrying import PROTOCOL, READ_BYTES, Carried
from manta.client.kube.refusals import name_of
from manta.client.kube.server import Server
from manta.core.errors import KubernetesError, KubernetesUnreachableError, PortForwardError
from manta.core.signals import leave_signals_to_main

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiohttp import ClientWebSocketResponse

T = TypeVar("T")

#: Connections at once: browsers open some, a driver one.
MOST_CONNECTIONS: Final = 200
#: For so long connections that others dial go to the same pod without asking which it is: a client may open ten a second.
KNOWN_S: Final = 5.0
_UNKNOWN: Final = ("", 0.0)
#: How long the thread may take to end.
END_S: Final = 5.0
#: Whom connections that others dial come from: this machine alone.
LOOPBACK: Final = "127.0.0.1"


class Forward:
    """The thread, its API server, its connections. Thread safety: every method may be called from any thread but its own.

    Ownership: `close` ends everything. A process forked from this one has none of it.

    Args:
        access: How the API server is reached.
        address: What it is about, for errors.
    """

    def __init__(self, access: Access, address: str) -> None:
        self.access, self.address = access, address
        #: Which cluster's head: namespace, name, UID. Set before the first connection.
        self.cluster = ("", "", "")
        #: What went wrong with the connection that was opened last; None if nothing has.
        self.failure: KubernetesError | None = None
        self._pid = os.getpid()
        self._closed = False
        #: Connections that others dialled.
        self._count = 0
        #: The head's pod, and until when that is taken for granted.
        self._pod = _UNKNOWN
        #: Sockets that a task of the thread has begun to carry, and closes.
        self._taken: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        #: Set in the thread, before `begun` is.
        self._server: Server
        self._tasks: Supervisor
        self._stop: asyncio.Event
        begun: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=self._run, args=(begun,), name="manta-kube", daemon=True)
        self._thread.start()
        self._loop = begun.result()

    # -- from other threads

    def ask(self, question: Callable[[Server], Awaitable[T]], timeout_s: float) -> T:
        """Have something asked of the API server.

        Raises:
            KubernetesError: What was answered, or that nothing was in time.
        """

        async def asked() -> T:
            return await question(self._server)

        return self._wait(asked(), timeout_s)

    def dial(self, port: int, timeout_s: float) -> socket.socket:
        """A connection to a port of the head's pod, for TLS: its end is its end both ways. It is the caller's to close.

        Raises:
            KubernetesError: There is no pod to connect to, or the API server does not forward to it.
        """
        near, far = socket.socketpair()
        try:
            self._wait(self._attach(far, port), timeout_s)
        except BaseException:
            near.close()
            self._discard(far)
            raise
        return near

    def listen(self, port: int, local_port: int = 0) -> int:
        """Forward whoever dials a port of this machine, until `close`; returns that port.

        Raises:
            OSError: The port is taken.
        """

        async def listening() -> int:
            server = await asyncio.start_server(
                lambda reader, writer: self._arrived(reader, writer, port), LOOPBACK, local_port, limit=READ_BYTES
            )
            _ = self._tasks.start(self._keep(server), name=f"listen for port {port}")
            found: int = server.sockets[0].getsockname()[1]
            return found

        return self._wait(listening(), END_S)

    def close(self) -> None:
        """End all connections, and the thread. Twice is harmless."""
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(END_S)

    def _wait(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        over = KubernetesUnreachableError("the connection to the API server is closed", self.address)
        if self._closed or self._pid != os.getpid():
            work.close()
            raise over
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # the thread has ended, and its loop with it
            work.close()
            raise over from None
        try:
            return future.result(timeout_s)
        except KubernetesError as failed:
            raise failed.at(self.address) from failed.__cause__
        except CancelledError:
            raise over from None
        except TimeoutError:
            if future.done():
                raise
            future.cancel()
            raise KubernetesUnreachableError(
                f"{name_of(self.access)} did not answer within {timeout_s:.0f} s", self.address
            ) from None
        except BaseException:
            future.cancel()
            raise

    def _discard(self, sock: socket.socket) -> None:
        """Close a socket that was to be carried. Whether it is already, and watched by the loop, only the thread knows."""

        def unless_taken() -> None:
            if sock not in self._taken:
                sock.close()

        try:
            self._loop.call_soon_threadsafe(unless_taken)
        except RuntimeError:  # the thread has ended, and whatever it carried with it
            sock.close()

    # -- in the thread

    def _run(self, begun: Future[asyncio.AbstractEventLoop]) -> None:
        leave_signals_to_main()
        try:
            with asyncio.Runner() as runner:
                runner.run(self._main(begun))
        except BaseException as failed:
            if not begun.done():
                begun.set_exception(failed)
                return
            raise

    async def _main(self, begun: Future[asyncio.AbstractEventLoop]) -> None:
        self._stop = asyncio.Event()
        async with Server(self.access) as self._server, Supervisor() as self._tasks:
            begun.set_result(asyncio.get_running_loop())
            await self._stop.wait()

    async def _keep(self, server: asyncio.Server) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            server.close()

    async def _attach(self, sock: socket.socket, port: int) -> None:
        """Carry what is said over this socket; returns when the way is open."""
        opened: asyncio.Future[None] = self._loop.create_future()
        task = self._tasks.start(self._carry_socket(sock, port, opened), name=f"forward port {port}")
        # One that is cancelled before it has begun says nothing.
        task.add_done_callback(lambda _: opened.cancel())
        try:
            await opened
        except asyncio.CancelledError:
            task.cancel()
            raise

    async def _carry_socket(self, sock: socket.socket, port: int, opened: asyncio.Future[None]) -> None:
        if sock.fileno() == -1:  # whoever dialled has given up
            opened.cancel()
            return
        self._taken.add(sock)
        sock.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=sock, limit=READ_BYTES)
        try:
            way = await self._open(port, anew=True)
            if not opened.done():
                opened.set_result(None)
            await self._carry(way, reader, writer, port, halves=False)
        except KubernetesError as failed:
            if not opened.done():
                opened.set_exception(failed)
        finally:
            self._end(writer)

    def _end(self, writer: asyncio.StreamWriter) -> None:
        """What was not taken yet is still given, but not when all of it ends: nobody would wait for that."""
        writer.close()
        if self._stop.is_set():
            writer.transport.abort()

    def _arrived(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        if self._count >= MOST_CONNECTIONS or self._stop.is_set():
            writer.close()
            return
        task = self._tasks.start(self._serve(reader, writer, port), name=f"serve port {port}")
        task.add_done_callback(lambda _: self._end(writer))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        """Somebody dialled: what goes wrong they hear of by the end of their connection, and `failure` has the words."""
        self._count += 1
        try:
            way = await self._open(port, anew=False)
            await self._carry(way, reader, writer, port, halves=True)
        except KubernetesError as failed:
            self.failure = failed.at(self.address)
        finally:
            self._count -= 1

    async def _open(self, port: int, *, anew: bool) -> tuple[ClientWebSocketResponse, str]:
        """A WebSocket to the port, and the pod it leads to; which that is may be known for a while, unless `anew`."""
        self.failure = None
        namespace, name, uid = self.cluster
        pod, known_until = self._pod
        self._pod = _UNKNOWN
        if anew or time.monotonic() >= known_until:
            pods = await self._server.get(resource.pods_path(namespace), resource.head_selector(name))
            pod, why = resource.head_of(pods, uid)
            if not pod:
                raise PortForwardError(f"MantaCluster {namespace}/{name} cannot be reached: {why}")
            known_until = time.monotonic() + KNOWN_S
        opened = await self._server.open(resource.forward_path(namespace, pod, port), PROTOCOL)
        self._pod = (pod, known_until)
        return opened, pod

    async def _carry(
        self,
        opened: tuple[ClientWebSocketResponse, str],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        port: int,
        *,
        halves: bool,
    ) -> None:
        websocket, pod = opened

        def failed(words: str) -> None:
            self._pod = _UNKNOWN
            self.failure = PortForwardError(f"forwarding to port {port} of pod {pod} failed: {words}", self.address)

        await Carried(websocket, reader, writer, failed, halves=halves).run()
