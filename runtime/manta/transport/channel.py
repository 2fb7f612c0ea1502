"""Frames: the framed channel's sans-I/O core, and a socket that speaks it.

Bytes in, frames out; messages in, bytes out. Two drivers stand on it: `Connection` here, for processes that read their sockets
themselves (drivers, workers, factories, tools), and `channel_aio` for event-loop servers. What the frames mean is written in
`proto/manta/rpc/v1/channel.proto`; the type of a frame is the number of its message in `Frame` there.

Descriptors travel only with the first bytes of a connection, in either direction: afterwards readers use `recv`, which is
1 us cheaper than `recvmsg` and would drop descriptors silently.
"""

from __future__ import annotations

import array
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from google.protobuf.message import DecodeError, Message

from manta.core.errors import ProtocolError
from manta.rpc.v1 import channel_pb2 as pb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.transport.tcp import FarSocket

#: Version of the frame format and of the messages' meaning; a process that speaks another is refused at Hello.
PROTOCOL: Final = 1

#: Bytes asked from the kernel at once. Above 128 KiB malloc would map and unmap pages for every call.
READ_BYTES: Final = 65_536

#: A raw part of this size is not copied behind its frame's head, and is read on until it is whole.
LARGE_BYTES: Final = 2 * READ_BYTES

#: But others have their turn after so much of it.
TURN_BYTES: Final = 4 << 20

#: Largest body a peer may announce. A function's code is the largest thing that rides in a body, and is refused above 100 MB.
MAX_BODY_BYTES: Final = 128 << 20

#: Largest raw part: one object chunk.
MAX_RAW_BYTES: Final = 64 << 20

#: Descriptors accepted with the first bytes of a connection.
MAX_DESCRIPTORS: Final = 4

#: The peer's pidfd, of Linux 6.5; Python has no name for it. The same number on every machine of ours.
_SO_PEERPIDFD: Final = 77

HEADER: Final = struct.Struct("<BBHII")
HEADER_BYTES: Final = HEADER.size


def _numbers() -> dict[type[Message], int]:
    kinds = pb.Frame.DESCRIPTOR.oneofs_by_name["kind"].fields
    return {getattr(pb, field.message_type.name): field.number for field in kinds if field.message_type is not None}


#: Frame type of each message class.
NUMBER: Final[dict[type[Message], int]] = _numbers()
#: And back: the parser of each frame type.
PARSE: Final[dict[int, Callable[[bytes], Any]]] = {number: kind.FromString for kind, number in NUMBER.items()}

#: One decoded frame: type, message, raw bytes.
Frame = tuple[int, Any, bytes]


def encode(message: Message, raw: bytes | memoryview = b"") -> bytes:
    """Bytes of one frame."""
    body = message.SerializeToString()
    if len(body) > MAX_BODY_BYTES or len(raw) > MAX_RAW_BYTES:
        raise _too_large(message, len(body), len(raw))
    head = HEADER.pack(PROTOCOL, 0, NUMBER[type(message)], len(body), len(raw))
    return b"".join((head, body, raw)) if raw else head + body


def encode_head(message: Message, raw_bytes: int) -> bytes:
    """Bytes of one frame but for its raw part, which follows."""
    body = message.SerializeToString()
    if len(body) > MAX_BODY_BYTES or raw_bytes > MAX_RAW_BYTES:
        raise _too_large(message, len(body), raw_bytes)
    return HEADER.pack(PROTOCOL, 0, NUMBER[type(message)], len(body), raw_bytes) + body


def _too_large(message: Message, body_bytes: int, raw_bytes: int) -> ProtocolError:
    return ProtocolError(
        f"a {type(message).__name__} frame of {body_bytes} + {raw_bytes} bytes is over the channel's limit "
        f"of {MAX_BODY_BYTES} + {MAX_RAW_BYTES}"
    )


