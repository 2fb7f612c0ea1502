"""The bytes of one object between two arenas: blocking calls in a thread of its own, straight from memory and into it.

Nothing here decides; what came of it is returned. Every read and write has a deadline, every size is checked before a byte is
written, and what a broken transfer has written is worth nothing.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from typing import Any, Final, NamedTuple

from google.protobuf.message import DecodeError

from manta.core.errors import MantaError, ProtocolError
from manta.raylet.objects.pull_commands import Trouble
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.channel import HEADER, HEADER_BYTES, NUMBER, PROTOCOL, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from manta.raylet.objects.traffic import Sent
    from manta.transport.tcp import FarSocket

#: Connect, preamble, answer and handshake together, seconds.
OPEN_S: Final = 5.0
#: No byte for so long is the end of a transfer, seconds. Whoever sends says more often that it lives.
STALL_S: Final = 10.0
ALIVE_S: Final = 1.0
#: A sender that lives but has nothing to send is not waited for longer, seconds.
STARVED_S: Final = 30.0
#: One chunk. Measured on loopback: most with 4 MiB and the kernel's own buffer sizes; less with smaller ones, and with sendfile.
CHUNK_BYTES: Final = 4 << 20
#: What is told to those who wait for the bytes to pass them on is told in steps of this.
_STEP_BYTES: Final = 256 << 10
#: Largest body of the frames of a transfer.
_MAX_BODY_BYTES: Final = 4096

_ANSWER, _CHUNK, _END = NUMBER[pb.PullAnswer], NUMBER[pb.ObjectChunk], NUMBER[pb.PullEnd]


class Progress:
    """How much of an object is there, shared by the thread that fetches it and those that pass it on.

    Ownership: whoever may free the range calls `revoke` first.
    """

    __slots__ = ("_condition", "_sock", "_stopped", "_waiting", "have", "revoked", "size")

    def __init__(self, size: int, have: int = 0) -> None:
        self.size, self.have = size, have
        #: The bytes are not to be relied on any more.
        self.revoked = False
        self._condition = threading.Condition()
        self._waiting = 0
        self._sock: socket.socket | None = None
        self._stopped = False

    def add(self, count: int) -> None:
        """So many more bytes are there. Called by the thread that fetches."""
        self.have += count
        if self._waiting:
            with self._condition:
                self._condition.notify_all()

    def revoke(self) -> None:
        """What is there is not what it should be, or will not stay."""
        with self._condition:
            self.revoked = True
            self._condition.notify_all()

    def wait_beyond(self, have: int, timeout_s: float) -> bool:
        """Wait for more bytes than so many; whether there are. Revoked ones never are."""
        with self._condition:
            self._waiting += 1
            try:
                self._condition.wait_for(lambda: self.revoked or self.have > have, timeout_s)
            finally:
                self._waiting -= 1
            return not self.revoked and self.have > have

    def uses(self, sock: socket.socket) -> bool:
        """The transfer runs over this socket from now on; False when it was stopped before."""
        with self._condition:
            self._sock = sock
            return not self._stopped

    def unused(self) -> None:
        """The socket is about to be closed."""
        with self._condition:
            self._sock = None

    def stop(self) -> None:
        """End the transfer from another thread: its calls fail at once."""
        with self._condition:
            self._stopped = True
            if self._sock is not None:
                try:
                    # Not TLS's own, which is not for two threads: the end of the connection is all that is wanted.
                    socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
                except OSError:
                    pass


class Unreachable(Exception):
    """A node cannot be dialled at all: it is not known (yet), or dead."""

    def __init__(self, trouble: Trouble, reason: str) -> None:
        super().__init__(reason)
        self.trouble = trouble


class Outcome(NamedTuple):
    """What came of fetching: all of it (neither), another node to ask, or trouble with its reason."""

    trouble: Trouble | None = None
    reason: str = ""
    ask_node: bytes = b""


_REFUSED: Final = {
    pb.PullAnswer.REFUSAL_ABSENT: Outcome(Trouble.ABSENT, "it does not have it (any more)"),
    pb.PullAnswer.REFUSAL_FREED: Outcome(Trouble.FREED, "its owner has freed it"),
    pb.PullAnswer.REFUSAL_BUSY: Outcome(Trouble.BUSY, "it sends to too many"),
}


def fetch(
    dial: Callable[[], FarSocket],
    request: pb.PullObject,
    view: memoryview,
    progress: Progress,
    warm: Callable[[int, int], None] = lambda at, size: None,
    kept: FarSocket | None = None,
) -> tuple[Outcome, FarSocket | None]:
    """Ask a node for an object and write it into `view`, which is as long as the object.

    Args:
        dial: Begins the connection.
        request: What to send first.
        view: Where it goes. Released here.
        progress: Counts it, and can stop it.
        warm: Has the pages of a part of `view` made ready, before it is written.
        kept: A connection to that node from before, used instead if it still works.

    Returns:
        What came of it, and the connection, if it can carry another object. Else it is closed.

    Raises:
        Unreachable: Said by `dial`.
    """
    far = kept
    usable = False
    try:
        with view:
            try:
                asked = None if far is None else _ask(far, 0.0, request, progress)
            except TimeoutError:
                raise
            except (OSError, EOFError):
                # Closed by the other side while it was kept. Nothing has come, so nothing is lost by asking again.
                progress.unused()
                far.close()  # type: ignore[union-attr]
                asked = far = None
            if asked is None:
                far = dial()
                asked = _ask(far, OPEN_S, request, progress)
            outcome = _receive(*asked, request.size, view, progress, warm)
            usable = outcome.trouble is None and not outcome.ask_node
            return outcome, far if usable else None
    except ProtocolError as wrong:
        outcome = Outcome(Trouble.BROKEN, str(wrong))
    except TimeoutError:
        outcome = Outcome(Trouble.BROKEN, f"nothing came for {STALL_S:g} s")
    except EOFError:
        outcome = Outcome(Trouble.BROKEN, "the connection ended too early")
    except ssl.SSLError as error:
        outcome = Outcome(Trouble.BROKEN, f"TLS: {error.reason or error}")
    except (OSError, ValueError, MantaError) as error:
        outcome = Outcome(Trouble.BROKEN, str(error))
    finally:
        progress.unused()
        if far is not None and not usable:
            far.close()
    return outcome, None


def _ask(
    far: FarSocket, open_s: float, request: pb.PullObject, progress: Progress
) -> tuple[socket.socket, pb.PullAnswer, int]:
    """Ask: the socket, the answer, and how many bytes come with it. Raises as reading and writing do."""
    sock = far.take(STALL_S, open_s)
    if not progress.uses(sock):
        raise ProtocolError("it was stopped")
    sock.sendall(encode(request))
    return sock, *_frame(sock, bytearray(HEADER_BYTES), {_ANSWER: pb.PullAnswer})


def _receive(
    sock: socket.socket,
    answer: pb.PullAnswer,
    raw: int,
    size: int,
    view: memoryview,
    progress: Progress,
    warm: Callable[[int, int], None],
) -> Outcome:
    if raw:
        raise ProtocolError("an answer came with bytes")
    if answer.refusal:
        return _REFUSED.get(answer.refusal, Outcome(Trouble.ABSENT, f"it refuses ({answer.refusal})"))
    if answer.ask_node:
        if len(answer.ask_node) != 28:
            raise ProtocolError("it points to what is no node")
        return Outcome(ask_node=answer.ask_node)
    if answer.size != size:
        raise ProtocolError(f"the object has {size} bytes, says its owner, and {answer.size}, says the node")
    header = bytearray(HEADER_BYTES)
    kinds = {_CHUNK: pb.ObjectChunk, _END: pb.PullEnd}
    fed = time.monotonic()
    have = 0
    while True:
        part, raw = _frame(sock, header, kinds)
        if isinstance(part, pb.PullEnd):
            if have != size or raw:
                raise ProtocolError(f"the object has {size} bytes, and {have} came")
            return Outcome()
        if part.offset != have or raw > size - have:
            raise ProtocolError(
                f"a part from byte {part.offset} with {raw} bytes came where byte {have} of {size} was next"
            )
        if not raw:
            if time.monotonic() > fed + STARVED_S:
                raise ProtocolError(f"it has had nothing to send for {STARVED_S:g} s")
            continue
        end = have + raw
        warm(have, raw)
        while have < end:
            count = sock.recv_into(view[have : min(end, have + CHUNK_BYTES)])
            if not count:
                raise EOFError
            have += count
            if have - progress.have >= _STEP_BYTES or have == size:
                progress.add(have - progress.have)
        fed = time.monotonic()


def _frame(sock: socket.socket, header: bytearray, kinds: dict[int, Any]) -> tuple[Any, int]:
    """Read the next frame up to its raw bytes: the message and how many of those follow."""
    _exactly(sock, memoryview(header))
    version, reserved, number, body_bytes, raw_bytes = HEADER.unpack(header)
    kind = kinds.get(number)
    if version != PROTOCOL or reserved or kind is None or body_bytes > _MAX_BODY_BYTES:
        raise ProtocolError(f"what came is no part of a transfer: version {version}, frame type {number}")
    body = bytearray(body_bytes)
    _exactly(sock, memoryview(body))
    try:
        return kind.FromString(bytes(body)), raw_bytes
    except DecodeError as broken:
        raise ProtocolError(f"the body of a frame of type {number} cannot be decoded: {broken}") from broken


def _exactly(sock: socket.socket, view: memoryview) -> None:
    at = 0
    while at < len(view):
        count = sock.recv_into(view[at:])
        if not count:
            raise EOFError
        at += count


def refuse(sock: socket.socket, answer: pb.PullAnswer) -> None:
    """Send an answer that is not followed by anything. What the asker makes of a broken connection is its own affair."""
    try:
        sock.sendall(encode(answer))
    except OSError:
        pass


def send(sock: socket.socket, view: memoryview, progress: Progress, sent: Sent) -> bool:
    """Send an object that is here, or comes here while it is sent.

    Args:
        sock: Blocking, with a timeout.
        view: The object. Released here.
        progress: How much of it is there.
        sent: Counts what goes.

    Returns:
        Whether the asker was sent all of it, and nothing that was not right.
    """
    try:
        with view:
            size = progress.size
            sock.sendall(encode(pb.PullAnswer(size=size)))
            at = 0
            while at < size:
                have = progress.have
                if have <= at:
                    if not progress.wait_beyond(at, ALIVE_S):
                        if progress.revoked:
                            return False
                        sock.sendall(_head(pb.ObjectChunk(offset=at), 0))
                    continue
                end = min(have, at + CHUNK_BYTES)
                sock.sendall(_head(pb.ObjectChunk(offset=at), end - at))
                while at < end:
                    at += sock.send(view[at:end])
                    sent.have = at
                if progress.revoked:
                    return False
            if progress.revoked:
                return False
            sock.sendall(encode(pb.PullEnd()))
            return True
    except OSError:
        return False


def _head(message: Message, raw_bytes: int) -> bytes:
    body = message.SerializeToString()
    return HEADER.pack(PROTOCOL, 0, NUMBER[type(message)], len(body), raw_bytes) + body
