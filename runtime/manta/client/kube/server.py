"""Questions to an API server, and what its refusals mean. Reads only; for one event loop."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
import time
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import unquote, urlencode, urlsplit

import aiohttp

from manta.client.kube import tls
from manta.client.kube.access import Access
from manta.client.kube.identity import Identity
from manta.client.kube.refusals import name_of, refused, unreachable
from manta.core.errors import (
    KubeconfigError,
    KubernetesUnreachableError,
)
from manta.version import __version__

#: How long an answer may take, and a connection until it is there.
ANSWER_S: Final = 30.0
CONNECT_S: Final = 15.0
#: How long connections may take to end.
END_S: Final = 1.0
_END_ROUNDS: Final = 1000
#: Longest answer: a page of some pods.
_MOST_BYTES: Final = 32 << 20


class Server:
    """An API server, as one user. `async with Server(access) as server`."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._identity = Identity(access.user)
        self._contexts: dict[tuple[bytes, bytes], ssl.SSLContext] = {}
        #: What is asked over; there within the block.
        self._session: aiohttp.ClientSession | None = None
        #: Those that are open, at least.
        self._sockets: list[socket.socket] = []
        self._proxy = by_proxy(access.proxy or _proxy_of(access.server))

    async def __aenter__(self) -> Server:
        # No limit: each forwarded connection holds one.
        connector = aiohttp.TCPConnector(limit=0, socket_factory=self._socket)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            # Nothing about what is accepted: a kubelet refuses a WebSocket (406) to who says more than that anything is.
            headers={"User-Agent": f"manta/{__version__}"},
        )
        return self

    async def __aexit__(self, *_error: object) -> None:
        if self._session is not None:
            await self._session.close()
        # TLS has words for the end, which the loop still has to send: a socket that outlived its loop would never be closed.
        deadline = time.monotonic() + END_S
        while self._alive() and time.monotonic() < deadline:  # noqa: ASYNC110 - nobody says it
            await asyncio.sleep(0.002)
        # It also waits for the other side's. Who does not say them is hung up on, for which the loop needs some rounds, not time.
        for one in self._alive():
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for _ in range(_END_ROUNDS):
            if not self._alive():
                break
            await asyncio.sleep(0)

    def _alive(self) -> list[socket.socket]:
        return [one for one in self._sockets if one.fileno() != -1]

    def _socket(self, address: Any) -> socket.socket:
        self._sockets = self._alive()
        made = socket.socket(*address[:3])
        self._sockets.append(made)
        return made

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """An object, or a list.

        Raises:
            AbsentError: There is none such.
            KubernetesUnauthorizedError, KubernetesForbiddenError: Who asks is not known, or may not.
            KubernetesUnreachableError: No good answer came.
            KubeconfigError: The user's credentials cannot be had.
        """
        status, body = await self._ask(path, query)
        if status == 401 and self._identity.renewable:
            self._identity.forget()
            status, body = await self._ask(path, query)
        if status == 200 and isinstance(body, dict):
            return body
        raise refused(self.access, path, status, body)

    async def _ask(self, path: str, query: Mapping[str, str] | None) -> tuple[int, Any]:
        assert self._session is not None
        url = self.access.server + path + (f"?{urlencode(query)}" if query else "")
        arguments = await self._arguments()
        limits = aiohttp.ClientTimeout(total=ANSWER_S, sock_connect=CONNECT_S)
        try:
            async with self._session.get(url, timeout=limits, allow_redirects=False, **arguments) as answer:
                content = bytearray()
                async for part in answer.content.iter_any():
                    content += part
                    if len(content) > _MOST_BYTES:
                        raise aiohttp.ClientPayloadError(f"its answer has more than {_MOST_BYTES} bytes")
                status = answer.status
        except (aiohttp.ClientError, OSError, ValueError) as failed:  # TimeoutError is an OSError
            raise unreachable(self.access, failed) from failed
        try:
            return status, json.loads(content)
        except (ValueError, RecursionError):
            return status, content.decode("utf-8", "replace")

    async def open(self, path: str, protocol: str) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket.

        Raises:
            As `get`.
        """
        try:
            return await self._open(path, protocol)
        except aiohttp.WSServerHandshakeError as refusal:
            status = refusal.status
        if status == 401 and self._identity.renewable:
            self._identity.forget()
            try:
                return await self._open(path, protocol)
            except aiohttp.WSServerHandshakeError as refusal:
                status = refusal.status
        # The words of a refusal are lost with the connection. An ordinary question is refused with the same, or goes further.
        again, body = await self._ask(path, None)
        if again == status or status != 403:
            raise refused(self.access, path, status, body)
        raise refused(self.access, path, status, "a WebSocket to it is something to create", verb="create")

    async def _open(self, path: str, protocol: str) -> aiohttp.ClientWebSocketResponse:
        assert self._session is not None
        arguments = await self._arguments()
        # What comes is no JSON, and an API server takes the session's word for it: 406.
        arguments["headers"].append(("Accept", "*/*"))
        try:
            # No heartbeat: while somebody does not take what was sent to them, a kubelet does not answer pings either. Those at
            # the two ends ask each other whether they are there.
            opened: aiohttp.ClientWebSocketResponse = await self._session.ws_connect(
                self.access.server + path,
                protocols=(protocol,),
                timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                autoclose=True,
                max_msg_size=16 << 20,
                **arguments,
            )
        except aiohttp.WSServerHandshakeError:
            raise
        except (aiohttp.ClientError, OSError, ValueError) as failed:
            raise unreachable(self.access, failed) from failed
        if opened.protocol != protocol:
            await opened.close()
            raise KubernetesUnreachableError(
                f"{name_of(self.access)} does not speak {protocol} over WebSockets: a proxy on the way, perhaps"
            )
        return opened

    async def _arguments(self) -> dict[str, Any]:
        """What each request has besides its path: who asks, and over which TLS."""
        shown = await self._identity.credential()
        headers: list[tuple[str, str]] = list(self.access.user.headers)
        if shown.token:
            headers.append(("Authorization", f"Bearer {shown.token}"))
        arguments: dict[str, Any] = {"headers": headers, **self._proxy}
        if self.access.server.startswith("https:"):
            arguments["ssl"] = self._context(shown.certificate, shown.key)
        return arguments

    def _context(self, certificate: bytes, key: bytes) -> ssl.SSLContext:
        made = self._contexts.get((certificate, key))
        if made is None:
            made = context_of(self.access, certificate, key)
            self._contexts = {(certificate, key): made}
        return made


def context_of(access: Access, certificate: bytes, key: bytes) -> ssl.SSLContext:
    """TLS as it is spoken with an API server.

    Raises:
        KubeconfigError: Certificates in the kubeconfig are none.
    """
    try:
        context = tls.named(access.server_name, access.authority)
    except ssl.SSLError as wrong:
        raise KubeconfigError(f"{access.source}: certificate-authority holds no certificate: {wrong.reason}") from wrong
    # Authorities of many clusters lack what Python 3.13 asks of them; kubectl takes them.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if access.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate:
        try:
            tls.show(context, certificate, key)
        except (ssl.SSLError, ValueError) as wrong:
            raise KubeconfigError(
                f"{access.source}: client-certificate and client-key of user {access.user.name!r} are not a pair: {wrong}"
            ) from wrong
    return context


def _proxy_of(server: str) -> str:
    """As the environment says; empty for none."""
    parts = urlsplit(server)
    if urllib.request.proxy_bypass_environment(parts.netloc):  # type: ignore[attr-defined]
        return ""
    return urllib.request.getproxies_environment().get(parts.scheme, "")


def by_proxy(url: str) -> dict[str, Any]:
    """What a request has to say to go by a proxy, if there is one; a name and a password may be in its URL."""
    if not url:
        return {}
    parts = urlsplit(url)
    if parts.username is None:
        return {"proxy": url}
    shown = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    headers = {"Proxy-Authorization": f"Basic {base64.b64encode(shown).decode()}"}
    return {"proxy": parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(), "proxy_headers": headers}
