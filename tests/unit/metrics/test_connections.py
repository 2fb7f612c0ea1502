"""Who may stay connected to a health and metrics port, over real sockets and a loop of this process."""

from __future__ import annotations

import asyncio
import datetime
import os
import socket
import ssl
from contextlib import ExitStack, suppress

from manta.metrics.endpoint import MOST_CONNECTIONS, serve
from manta.metrics.http import Door
from manta.metrics.listen import Listen
from manta.transport.certificates import Role, make_authority, make_leaf, write_pair

NOW = datetime.datetime.now(datetime.UTC)
DOOR = Door(lambda: b"numbers", "text/plain", lambda: "")


async def healthy(port, context=None, name=None, path="/healthz"):
    """What it answers, and the certificate that was shown."""
    # Another address than those that flood the port.
    own = ("127.0.0.2", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name, local_addr=own)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    said = await asyncio.wait_for(reader.read(), 10)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True) if context else None
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return said.partition(b"\r\n")[0], shown


def certificate(folder, authority):
    write_pair(
        make_leaf(authority, Role.CONTROL, "c1", now=NOW, extra_names=("localhost",)),
        str(folder / "m.crt"),
        str(folder / "m.key"),
    )
    return ssl.PEM_cert_to_DER_cert((folder / "m.crt").read_text())


def silent(stack, port):
    for _ in range(3 * MOST_CONNECTIONS):
        sock = stack.enter_context(socket.socket())
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", port))


def test_those_that_say_nothing_keep_nobody_out():
    async def main():
        async with serve(Listen(port=0), DOOR) as port:
            with ExitStack() as stack:
                silent(stack, port)
                assert (await healthy(port))[0] == b"HTTP/1.1 200 OK"

    asyncio.run(main())


def test_nor_those_that_do_not_shake_hands_and_a_renewed_certificate_is_shown(tmp_path):
    async def main():
        authority = make_authority("c1", now=NOW)
        (tmp_path / "ca.crt").write_bytes(authority.certificate)
        first = certificate(tmp_path, authority)
        trusted = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
        listen = Listen(port=0, certificate=tmp_path / "m.crt", key=tmp_path / "m.key")
        async with serve(listen, DOOR) as port:
            with ExitStack() as stack:
                silent(stack, port)
                assert await healthy(port, trusted, "localhost") == (b"HTTP/1.1 200 OK", first)
            second = certificate(tmp_path, authority)
            assert (await healthy(port, trusted, "localhost"))[1] == second != first
            (tmp_path / "m.crt").write_text("half")
            assert (await healthy(port, trusted, "localhost"))[1] == second

    asyncio.run(main())


def test_who_came_before_the_process_could_answer_is_answered():
    """The socket was opened by whoever started it."""

    async def main():
        with socket.create_server(("127.0.0.1", 0)) as early:
            port = early.getsockname()[1]
            first = asyncio.create_task(healthy(port))
            await asyncio.sleep(0)
            async with serve(Listen(port=port, listener=os.dup(early.fileno())), DOOR) as at:
                assert (port, b"HTTP/1.1 200 OK") == (at, (await first)[0])

    asyncio.run(main())


def test_who_asks_whether_it_is_ready_for_the_first_time_is_told_as_soon_as_it_is():
    """A kubelet that hears no asks again a second later. Afterwards each gets its answer at once."""

    async def main():
        why, asked = ["not yet"], asyncio.Event()

        def unready():
            asked.set()
            return why[0]

        async with serve(Listen(port=0), Door(lambda: b"", "text/plain", unready)) as port:
            first = asyncio.create_task(healthy(port, path="/readyz"))
            await asyncio.wait_for(asked.wait(), 10)
            assert (await healthy(port))[0] == b"HTTP/1.1 200 OK", "it is alive meanwhile"
            assert not first.done()
            why[0] = ""
            assert (await first)[0] == b"HTTP/1.1 200 OK"
            why[0] = "control is gone"
            assert (await healthy(port, path="/readyz"))[0] == b"HTTP/1.1 503 Service Unavailable"

    asyncio.run(main())
