"""Connections of one process: to its raylet, to workers it leases, to owners, borrowers and actors.

A `Link` is a connection plus what both sides have told each other on it. All of them are read by the pump; handlers are found
by frame type in one table, which `direct` fills for every process and the worker's executor extends.
"""

from __future__ import annotations

import logging
import os
import socket

from manta.client.pump import WRITE
from manta.core.errors import ProtocolError
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.channel import NUMBER, PROTOCOL, Connection, accept, close_descriptors, listen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from google.protobuf.message import Message

    from manta.client.pump import Pump

log = logging.getLogger(__name__)

_HELLO = NUMBER[pb.Hello]

#: Above so many bytes that the other side has not taken, nothing is pushed to it: no tasks, no calls, no values. They stay with
#: their owner, in order. Frames that steer (cancels, releases, take-backs) still go. Several times what one pipe's worth of
#: work weighs, so that a peer that reads never runs dry.
HIGH_BYTES = 4 << 20

#: Pushing goes on once no more than this waits.
LOW_BYTES = 1 << 20


class Link:
    """One connection and what was said on it."""

    __slots__ = (
        "connection",
        "endpoint",
        "full",
        "functions",
        "key",
        "lease",
        "pid",
        "templates",
        "tokens_fd",
        "worker_id",
        "writing",
    )

    def __init__(self, connection: Connection, worker_id: bytes = b"", endpoint: str = "") -> None:
        self.connection = connection
        #: The process at the other end; empty until it said hello.
        self.worker_id = worker_id
        self.endpoint = endpoint
        self.pid = 0
        #: Lease this link serves, on the owner's side.
        self.lease: Any = None
        #: The lease's semaphore, on the worker's side.
        self.tokens_fd = -1
        #: Template numbers: on the sender's side those told, on the receiver's side what they mean.
        self.templates: dict[int, Any] = {}
        #: Function hashes told on this link.
        self.functions: set[bytes] = set()
        #: Waiting for the kernel to take more.
        self.writing = False
        #: More than HIGH_BYTES waited, and not yet LOW_BYTES again: push nothing.
        self.full = False
        #: What the executor remembers of the caller.
        self.key: Any = None


