"""The application: each route's handler, and around all of them what `guard` decides."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from manta.core.errors import MantaError
from manta.dashboard import answers
from manta.dashboard.connections import Connections
from manta.dashboard.guard import OPEN, Guard, Head, Refusal
from manta.dashboard.routes import MOST_BYTES, Route, Routes
from manta.transport.tokens import TokenRole

log = logging.getLogger(__name__)

_HEADERS: Final = {
    # No Strict-Transport-Security: it would hold for all ports of this host, and for other people's servers there.
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_POLICY: Final = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"

Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


def head_of(request: web.Request, cookie: str = "") -> Head:
    """What of a request decides; `cookie` is the name of the one that holds the session."""
    headers = request.headers
    return Head(
        method=request.method,
        path=request.path,
        host=headers.get("Host", ""),
        origin=headers.get("Origin"),
        fetch_site=headers.get("Sec-Fetch-Site"),
        authorization=headers.get("Authorization", ""),
        content_length=request.content_length,
        content_encoding=headers.get("Content-Encoding", ""),
        session=request.cookies.get(cookie, "") if cookie else "",
    )


class Application:
    """Answers requests.

    Args:
        routes: What there is.
        guard: Who is let in.
        connections: Told which connections are in use.
        ready: Why this process cannot serve; empty when it can.
        cookie: Name of the cookie that holds a browser's session.
    """

    def __init__(
        self, routes: Routes, guard: Guard, connections: Connections, ready: Callable[[], str], cookie: str = ""
    ) -> None:
        self._guard, self._connections, self._ready, self._cookie = guard, connections, ready, cookie
        #: Answers by status, for metrics.
        self.answered: Counter[str] = Counter()
        self._routes = routes.table
        self.app = web.Application(middlewares=[self._around], client_max_size=MOST_BYTES)
        self.app.on_response_prepare.append(self._prepare)
        for (method, path), route in routes.table.items():
            self.app.router.add_route(method, path, route.handler)

    async def _prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        del request
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Content-Security-Policy", _POLICY)
        response.headers.pop("Server", None)

    @web.middleware
    async def _around(self, request: web.Request, handler: Next) -> web.StreamResponse:
        with self._connections.busy(request.transport, lambda: _body_of(request)):
            response = await self._answer(request, handler)
        self.answered[str(response.status)] += 1
        return response

    def _route(self, request: web.Request) -> Route | None:
        resource = request.match_info.route.resource
        return None if resource is None else self._routes.get((request.method, resource.canonical))

    async def _answer(self, request: web.Request, handler: Next) -> web.StreamResponse:
        head = head_of(request, self._cookie)
        # An unknown path is nobody's business either: it takes a token to hear that.
        route = self._route(request)
        refusal = self._guard.stranger(head)
        if refusal is None and head.path in OPEN and head.method in ("GET", "HEAD"):
            why = self._ready() if head.path == "/readyz" else ""
            return web.Response(status=503 if why else 200, text=f"{why or 'ok'}\n")
        refusal = refusal or self._guard.body(head, route.most_bytes if route else MOST_BYTES)
        needed = route.role if route else TokenRole.VIEWER
        if refusal is None and needed is not None:
            refusal = self._guard.credential(head, needed)
        if refusal is not None:
            return _refuse(request, refusal, route)
        if needed is not None:
            self._connections.known(request.transport)
        try:
            return await handler(request)
        except MantaError as error:
            return answers.of_error(error)
        except web.HTTPException as error:
            return answers.refused(error.status, "HTTP", error.reason)
        except asyncio.CancelledError:
            raise
        except ConnectionError:
            # Who asked is gone: nobody reads this, and it is no failure of ours.
            return answers.refused(400, "HTTP", "the request was cut off")
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            return answers.refused(500, "INTERNAL", "this server failed; its log says how")


def _body_of(request: web.Request) -> int | None:
    """How many bytes of its body have come; None when there are none to come."""
    return request.content.total_bytes if request.body_exists and not request.content.is_eof() else None


def _refuse(request: web.Request, refusal: Refusal, route: Route | None) -> web.StreamResponse:
    if route is not None and route.refuse is not None:
        response = route.refuse(request, refusal)
    else:
        response = answers.refused(refusal.status, refusal.code, refusal.message)
    if request.body_exists:
        # What was sent is not read: the connection is of no more use.
        response.force_close()
    return response
