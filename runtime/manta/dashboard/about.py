"""What this server is: the first thing that Ray's clients ask."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from manta.dashboard.context import Context
from manta.dashboard.routes import Routes
from manta.version import __version__

#: Version of the routes, and of the Ray whose clients may use them.
ROUTES: Final = "4"
RAY: Final = "2.60.0"


def add(routes: Routes, context: Context) -> None:
    """GET /api/version."""

    async def version(request: web.Request) -> web.Response:
        del request
        session = context.config.session_dir.name
        about = {
            "version": ROUTES,
            "ray_version": RAY,
            "ray_commit": "",
            "session_name": session,
            "manta_version": __version__,
        }
        return web.json_response(about)

    routes.get("/api/version", version)
