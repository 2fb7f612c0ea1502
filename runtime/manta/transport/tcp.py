"""Channel connections between nodes: one TCP port per node, a preamble that names the process, then TLS.

Whoever dials sends the preamble in the clear. The node's raylet, which owns the port, reads exactly that much, answers one
byte, and hands the socket to the process that was named; TLS is between the two processes at the ends, and the raylet sees
nothing of what they say. The preamble proves nothing: who is let in is decided by the certificates.

`FarSocket` has the face of a non-blocking socket that frames are read from and written to (`channel.Connection`): until
everything is open `send` and `recv` take the opening a step further and say that they would block.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from manta.core.errors import ProtocolError
from manta.transport.addresses import parse_door
from manta.transport.channel import PROTOCOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from manta.transport.tls import Tls

_MAGIC: Final = b"MNTA"
_PREAMBLE: Final = struct.Struct("<4sBBxx28s28sQ")
PREAMBLE_BYTES: Final = _PREAMBLE.size

#: Most that one `recv` takes out of TLS beyond what was asked for: a record.
_RECORD_BYTES: Final = 16_384


class Wish(IntEnum):
    """Whom a connection is for."""

    #: The raylet itself.
    RAYLET = 1
    #: A driver or worker of its node.
    PROCESS = 2


class Answer(IntEnum):
    """The one byte that answers a preamble."""

    OK = 1
    #: No such process here (any more).
    GONE = 2
    #: Another node has this address now.
    OTHER_NODE = 3
    #: Too many connections: try again later.
    BUSY = 4
    #: Another version of the channel.
    VERSION = 5


#: What each refusal means, for people.
REFUSALS: Final = {
    Answer.GONE: "the process is not there any more",
    Answer.OTHER_NODE: "another node answers at that address",
    Answer.BUSY: "the node has too many connections",
    Answer.VERSION: f"it speaks another version of the channel than {PROTOCOL}",
}


class RefusedError(OSError):
    """A node did not let a connection through. `answer` says why."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(errno.ECONNREFUSED, REFUSALS[answer])
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Preamble:
    """First bytes of a connection between nodes.

    Attributes:
        node_id: The node that is meant, 28 bytes.
        worker_id: The process that is meant, 28 bytes; zeros for the raylet.
        lease_id: The lease that the connection serves, 0 for none.
        wish: Whom it is for.
    """

    node_id: bytes
    worker_id: bytes = bytes(28)
    lease_id: int = 0
    wish: Wish = Wish.PROCESS

    def encode(self) -> bytes:
        """As it travels."""
        return _PREAMBLE.pack(_MAGIC, PROTOCOL, self.wish, self.node_id, self.worker_id, self.lease_id)

    @classmethod
    def decode(cls, data: bytes) -> Preamble:
        """Read one.

        Raises:
            ProtocolError: It is none, or of another version.
        """
        magic, version, wish, node_id, worker_id, lease_id = _PREAMBLE.unpack(data)
        if magic != _MAGIC:
            raise ProtocolError("what dialled is no process of a Manta cluster")
        if version != PROTOCOL:
            raise ProtocolError(f"it speaks version {version} of the channel, this node version {PROTOCOL}")
        if wish not in Wish.__members__.values():
            raise ProtocolError(f"a preamble cannot be for {wish}")
        return cls(node_id, worker_id, lease_id, Wish(wish))


