"""Requests to the dashboard of one head."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from manta.transport.addresses import joined
from manta_operator.hanging_up import Response
from manta_operator.heads.endpoint import Endpoint

#: For one answer, from the first word to the last.
ANSWER_S: Final = 5.0
#: A stream says something every 5 s; without a word for so long it is taken for dead.
SILENCE_S: Final = 20.0
#: How long connections may take to close at the end.
_CLOSING_S: Final = 2.0
#: Of one answer, and of one event: a message and the end of a log.
_MOST_ANSWER: Final = 1 << 20
_MOST_LINE: Final = 1 << 20


class HeadError(Exception):
    """A head did not do what it was asked.

    Attributes:
        status: The HTTP status; 0 if no answer came: it may have done it.
        code: The head's word for it.
        message: Its words.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status, self.code, self.message = status, code, message
        super().__init__(status, code, message)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.code else self.message

    @property
    def final(self) -> bool:
        """Whether the same request will be refused whenever it is made: it is the request that is wrong."""
        return self.status in (400, 413, 415, 422)


class Head:
    """Requests to one head.

    Args:
        session: Connections.
        endpoint: Where it is.

    Raises:
        HeadError: What signed its certificate cannot be read.
    """

    def __init__(self, session: aiohttp.ClientSession, endpoint: Endpoint) -> None:
        self._session = session
        self._scheme = "https" if endpoint.server_name else "http"
        self._address = joined(endpoint.host, endpoint.port)
        self._headers = {"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {}
        self._tls: dict[str, Any] = {}
        if endpoint.server_name:
            self._tls = {"ssl": _context(endpoint.authority), "server_hostname": endpoint.server_name}

    async def submit(self, body: dict[str, Any]) -> None:
        """Have a job be there: the same submission id with the same rest is one job, however often it is said.

        Raises:
            HeadError: It was refused, or no answer came.
        """
        try:
            await self._ask("POST", "/api/jobs/", body)
        except HeadError as refused:
            # The id is made of the MantaJob's UID, so it is ours: from before its runtimeEnv was changed.
            if refused.code != "JOB_EXISTS":
                raise

    async def stop(self, submission_id: str) -> bool:
        """Ask a job to stop. Returns whether there is something to stop; what became of it is told by an event.

        Raises:
            HeadError: It was refused, or no answer came.
        """
        try:
            answer = await self._ask("POST", f"/api/jobs/{quote(submission_id, safe='')}/stop")
        except HeadError as refused:
            if refused.code == "JOB_NOT_FOUND":
                return False
            raise
        return bool(answer.get("stopped"))

    @asynccontextmanager
    async def events(self, prefix: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Events of jobs whose ids begin so, until the connection ends.

        Raises:
            HeadError: It was refused, or the connection failed; also out of the iterator.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=ANSWER_S, sock_read=SILENCE_S)
        url = f"{self._scheme}://{self._address}/api/job-events"
        try:
            async with asyncio.timeout(ANSWER_S):
                response = await self._session.get(
                    url, params={"prefix": prefix}, headers=self._headers, timeout=limits, **self._tls
                )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _no_answer(error) from error
        try:
            if response.status >= 300:
                async with asyncio.timeout(ANSWER_S):
                    await _answer(response)
            yield _lines(response)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _no_answer(error) from error
        finally:
            response.close()

    async def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        url = f"{self._scheme}://{self._address}{path}"
        try:
            async with (
                asyncio.timeout(ANSWER_S),
                self._session.request(
                    method, url, json=body, headers=self._headers, timeout=aiohttp.ClientTimeout(ANSWER_S), **self._tls
                ) as response,
            ):
                return await _answer(response)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _no_answer(error) from error


@asynccontextmanager
async def connections() -> AsyncIterator[aiohttp.ClientSession]:
    """Connections to heads, for the block. Each head that is followed has one open."""
    sockets: list[socket.socket] = []

    def make_socket(address: aiohttp.AddrInfoType) -> socket.socket:
        sockets[:] = [one for one in sockets if one.fileno() != -1]
        made = socket.socket(*address[:3])
        sockets.append(made)
        return made

    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=15.0, socket_factory=make_socket)
    session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), response_class=Response)
    async with session:
        yield session
    # TLS says a last word on each, after the session has ended: the loop must not end before.
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSING_S):
            while any(one.fileno() != -1 for one in sockets):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.005)


async def _answer(response: aiohttp.ClientResponse) -> dict[str, Any]:
    content = await response.content.read(_MOST_ANSWER)
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        said = None
    said = said if isinstance(said, dict) else {}
    if response.status < 300:
        return said
    message = str(said.get("message") or response.reason or "refused")
    raise HeadError(response.status, str(said.get("code") or ""), message[:4096])


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    rest = b""
    async for part in response.content.iter_any():
        *lines, rest = (rest + part).split(b"\n")
        if len(rest) > _MOST_LINE:
            raise HeadError(0, "", f"an event has more than {_MOST_LINE} bytes")
        for line in filter(None, lines):
            try:
                event = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise HeadError(0, "", f"an event is not JSON: {error}") from error
            if not isinstance(event, dict):
                raise HeadError(0, "", "an event is not an object")
            yield event


def _context(authority: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=authority)
    except (ssl.SSLError, ValueError) as error:
        raise HeadError(0, "", f"the authority's certificate cannot be read: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def _no_answer(error: BaseException) -> HeadError:
    return HeadError(0, "", f"no answer from the head: {str(error) or type(error).__name__}")
