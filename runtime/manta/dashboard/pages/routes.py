"""Routes of the pages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from aiohttp import web

from manta.core.errors import MantaError
from manta.dashboard import answers
from manta.dashboard.context import Context
from manta.dashboard.pages import doors, job
from manta.dashboard.pages.document import live
from manta.dashboard.pages.log_text import Piece, begin_of_tail, piece
from manta.dashboard.pages.look import Look
from manta.dashboard.pages.overview import overview
from manta.dashboard.pages.signing import page, refuse
from manta.dashboard.routes import Routes
from manta.jobs import logs, states
from manta.jobs.records import Records
from manta.transport.tokens import TokenRole

#: How often an open page asks, milliseconds.
EVERY_MS: Final = 2000
#: Of a log: what a page begins with, and what one answer adds.
TAIL_BYTES: Final = 128 << 10
PIECE_BYTES: Final = 64 << 10

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def add(routes: Routes, context: Context) -> None:
    """/, /jobs/{id} and /jobs/{id}/log."""
    pages = Pages(context)
    for path, handler in (("/", pages.overview), ("/jobs/{id}", pages.job)):
        routes.add("GET", path, _for_people(handler), TokenRole.VIEWER, most_bytes=0, refuse=refuse)
    routes.get("/jobs/{id}/log", pages.log)


def _for_people(handler: Handler) -> Handler:
    """Errors as pages."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except MantaError as error:
            status = answers.of_error(error).status
            return page(status, doors.trouble("Not found" if status == 404 else "Not shown", f"{error}."))

    return answer


class Pages:
    """Handlers."""

    def __init__(self, context: Context) -> None:
        self._look = Look(context.control.ask, context.tasks)
        self._records = Records(context.control.ask)
        self._cluster = context.config.session_dir.name
        self._logs = context.config.session_dir / "logs"

    async def overview(self, request: web.Request) -> web.StreamResponse:
        """The whole cluster."""
        seen = await self._look.latest()
        inside = overview(seen, time.time())
        if _is_part(request):
            return page(200, inside)
        return page(200, live("Manta", self._cluster, inside, every_ms=EVERY_MS), live=True)

    async def job(self, request: web.Request) -> web.StreamResponse:
        """One job and the end of its log."""
        job_id = states.check_id(request.match_info["id"])
        # What is written before its end is known is all there is.
        found = await self._records.read(job_id)
        row, over = states.details(found), found.end is not None
        if _is_part(request):
            return page(200, job.facts(row, time.time()))
        begin, log = await asyncio.to_thread(_tail, self._logs / states.log_name(job_id), over)
        inside = job.page(row, log, begin, time.time(), over=over)
        return page(200, live(f"{job_id} - Manta", self._cluster, inside, every_ms=EVERY_MS // 2), live=True)

    async def log(self, request: web.Request) -> web.StreamResponse:
        """What a log has from a place on."""
        job_id = states.check_id(request.match_info["id"])
        where = request.query.get("from", "")
        if not (where.isascii() and where.isdecimal() and len(where) < 19):
            return answers.refused(400, "INVALID_REQUEST", "?from= is a place in the log, in bytes")
        over = (await self._records.read(job_id)).end is not None
        part = await asyncio.to_thread(logs.read, self._logs / states.log_name(job_id), int(where), PIECE_BYTES)
        data, more = part.data, part.more
        found = piece(data, int(where), last=over and not more)
        # Bytes that are no text and go on for ever must not stop it.
        if more and found.next == int(where):
            found = piece(data, int(where), last=True)
        return web.json_response({"text": found.text, "next": found.next, "more": more, "over": over and not more})


def _is_part(request: web.Request) -> bool:
    return request.query.get("part") == "main"


def _tail(path: Path, over: bool) -> tuple[int, Piece]:
    """Where the shown end of a log begins, and that end."""
    data, at, _ = logs.read(path, -TAIL_BYTES, TAIL_BYTES)
    begin = begin_of_tail(data, at)
    return begin, piece(data[begin - at :], begin, last=over)
