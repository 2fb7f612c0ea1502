"""The port for probes and Prometheus: `/healthz`, `/readyz`, `/metrics`. Plain HTTP, reads only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

#: How long the end of the last answers is waited for.
_CLOSING_S = 0.5


@asynccontextmanager
async def serve(
    port: int, *, unready: Callable[[], str], numbers: Callable[[], bytes], content_type: str, host: str
) -> AsyncIterator[int]:
    """Listen for a block, which gets the port.

    `/healthz` is answered by the loop that does all the work: that it answers says that the loop turns.

    Args:
        port: 0 for any.
        unready: Why this instance is not ready; empty if it is.
        numbers: Makes the text of `/metrics`.
        content_type: Its type.
        host: Address to listen on.

    Raises:
        OSError: The port cannot be had.
    """

    async def healthz(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(request: web.Request) -> web.Response:
        why = unready()
        return web.Response(text=f"{why or 'ok'}\n", status=503 if why else 200)

    async def metrics(request: web.Request) -> web.Response:
        # Thousands of clusters make a text that takes a while: others are served meanwhile.
        text = await asyncio.to_thread(numbers)
        return web.Response(body=text, headers={"Content-Type": content_type})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_CLOSING_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
