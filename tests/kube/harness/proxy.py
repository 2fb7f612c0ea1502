"""Stands between an operator and the API server, and does what networks and servers do on bad days.

Faults are said beforehand and used up in order: `proxy.add(Fault(writes, LoseAnswer()))`. Whatever no fault is for goes through
unchanged. Every request is counted and kept, so that a test can assert that the fault was met.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tests.kube.harness.control_plane import ControlPlane
from tests.support.kubeconfigs import write_kubeconfig

#: The most that connections to the API server may take to end when a proxy ends.
CLOSING_S = 40.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request that came.

    Attributes:
        method: Such as POST.
        path: Without the query.
        query: Parameters.
        write: How many writes there have been with this one; 0 for reads.
        change: The same, of writes that are no renewals of a Lease, nor tries that change nothing.
    """

    method: str
    path: str
    query: dict[str, str]
    write: int
    change: int = 0

    @property
    def watches(self) -> bool:
        """Whether it is a watch."""
        return self.query.get("watch") == "true"

    @property
    def lists(self) -> bool:
        """Whether it is a list's page; of one object too, which no test confuses."""
        return self.method == "GET" and not self.watches


def writes(request: Request) -> bool:
    """Every write."""
    return request.write > 0


def watches(request: Request) -> bool:
    """Every watch."""
    return request.watches


def lists(request: Request) -> bool:
    """Every read that is no watch."""
    return request.lists


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer with an error, and do nothing."""

    status: int
    reason: str = ""
    message: str = "refused by the proxy"
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """Close the connection, and do nothing."""


@dataclass(frozen=True, slots=True)
class LoseAnswer:
    """Do it, and close the connection instead of answering: the caller does not know."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Do it when `until` is set, or not at all if the caller is gone by then."""

    until: asyncio.Event = field(repr=False)  # tests are named by these


@dataclass(frozen=True, slots=True)
class Events:
    """Change what a watch sends: of each event's line, the lines to send.

    Attributes:
        change: Is given each event; returns those to send in its place: none drops it, two send it twice.
        delay_s: Each is sent so much later, and those behind it after it.
    """

    change: Callable[[dict[str, Any]], list[dict[str, Any]]]
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class HalfOpen:
    """A watch that sends nothing any more, and whose connection stays open.

    Attributes:
        after: So many events still come through.
    """

    after: int = 0


@dataclass(frozen=True, slots=True)
class CutWatch:
    """A watch that is cut in the middle of an event's line.

    Attributes:
        after: So many whole events come through.
    """

    after: int = 0


Act = Refuse | Cut | LoseAnswer | Hold | Events | HalfOpen | CutWatch


@dataclass
class Fault:
    """What happens to whom.

    Attributes:
        match: Which requests.
        act: What happens to them.
        times: To how many; None for all.
        met: To how many it has happened.
    """

    match: Callable[[Request], bool]
    act: Act
    times: int | None = 1
    met: int = field(default=0)


