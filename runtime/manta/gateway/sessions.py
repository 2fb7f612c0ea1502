"""Session processes: started, tied to their drivers' connections, kept for a while without one, ended.

The gateway passes messages on without decoding them. What is under way to a driver is bounded by its session's window, what is
under way to the session by not reading from the driver.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
from hmac import compare_digest

from manta.aio.supervisor import Supervisor
from manta.core import errors
from manta.gateway.config import GatewayConfig
from manta.gateway.errors import SessionNotFoundError
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import gateway_pb2 as gw
from manta.transport.channel import NUMBER, Frame
from manta.transport.channel_aio import AsyncConnection
from manta.transport.convert import error_from_proto

log = logging.getLogger(__name__)

#: How long a session process may take to join the cluster.
START_S = 35.0

#: And to end, before it is killed.
STOP_S = 10.0

#: Processes that start at once; others wait.
STARTING_AT_ONCE = 4

#: Above so many bytes that a session process has not read, its driver is not read from.
HIGH_BYTES = 4 << 20

#: What the kernel holds between gateway and session process, where it lets: a part of a large value goes in one step.
BUFFER_BYTES = 2 << 20

_READY, _REFUSED = NUMBER[pb.GatewayReady], NUMBER[pb.Refused]
_ATTACHED, _DATA = NUMBER[pb.GatewayAttached], NUMBER[pb.GatewayData]

#: Variables of the gateway's that are no session process's business.
_SECRETS = ("MANTA_TOKEN", "RAY_TOKEN", "MANTA_TOKEN_FILE", "RAY_TOKEN_FILE", "MANTA_ADDRESS", "RAY_ADDRESS")


class Attachment:
    """One connection of a driver's, from its first message to its end."""

    def __init__(self, number: int) -> None:
        self.number = number
        #: The session's process knows of it: what comes from now on is for this connection.
        self.known = False
        #: Messages for the driver, encoded; None ends the connection.
        self.outgoing: asyncio.Queue[bytes | None] = asyncio.Queue()


