"""The channel for event-loop servers: the same frames on asyncio's readers and writers.

asyncio's own streams cannot pass descriptors, and their flow control counts bytes we do not want to copy; so this drives plain
non-blocking sockets with `add_reader` and `add_writer`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from google.protobuf.message import Message

from manta.core.errors import ProtocolError
from manta.transport.channel import Connection, Frame, accept, listen
from manta.transport.lasting import Lasting, lasting
from manta.transport.tcp import FarSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manta.rpc.v1.channel_pb2 import LinkOpens

log = logging.getLogger(__name__)

#: A peer that lets this much pile up does not read; the connection is closed rather than the server's memory filled.
MAX_UNSENT_BYTES = 256 << 20


class AsyncConnection:
    """One accepted or dialled connection inside an event loop.

    `on_frames(connection, frames)` is called with what each read completed, `on_close(connection, reason)` exactly once.
    An exception out of `on_frames` that is a ProtocolError closes the connection; any other is the server's own fault and is
    logged and closes it too.
    """

    def __init__(
        self,
        sock: socket.socket | FarSocket | Lasting,
        on_frames: Callable[[AsyncConnection, list[Frame]], None],
        on_close: Callable[[AsyncConnection, str], None],
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        on_broken: Callable[[AsyncConnection], bool] = lambda connection: False,
    ) -> None:
        self._loop = loop or asyncio.get_running_loop()
        if isinstance(sock, Lasting):
            self._connection: Connection = sock
        else:
            self._connection = Connection.over(sock) if isinstance(sock, FarSocket) else Connection(sock)
        self._on_frames = on_frames
        self._on_close = on_close
        #: Asked when a connection that can outlive its socket loses it: whether it does.
        self._on_broken = on_broken
        self._writing = False
        self._fd = self._connection.fd
        #: It came from another node.
        self.far = not isinstance(sock, socket.socket)
        #: Whatever the server wants to remember about its peer.
        self.peer: object = None
        self._connection.setblocking(False)
        self._loop.add_reader(self._fd, self._readable)

    @property
    def closed(self) -> bool:
        """Nothing can be sent any more."""
        return self._connection.closed

    @property
    def unsent_bytes(self) -> int:
        """Bytes the peer has not taken."""
        return self._connection.unsent_bytes

    def peer_process(self) -> tuple[int, int]:
        """See `Connection.peer`; nobody for a connection that came from another node."""
        return (-1, 0) if self.far else self._connection.peer()

    def take_descriptors(self) -> list[int]:
        """Descriptors that came with the peer's first bytes; the caller owns them now."""
        return self._connection.take_descriptors()

    def send(self, message: Message, raw: bytes | memoryview = b"") -> None:
        """Send one frame. To a connection that is gone: nothing happens, `on_close` has told or will tell."""
        if self._connection.closed:
            return
        try:
            done = self._connection.send(message, raw)
        except OSError as gone:
            self._loop.call_soon(self.close, f"send failed: {gone}")
            return
        if not done:
            self._want_write()

    def send_first(self, messages: Iterable[Message], descriptors: Sequence[int] = ()) -> None:
        """Send the first frames, with descriptors."""
        if self._connection.closed:
            return
        try:
            self._connection.send_first(messages, descriptors)
        except OSError as gone:
            self._loop.call_soon(self.close, f"send failed: {gone}")
            return
        if self._connection.unsent_bytes:
            self._want_write()

    def _want_write(self) -> None:
        if self._connection.unsent_bytes > MAX_UNSENT_BYTES:
            self._loop.call_soon(self.close, f"the peer left {self._connection.unsent_bytes} bytes unread")
        elif not self._writing and not self._connection.waits_to_read:
            self._writing = True
            self._loop.add_writer(self._fd, self._writable)

    def _writable(self) -> None:
        try:
            done = self._connection.flush()
        except OSError as gone:
            self._broke(f"send failed: {gone}")
            return
        if done or self._connection.waits_to_read:
            self._writing = False
            self._loop.remove_writer(self._fd)

    def _readable(self) -> None:
        try:
            frames = self._connection.receive()
        except EOFError:
            self._broke("closed by the peer")
            return
        except OSError as broken:
            self._broke(str(broken))
            return
        except ProtocolError as broken:
            self.close(str(broken))
            return
        if self._connection.unsent_bytes and not self._writing:
            # What was read may have taken the opening of a connection to another node a step further.
            self._want_write()
        if not frames:
            return
        try:
            self._on_frames(self, frames)
        except ProtocolError as broken:
            self.close(str(broken))
        except Exception:
            log.exception("a frame handler failed")
            self.close("internal error")

    # -- other sockets, for what outlives the first

    def _broke(self, reason: str) -> None:
        connection = lasting(self._connection)
        if connection is None or not self._on_broken(self):
            self.close(reason)
            return
        self._rest()
        connection.down()

    def _rest(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            if self._writing:
                self._loop.remove_writer(self._fd)
        self._fd, self._writing = -1, False

    def begin(self, opens: LinkOpens, rest: bytes) -> None:
        """It is to outlive its socket, says the peer's first frame. What came along is handed on before this returns."""
        connection: Any = self._connection
        connection.begin(opens, rest)
        self._want_write()
        if rest:
            self._readable()

    def refuse(self) -> None:
        """Nobody here knows what the peer comes back for."""
        connection: Any = self._connection
        with suppress(OSError):
            connection.refuse()
        self.close("it came back for a connection that is over")

    def adopt(self, sock: FarSocket, received: int) -> None:
        """The peer is back on another socket, and says how far it is.

        Raises:
            ProtocolError: It cannot be that far.
        """
        connection: Any = self._connection
        self._rest()
        connection.adopt(sock, received)
        self._fd = connection.fd
        self._loop.add_reader(self._fd, self._readable)
        self._want_write()

    def detach(self) -> FarSocket:
        """Give the socket of a connection between nodes up to somebody else. It counts as closed, `on_close` included.

        Raises:
            ProtocolError: More than the last frame has come already.
        """
        far: FarSocket = self._connection.detach()
        self._rest()
        self._on_close(self, "given up for a transfer")
        return far

    def close(self, reason: str = "closed") -> None:
        """Close now; what was not taken by the kernel is lost. May be called twice."""
        if self._connection.closed:
            return
        self._rest()
        self._connection.close()
        self._on_close(self, reason)


class ChannelServer:
    """Listens on a Unix socket; `async with` closes the listener and every connection it accepted."""

    def __init__(
        self,
        path: str,
        on_frames: Callable[[AsyncConnection, list[Frame]], None],
        on_close: Callable[[AsyncConnection, str], None],
    ) -> None:
        self._path = path
        self._on_frames = on_frames
        self._user_on_close = on_close
        self._listener: socket.socket | None = None
        self._connections: set[AsyncConnection] = set()

    async def __aenter__(self) -> ChannelServer:
        self._listener = listen(self._path)
        asyncio.get_running_loop().add_reader(self._listener.fileno(), self._acceptable)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
            with suppress(FileNotFoundError):
                import os

                os.unlink(self._path)
        for connection in list(self._connections):
            connection.close("the server stops")

    def _acceptable(self) -> None:
        assert self._listener is not None
        try:
            while (sock := accept(self._listener)) is not None:
                self._connections.add(AsyncConnection(sock, self._on_frames, self._closed))
        except OSError as full:
            # Out of descriptors: the listener stays readable, so give the loop a moment instead of spinning on it.
            log.warning("accept failed: %s", full)
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._listener.fileno())
            loop.call_later(0.1, self._listen_again)

    def _listen_again(self) -> None:
        if self._listener is not None and self._listener.fileno() >= 0:
            asyncio.get_running_loop().add_reader(self._listener.fileno(), self._acceptable)

    def _closed(self, connection: AsyncConnection, reason: str) -> None:
        self._connections.discard(connection)
        self._user_on_close(connection, reason)