class FarSocket:
    """A TCP connection to or from another node, opened step by step by whoever reads and writes it.

    Not thread-safe: its user has one lock per connection, as TLS wants.
    """

    __slots__ = ("_next", "_pending", "_sock", "_tls", "_to_send", "waits_to_read")

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock: Any = sock
        #: What has to be done before frames travel; None when all is open.
        self._next: Callable[[], bool] | None = None
        self._to_send = b""
        #: Makes the TLS socket out of the plain one; None for a connection without TLS.
        self._tls: Callable[[socket.socket], ssl.SSLSocket] | None = None
        #: How many decrypted bytes wait inside TLS, where no poll sees them.
        self._pending: Callable[[], int] | None = None
        #: Nothing can be written before something was read: polling for writability would only spin.
        self.waits_to_read = False

    @classmethod
    def dial(cls, door: str, preamble: Preamble, tls: Tls | None, role: str = "worker") -> FarSocket:
        """Begin to connect; returns at once.

        Args:
            door: "host:port" of the node; nodes advertise addresses, so that nobody waits for a resolver here.
            preamble: Who is meant.
            tls: This process's certificates; None for a cluster without.
            role: Whose certificate the other side has to show.

        Raises:
            OSError: There is no way to that address.
            ValueError: It is none.
            AuthenticationError: Our own certificates cannot be read.
        """
        host, port = parse_door(door)
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, proto)
        try:
            far = cls(sock)
            if tls is not None:
                context, name = tls.client(), tls.files.name_of(role)
                far._tls = lambda plain: context.wrap_socket(plain, do_handshake_on_connect=False, server_hostname=name)
            _tune(sock)
            far._to_send = preamble.encode()
            far._next = far._connect
            try:
                sock.connect(address)
            except BlockingIOError:
                pass
        except BaseException:
            sock.close()
            raise
        return far

    @classmethod
    def accepted(cls, sock: socket.socket, tls: Tls | None) -> FarSocket:
        """The side that was dialled, its preamble read and answered already. Raises AuthenticationError as `Tls.server`."""
        far = cls(sock)
        _tune(sock)
        if tls is not None:
            context = tls.server()
            far._tls = lambda plain: context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
            far._next = far._wrap
        return far

    # -- opening, step by step; each returns whether it is done

    def _connect(self) -> bool:
        failed = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed:
            raise OSError(failed, os.strerror(failed))
        try:
            self._sock.getpeername()
        except OSError as error:
            if error.errno == errno.ENOTCONN:
                return False
            raise
        self._next = self._send_preamble
        return True

    def _send_preamble(self) -> bool:
        self._to_send = self._to_send[self._sock.send(self._to_send) :]
        if self._to_send:
            return False
        self._next = self._read_answer
        return True

    def _read_answer(self) -> bool:
        self.waits_to_read = True
        answer = self._sock.recv(1)
        self.waits_to_read = False
        if not answer:
            raise ConnectionResetError(errno.ECONNRESET, "the node closed the connection before it answered")
        if answer[0] != Answer.OK:
            known = answer[0] in Answer.__members__.values()
            raise RefusedError(Answer(answer[0]) if known else Answer.VERSION)
        self._next = self._wrap if self._tls is not None else None
        return True

    def _wrap(self) -> bool:
        assert self._tls is not None
        self._sock = self._tls(self._sock)
        self._pending = self._sock.pending
        self._tls = None
        self._next = self._handshake
        return True

    def _handshake(self) -> bool:
        try:
            self._sock.do_handshake()
        except ssl.SSLWantReadError:
            self.waits_to_read = True
            return False
        except ssl.SSLWantWriteError:
            self.waits_to_read = False
            return False
        self.waits_to_read = False
        self._next = None
        return True

    def _open(self) -> bool:
        """Take the opening as far as it goes now; whether everything is open."""
        while self._next is not None:
            if not self._next():
                return False
        return True

    @property
    def is_open(self) -> bool:
        """Frames can travel."""
        return self._next is None

    def take(self, timeout_s: float, open_s: float = 0.0) -> socket.socket:
        """The socket itself, for a thread that reads and writes one thing with blocking calls; nothing else may be used any more.

        Args:
            timeout_s: Bound of each blocking call on it.
            open_s: How long to wait until everything is open, seconds.

        Raises:
            TimeoutError: It is not open by then.
            OSError: The connection is gone or was refused.
        """
        deadline = time.monotonic() + open_s
        while True:
            try:
                if self._open():
                    break
            except BlockingIOError:
                pass
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"the connection was not open after {open_s:g} s")
            poll = select.poll()
            poll.register(self._sock.fileno(), select.POLLIN if self.waits_to_read else select.POLLOUT)
            poll.poll(left * 1000)
        sock: socket.socket = self._sock
        sock.settimeout(timeout_s)
        return sock

    def give_back(self) -> None:
        """The thread that took the socket is done with it: it is as before `take` again. Raises OSError when it is closed."""
        self._sock.settimeout(0.0)

    # -- the face of a socket

    def send(self, data: bytes | memoryview) -> int:
        """Bytes taken. Raises BlockingIOError when none are now, OSError when the connection is gone or was refused."""
        if self._next is not None and not self._open():
            raise BlockingIOError
        try:
            sent: int = self._sock.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        return sent

    def recv(self, size: int) -> bytes:
        """Bytes that came; empty at the end. What TLS has decrypted already comes along, as no poll would tell of it."""
        if self._next is not None and not self._open():
            raise BlockingIOError
        sock = self._sock
        try:
            data: bytes = sock.recv(size)
            if self._pending is None:
                return data
            more = [data]
            while self._pending():
                more.append(sock.recv(_RECORD_BYTES))
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        return b"".join(more) if len(more) > 1 else data

    def fileno(self) -> int:
        """The descriptor; the same from the beginning to the end."""
        fd: int = self._sock.fileno()
        return fd

    def setblocking(self, flag: bool) -> None:
        """Refuses to block: nobody who uses a FarSocket may."""
        if flag:
            raise ValueError("a connection to another node is never blocking")

    def close(self) -> None:
        """Close without a word; the other side sees the end."""
        self._sock.close()


def _tune(sock: socket.socket) -> None:
    """Small frames go at once, and a peer that vanished is noticed."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 10_000)):
        number = getattr(socket, option, None)
        if number is not None:
            sock.setsockopt(socket.IPPROTO_TCP, number, value)