class FrameDecoder:
    """Bytes in, frames out. Knows no socket.

    A frame that lies about its version, type or size, or whose body is no protobuf, raises ProtocolError; nothing is allocated
    on the strength of an announced length alone.
    """

    __slots__ = ("_chunks", "_have", "_need")

    def __init__(self) -> None:
        #: Bytes received and not yet decoded, in order.
        self._chunks: list[bytes] = []
        #: Their sum.
        self._have = 0
        #: Bytes that must be there before another look is worth it.
        self._need = HEADER_BYTES

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes as they came; return the frames they complete."""
        if self._chunks:
            self._chunks.append(data)
            self._have += len(data)
            if self._have < self._need:
                return []
            if self._need >= LARGE_BYTES:
                large = self._large()
                if large is not None:
                    return large
            data = b"".join(self._chunks)
            self._chunks.clear()
        frames: list[Frame] = []
        at, end = 0, len(data)
        need = HEADER_BYTES
        while end - at >= HEADER_BYTES:
            version, reserved, number, body_bytes, raw_bytes = HEADER.unpack_from(data, at)
            if version != PROTOCOL or reserved or body_bytes > MAX_BODY_BYTES or raw_bytes > MAX_RAW_BYTES:
                raise ProtocolError(
                    f"not a frame of channel protocol {PROTOCOL}: version {version}, reserved {reserved}, type {number}, "
                    f"body of {body_bytes} bytes, raw part of {raw_bytes} bytes"
                )
            body_at = at + HEADER_BYTES
            raw_at = body_at + body_bytes
            stop = raw_at + raw_bytes
            if stop > end:
                need = stop - at
                break
            parse = PARSE.get(number)
            if parse is None:
                raise ProtocolError(f"frame type {number} is unknown to channel protocol {PROTOCOL}")
            try:
                message = parse(data[body_at:raw_at])
            except DecodeError as broken:
                raise ProtocolError(f"the body of a frame of type {number} cannot be decoded: {broken}") from broken
            frames.append((number, message, data[raw_at:stop]))
            at = stop
        self._need = need
        if at < end:
            self._chunks.append(data[at:] if at else data)
        self._have = end - at
        return frames

    def _large(self) -> list[Frame] | None:
        """A large frame is complete: its raw part is put together once, where joining all and cutting it out would copy it twice.
        None when its beginning is in several pieces.
        """
        chunks = self._chunks
        first, last = chunks[0], chunks[-1]
        number, body_bytes, raw_bytes = HEADER.unpack_from(first)[2:] if len(first) >= HEADER_BYTES else (0, 0, 0)
        raw_at = HEADER_BYTES + body_bytes
        over = self._have - self._need
        if raw_at >= len(first) or not raw_bytes or number not in PARSE:
            return None
        try:
            message = PARSE[number](first[HEADER_BYTES:raw_at])
        except DecodeError as broken:
            raise ProtocolError(f"the body of a frame of type {number} cannot be decoded: {broken}") from broken
        raw = b"".join((memoryview(first)[raw_at:], *chunks[1:-1], memoryview(last)[: len(last) - over]))
        chunks.clear()
        self._have, self._need = 0, HEADER_BYTES
        frames: list[Frame] = [(number, message, raw)]
        return frames + self.feed(last[len(last) - over :]) if over else frames

    @property
    def buffered_bytes(self) -> int:
        """Bytes of an incomplete frame."""
        return self._have

    @property
    def missing_bytes(self) -> int:
        """Bytes that the frame which is coming still lacks, as far as it is known."""
        return self._need - self._have


class Connection:
    """A connected stream socket that speaks frames, used without an event loop.

    Non-blocking when a pump reads it (`receive`), or blocking with `read_frame`. Sending is for one thread at a time; callers
    hold their own lock. What the kernel does not take at once waits in `unsent` until `flush`.
    """

    __slots__ = (
        "_decoder",
        "_descriptors",
        "_frames",
        "_sock",
        "_unsent",
        "closed",
        "fd",
        "first_read",
        "unsent_bytes",
    )

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        #: The socket's descriptor; -1 once closed.
        self.fd = sock.fileno()
        self.closed = False
        self._decoder = FrameDecoder()
        self._unsent: deque[bytes | memoryview] = deque()
        #: Bytes that wait for the kernel.
        self.unsent_bytes = 0
        #: Only the first bytes of a connection may carry descriptors.
        self.first_read = True
        self._descriptors: list[int] = []
        self._frames: deque[Frame] = deque()

    @classmethod
    def dial(cls, path: str, *, timeout_s: float = 5.0) -> Connection:
        """Connect to a Unix socket. Raises OSError when nobody listens there."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout_s)
            sock.connect(path)
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    @classmethod
    def over(cls, far: Any) -> Connection:
        """The same frames between nodes. Nobody passes descriptors there."""
        connection = cls(far)
        connection.first_read = False
        return connection

    def take_over(self, sock: FarSocket) -> None:
        """Go on with another socket: what waits is sent there."""
        self._sock = sock
        self.fd = sock.fileno()

    @property
    def is_open(self) -> bool:
        """Frames can travel: at once on one machine, between nodes once connection and TLS are through."""
        return not self.closed and getattr(self._sock, "is_open", True)

    @property
    def waits_to_read(self) -> bool:
        """What is unsent can only go on once something was read: a connection between nodes that is being opened."""
        return getattr(self._sock, "waits_to_read", False)

    def setblocking(self, flag: bool) -> None:
        """Blocking reads suit tools and factories; pumps want none."""
        self._sock.setblocking(flag)

    def peer(self) -> tuple[int, int]:
        """Who connected to this Unix socket: a descriptor of that process, the caller's to close, and its number.

        Returns:
            The pidfd, -1 where there is none; the process id as this process sees it, 0 for one that it cannot see: in another
            PID namespace, as the containers of a pod are, whose own numbers mean others here.
        """
        import os

        here, _uid, _gid = struct.unpack("3i", self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        try:
            return self._sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD), here
        except OSError:
            # A kernel before 6.5, or a process that has ended and been reaped.
            pass
        try:
            return (os.pidfd_open(here) if here else -1), here
        except OSError:
            return -1, here

    def settimeout(self, seconds: float | None) -> None:
        """Bound of every blocking read and write."""
        self._sock.settimeout(seconds)

    def send(self, message: Message, raw: bytes | memoryview = b"") -> bool:
        """Send one frame; see `send_bytes`."""
        if len(raw) < LARGE_BYTES:
            return self.send_bytes(encode(message, raw))
        self.send_bytes(encode_head(message, len(raw)))
        return self.send_bytes(raw)

    def send_bytes(self, data: bytes | memoryview) -> bool:
        """Hand bytes to the kernel; True when it took them all, else the rest waits for `flush`.

        Raises:
            OSError: The connection is gone.
        """
        if self._unsent:
            self._unsent.append(data)
            self.unsent_bytes += len(data)
            return False
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        if sent == len(data):
            return True
        self._later(memoryview(data)[sent:])
        return False

    def _later(self, rest: memoryview) -> None:
        """Keep what the kernel did not take, for `flush`."""
        self._unsent.append(rest)
        self.unsent_bytes += len(rest)

    def send_first(self, messages: Iterable[Message], descriptors: Sequence[int] = ()) -> None:
        """Send the first frames of a connection, with the descriptors that ride along."""
        data = b"".join(encode(message) for message in messages)
        sent = socket.send_fds(self._sock, [data], list(descriptors)) if descriptors else self._sock.send(data)
        if sent < len(data):
            self._later(memoryview(data)[sent:])

    def flush(self) -> bool:
        """Give the kernel what waits; True when nothing waits any more."""
        unsent = self._unsent
        while unsent:
            data = unsent[0]
            try:
                sent = self._sock.send(data)
            except BlockingIOError:
                return False
            self.unsent_bytes -= sent
            if sent < len(data):
                unsent[0] = memoryview(data)[sent:]
                return False
            unsent.popleft()
        return True

    def receive(self) -> list[Frame]:
        """Frames that one read completes; empty when there is nothing yet.

        Raises:
            EOFError: The other side is gone.
            OSError: The connection broke.
            ProtocolError: What came is no frame.
        """
        try:
            data = self._first_bytes() if self.first_read else self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return []
        if not data:
            raise EOFError
        decoder = self._decoder
        frames = decoder.feed(data)
        if not frames and decoder.missing_bytes >= READ_BYTES and not self.first_read:
            return self._read_on()
        return frames

    def _read_on(self) -> list[Frame]:
        """The rest of a large frame, as far as it is there: a round of the reader's for each piece costs more than the piece."""
        decoder, came = self._decoder, 0
        while True:
            try:
                data = self._sock.recv(READ_BYTES)
            except BlockingIOError:
                return []
            if not data:
                raise EOFError
            came += len(data)
            frames = decoder.feed(data)
            if frames or came >= TURN_BYTES:
                return frames

    def read_frame(self) -> Frame:
        """Wait for the next frame on a blocking connection. Raises as `receive`, and TimeoutError."""
        while not self._frames:
            self._frames.extend(self.receive())
        return self._frames.popleft()

    def _first_bytes(self) -> bytes:
        data, descriptors = receive_with_descriptors(self._sock)
        self.first_read = False
        self._descriptors = descriptors
        return data

    def take_descriptors(self) -> list[int]:
        """Descriptors that came with the first bytes; the caller owns them now."""
        taken, self._descriptors = self._descriptors, []
        return taken

    def detach(self) -> Any:
        """Give the socket up to somebody else; nothing of a later frame may have been read. Afterwards it is as if closed.

        Raises:
            ProtocolError: The other side has sent more than it was to send.
        """
        if self._decoder.buffered_bytes or self._unsent:
            raise ProtocolError("more was sent than the last frame before a transfer")
        sock, self._sock = self._sock, None
        self.closed = True
        self.fd = -1
        return sock

    def close(self) -> None:
        """Close the socket and any descriptor nobody took. May be called twice."""
        if self.closed:
            return
        self.closed = True
        self._sock.close()
        self.fd = -1
        close_descriptors(self.take_descriptors())
        self._unsent.clear()
        self.unsent_bytes = 0


def receive_with_descriptors(sock: socket.socket) -> tuple[bytes, list[int]]:
    """One `recvmsg`: data and the descriptors that came with it, close-on-exec."""
    data, ancillary, _flags, _address = sock.recvmsg(
        READ_BYTES, socket.CMSG_SPACE(MAX_DESCRIPTORS * 4), socket.MSG_CMSG_CLOEXEC
    )
    descriptors = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(payload[: len(payload) - len(payload) % descriptors.itemsize])
    return data, list(descriptors)


def close_descriptors(descriptors: Iterable[int]) -> None:
    """Close what nobody wanted."""
    import os

    for descriptor in descriptors:
        os.close(descriptor)


def listen(path: str, *, backlog: int = 512) -> socket.socket:
    """A non-blocking Unix listener at `path`, for this user only."""
    import os

    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        os.chmod(path, 0o600)
        sock.listen(backlog)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def accept(listener: socket.socket) -> socket.socket | None:
    """The next caller of this very user (or root), non-blocking; None when there is none left.

    Raises:
        OSError: The listener is broken, or the process has no descriptor left.
    """
    import os

    while True:
        try:
            sock, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return None
        _pid, uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in (os.getuid(), 0):
            sock.close()
            continue
        sock.setblocking(False)
        return sock
