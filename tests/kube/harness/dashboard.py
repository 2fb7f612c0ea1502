"""Stands in for the dashboard of a cluster whose pods nobody runs: it takes jobs, tells of them, and runs nothing.

It listens where the operator looks for it, at the head pod's address, with the credentials that the operator has made: a
mistake in those is seen here. What a job does is in its entrypoint: `true` and `false` end at once, all else runs until it is
stopped.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

PORT = 8265


class StandInDashboard:
    """One cluster's.

    Attributes:
        jobs: By submission id, as events have them.
        starts: How often each was started.
        stops: How often each was told to stop.
        silent: It takes no requests any more; whoever follows is cut off.
    """

    def __init__(self, token: str) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.starts: Counter[str] = Counter()
        self.stops: Counter[str] = Counter()
        self.silent = False
        self._memory = secrets.token_hex(8)
        self._token = token
        self._changed: dict[asyncio.Event, list[str]] = {}

    @property
    def alive(self) -> list[str]:
        """Jobs that have not ended."""
        return [one for one, job in self.jobs.items() if job["status"] in ("PENDING", "RUNNING")]

    def forget(self) -> None:
        """Everything, as a head does that lost its volume."""
        self.jobs.clear()
        self._memory = secrets.token_hex(8)
        self.cut()

    def cut(self) -> None:
        """End all streams."""
        for event, changed in self._changed.items():
            changed.append("")
            event.set()

    def change(self, submission_id: str, **fields: Any) -> None:
        """A job is another now."""
        job = self.jobs.setdefault(submission_id, {"submission_id": submission_id, "message": "", "stopping": False})
        job |= fields
        for event, changed in self._changed.items():
            changed.append(submission_id)
            event.set()

    def end(self, submission_id: str, status: str, code: int | None) -> None:
        """A job is over."""
        now = int(time.time() * 1000)
        self.change(submission_id, status=status, exit_code=code, ended_unix_ms=now, message=f"it is {status}")

    @web.middleware
    async def guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """As dashboards do."""
        if request.headers.get("Authorization") != f"Bearer {self._token}":
            return web.json_response({"code": "UNAUTHENTICATED", "message": "show a token"}, status=401)
        if self.silent:
            return web.json_response({"code": "RPC_ERROR", "message": "control is away"}, status=503)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def submit(self, request: web.Request) -> web.Response:
        body = await request.json()
        submission_id, entrypoint = body["submission_id"], body["entrypoint"]
        if "pip" in body["runtime_env"]:
            return web.json_response({"code": "INVALID_RUNTIME_ENV", "message": "pip cannot be used yet"}, status=400)
        if submission_id not in self.jobs:
            self.starts[submission_id] += 1
            self.change(submission_id, status="RUNNING", began_unix_ms=int(time.time() * 1000))
            if entrypoint in ("true", "false"):
                self.end(submission_id, *(("SUCCEEDED", 0) if entrypoint == "true" else ("FAILED", 1)))
        return web.json_response({"submission_id": submission_id})

    async def stop(self, request: web.Request) -> web.Response:
        submission_id = request.match_info["id"]
        self.stops[submission_id] += 1
        if submission_id in self.alive:
            self.change(submission_id, stopping=True)
            self.end(submission_id, "STOPPED", -15)
        return web.json_response({"stopped": True})

    async def events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        event, changed = asyncio.Event(), list(self.jobs)
        self._changed[event] = changed
        try:
            whole = False
            while "" not in changed and not self.silent:
                lines = [{"type": "job", "job": self.jobs[one]} for one in changed if one in self.jobs]
                changed.clear()
                event.clear()
                if not whole:
                    lines.append({"type": "whole", "memory": self._memory})
                    whole = True
                await response.write(
                    b"".join(json.dumps(line).encode() + b"\n" for line in lines or [{"type": "alive"}])
                )
                try:
                    async with asyncio.timeout(2.0):
                        await event.wait()
                except TimeoutError:
                    pass
        except ConnectionError:
            pass  # whoever followed was killed
        finally:
            del self._changed[event]
        if request.transport is not None:
            request.transport.abort()
        return response


@asynccontextmanager
async def stand_in_dashboard(address: str, secret: dict[str, str], folder: Path) -> AsyncIterator[StandInDashboard]:
    """Have one for a block, with the content of the head's Secret.

    Args:
        address: Of the head's pod.
        secret: Base64 by name.
        folder: For credentials.
    """
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - once
    for name, content in secret.items():
        (folder / name).write_bytes(base64.b64decode(content))
    lines = (folder / "tokens").read_text().splitlines()
    dashboard = StandInDashboard(next(line.split()[1] for line in lines if line.startswith("submitter")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "dashboard.crt", folder / "dashboard.key")
    app = web.Application(middlewares=[dashboard.guard])
    app.router.add_post("/api/jobs/", dashboard.submit)
    app.router.add_post("/api/jobs/{id}/stop", dashboard.stop)
    app.router.add_get("/api/job-events", dashboard.events)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, PORT, ssl_context=context).start()
        yield dashboard
    finally:
        await runner.cleanup()
