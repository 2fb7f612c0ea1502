"""What requests that are given up leave behind: nothing."""

from __future__ import annotations

import asyncio
import os
import ssl

import psutil
import pytest

from manta_operator.kube.errors import UnreachableError
from manta_operator.kube.transport import connect
from tests.kube.harness.certificates import Authority
from tests.support.kubeconfigs import write_kubeconfig

#: TLS waits half a minute for the answer to its farewell.
AT_ONCE_S = 15.0


@pytest.fixture
def silent(tmp_path):
    """How to run a body beside a server that speaks TLS, reads a request and answers nothing, no farewell either."""
    authority = Authority(tmp_path)
    certificate, key = authority.identity("server", "server", addresses=["127.0.0.1"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def run(body):
        asked, served = asyncio.Event(), []

        class Silent(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport
                served.append(transport)

            def data_received(self, data):
                # Nothing is read any more, so what the other side says at its end is not answered.
                self.transport.pause_reading()
                asked.set()

        server = await asyncio.get_running_loop().create_server(Silent, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(authority.certificate)}
        kubeconfig = write_kubeconfig(tmp_path / "config", cluster, {})
        async with server, connect(kubeconfig) as transport:
            await body(transport, asked)
            async with asyncio.timeout(AT_ONCE_S):
                while connected(port):
                    await asyncio.sleep(0.01)
            for one in served:
                one.abort()

    return run


def connected(port):
    """Whether a client's side of a connection there is open in this process."""
    found = psutil.Process(os.getpid()).net_connections("tcp")
    return any(one.raddr and one.raddr.port == port and one.status == "ESTABLISHED" for one in found)


async def call(transport):
    await transport.call("GET", "/api", timeout_s=60.0)


async def watch(transport):
    async with transport.watch("/api/v1/events", {}, connect_s=60.0, silence_s=60.0):
        raise AssertionError("nothing is answered")


@pytest.mark.parametrize("request_", [call, watch])
def test_a_request_that_is_given_up_before_it_is_answered_hangs_up_at_once(silent, request_):
    """As at the end of a process: whatever its loop has not closed by then is left behind."""

    async def body(transport, asked):
        running = asyncio.create_task(request_(transport))
        await asyncio.wait_for(asked.wait(), 20.0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(silent(body))


def test_a_call_that_is_not_answered_in_time_hangs_up_at_once(silent):
    async def body(transport, asked):
        with pytest.raises(UnreachableError):
            await transport.call("GET", "/api", timeout_s=2.0)

    asyncio.run(silent(body))