class Session:
    """One driver's process, and its present connection. Runs in the event loop."""

    def __init__(self, sessions: Sessions, process: subprocess.Popen[bytes], sock: socket.socket) -> None:
        self.id = os.urandom(16)
        self.secret = secrets.token_bytes(32)
        self._sessions = sessions
        self._process = process
        self.ready: asyncio.Future[pb.GatewayReady] = asyncio.get_running_loop().create_future()
        self._attachment: Attachment | None = None
        self._connections = 0
        self._expiry: asyncio.TimerHandle | None = None
        self._link = AsyncConnection(sock, self._frames, self._closed)

    @property
    def backlog(self) -> int:
        """Bytes its process has not read."""
        return self._link.unsent_bytes

    @property
    def attached(self) -> bool:
        """It has a connection."""
        return self._attachment is not None

    def hello(self, hello: pb.Hello) -> None:
        """Tell the process whose session it is."""
        self._link.send(pb.GatewayHello(hello=hello))

    def attach(self, received: int) -> Attachment:
        """A connection of the driver's begins; the older one, if there is one, ends."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if self._attachment is not None:
            self._attachment.outgoing.put_nowait(None)
        self._connections += 1
        self._attachment = Attachment(self._connections)
        self._link.send(pb.GatewayAttached(connection=self._connections, received=received))
        return self._attachment

    def detach(self, attachment: Attachment) -> None:
        """It is over. The session waits for another."""
        if attachment is not self._attachment:
            return
        self._attachment = None
        self._link.send(pb.GatewayDetached())
        if not self._link.closed:
            self._expiry = asyncio.get_running_loop().call_later(self._sessions.grace_s, self.end)

    def take(self, attachment: Attachment, data: bytes) -> bool:
        """A message of the driver's; False when its connection is not the session's any more."""
        if attachment is not self._attachment:
            return False
        self._link.send(pb.GatewayData(), data)
        return True

    def _frames(self, link: AsyncConnection, frames: list[Frame]) -> None:
        for number, message, raw in frames:
            if number == _DATA:
                # What its process said before was for a connection that is gone; it says it again.
                if self._attachment is not None and self._attachment.known:
                    self._attachment.outgoing.put_nowait(raw)
            elif number == _ATTACHED:
                self._attached(message)
            elif number == _READY and not self.ready.done():
                self.ready.set_result(message)
            elif number == _REFUSED and not self.ready.done():
                self.ready.set_exception(error_from_proto(message.error))

    def _attached(self, message: pb.GatewayAttached) -> None:
        attachment = self._attachment
        if attachment is None or message.connection != attachment.number:
            return
        attachment.known = True
        first = gw.ConnectResponse(resumed=gw.SessionResumed(received=message.received))
        if attachment.number == 1:
            ready = self.ready.result()
            first = gw.ConnectResponse(
                opened=gw.SessionOpened(
                    session_id=self.id,
                    secret=self.secret,
                    welcome=ready.welcome,
                    address=ready.address,
                    grace_s=self._sessions.grace_s,
                )
            )
        attachment.outgoing.put_nowait(first.SerializeToString())

    def _closed(self, link: AsyncConnection, reason: str) -> None:
        """Its process is gone, or about to be."""
        self._sessions.forget(self)
        if not self.ready.done():
            self.ready.set_exception(errors.RaySystemError("the session's process ended before it was ready"))
        if self._attachment is not None:
            self._attachment.outgoing.put_nowait(None)
        if self._expiry is not None:
            self._expiry.cancel()
        self._sessions.reap(self._process)

    def end(self) -> None:
        """End the process."""
        if not self._link.closed and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._sessions.reap(self._process, STOP_S)


class Sessions:
    """All sessions of this gateway."""

    def __init__(self, config: GatewayConfig, supervisor: Supervisor) -> None:
        self._config = config
        self.grace_s = config.grace_s
        self._supervisor = supervisor
        self._by_id: dict[bytes, Session] = {}
        self._starting = asyncio.Semaphore(STARTING_AT_ONCE)
        self._opening = 0
        self._reaping: set[subprocess.Popen[bytes]] = set()

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def connected(self) -> int:
        """Those that have a connection now."""
        return sum(session.attached for session in self._by_id.values())

    @property
    def backlog(self) -> int:
        """Bytes that their processes have not read."""
        return sum(session.backlog for session in self._by_id.values())

    async def open(self, hello: pb.Hello) -> Session:
        """Start a session.

        Raises:
            OverloadedError: There are as many as may be.
            MantaError: The cluster does not let it in.
        """
        if len(self._by_id) + self._opening >= self._config.max_sessions:
            raise errors.OverloadedError(f"this gateway has {self._config.max_sessions} drivers, which is its limit")
        self._opening += 1
        try:
            async with self._starting:
                session = self._start()
                try:
                    session.hello(hello)
                    await asyncio.wait_for(asyncio.shield(session.ready), START_S)
                except TimeoutError:
                    session.end()
                    raise errors.RpcTimeoutError(
                        f"the session's process was not ready within {START_S:.0f} s"
                    ) from None
                except BaseException:
                    session.end()
                    raise
            self._by_id[session.id] = session
            return session
        finally:
            self._opening -= 1

    def _start(self) -> Session:
        ours, theirs = socket.socketpair()
        for sock in (ours, theirs):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        with theirs:
            environment = {name: text for name, text in os.environ.items() if name not in _SECRETS}
            here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
            path = environment.get("PYTHONPATH")
            environment["PYTHONPATH"] = f"{here}{os.pathsep}{path}" if path else here
            with open(self._config.logs / "gateway-sessions.log", "ab") as output:
                # In a pod it is a link, which leads to another raylet once this one has been replaced; the session is of one.
                raylet = os.path.realpath(self._config.raylet)
                process = subprocess.Popen(
                    [sys.executable, "-m", "manta.gateway.owner", str(theirs.fileno()), raylet],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=environment,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
        return Session(self, process, ours)

    def find(self, session_id: bytes, secret: bytes) -> Session:
        """The session a driver resumes.

        Raises:
            SessionNotFoundError: There is none of that id and secret.
        """
        session = self._by_id.get(session_id)
        if session is None or not compare_digest(session.secret, secret):
            raise SessionNotFoundError
        return session

    def forget(self, session: Session) -> None:
        """It is over."""
        self._by_id.pop(session.id, None)

    def reap(self, process: subprocess.Popen[bytes], kill_after_s: float = STOP_S) -> None:
        """See a process off: take its exit code, and kill it if it does not end."""
        if process not in self._reaping:
            self._reaping.add(process)
            _ = self._supervisor.start(self._see_off(process, kill_after_s), name=f"reap-{process.pid}")

    async def _see_off(self, process: subprocess.Popen[bytes], kill_after_s: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + kill_after_s
        try:
            while process.poll() is None:
                if loop.time() >= end:
                    process.kill()
                await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            process.kill()
            process.wait()
            raise
        finally:
            self._reaping.discard(process)

    async def close(self) -> None:
        """End all of them."""
        for session in list(self._by_id.values()):
            session.end()
        end = asyncio.get_running_loop().time() + STOP_S
        while (self._by_id or self._reaping) and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110 - processes end
            await asyncio.sleep(0.02)
