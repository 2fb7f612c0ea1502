"""The stream of jobs ends for a reader who takes nothing any more."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import pytest
from aiohttp import web

from manta.dashboard import job_events
from manta.dashboard.job_events import JobEvents
from manta.jobs.feed import Feed
from manta.jobs.states import Facts


def job(number):
    """More of them than the buffers of two sockets hold."""
    end = {"status": "FAILED", "unix_ms": 2, "log_tail": "x" * 60_000}
    return Facts({"submission_id": f"j{number}", "submitted_unix_ms": 1}, end=end)


@pytest.mark.parametrize("many", [1, 400])
def test_who_reads_no_more_loses_its_place(monkeypatch, many):
    """One who has little to read keeps it: nothing waits for them."""
    monkeypatch.setattr(job_events, "READ_S", 0.2)
    feed, stopping = Feed(), asyncio.Event()
    for number in range(many):
        feed.put(job(number))

    async def body():
        app = web.Application()
        app.router.add_get("/", JobEvents(feed, "session", stopping).stream)
        runner = web.AppRunner(app, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        with socket.create_connection(runner.addresses[0]) as silent:
            silent.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(10):
                while not feed._followers:
                    await asyncio.sleep(0.001)
                if many > 1:
                    while feed._followers:
                        await asyncio.sleep(0.001)
            kept = len(feed._followers)
            stopping.set()
            await runner.cleanup()
            silent.setblocking(False)
            with suppress(ConnectionError):
                while await asyncio.get_running_loop().sock_recv(silent, 1 << 20):
                    pass
        return kept

    assert asyncio.run(body()) == (1 if many == 1 else 0)
