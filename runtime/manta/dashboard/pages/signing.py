"""Routes of signing in and out."""

from __future__ import annotations

import asyncio
import urllib.parse
from typing import Final

from aiohttp import web

from manta.core.errors import AuthenticationError
from manta.dashboard.answers import refused
from manta.dashboard.context import Context
from manta.dashboard.guard import Refusal
from manta.dashboard.pages import doors
from manta.dashboard.pages.document import headers
from manta.dashboard.routes import Routes
from manta.dashboard.sessions import LIFETIME_S

#: Of a sign-in, and how long a stranger may take to send it.
MOST_BYTES: Final = 2048
SENDING_S: Final = 5.0
_FORM: Final = "application/x-www-form-urlencoded"


def add(routes: Routes, context: Context) -> None:
    """/sign-in and /sign-out."""
    signing = Signing(context)
    routes.open("GET", "/sign-in", signing.show, most_bytes=0, refuse=refuse)
    routes.open("POST", "/sign-in", signing.sign_in, most_bytes=MOST_BYTES, refuse=refuse)
    routes.open("POST", "/sign-out", signing.sign_out, most_bytes=MOST_BYTES)


class Signing:
    """Handlers."""

    def __init__(self, context: Context) -> None:
        self._sessions, self._cookie, self._secure = context.sessions, context.cookie, context.secure

    async def show(self, request: web.Request) -> web.StreamResponse:
        """The form, or the button of a sign-in link."""
        ticket = request.query.get("ticket", "")[:200]
        return page(200, doors.sign_in(request.query.get("next", "/"), ticket=ticket))

    async def sign_in(self, request: web.Request) -> web.StreamResponse:
        """Take a token or a ticket, give a session."""
        if request.content_type != _FORM:
            return refused(415, "INVALID_REQUEST", f"a sign-in is a form: {_FORM}")
        try:
            async with asyncio.timeout(SENDING_S):
                body = await _read(request, MOST_BYTES)
        except TimeoutError:
            return _last(refused(408, "TIMEOUT", f"a sign-in is sent within {SENDING_S:g} s"))
        if body is None:
            return _last(refused(413, "LIMIT_EXCEEDED", f"a sign-in has at most {MOST_BYTES} bytes"))
        try:
            fields = dict(urllib.parse.parse_qsl(body.decode("ascii", "replace"), max_num_fields=8))
        except ValueError:
            return refused(400, "INVALID_REQUEST", "a sign-in has a token or a ticket, and says what is next")
        onward = doors.own_path(fields.get("next", "/"))
        try:
            if "ticket" in fields:
                session = self._sessions.redeem(fields["ticket"])
            else:
                session = self._sessions.sign_in(fields.get("token", "").strip())
        except AuthenticationError as wrong:
            return page(401, doors.sign_in(onward, wrong=str(wrong)))
        response = web.Response(status=303, headers={"Location": onward})
        self._set(response, session, int(LIFETIME_S))
        return response

    async def sign_out(self, request: web.Request) -> web.StreamResponse:
        """End the session that is shown; it changes nothing but that."""
        if not self._sessions.sign_out(request.cookies.get(self._cookie, "")):
            return _last(refused(401, AuthenticationError.code, "there is no session to end"))
        response = web.Response(status=303, headers={"Location": "/sign-in"})
        self._set(response, "", 0)
        return response

    def _set(self, response: web.Response, session: str, age_s: int) -> None:
        response.set_cookie(
            self._cookie, session, max_age=age_s, path="/", httponly=True, samesite="Strict", secure=self._secure
        )


def refuse(request: web.Request, refusal: Refusal) -> web.StreamResponse:
    """A refused request for a page, for people where it is a browser's, and for programs where it is theirs."""
    if "text/html" not in request.headers.get("Accept", ""):
        return refused(refusal.status, refusal.code, refusal.message)
    if refusal.status == 401:
        came = "" if refusal.message.startswith("show a token") else refusal.message
        return page(401, doors.sign_in(request.path, wrong=came))
    if refusal.code == "CROSS_SITE" and request.method == "GET":
        return page(403, doors.from_elsewhere(request.path))
    return page(refusal.status, doors.trouble("Not answered", f"{refusal.message}."))


def page(status: int, text: str, *, live: bool = False) -> web.Response:
    """A document as an answer."""
    response = web.Response(
        status=status, text=text, content_type="text/html", charset="utf-8", headers=headers(live=live)
    )
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="manta"'
    return response


async def _read(request: web.Request, most: int) -> bytes | None:
    """The body; None if it is longer. A body in chunks says nothing of its length before."""
    body = b""
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > most:
            return None
    return body


def _last(response: web.Response) -> web.Response:
    """What is still sent is not read."""
    response.force_close()
    return response
