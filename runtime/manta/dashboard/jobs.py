"""Routes of submitted jobs and of uploads, with the paths and fields of Ray's."""

from __future__ import annotations

import asyncio
import codecs
import hashlib
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from manta.dashboard.context import Context
from manta.dashboard.job_events import JobEvents
from manta.dashboard.routes import Routes
from manta.jobs import logs, packages, states
from manta.jobs.errors import JobRequestError, PackageError, PackagesFullError, PackagesUnwritableError
from manta.jobs.hosts import Beside, Here, Host
from manta.jobs.manager import Manager
from manta.jobs.records import Records
from manta.transport.tokens import TokenRole

#: Of a log, in one answer; what is before it is left out.
MOST_LOG: Final = 16 << 20
#: And of one that is read in parts.
MOST_PART: Final = 1 << 20
_MOST_DIGITS: Final = 16
_CHUNK: Final = 1 << 16
_PAUSE_S: Final = 0.2


def add(routes: Routes, context: Context) -> None:
    """/api/jobs, /api/job-events and /api/packages."""
    config = context.config
    uploads = config.packages or config.session_dir / "packages"
    manager = Manager(Records(context.control.ask), _host(context, uploads), config.session_dir, uploads, context.tasks)
    jobs = JobRoutes(manager)
    _ = context.tasks.start(manager.recover(), name="jobs of before")
    events = JobEvents(manager.feed, config.session_dir.name, context.stopping)
    routes.get("/api/job-events", events.stream)
    routes.get("/api/jobs/", jobs.list)
    routes.get("/api/jobs/{id}", jobs.get)
    routes.get("/api/jobs/{id}/logs", jobs.logs)
    routes.get("/api/jobs/{id}/logs/tail", jobs.tail)
    routes.add("POST", "/api/jobs/", jobs.submit, TokenRole.SUBMITTER)
    routes.add("POST", "/api/jobs/{id}/stop", jobs.stop, TokenRole.SUBMITTER)
    routes.add("DELETE", "/api/jobs/{id}", jobs.delete, TokenRole.SUBMITTER)
    routes.get("/api/packages/{protocol}/{name}", jobs.has)
    routes.add(
        "PUT", "/api/packages/{protocol}/{name}", jobs.upload, TokenRole.SUBMITTER, most_bytes=packages.MOST_UPLOAD
    )


def _host(context: Context, uploads: Path) -> Host:
    config = context.config
    if config.jobs_socket is not None:
        beside = Beside(config.jobs_socket)
        _ = context.tasks.start(beside.run(), name="who starts jobs")
        return beside

    def words(job_id: str) -> list[str]:
        credentials = ["--credentials", str(config.credentials)] if config.credentials is not None else []
        # No path of ours in the command line may be another job's: the id is its last argument.
        return [
            "-P", "-m", "manta.jobs.supervisor", "--control", config.control, *credentials,
            "--session-dir", str(config.session_dir), "--uploads", str(uploads),
            "--log", str(config.session_dir / "logs" / states.log_name(job_id)), "--id", job_id,
        ]  # fmt: skip

    return Here(words, config.session_dir)


