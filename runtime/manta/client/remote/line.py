"""The connection to the gateway: one gRPC stream at a time. The one module of a driver that loads grpc, and only when it is used.

A driver inside reaches everything through its raylet and never loads it; one outside has nothing else to speak over.
"""

from __future__ import annotations

from queue import SimpleQueue
from typing import Any

import grpc

from manta.client.remote.diagnose import reason
from manta.core import errors
from manta.rpc.v1 import gateway_pb2 as gw
from manta.transport import auth, status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from manta.client.remote.address import Gateway

METHOD = "/manta.rpc.v1.GatewayService/Connect"

#: How long the gateway may take to say that a session is open, its process's start included; and that one is resumed.
OPEN_S = 40.0

_MESSAGE_LIMIT = 128 << 20
_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", _MESSAGE_LIMIT),
    ("grpc.max_send_message_length", _MESSAGE_LIMIT),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


class Line:
    """One connection. `open` once, then `send` from any thread, and iterate in one."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        options = list(_OPTIONS)
        if gateway.name:
            options.append(("grpc.ssl_target_name_override", gateway.name))
        self._channel = grpc.secure_channel(gateway.target, grpc.ssl_channel_credentials(gateway.ca), options=options)
        self._requests: SimpleQueue[bytes | None] = SimpleQueue()
        self._call: Any = None

    def open(self, first: gw.ConnectRequest) -> gw.ConnectResponse:
        """Connect and say the first message; returns the gateway's first.

        Raises:
            ClusterNotFoundError: No gateway is there.
            AuthenticationError, VersionMismatchError: It is not the right one, or does not want us.
            MantaError: As the gateway said; `RpcError` is worth another try.
        """
        import threading

        self._requests.put(first.SerializeToString())
        connect: Any = self._channel.stream_stream(METHOD)
        self._call = connect(self._said(), metadata=auth.metadata(self._gateway.token))
        late = threading.Timer(OPEN_S, self._call.cancel)
        late.daemon = True
        late.start()
        try:
            return gw.ConnectResponse.FromString(next(self._call))
        except StopIteration:
            raise errors.RpcError("the gateway ended the connection without a word") from None
        except grpc.RpcError as failed:
            raise self.error(failed) from None
        finally:
            late.cancel()

    def error(self, failed: Any) -> errors.MantaError:
        """What a connection that failed means."""
        error = status.error_from(failed)
        if type(error) is not errors.RpcError:
            return error
        if failed.code() is grpc.StatusCode.UNAVAILABLE and not (failed.trailing_metadata() or ()):
            return reason(self._gateway, failed.details() or "")
        if failed.code() is grpc.StatusCode.CANCELLED:
            return errors.RpcTimeoutError(
                f"the gateway at {self._gateway.address} did not answer within {OPEN_S:.0f} s"
            )
        return error

    def _said(self) -> Iterator[bytes]:
        while (data := self._requests.get()) is not None:
            yield data

    def send(self, data: bytes) -> None:
        """One message. To a connection that is gone: nothing happens, whoever iterates hears of it."""
        self._requests.put(data)

    def __iter__(self) -> Iterator[bytes]:
        """Messages as they come; ends when the connection does, whatever the reason."""
        try:
            yield from self._call
        except grpc.RpcError:
            return

    def close(self) -> None:
        """End the connection. Twice is harmless."""
        self._requests.put(None)
        if self._call is not None:
            self._call.cancel()
        self._channel.close()
