"""Connections between nodes that outlive their sockets: nothing lost and nothing twice while both processes live.

Each end counts the bytes of the stream that it has sent and taken, and keeps what the other has not said to have. When the
socket breaks, whoever gets a new one says how far it has come (`LinkOpens`), the other answers the same (`LinkOpened`), and both
go on from there, in the middle of a frame if need be. So nobody above hears of a cable that was pulled and plugged in again.

Bytes in, frames out, as `channel`; who dials again, when, and for how long, is decided by its users.
"""

from __future__ import annotations

import os
from collections import deque
from enum import Enum
from typing import Any, Final

from manta.core.errors import ProtocolError
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.channel import (
    HEADER,
    HEADER_BYTES,
    NUMBER,
    PROTOCOL,
    READ_BYTES,
    Connection,
    Frame,
    FrameDecoder,
    encode,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.transport.tcp import FarSocket

#: After so many bytes that came the other end is told, and lets go of them. What is kept for nothing is about as much.
ACKNOWLEDGE_BYTES: Final = 64 << 10

KEY_BYTES: Final = 16

#: Frame types that a lasting connection knows itself.
OPENS: Final = NUMBER[pb.LinkOpens]
OPENED: Final = NUMBER[pb.LinkOpened]
CLOSES: Final = NUMBER[pb.LinkCloses]
_TOOK: Final = NUMBER[pb.LinkTook]

#: Most that the first frame on a socket may have.
_MAX_FIRST_BYTES: Final = 1024


class ForgottenError(ConnectionError):
    """The other end does not know this connection any more: it has closed it."""


class _Phase(Enum):
    #: There is no socket.
    DOWN = 1
    #: Accepted: what comes first says what it is.
    GREETED = 2
    #: Dialled again: nothing is sent until the other end has said how far it is.
    ASKING = 3
    #: Dialled for the first time: the stream flows, and its answer is on the way.
    HOPING = 4
    FLOWING = 5
    #: Accepted, and no lasting connection at all.
    PLAIN = 6


#: Phases in which what is sent goes to the socket.
_OUT: Final = (_Phase.FLOWING, _Phase.HOPING, _Phase.PLAIN)


class NoSocket:
    """The face of a socket that is not there: everything would block."""

    waits_to_read = True
    is_open = False

    def send(self, data: bytes | memoryview) -> int:
        """Would block."""
        raise BlockingIOError

    def recv(self, size: int) -> bytes:
        """Would block."""
        raise BlockingIOError

    def fileno(self) -> int:
        """None."""
        return -1

    def setblocking(self, flag: bool) -> None:
        """Nothing ever does."""

    def close(self) -> None:
        """There is nothing to close."""


class Lasting(Connection):
    """One end.

    Args:
        sock: One that was accepted; None for the end that dials: `take_over` gives it each of its sockets.
    """

    __slots__ = ("_begun", "_end", "_first", "_heard", "_kept", "_phase", "_said", "_start", "_taken", "key")

    def __init__(self, sock: FarSocket | None = None) -> None:
        super().__init__(NoSocket() if sock is None else sock)
        self.first_read = False
        self._phase = _Phase.DOWN if sock is None else _Phase.GREETED
        #: Names the connection, at both ends; empty at an end that was not told yet.
        self.key = os.urandom(KEY_BYTES) if sock is None else b""
        #: Sent and not known to have arrived, in order: the bytes of the stream from `_start` to `_end`.
        self._kept: deque[bytes] = deque()
        self._start = self._end = 0
        #: Bytes of the stream that came, and how many of them the other end knows of.
        self._taken = self._said = 0
        #: The other end has answered: it knows the connection.
        self._heard = False
        #: There was a socket before.
        self._begun = False
        #: What came of the first frame on this socket.
        self._first = b""

    @property
    def is_open(self) -> bool:
        """Frames travel."""
        return not self.closed and self._phase in (_Phase.FLOWING, _Phase.PLAIN)

    @property
    def is_down(self) -> bool:
        """There is no socket."""
        return self._phase is _Phase.DOWN

    @property
    def lasts(self) -> bool:
        """Whether another socket can follow this one."""
        return bool(self.key) and not self.closed

    @property
    def waits_to_read(self) -> bool:
        """See `Connection`."""
        if self._phase is _Phase.ASKING and not self._unsent:
            return True
        return bool(self._sock.waits_to_read)

    @property
    def kept_bytes(self) -> int:
        """What would have to be sent again."""
        return self._end - self._start

    # -- sockets come and go

    def down(self) -> None:
        """The socket is of no use any more; what is sent from now on waits for the next one."""
        self._sock.close()
        self._sock = NoSocket()
        self.fd = -1
        self._phase = _Phase.DOWN
        self._first = b""
        self._unsent.clear()
        self.unsent_bytes = self.kept_bytes

    def take_over(self, sock: FarSocket) -> None:
        """Go on with a socket that this end has dialled."""
        self._sock, self.fd = sock, sock.fileno()
        first = encode(pb.LinkOpens(key=self.key, received=self._taken, again=self._begun, heard=self._heard))
        self._said = self._taken
        self._unsent = deque([first])
        if self._begun:
            self._phase = _Phase.ASKING
        else:
            # One packet for what is said at the beginning.
            self._phase = _Phase.HOPING
            self._unsent = deque([b"".join((first, *self._kept))])
        self._begun = True
        self.unsent_bytes = len(first) + self.kept_bytes

    def begin(self, opens: pb.LinkOpens, rest: bytes) -> None:
        """This end was dialled, and has not seen the other before. The next `receive` gives what came along."""
        self.key = opens.key
        self._phase = _Phase.FLOWING
        self._heard = True
        self._first = rest
        self._queue_first(pb.LinkOpened())

    def adopt(self, sock: FarSocket, received: int) -> None:
        """Go on with a socket on which the other end has said how far it is.

        Raises:
            ProtocolError: It cannot be that far, or lacks what it said to have.
        """
        self._arrived(received, exactly=True)
        self.down()
        self._sock, self.fd = sock, sock.fileno()
        self._phase = _Phase.FLOWING
        self._heard = True
        self._said = self._taken
        self._queue_first(pb.LinkOpened(received=self._taken))

    def refuse(self) -> None:
        """This end does not know, or has closed, what the other wants to go on with."""
        self._sock.send(encode(pb.LinkOpened(forgotten=True)))

    def _queue_first(self, opened: pb.LinkOpened) -> None:
        first = encode(opened)
        self._unsent = deque([first, *self._kept])
        self.unsent_bytes = len(first) + self.kept_bytes

    def close(self) -> None:
        """Close for good, and say so if that can be said at once."""
        if not self.closed and self._phase in (_Phase.FLOWING, _Phase.HOPING) and not self._unsent:
            try:
                self._sock.send(encode(pb.LinkCloses()))
            except OSError:
                pass  # whoever comes back for it is told then
        self._kept.clear()
        self._start = self._end
        super().close()

    # -- frames

    def send_bytes(self, data: bytes | memoryview) -> bool:
        """As `Connection.send_bytes`; a broken socket takes nothing, and `flush` or `receive` will tell."""
        phase = self._phase
        if isinstance(data, memoryview):
            data = bytes(data)  # kept for longer than its owner may keep it as it is
        if phase is not _Phase.PLAIN:
            self._kept.append(data)
            self._end += len(data)
        if phase not in _OUT:
            self.unsent_bytes += len(data)
            return False
        if self._unsent:
            self._unsent.append(data)
            self.unsent_bytes += len(data)
            return False
        try:
            sent = self._sock.send(data)
        except OSError:
            sent = 0
        if sent == len(data):
            return True
        self._later(memoryview(data)[sent:])
        return False

    def receive(self) -> list[Frame]:
        """As `Connection.receive`. What comes first on an accepted socket is handed out: a LinkOpens with, as its raw part, what
        came behind it, which is for `begin`. So is LinkCloses, which is the last.

        Raises:
            ForgottenError: The other end has closed this connection.
        """
        if self._first and self._phase is _Phase.FLOWING:
            early, self._first = self._first, b""
            return self._stream(early)
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return []
        if not data:
            raise EOFError
        if self._phase is _Phase.FLOWING:
            return self._stream(data)
        if self._phase is _Phase.PLAIN:
            return self._decoder.feed(data)
        return self._first_frame(data)

    def _first_frame(self, data: bytes) -> list[Frame]:
        data = self._first = self._first + data
        if len(data) < HEADER_BYTES:
            return []
        version, _, number, body_bytes, raw_bytes = HEADER.unpack_from(data)
        wanted = OPENS if self._phase is _Phase.GREETED else OPENED
        if number != wanted or version != PROTOCOL:
            self._first = b""
            if self._phase is not _Phase.GREETED:
                raise ProtocolError(f"a frame of type {number} came where the answer to LinkOpens was due")
            self._phase = _Phase.PLAIN
            return self._decoder.feed(data)
        if raw_bytes or body_bytes > _MAX_FIRST_BYTES:
            raise ProtocolError(f"the first frame of a connection has {body_bytes} + {raw_bytes} bytes")
        end = HEADER_BYTES + body_bytes
        if len(data) < end:
            return []
        self._first = b""
        ((_, message, _),) = FrameDecoder().feed(data[:end])
        rest = data[end:]
        if wanted == OPENS:
            if len(message.key) != KEY_BYTES or (message.again and rest):
                raise ProtocolError("LinkOpens: the key has 16 bytes, and who comes again waits for the answer")
            return [(number, message, rest)]
        if message.forgotten:
            raise ForgottenError("the process at the other end has closed this connection")
        self._arrived(message.received, exactly=self._phase is _Phase.ASKING)
        if self._phase is _Phase.ASKING:
            self._unsent = deque(self._kept)
            self.unsent_bytes = self.kept_bytes
        self._phase = _Phase.FLOWING
        self._heard = True
        return self._stream(rest)

    def _stream(self, data: bytes) -> list[Frame]:
        self._taken += len(data)
        frames = self._decoder.feed(data)
        for frame in frames:
            if frame[0] == _TOOK:
                self._arrived(frame[1].received, exactly=False)
        if self._taken - self._said >= ACKNOWLEDGE_BYTES:
            self._said = self._taken
            self.send_bytes(encode(pb.LinkTook(received=self._taken)))
        return [frame for frame in frames if frame[0] != _TOOK] if frames else frames

    def _arrived(self, received: int, *, exactly: bool) -> None:
        """The other end has the stream up to there: forget it, whole pieces only unless `exactly`."""
        if received > self._end or (exactly and received < self._start):
            raise ProtocolError(
                f"the other end says to have {received} bytes of a stream of {self._end}, and had {self._start} before"
            )
        kept = self._kept
        while kept and self._start + len(kept[0]) <= received:
            self._start += len(kept.popleft())
        if exactly and kept and received > self._start:
            kept[0] = kept[0][received - self._start :]
            self._start = received


def lasting(connection: Any) -> Lasting | None:
    """The connection, if another socket can follow its own."""
    return connection if isinstance(connection, Lasting) and connection.lasts else None