class Links:
    """All connections of the process. Runs under the process's lock."""

    def __init__(
        self,
        pump: Pump,
        worker_id: bytes,
        on_closed: Callable[[Link], None],
        on_pressure: Callable[[Link], None] = lambda link: None,
    ) -> None:
        self._pump = pump
        self._on_closed = on_closed
        #: A link's `full` has changed.
        self._on_pressure = on_pressure
        self.worker_id = worker_id
        self.endpoint = ""
        self.hello = pb.Hello(protocol=PROTOCOL, worker_id=worker_id, pid=os.getpid())
        #: Frame type to handler(link, message, raw).
        self.handlers: dict[int, Callable[[Link, Any, bytes], None]] = {}
        #: Links to other processes by worker id, for everything but leases.
        self.peers: dict[bytes, Link] = {}
        self._listener: socket.socket | None = None
        self._all: set[Link] = set()

    def on(self, kind: type[Message], handler: Callable[[Link, Any, bytes], None]) -> None:
        """Handle frames of that message class."""
        self.handlers[NUMBER[kind]] = handler

    def listen(self, path: str) -> None:
        """Accept other processes at `path`."""
        self._listener = listen(path)
        self.endpoint = "unix:" + path
        self.hello.endpoint = self.endpoint
        self._pump.add(self._listener.fileno(), self._acceptable)

    def _acceptable(self, mask: int) -> None:
        assert self._listener is not None
        try:
            while (sock := accept(self._listener)) is not None:
                self.adopt(Link(Connection(sock)))
        except OSError as full:
            log.warning("accept failed: %s", full)

    def adopt(self, link: Link) -> None:
        """Read a connected link from now on."""
        link.connection.setblocking(False)
        self._all.add(link)
        self._pump.add(link.connection.fd, lambda mask: self._ready(link, mask))

    def dial(self, endpoint: str, *, first: tuple[Message, ...] = (), descriptors: tuple[int, ...] = ()) -> Link | None:
        """Connect and say hello; None when nobody is there any more."""
        try:
            connection = Connection.dial(endpoint.removeprefix("unix:"))
        except OSError:
            return None
        link = Link(connection, endpoint=endpoint)
        try:
            connection.send_first((self.hello, *first), descriptors)
        except OSError:
            connection.close()
            return None
        connection.first_read = False  # whom we dial sends no descriptors
        self.adopt(link)
        return link

    def linked(self, worker_id: bytes) -> bool:
        """Whether a link to that process is open, of any kind. Looks at all: for what is rare."""
        return any(link.worker_id == worker_id for link in self._all)

    def unsent(self) -> bool:
        """Whether anything waits for the kernel, on any link. Looks at all."""
        return any(link.connection.unsent_bytes for link in self._all)

    def peer(self, worker_id: bytes, endpoint: str) -> Link | None:
        """The link to another process, dialled when there is none; None when it is gone."""
        link = self.peers.get(worker_id)
        if link is None:
            link = self.dial(endpoint)
            if link is not None:
                link.worker_id = worker_id
                self.peers[worker_id] = link
        return link

    def _ready(self, link: Link, mask: int) -> None:
        connection = link.connection
        if mask & WRITE:
            try:
                if connection.flush():
                    link.writing = False
                    self._pump.want_write(connection.fd, False)
            except OSError:
                self.close(link)
                return
            if link.full and connection.unsent_bytes <= LOW_BYTES:
                self._set_full(link, False)
        if not mask & ~WRITE:
            return
        try:
            frames = connection.receive()
        except (EOFError, OSError):
            self.close(link)
            return
        except ProtocolError as broken:
            log.warning("a peer speaks something else: %s", broken)
            self.close(link)
            return
        handlers = self.handlers
        for number, message, raw in frames:
            if number == _HELLO:
                self._hello(link, message)
                continue
            handler = handlers.get(number)
            if handler is None:
                log.warning("frame of type %d is not for this process", number)
                self.close(link)
                return
            try:
                handler(link, message, raw)
            except Exception:
                log.exception("a frame of type %d could not be handled", number)

    def _hello(self, link: Link, hello: pb.Hello) -> None:
        link.worker_id = hello.worker_id
        link.endpoint = hello.endpoint
        link.pid = hello.pid
        descriptors = link.connection.take_descriptors()
        if descriptors:
            link.tokens_fd = descriptors[0]
            close_descriptors(descriptors[1:])
        else:
            self.peers.setdefault(link.worker_id, link)

    def send(self, link: Link, message: Message, raw: bytes = b"") -> None:
        """Send a frame. When the other side is gone nothing happens here: the pump will notice."""
        connection = link.connection
        if connection.closed:
            return
        try:
            done = connection.send(message, raw)
        except OSError:
            return
        if not done:
            self._blocked(link)

    def send_bytes(self, link: Link, data: bytes) -> None:
        """Send encoded frames."""
        connection = link.connection
        if connection.closed:
            return
        try:
            done = connection.send_bytes(data)
        except OSError:
            return
        if not done:
            self._blocked(link)

    def _blocked(self, link: Link) -> None:
        if not link.writing:
            link.writing = True
            self._pump.want_write(link.connection.fd, True)
        if not link.full and link.connection.unsent_bytes > HIGH_BYTES:
            self._set_full(link, True)

    def _set_full(self, link: Link, full: bool) -> None:
        link.full = full
        try:
            self._on_pressure(link)
        except Exception:
            log.exception("pushing to %s could not go on", link.endpoint)

    def close(self, link: Link) -> None:
        """Close a link and tell; twice is harmless."""
        if link not in self._all:
            return
        self._all.discard(link)
        self._pump.remove(link.connection.fd)
        link.connection.close()
        link.full = False
        if link.tokens_fd >= 0:
            os.close(link.tokens_fd)
            link.tokens_fd = -1
        if self.peers.get(link.worker_id) is link:
            del self.peers[link.worker_id]
        self._on_closed(link)

    def close_all(self) -> None:
        """Close everything; nobody is told."""
        for link in list(self._all):
            self._pump.remove(link.connection.fd)
            link.connection.close()
            if link.tokens_fd >= 0:
                os.close(link.tokens_fd)
                link.tokens_fd = -1
        self._all.clear()
        self.peers.clear()
        if self._listener is not None:
            self._pump.remove(self._listener.fileno())
            path = self.endpoint.removeprefix("unix:")
            self._listener.close()
            self._listener = None
            try:
                os.unlink(path)
            except OSError:
                pass

    def after_fork(self) -> None:
        """In a child that user code forked: let go of every descriptor without a word to the other side."""
        for link in list(self._all):
            link.connection.close()
        if self._listener is not None:
            self._listener.close()
