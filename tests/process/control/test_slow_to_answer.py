"""A control that takes its time for a new connection, as when a thousand nodes come at once, is reached all the same."""

import asyncio
import contextlib

import pytest

from tests.process.control.fakes import client_of
from tests.process.control.processes import ControlProcess

#: gRPC's poller thread and its descriptors live until this process ends, by design of gRPC.
pytestmark = pytest.mark.may_leak("threads", "fds")

#: More than the longest pause between two attempts to connect.
SLOW_S = 2.5


@contextlib.asynccontextmanager
async def slow_way(home, target):
    """A socket that accepts, and leads to control only after a while; where it is, and who came."""
    came = []

    async def carry(reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader, writer):
        came.append(writer)
        await asyncio.sleep(SLOW_S)  # it is this slow
        far_reader, far_writer = await asyncio.open_unix_connection(target.removeprefix("unix:"))
        await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer))

    path = home / "slow.sock"
    server = await asyncio.start_unix_server(lambda r, w: tasks.create_task(serve(r, w)), path)
    async with asyncio.TaskGroup() as tasks, server:
        yield f"unix:{path}", came
    path.unlink()


def test_who_is_slow_to_answer_a_connection_is_not_dialled_anew_for_ever(home):
    async def main():
        control = ControlProcess(home)
        assert control.start() == b"\1"
        try:
            async with slow_way(home, control.target) as (target, came):
                async with client_of(target) as client:
                    assert not (await client.ListNodes()).nodes
                assert len(came) == 1
        finally:
            control.kill()

    asyncio.run(main())
