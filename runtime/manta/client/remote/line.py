"""The connection to the gateway: one gRPC call over TLS, read and written by whoever holds the session's lock.

A thread that waits reads it itself, as a driver on a node reads its sockets; see `transport.http2` for why no grpc is loaded.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections import deque

from manta.client.remote.diagnose import no_gateway
from manta.core import errors
from manta.rpc.v1 import gateway_pb2 as gw
from manta.transport import auth, statuses
from manta.transport.convert import error_from_proto
from manta.transport.http2 import Call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from manta.client.remote.address import Gateway
    from manta.transport.http2 import Ended
    from manta.transport.message_data import WithData

METHOD = "/manta.rpc.v1.GatewayService/Connect"

#: How long the gateway may take to say that a session is open, its process's start included; and that one is resumed.
OPEN_S = 40.0

#: A gateway that said nothing for so long is asked whether it is there, and is gone when it does not answer for as long again.
KEEPALIVE_S = 10.0

#: Bytes asked from the kernel at once, more than TLS ever gives; and taken before others have their turn.
_READ_BYTES = 32 << 10
_TURN_BYTES = 2 << 20

#: A read that gave less is the last for now: to look once more costs an exception, and what has come since polls as readable.
_FEW_BYTES = 8 << 10

#: From this size on the kernel is told to wait for more before it sends: TLS gives it a record of 16 KiB at a time, and each
#: would be a packet, and a read of the gateway's, of its own. That took a seventh of the gateway's CPU for a large value.
_BULK_BYTES = 64 << 10
_CORK: int | None = getattr(socket, "TCP_CORK", None)

#: What the kernel may hold, where it lets.
_BUFFER_BYTES = 2 << 20


def _cork(sock: ssl.SSLSocket | socket.socket, on: int) -> bool:
    """Have the kernel wait for more before it sends, or no longer; whether it does as told: what is forwarded is no TCP."""
    if _CORK is None:
        return False
    try:
        sock.setsockopt(socket.IPPROTO_TCP, _CORK, on)
    except OSError:
        return False
    return True


class Line:
    """One connection. `open` once, by one thread that may wait; everything else under the session's lock, and nothing blocks."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._call = Call(METHOD, gateway.authority, auth.metadata(gateway.token))
        self._sock: ssl.SSLSocket | socket.socket | None = None
        #: How many decrypted bytes wait inside TLS, where no poll sees them.
        self._pending: Callable[[], int] = int
        self._unsent: deque[bytes | memoryview] = deque()
        self._heard = self._pinged = 0.0
        #: Its descriptor, once it is open.
        self.fd = -1
        #: The gateway has ended the call, or the connection.
        self.over = False

    def open(self, first: gw.ConnectRequest) -> tuple[gw.ConnectResponse, list[bytes]]:
        """Connect and say the first message; returns the gateway's first, and what came with it.

        Raises:
            ClusterNotFoundError: No gateway is there.
            AuthenticationError, VersionMismatchError: It is not the right one, or does not want us.
            MantaError: As the gateway said; `RpcError` is worth another try.
        """
        deadline = time.monotonic() + OPEN_S
        sock = self._sock = self._connected()
        try:
            self._call.send(first.SerializeToString())
            messages: list[bytes] = []
            while not messages:
                for data in self._call.take():
                    sock.sendall(data)
                if self._call.ended is not None:
                    break
                sock.settimeout(max(0.001, deadline - time.monotonic()))
                data = sock.recv(_READ_BYTES)
                if not data:
                    break
                messages = self._call.feed(data)
        except TimeoutError:
            raise errors.RpcTimeoutError(
                f"the gateway at {self._gateway.address} did not answer within {OPEN_S:.0f} s"
            ) from None
        except errors.ProtocolError as wrong:
            raise no_gateway(self._gateway, str(wrong)) from None
        except OSError as broken:
            raise errors.RpcError(f"the connection to the gateway broke: {broken}") from None
        if not messages:
            if self._call.ended is not None:
                raise self._error(self._call.ended)
            raise errors.RpcError("the gateway ended the connection without a word")
        sock.setblocking(False)
        self.fd = sock.fileno()
        self._heard = time.monotonic()
        return gw.ConnectResponse.FromString(messages[0]), messages[1:]

    def _connected(self) -> ssl.SSLSocket | socket.socket:
        """TCP and TLS, as far as they go."""
        gateway = self._gateway
        try:
            sock = gateway.dial(OPEN_S / 2)
        except errors.MantaError:  # some of ours are OSErrors too, and say all there is to say
            raise
        except OSError as failed:
            raise gateway.reason(failed) from None
        try:
            sock.settimeout(OPEN_S / 2)
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
            if gateway.plain:
                return sock
            context = gateway.context()
            tls = context.wrap_socket(sock, server_hostname=gateway.name or gateway.host)
        except OSError as failed:  # TLS's are among them
            sock.close()
            raise gateway.reason(failed) from None
        if tls.selected_alpn_protocol() != "h2":
            tls.close()
            raise no_gateway(gateway, "it speaks no HTTP/2")
        self._pending = tls.pending
        return tls

    def _error(self, ended: Ended) -> errors.MantaError:
        """What an end instead of an answer means."""
        told = ended.details.get(statuses.METADATA_KEY)
        if told:
            from google.protobuf.message import DecodeError

            from manta.rpc.v1 import common_pb2 as common

            try:
                return error_from_proto(common.ErrorInfo.FromString(told))
            except DecodeError:
                pass
        if ended.status is None:
            return errors.RpcError(f"the gateway at {self._gateway.address} took no call: {ended.text}")
        return statuses.error_of_status(ended.status, ended.text)

    # -- out

    def send(self, data: bytes | WithData) -> None:
        """One message. To a connection that is gone: nothing happens, whoever reads hears of it."""
        self._call.send(data)
        self._push()

    def _push(self) -> None:
        if self._call.has_output:
            self._unsent.extend(self._call.take())
        sock, unsent = self._sock, self._unsent
        if sock is None:
            unsent.clear()
            return
        corked = any(len(data) >= _BULK_BYTES for data in unsent) and _cork(sock, 1)
        try:
            while unsent:
                data = unsent[0]
                sent = sock.send(data)
                if sent == len(data):
                    unsent.popleft()
                else:
                    unsent[0] = memoryview(data)[sent:]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            pass
        except OSError:
            unsent.clear()
        if corked:
            _cork(sock, 0)

    @property
    def wants_to_write(self) -> bool:
        """Something waits for the kernel to take it."""
        return bool(self._unsent)

    # -- in

    def receive(self) -> list[bytes]:
        """Messages that have come; what waited to be sent goes on as well.

        Raises:
            OSError: The connection broke.
            ProtocolError: It speaks something else.
        """
        sock, call = self._sock, self._call
        if sock is None:
            return []
        messages: list[bytes] = []
        came = 0
        try:
            while came < _TURN_BYTES or self._pending():
                data = sock.recv(_READ_BYTES)
                if not data:
                    break
                came += len(data)
                messages += call.feed(data)
                if len(data) < _FEW_BYTES and not self._pending():
                    break
            else:
                data = b"more"
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            data = b"later"
        except OSError:
            # What came before counts: it may be the session's last words.
            if not messages:
                raise
            data = b""
        if came:
            self._heard = time.monotonic()
        if self._unsent or call.has_output:
            self._push()
        self.over = not data or call.ended is not None
        return messages

    def tick(self, now: float) -> float:
        """Ask a silent gateway whether it is there; when to look again.

        Raises:
            TimeoutError: It did not answer.
        """
        if self._call.pinged:
            if now - self._pinged >= KEEPALIVE_S and now - self._heard >= KEEPALIVE_S:
                raise TimeoutError("the gateway does not answer")
            return max(self._pinged, self._heard) + KEEPALIVE_S
        if now - self._heard >= KEEPALIVE_S:
            self._pinged = now
            self._call.ping()
            self._push()
            return now + KEEPALIVE_S
        return self._heard + KEEPALIVE_S

    def close(self) -> None:
        """End the connection. Twice is harmless."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        self.fd = -1
        self._unsent.clear()