class FaultProxy:
    """A running one.

    Attributes:
        kubeconfig: Leads to it.
        requests: Every request that came, oldest first.
        writes: How many of them were writes.
        changes: How many of those were no renewals of a Lease, nor tries that change nothing.
    """

    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        self.kubeconfig = Path()
        self.requests: list[Request] = []
        self.writes = self.changes = 0
        self._upstream, self._session = upstream, session
        self._faults: list[Fault] = []
        #: By path, a whole list that is told instead of the next one there; it has to be of an older version.
        self.replayed: dict[str, dict[str, Any]] = {}
        self._on_write: tuple[int, Callable[[], None]] | None = None
        self._on_change: tuple[int, Callable[[], None]] | None = None

    def add(self, fault: Fault) -> Fault:
        """From now on; of several that match a request, the first that is not used up."""
        self._faults.append(fault)
        return fault

    def replay(self, lists: dict[str, dict[str, Any]]) -> None:
        """Answer the next list of each path with one from the past, as a server may that is behind the others."""
        self.replayed.update(lists)

    def after_write(self, number: int, do: Callable[[], None]) -> None:
        """When the write of this number has been made, call `do`, and never answer: kill whoever asked for it there."""
        self._on_write = (number, do)

    def after_change(self, number: int, do: Callable[[], None]) -> None:
        """As `after_write`, but renewals of Leases are not counted: they come whenever their time has come."""
        self._on_change = (number, do)

    async def handle(self, incoming: web.Request) -> web.StreamResponse:
        """One request."""
        is_write = incoming.method in {"POST", "PUT", "PATCH", "DELETE"}
        self.writes += is_write
        changes = is_write and "/leases" not in incoming.path and "dryRun" not in incoming.query
        self.changes += changes
        change = self.changes if changes else 0
        request = Request(incoming.method, incoming.path, dict(incoming.query), self.writes if is_write else 0, change)
        self.requests.append(request)
        if request.lists and (past := self.replayed.pop(request.path, None)) is not None:
            return web.json_response(past)
        act = self._act(request)
        match act:
            case Refuse():
                return _refusal(act)
            case Cut():
                return _cut(incoming)
            case Hold(until):
                await until.wait()
        body = await incoming.read()
        headers = {
            name: incoming.headers[name]
            for name in ("Accept", "Content-Type", "User-Agent")
            if name in incoming.headers
        }
        url = f"{self._upstream}{incoming.rel_url}"
        async with self._session.request(incoming.method, url, data=body or None, headers=headers) as answer:
            if request.watches and answer.status == 200:
                return await self._watch(incoming, answer, act)
            content = await answer.read()
        for counted, on in ((request.write, self._on_write), (request.change, self._on_change)):
            if on is not None and counted == on[0]:
                on[1]()
                return _cut(incoming)
        if isinstance(act, LoseAnswer):
            return _cut(incoming)
        return web.Response(status=answer.status, body=content, content_type=answer.content_type)

    def _act(self, request: Request) -> Act | None:
        for fault in self._faults:
            if (fault.times is None or fault.met < fault.times) and fault.match(request):
                fault.met += 1
                return fault.act
        return None

    async def _watch(
        self, incoming: web.Request, answer: aiohttp.ClientResponse, act: Act | None
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(incoming)
        sent = 0
        async for line in answer.content:
            if isinstance(act, HalfOpen) and sent >= act.after:
                continue
            if isinstance(act, CutWatch) and sent >= act.after:
                await response.write(line[: len(line) // 2])
                return _cut(incoming, response)
            events = None
            if isinstance(act, Events):
                await asyncio.sleep(act.delay_s)
                events = act.change(json.loads(line))
            lines = [line] if events is None else [json.dumps(event).encode() + b"\n" for event in events]
            for one in lines:
                await response.write(one)
                sent += 1
        if isinstance(act, HalfOpen):
            await asyncio.Event().wait()  # until the caller gives up
        await response.write_eof()
        return response


def _refusal(refuse: Refuse) -> web.Response:
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": refuse.status,
        "reason": refuse.reason,
        "message": refuse.message,
    }
    headers = {} if refuse.retry_after_s is None else {"Retry-After": str(refuse.retry_after_s)}
    return web.json_response(status, status=refuse.status, headers=headers)


def _cut(incoming: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
    """End the connection as a dead machine's kernel or a firewall would: without a word of HTTP."""
    if incoming.transport is not None:
        incoming.transport.abort()
    return response or web.Response()


@asynccontextmanager
async def fault_proxy(kube: ControlPlane, kubeconfig: Path, folder: Path) -> AsyncIterator[FaultProxy]:
    """Have one for a block.

    Args:
        kube: The API server behind it.
        kubeconfig: Of the user as whom it asks, one of `kube`'s.
        folder: Where the kubeconfig that leads to it is written.
    """
    identity = kube.certificate_of(kubeconfig)
    context = ssl.create_default_context(cafile=str(kube.authority))
    context.load_cert_chain(*identity)
    timeout = aiohttp.ClientTimeout(total=None)
    sockets: list[socket.socket] = []

    def make_socket(address: Any) -> socket.socket:
        made = socket.socket(*address[:3])
        sockets.append(made)
        return made

    connector = aiohttp.TCPConnector(ssl=context, limit=0, socket_factory=make_socket)
    try:
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=True) as session:
            proxy = FaultProxy(kube.server, session)
            app = web.Application(client_max_size=64 << 20)
            app.router.add_route("*", "/{path:.*}", proxy.handle)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            [address] = runner.addresses
            cluster = {"server": f"http://127.0.0.1:{address[1]}"}
            proxy.kubeconfig = write_kubeconfig(folder / f"proxy-{address[1]}.conf", cluster, {})
            try:
                yield proxy
            finally:
                await site.stop()
                for _ in range(10):  # a connection that was just accepted becomes one that `cleanup` knows and closes
                    await asyncio.sleep(0)
                await runner.cleanup()
    finally:
        # TLS ends a connection that is given up with words of its own, after the session has ended: the loop must not end before.
        async with asyncio.timeout(CLOSING_S):
            while any(one.fileno() != -1 for one in sockets):
                await asyncio.sleep(0.005)
