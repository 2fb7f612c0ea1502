"""Who may stay connected to the HTTP server, over real sockets and a loop of this process."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from aiohttp import web

from manta.aio.supervisor import Supervisor
from manta.dashboard import connections as module
from manta.dashboard.connections import Connections
from manta.dashboard.guard import Guard
from manta.dashboard.http import Application
from manta.dashboard.routes import Routes
from manta.transport.tokens import TokenRole

BIG = 64 << 20


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Times of tests."""
    monkeypatch.setattr(module, "LOOK_S", 0.02)
    monkeypatch.setattr(module, "STALL_S", 0.3)
    monkeypatch.setattr(module, "STRANGER_S", 0.3)


@contextlib.asynccontextmanager
async def served(most=20, idle_s=60.0):
    """A server with a route that answers much, one that takes a body, and one that waits; its port and connections."""
    routes, go_on = Routes(), asyncio.Event()

    async def much(request):
        return web.Response(body=bytes(BIG))

    async def take(request):
        return web.json_response({"bytes": len(await request.read())})

    async def wait(request):
        await go_on.wait()
        return web.json_response({})

    routes.get("/much", much)
    routes.get("/wait", wait)
    routes.add("POST", "/take", take, TokenRole.VIEWER)
    connections = Connections(most, idle_s)
    app = Application(routes, Guard(lambda shown: TokenRole.VIEWER, "http"), connections, lambda: "")
    runner = web.AppRunner(app.app, access_log=None)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    async with Supervisor() as tasks:
        tasks.start(connections.close_idle(), name="idle")
        tasks.start(connections.accept(listener, tasks, runner.server, lambda: None), name="accept")
        yield listener.getsockname()[1], connections, go_on
    await runner.cleanup()
    listener.close()


HEAD = "HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n"


async def dialled(port, text=""):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 12)
    writer.write(text.encode())
    await writer.drain()
    return reader, writer


async def ends(reader):
    """Reads until the connection is over."""
    with contextlib.suppress(ConnectionError):
        while await asyncio.wait_for(reader.read(1 << 16), 10):
            pass


def in_a_loop(test):
    def run(caplog):
        asyncio.run(test(caplog))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@in_a_loop
async def test_who_does_not_read_an_answer_is_cut_with_a_reason(caplog):
    async with served() as (port, connections, _):
        _, writer = await dialled(port, f"GET /much {HEAD}\r\n")
        async with asyncio.timeout(10):
            while "not read" not in caplog.text:
                await asyncio.sleep(0.02)
        assert "a connection of 127.0.0.1 was cut" in caplog.text
        async with asyncio.timeout(10):
            while len(connections):
                await asyncio.sleep(0.02)
        writer.close()


@in_a_loop
async def test_who_does_not_send_the_body_it_began_is_cut_with_a_reason(caplog):
    async with served() as (port, _, _):
        reader, writer = await dialled(port, f"POST /take {HEAD}Content-Length: 1000\r\n\r\nabc")
        await ends(reader)
        assert "does not come" in caplog.text
        writer.close()


@in_a_loop
async def test_who_waits_for_an_answer_is_left_alone(caplog):
    """Long requests are no stall: neither side owes the other a byte."""
    async with served() as (port, _, go_on):
        reader, writer = await dialled(port, f"GET /wait {HEAD}Connection: close\r\n\r\n")
        await asyncio.sleep(3 * module.STALL_S)
        go_on.set()
        assert (await reader.read(15)).startswith(b"HTTP/1.1 200")
        await ends(reader)
        writer.close()


@in_a_loop
async def test_who_never_showed_a_token_goes_sooner_than_who_did(caplog):
    async with served() as (port, connections, _):
        known, known_writer = await dialled(port, f"POST /take {HEAD}Content-Length: 0\r\n\r\n")
        assert (await known.read(15)).startswith(b"HTTP/1.1 200")
        stranger, writer = await dialled(port, "GET /take HTTP/1.1\r\nHost: loc")
        await ends(stranger)
        assert len(connections) == 1
        known_writer.close()
        writer.close()


@in_a_loop
async def test_strangers_make_room_before_who_has_shown_a_token(caplog):
    async with served(most=4) as (port, connections, _):
        known, known_writer = await dialled(port, f"POST /take {HEAD}Content-Length: 0\r\n\r\n")
        assert (await known.read(15)).startswith(b"HTTP/1.1 200")
        strangers = [await dialled(port) for _ in range(10)]
        late, late_writer = await dialled(port, f"POST /take {HEAD}Content-Length: 0\r\n\r\n")
        assert (await late.read(15)).startswith(b"HTTP/1.1 200")
        assert len(connections) <= 4
        known_writer.write(f"POST /take {HEAD}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await ends(known)
        for _, writer in (*strangers, (late, late_writer), (known, known_writer)):
            writer.close()
