"""Connections of one process: to its raylet, to workers it leases, to owners, borrowers and actors.

A `Link` is a connection plus what both sides have told each other on it. All of them are read by the pump; handlers are found
by frame type in one table, which `direct` fills for every process and the worker's executor extends.
"""

from __future__ import annotations

import logging
import os
import select
import socket

from manta.client.pump import READ, WRITE
from manta.core.errors import ProtocolError
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.transport.channel import NUMBER, PROTOCOL, Connection, accept, close_descriptors, listen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from google.protobuf.message import Message

    from manta.client.far import Far, FarLinks
    from manta.client.pump import Pump
    from manta.client.waiter import Waiter

log = logging.getLogger(__name__)

_HELLO = NUMBER[pb.Hello]

#: Above so many bytes that the other side has not taken, nothing is pushed to it: no tasks, no calls, no values. They stay with
#: their owner, in order. Frames that steer (cancels, releases, take-backs) still go. Several times what one pipe's worth of
#: work weighs, so that a peer that reads never runs dry.
HIGH_BYTES = 4 << 20

#: Pushing goes on once no more than this waits.
LOW_BYTES = 1 << 20

#: A dead process's socket is read so often at most: several times what a kernel keeps, and an end where the process that was
#: called dead goes on talking all the same.
LAST_READS = 256