class JobRoutes:
    """Handlers."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    async def submit(self, request: web.Request) -> web.Response:
        """Start a job."""
        try:
            body = json.loads(await request.read())
        except (ValueError, RecursionError):
            raise JobRequestError("the body is a JSON object with 'entrypoint'") from None
        job_id = await self._manager.submit(body)
        return web.json_response({"job_id": job_id, "submission_id": job_id})

    async def list(self, request: web.Request) -> web.Response:
        """All jobs."""
        del request
        return web.json_response([states.details(facts) for facts in await self._manager.all()])

    async def get(self, request: web.Request) -> web.Response:
        """One job."""
        return web.json_response(states.details(await self._manager.get(request.match_info["id"])))

    async def stop(self, request: web.Request) -> web.Response:
        """Ask it to stop."""
        return web.json_response({"stopped": await self._manager.stop(request.match_info["id"])})

    async def delete(self, request: web.Request) -> web.Response:
        """Forget it."""
        return web.json_response({"deleted": await self._manager.delete(request.match_info["id"])})

    async def logs(self, request: web.Request) -> web.Response:
        """The end of its log; with `?at=BYTES` what comes from there on, and where the next part begins."""
        job_id = request.match_info["id"]
        _ = await self._manager.get(job_id)
        if (at := request.query.get("at")) is not None:
            return web.json_response(await asyncio.to_thread(_part, self._manager.log_of(job_id), at))
        end = await asyncio.to_thread(logs.read, self._manager.log_of(job_id), -MOST_LOG, MOST_LOG)
        return web.json_response({"logs": end.data.decode(errors="replace")})

    async def tail(self, request: web.Request) -> web.StreamResponse:
        """Its log as it grows, over a WebSocket, until the job is over."""
        job_id = request.match_info["id"]
        _ = await self._manager.get(job_id)
        socket = web.WebSocketResponse(max_msg_size=_CHUNK, heartbeat=20)
        await socket.prepare(request)
        # aiohttp does not end a handler whose client has left.
        async for text in self._growing(job_id, lambda: request.transport is None):
            await socket.send_str(text)
        await socket.close()
        return socket

    async def _growing(self, job_id: str, left: Callable[[], bool]) -> AsyncIterator[str]:
        path, at = self._manager.log_of(job_id), 0
        # A chunk may end within a character.
        text = codecs.getincrementaldecoder("utf-8")(errors="replace")
        while True:
            over = await self._manager.is_over(job_id)
            while chunk := (await asyncio.to_thread(logs.read, path, at, _CHUNK)).data:
                at += len(chunk)
                yield text.decode(chunk)
            if over or left():
                return
            await asyncio.sleep(_PAUSE_S)

    async def has(self, request: web.Request) -> web.Response:
        """Whether there is such an upload."""
        packages.find(self._manager.uploads, _name(request))
        return web.json_response({})

    async def upload(self, request: web.Request) -> web.Response:
        """Take an upload. One that is there stays as it is."""
        name = _name(request)
        folder = self._manager.uploads
        beside = folder / f".{os.urandom(8).hex()}"
        try:
            await self._receive(request, folder, beside, name)
            if not (folder / name).exists():
                beside.rename(folder / name)
        except ConnectionError:
            raise
        except OSError as wrong:
            raise PackagesUnwritableError(folder, wrong) from wrong
        finally:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
        return web.json_response({})

    async def _receive(self, request: web.Request, folder: Path, beside: Path, name: str) -> None:
        """Write the body into a file, and look whether it is what its name says."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # noqa: ASYNC240 - once
        room = packages.MOST_TOGETHER - await asyncio.to_thread(packages.size_of, folder)
        digest, size = hashlib.sha256(), 0
        with open(beside, "xb") as file:  # noqa: ASYNC230 - a page cache's speed
            async for chunk in request.content.iter_chunked(_CHUNK):
                size += len(chunk)
                if size > packages.MOST_UPLOAD:
                    raise PackageError(f"an upload has at most {packages.MOST_UPLOAD} bytes")
                if size > room:
                    raise PackagesFullError(folder, packages.MOST_TOGETHER)
                digest.update(chunk)
                file.write(chunk)
        wanted = name.removeprefix("_manta_pkg_").removesuffix(".zip")
        if name.startswith("_manta_pkg_") and wanted != digest.hexdigest():
            raise PackageError(f"the upload's SHA-256 is {digest.hexdigest()}, not {wanted:.80}")


def _part(log: Path, at: str) -> dict[str, Any]:
    """Part of a log that ends with a whole character."""
    if not (at.isascii() and at.isdigit() and len(at) < _MOST_DIGITS):
        raise JobRequestError("at is a number of bytes from the log's beginning on")
    found = logs.read(log, int(at), MOST_PART)
    text = codecs.getincrementaldecoder("utf-8")(errors="replace")
    said = text.decode(found.data)
    return {"logs": said, "next": found.at + len(found.data) - len(text.getstate()[0])}


def _name(request: web.Request) -> str:
    return states.package_of(f"{request.match_info['protocol']}://{request.match_info['name']}")
