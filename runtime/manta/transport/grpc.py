"""gRPC in one place: options of servers and channels, who is let in, deadlines, and when a call is repeated."""

from __future__ import annotations

import asyncio
import logging
import random
import resource
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from manta.transport import grpc_settings as _first  # isort: skip  # noqa: F401

import grpc
import grpc.aio

from manta.aio.backoff import Backoff
from manta.aio.deadlines import Deadline
from manta.core.errors import AuthenticationError, CertificateError, MantaError
from manta.transport import auth, status
from manta.transport.tls import Tls, TlsFiles, read_pems

log = logging.getLogger(__name__)

Response = TypeVar("Response")
Call = Callable[..., Awaitable[Response]]

#: Largest message either way: a function may have 100 MB.
MESSAGE_LIMIT = 128 << 20
#: Statuses after which the same request may succeed. The first two leave open whether it was executed.
REPEATABLE = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
)

_SIZES = (
    ("grpc.max_receive_message_length", MESSAGE_LIMIT),
    ("grpc.max_send_message_length", MESSAGE_LIMIT),
    ("grpc.max_metadata_size", 16 << 10),
)
SERVER_OPTIONS: tuple[tuple[str, Any], ...] = (
    *_SIZES,
    # Two servers on one port would share the calls between them.
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", 10_000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
)
#: How long a stranger may take for TLS.
HANDSHAKE_MS = 5_000
#: Connections of one server on TCP, counted before anybody is asked who they are: each costs 50 KB until it has shaken hands.
MOST_CONNECTIONS = 2_000
#: How long a connection may take to come about, TLS and the server's first word of HTTP/2 included: a server to which a thousand
#: come at once takes its time, and one that is dialled anew before it could answer would never be reached.
CONNECT_MS = 5_000
CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    *_SIZES,
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # The default waits up to two minutes before it dials again; a restarted control is back within a second.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Not what it is called: what one connection is given, whatever the pause after it.
    ("grpc.min_reconnect_backoff_ms", CONNECT_MS),
    # No proxy of the environment stands between processes of one cluster.
    ("grpc.enable_http_proxy", 0),
    # Retries are ours, below, where they are counted.
    ("grpc.enable_retries", 0),
    # One connection per channel object: its end is a sign, and a shared one would not end.
    ("grpc.use_local_subchannel_pool", 1),
)


