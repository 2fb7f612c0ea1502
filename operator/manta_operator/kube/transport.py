"""One request to an API server, or one watch of it, over the official client's configuration, authentication and connections."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException

from manta_operator.hanging_up import Response
from manta_operator.kube.errors import KubeError, UnreachableError, api_error
from manta_operator.kube.requests import Request, request_of

#: Media types of patches.
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"

#: The longest line of a watch: twice what etcd takes for an object by default, and JSON's overhead.
LONGEST_LINE = 8 << 20
#: The most that one answer may have: a page of a list is bounded by its `limit`, and yet.
LONGEST_ANSWER = 256 << 20

#: The kernel asks whether the other side of a watch is there, after so long without a byte and so often in vain, and then ends
#: it: a minute in all. It also keeps firewalls and load balancers from forgetting a connection that is silent for some minutes.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


#: Is told of each request: what it was, how it ended (an HTTP status, or "unreachable"), and after how many seconds.
Observer = Callable[[Request, str, float], None]


def _nobody(request: Request, code: str, seconds: float) -> None:
    pass


class Transport:
    """Requests of one identity at one API server. Nothing is retried here: whoever asks knows what repeating means.

    But for this: a GET, PUT or DELETE on a kept connection that the server closes before it answers is sent once more, on another
    connection, by aiohttp. Writes of those methods must therefore say which version or object they are for; ours do.

    Args:
        api: The official client, configured.
        agent: Shown as User-Agent.
        observe: Is told of each request's end.
    """

    def __init__(self, api: Any, *, agent: str, observe: Observer = _nobody) -> None:
        self._api, self._observe = api, observe
        self._headers = {"Accept": "application/json", "User-Agent": agent}

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        timeout_s: float,
    ) -> dict[str, Any]:
        """One request.

        Args:
            method: GET, POST, PUT, PATCH or DELETE.
            path: As `Resource.path` makes it.
            query: Parameters.
            body: JSON.
            content_type: Of the body.
            timeout_s: For all of it, from here to the last byte of the answer.

        Returns:
            The object that was answered.

        Raises:
            ApiError: It was refused.
            UnreachableError: No whole answer came in time. A write may have been made.
        """
        request = f"{method} {path}"
        began, code = time.monotonic(), "unreachable"
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._send(method, path, query, body, content_type, aiohttp.ClientTimeout(timeout_s))
                try:
                    content = await _whole(response)
                finally:
                    response.release()
            code = str(response.status)
        except (aiohttp.ClientError, ApiException, OSError, TimeoutError) as error:
            raise UnreachableError(request, _words(error)) from error
        finally:
            self._observe(request_of(method, path), code, time.monotonic() - began)
        return _answer(request, response, content)

    @asynccontextmanager
    async def watch(
        self, path: str, query: Mapping[str, str], *, connect_s: float, silence_s: float
    ) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Events of a watch, as the server sends them, until it or the connection ends.

        Args:
            path: Of a list.
            query: Parameters; `watch` is added.
            connect_s: Time limit until the server begins to answer.
            silence_s: A connection without a byte for that long is taken for dead, and the iterator ends as at an end of the
                watch: bookmarks come every minute, so a living one is never silent that long. One whose other side is gone ends
                within a minute in any case.

        Raises:
            ApiError: It was refused.
            UnreachableError: The connection failed; also out of the iterator.
        """
        request = f"WATCH {path}"
        limits = aiohttp.ClientTimeout(total=None, sock_connect=connect_s, sock_read=silence_s)
        began, code = time.monotonic(), "unreachable"
        try:
            async with asyncio.timeout(connect_s):
                response = await self._send("GET", path, {**query, "watch": "true"}, None, "application/json", limits)
            code = str(response.status)
        except (aiohttp.ClientError, ApiException, OSError, TimeoutError) as error:
            raise UnreachableError(request, _words(error)) from error
        finally:
            self._observe(request_of("GET", path, watch=True), code, time.monotonic() - began)
        try:
            if response.status >= 300:
                async with asyncio.timeout(connect_s):
                    content = await _whole(response)
                _answer(request, response, content)
            _keep_alive(response)
            yield _events(request, response)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise UnreachableError(request, _words(error)) from error
        finally:
            response.close()  # not released: nobody will read the rest

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Any,
        content_type: str,
        limits: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        headers = {**self._headers, "Content-Type": content_type}
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = self._api.configuration.host + path + (f"?{urlencode(query)}" if query else "")
        answer = await self._api.call_api(method, url, headers, body, _request_timeout=limits)
        response: aiohttp.ClientResponse = answer.response
        return response


@asynccontextmanager
async def connect(
    kubeconfig: Path | None = None,
    *,
    agent: str = "manta-operator",
    connections: int = 64,
    observe: Observer = _nobody,
) -> AsyncIterator[Transport]:
    """Requests with the identity of a kubeconfig, or of the pod's service account where there is none.

    Args:
        kubeconfig: Its path; None for the pod's own identity.
        agent: Shown as User-Agent.
        connections: The most at the same time; further requests wait. Each watch holds one.
        observe: Is told of each request's end.

    Raises:
        KubeError: There is neither, or it cannot be read.
    """
    settings = type.__call__(client.Configuration)
    try:
        if kubeconfig is None:
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
        else:
            await config.load_kube_config(  # type: ignore[no-untyped-call]
                str(kubeconfig), client_configuration=settings, persist_config=False
            )
    except (config.ConfigException, OSError, ValueError) as error:
        where = "the pod's service account" if kubeconfig is None else str(kubeconfig)
        raise KubeError(f"cannot take an identity from {where}: {error}") from error
    settings.connection_pool_maxsize = connections
    settings.retries = None  # a repeated DELETE is not what was asked for
    settings.client_session_kwargs = {"response_class": Response}
    async with client.ApiClient(settings) as api:
        yield Transport(api, agent=agent, observe=observe)


def _keep_alive(response: aiohttp.ClientResponse) -> None:
    connection = response.connection
    transport = None if connection is None else connection.transport
    sock = None if transport is None else transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > LONGEST_ANSWER:
            raise aiohttp.ClientPayloadError(f"the answer has more than {LONGEST_ANSWER} bytes")
        parts.append(part)
    return b"".join(parts)


async def _events(request: str, response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """Whole lines as objects; half a line at the end is what a cut connection leaves, and no event."""
    rest = b""
    try:
        async for part in response.content.iter_any():
            *lines, rest = (rest + part).split(b"\n")
            if len(rest) > LONGEST_LINE:
                raise UnreachableError(request, f"an event has more than {LONGEST_LINE} bytes")
            for line in lines:
                if line:
                    yield _json(request, line)
    except aiohttp.ServerTimeoutError:
        return  # silent for too long: half open, or nobody there


def _answer(request: str, response: aiohttp.ClientResponse, content: bytes) -> dict[str, Any]:
    if response.status < 300:
        return _json(request, content)
    body: Any
    try:
        body = json.loads(content)
    except ValueError:
        body = content.decode(errors="replace")
    raise api_error(request, response.status, body, response.headers.get("Retry-After"))


def _json(request: str, content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UnreachableError(request, f"what came is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UnreachableError(request, "what came is not an object")
    return value


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