class Link:
    """One connection and what was said on it."""

    __slots__ = (
        "connection",
        "door",
        "endpoint",
        "far",
        "full",
        "functions",
        "key",
        "lease",
        "node_id",
        "pid",
        "read_fd",
        "sent",
        "templates",
        "tokens_fd",
        "told",
        "worker_id",
        "writing",
    )

    def __init__(self, connection: Connection, worker_id: bytes = b"", endpoint: str = "") -> None:
        self.connection = connection
        #: The process at the other end; empty until it said hello.
        self.worker_id = worker_id
        self.endpoint = endpoint
        #: Its node, and how that is dialled; empty until it said hello.
        self.node_id = b""
        self.door = ""
        #: What `far` remembers of a link between nodes; None within one.
        self.far: Far | None = None
        self.pid = 0
        #: Lease this link serves, on the owner's side.
        self.lease: Any = None
        #: The lease's semaphore, on the worker's side.
        self.tokens_fd = -1
        #: Of an owner on another node: counts the tasks that this worker has read.
        self.read_fd = -1
        #: What the other side's template numbers mean.
        self.templates: dict[int, Any] = {}
        #: Template numbers of ours that it was told. Two actors that call each other do it on one link.
        self.told: set[int] = set()
        #: Function hashes told on this link.
        self.functions: set[bytes] = set()
        #: Waiting for the kernel to take more.
        self.writing = False
        #: More than HIGH_BYTES waited, and not yet LOW_BYTES again: push nothing.
        self.full = False
        #: A thread waits for the kernel to have taken everything.
        self.sent: Waiter | None = None
        #: What the executor remembers of the caller.
        self.key: Any = None

    def close_tokens(self) -> None:
        """Close what came with a lease."""
        for fd in (self.tokens_fd, self.read_fd):
            if fd >= 0:
                os.close(fd)
        self.tokens_fd = self.read_fd = -1

    def address(self) -> common.Address:
        """Where the process at the other end is reached."""
        return common.Address(node_id=self.node_id, worker_id=self.worker_id, endpoint=self.endpoint, door=self.door)


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
        #: This process's node; empty before it is joined.
        self.node_id = b""
        #: Opens links to and from other nodes; None on a node without a door.
        self.far: FarLinks | None = None
        self.hello = pb.Hello(protocol=PROTOCOL, worker_id=worker_id, pid=os.getpid())
        #: Frame type to handler(link, message, raw).
        self.handlers: dict[int, Callable[[Link, Any, bytes], None]] = {}
        #: Links to other processes by worker id, for everything but leases.
        self.peers: dict[bytes, Link] = {}
        #: Nodes that control has declared dead, and why: nothing is dialled there, and nothing taken from there.
        self.dead: dict[bytes, str] = {}
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

    def expect(self, link: Link) -> None:
        """Count a link among ours that is not connected yet."""
        self._all.add(link)

    def dial(
        self,
        where: common.Address,
        *,
        first: tuple[Message, ...] = (),
        descriptors: tuple[int, ...] = (),
        lease_id: int = 0,
        hello: pb.Hello | None = None,
    ) -> Link | None:
        """Connect and say hello; None when nobody is there any more.

        Args:
            where: The process; of another node it is dialled through that node's door, and the link is there at once.
            first: Frames right after Hello.
            descriptors: Ride along, within a node.
            lease_id: Between nodes: the lease whose semaphore the other raylet passes along.
            hello: Instead of what this process says to its like.
        """
        if where.node_id in self.dead:
            return None
        if self.is_far(where):
            assert self.far is not None
            return self.far.dial(where, lease_id, first, hello)
        try:
            connection = Connection.dial(where.endpoint.removeprefix("unix:"))
        except OSError:
            return None
        link = Link(connection, where.worker_id, where.endpoint)
        link.node_id, link.door = where.node_id, where.door
        try:
            connection.send_first((hello or self.hello, *first), descriptors)
        except OSError:
            connection.close()
            return None
        connection.first_read = False  # whom we dial sends no descriptors
        self.adopt(link)
        return link

    def is_far(self, where: common.Address) -> bool:
        """Whether that is dialled through the door of another node."""
        return self.far is not None and bool(where.door) and where.node_id != self.node_id

    def of_node(self, node_id: bytes) -> list[Link]:
        """Links to processes of a node. Looks at all: for what is rare."""
        return [link for link in self._all if link.node_id == node_id]

    def linked(self, worker_id: bytes) -> bool:
        """Whether a link to that process is open, of any kind. Looks at all: for what is rare."""
        return any(link.worker_id == worker_id for link in self._all)

    def unsent(self) -> bool:
        """Whether anything waits for the kernel, on any link. Looks at all."""
        return any(link.connection.unsent_bytes for link in self._all)

    def peer(self, where: common.Address) -> Link | None:
        """The link to another process, dialled when there is none; None when it is gone."""
        link = self.peers.get(where.worker_id)
        if link is None:
            link = self.dial(where)
            if link is not None:
                self.peers[where.worker_id] = link
        return link

    def again(self, link: Link) -> Link | None:
        """The link to the process at the end of one that closed, dialled again; None when it is gone."""
        if link.node_id in self.dead:
            return None
        if link.far is not None and self.far is not None:
            other = self.far.again(link)
        else:
            other = self.dial(link.address()) if link.endpoint else None
        if other is not None:
            self.peers[link.worker_id] = other
        return other

    def _ready(self, link: Link, mask: int) -> None:
        connection = link.connection
        if mask & WRITE:
            try:
                if connection.flush() or connection.waits_to_read:
                    link.writing = False
                    self._pump.want_write(connection.fd, False)
                    self._all_sent(link)
            except OSError as broken:
                self.broke(link, broken)
                return
            if link.full and connection.unsent_bytes <= LOW_BYTES:
                self._set_full(link, False)
        if not mask & ~WRITE:
            return
        try:
            frames = connection.receive()
        except (EOFError, OSError) as broken:
            self.broke(link, broken)
            return
        except ProtocolError as broken:
            log.warning("a peer speaks something else: %s", broken)
            self.close(link)
            return
        if connection.unsent_bytes and not link.writing:
            # What was read may have taken the opening of a connection to another node a step further.
            self.write_wanted(link)
        handlers = self.handlers
        for number, message, raw in frames:
            if number == _HELLO:
                self._hello(link, message)
                if connection.closed:
                    return
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

    def read(self, link: Link) -> None:
        """Something has come on a link of which no poll tells."""
        self._ready(link, READ)

    def read_to_end(self, link: Link) -> None:
        """The process at the other end is dead, as another link told: what it said before that comes first.

        Two sockets have no order. Both may be readable at once, and then chance decides which is read before the other.
        """
        for _ in range(LAST_READS):
            if link not in self._all or not _readable(link.connection.fd):
                return
            self._ready(link, READ)

    def broke(self, link: Link, error: BaseException) -> None:
        """A link's socket is of no use any more: the link goes on over another one, or ends."""
        if link.far is not None and self.far is not None:
            self.far.broke(link, error)
            if self.far.revive(link):
                return
        self.close(link)

    def suspend(self, link: Link) -> None:
        """The link has no socket for a while."""
        self._pump.remove(link.connection.fd)
        link.writing = False

    def opened(self, link: Link) -> None:
        """The link has a socket, the first or another: what was held back goes on."""
        if not link.full:
            self._pressed(link)

    def write_wanted(self, link: Link) -> None:
        """Something waits for the kernel to take it."""
        if not link.writing and not link.connection.waits_to_read:
            link.writing = True
            self._pump.want_write(link.connection.fd, True)

    def _hello(self, link: Link, hello: pb.Hello) -> None:
        link.worker_id = hello.worker_id
        link.endpoint = hello.endpoint
        link.node_id = hello.node_id
        link.door = hello.door
        link.pid = hello.pid
        if link.node_id in self.dead:
            log.warning("a process of node %s was refused: %s", link.node_id.hex(), self.dead[link.node_id])
            self.close(link)
            return
        descriptors = link.connection.take_descriptors()
        if descriptors:
            link.tokens_fd = descriptors[0]
            close_descriptors(descriptors[1:])
        elif link.tokens_fd < 0:
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
        self.write_wanted(link)
        if not link.full and link.connection.unsent_bytes > HIGH_BYTES:
            self._set_full(link, True)

    def _all_sent(self, link: Link) -> None:
        if link.sent is not None:
            self._pump.finish(link.sent)
            link.sent = None

    def _set_full(self, link: Link, full: bool) -> None:
        link.full = full
        self._pressed(link)

    def _pressed(self, link: Link) -> None:
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
        if link.far is not None and self.far is not None:
            self.far.closed(link)
        link.full = False
        self._all_sent(link)  # or never will be
        if self.peers.get(link.worker_id) is link:
            del self.peers[link.worker_id]
        self._on_closed(link)
        link.close_tokens()  # last: they tell a lease's link from a peer's

    def discard(self, link: Link) -> None:
        """Close a link that nobody knows yet, or that has given its socket away."""
        self._all.discard(link)
        self._pump.remove(link.connection.fd)
        link.connection.close()

    def close_all(self) -> None:
        """Close everything; nobody is told."""
        for link in list(self._all):
            self._pump.remove(link.connection.fd)
            link.connection.close()
            link.close_tokens()
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
            Connection.close(link.connection)
        if self._listener is not None:
            self._listener.close()


def _readable(fd: int) -> bool:
    """Whether something is there to read, or an end to see. A link between nodes has no descriptor while it has no socket."""
    if fd < 0:
        return False
    look = select.poll()
    look.register(fd, select.POLLIN)
    return bool(look.poll(0))