def unix_target(path: str) -> str:
    """The gRPC target of a Unix socket."""
    return f"unix:{path}"


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Lets a call in if it shows a valid token; others are refused before anything of theirs is decoded.

    Args:
        tokens: Valid ones; two at once while they are rotated. None at all lets nobody in. A function says which they are now.
    """

    def __init__(self, tokens: Sequence[str] | Callable[[], Sequence[str]]) -> None:
        self._tokens = tokens if callable(tokens) else lambda: tokens

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        """See grpc.aio: the handler of a call that is let in, or one that refuses it."""
        for key, value in details.invocation_metadata or ():
            if key == auth.METADATA_KEY and isinstance(value, str) and value.startswith(auth.SCHEME):
                if auth.accepts(self._tokens(), value[len(auth.SCHEME) :]):
                    return await continuation(details)
                return _refusing("the token is not this cluster's", await continuation(details))
        return _refusing("no token was shown", await continuation(details))


def _refusing(why: str, handler: Any) -> Any:
    """A handler of the same shape that only refuses."""

    async def refuse_unary(request: Any, context: Any) -> Any:
        await status.abort(context, AuthenticationError(why))

    async def refuse_stream(request: Any, context: Any) -> Any:
        await status.abort(context, AuthenticationError(why))
        yield  # a generator, as the shape asks for

    if handler is None:
        return grpc.unary_unary_rpc_method_handler(refuse_unary)
    if handler.request_streaming and handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(refuse_stream)
    if handler.request_streaming:
        return grpc.stream_unary_rpc_method_handler(refuse_unary)
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(refuse_stream)
    return grpc.unary_unary_rpc_method_handler(refuse_unary)


def server(tokens: Sequence[str] | Callable[[], Sequence[str]] | None, *, most: int = 0) -> grpc.aio.Server:
    """A server with our options.

    Args:
        tokens: Valid tokens, or what says which they are now; None only where the socket's directory is the credential.
        most: Connections at a time, for a server on TCP; those that do not shake hands in time are closed there. 0: no bound.
    """
    interceptors = () if tokens is None else (TokenInterceptor(tokens),)
    options = SERVER_OPTIONS if not most else (*SERVER_OPTIONS, *limits(most))
    return grpc.aio.server(options=options, interceptors=interceptors)


def most_connections(wanted: int) -> int:
    """How many connections a server that strangers can reach may have: no more than half of the files that we may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A flood must not take the files that the process needs for its work: control without them would lose its store.
    return wanted if soft == resource.RLIM_INFINITY else min(wanted, soft // 2)


def limits(most: int) -> tuple[tuple[str, int], ...]:
    """Options of a server that strangers can reach; they hold before anybody is asked who they are.

    Args:
        most: Connections, as `most_connections` has it. gRPC knows no bound by address and refuses the next, whoever it is:
            `transport.accepted` sees to it that there is room.
    """
    return (
        ("grpc.max_allowed_incoming_connections", most),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
    )


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """TLS both ways for a server. A certificate that was renewed on disk is shown to the next who dials, without a restart.

    Raises:
        CertificateError: The files are missing or are not what they should be.
    """
    # gRPC itself would only say that a handshake failed, and only to whoever dials.
    Tls(files).server()
    version = files.changed()

    def fetch() -> Any:  # a ServerCertificateConfiguration, or None for no news
        nonlocal version
        try:
            now = files.changed()
            if now == version:
                return None  # the one it has
            Tls(files).server()
            found = configuration()
        except CertificateError as wrong:
            # Half a renewal: the old ones are good for a while.
            log.warning("the renewed certificates are not used: %s", wrong)
            return None
        version = now
        return found

    def configuration() -> grpc.ServerCertificateConfiguration:
        authority, certificate, key = read_pems(files)
        return grpc.ssl_server_certificate_configuration([(key, certificate)], authority)

    return grpc.dynamic_ssl_server_credentials(configuration(), fetch, require_client_authentication=True)


def channel(target: str, files: TlsFiles | None = None, role: str = "control") -> grpc.aio.Channel:
    """A channel with our options. It dials by itself, again and again, from its first call on.

    Args:
        target: "unix:PATH" or "host:port".
        files: This process's certificates, as they are now; None without TLS.
        role: Whose certificate the other side has to show.

    Raises:
        CertificateError: The files cannot be read.
    """
    if files is None:
        return grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)
    authority, certificate, key = read_pems(files)
    credentials = grpc.ssl_channel_credentials(authority, key, certificate)
    name = (("grpc.ssl_target_name_override", files.name_of(role)),)
    return grpc.aio.secure_channel(target, credentials, options=(*CHANNEL_OPTIONS, *name))


async def call(
    method: Call[Response],
    request: Any,
    *,
    token: str = "",
    timeout_s: float,
    deadline: Deadline | None = None,
    attempts: int = 1,
    backoff: Backoff = Backoff(),  # noqa: B008 (frozen)
    unit: Callable[[], float] = random.random,
) -> Response:
    """Make one call, and repeat it when that is safe and of use.

    Args:
        method: A stub's method.
        request: Its request. With `attempts` above 1 it must be idempotent: every request of ours is, by its id.
        token: The session's token.
        timeout_s: Seconds for one attempt.
        deadline: For all attempts together; None bounds them by `attempts` only.
        attempts: How often at most.
        backoff: Waiting in between.
        unit: Randomness in [0, 1) for it.

    Returns:
        The response.

    Raises:
        MantaError: What the other side answered, or RpcError, RpcTimeoutError, ... if it didn't.
    """
    loop = asyncio.get_running_loop()
    for attempt in range(attempts):
        limit = timeout_s if deadline is None else min(timeout_s, deadline.remaining_s(loop.time()))
        try:
            return await method(request, timeout=limit, metadata=auth.metadata(token))
        except grpc.aio.AioRpcError as error:
            pause = backoff.delay_s(attempt, unit())
            out_of_time = deadline is not None and deadline.remaining_s(loop.time()) <= pause
            if error.code() not in REPEATABLE or attempt + 1 == attempts or out_of_time:
                failure: MantaError = status.error_from(error)
                raise failure from error
        await asyncio.sleep(pause)
    raise ValueError(f"attempts must be at least 1, not {attempts}")
