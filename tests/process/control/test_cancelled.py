"""Cancelled at any await, opening and closing control leaves nothing: no task, no lock, no socket."""

import asyncio

import pytest

from manta.control.config import ControlConfig
from manta.control.nodes import NodeLimits
from manta.control.server import serve
from manta.control.state import Limits
from manta.control.storage.sqlite import SqliteStorage
from manta.rpc.v1 import control_pb2
from manta.transport import auth
from tests.process.control.fakes import FakeRaylet, client_of
from tests.unit.aio.cancelling import cancel_at_each_await

#: gRPC's poller thread and its descriptors live until this process ends, by design of gRPC.
pytestmark = pytest.mark.may_leak("threads", "fds")


def test_serving_cancelled_at_each_await_leaves_nothing(home):
    async def main():
        config = ControlConfig(home, home / "control.sock")

        async def use():
            async with serve(config) as control:
                control.state.validate()
                await asyncio.sleep(0)

        async def nothing_left():
            store = SqliteStorage(config.store_path)
            store.open()  # raises if the lock is still held
            store.close()
            assert not config.socket.exists()
            left = {task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()}
            # gRPC closes its own behind our back.
            assert not [name for name in left if name in ("time", "failure") or name.startswith("raylet")]

        assert await cancel_at_each_await(use, nothing_left) >= 3

    asyncio.run(main())


def test_a_caller_that_gives_up_while_it_waits_leaves_control_consistent(home):
    """Whatever was decided stays decided, and the next one to ask sees it."""

    async def main():
        async with serve(ControlConfig(home, home / "control.sock")) as control, client_of(control.target) as client:
            raylet = FakeRaylet(client, str(home / "raylet.sock"))
            await raylet.register()

            async def create():
                job_id, owner = await raylet.job()
                await raylet.create(job_id, owner, detached=True)

            assert await cancel_at_each_await(create, control.state.validate) >= 2
            assert control.runner.statistics()["requests_waiting"] == 0
            assert len((await client.ListJobs()).jobs) >= 1

    asyncio.run(main())


def test_a_watch_that_is_cancelled_at_any_await_leaves_no_watcher(home):
    async def main():
        async with serve(ControlConfig(home, home / "control.sock")) as control, client_of(control.target) as client:

            async def look():
                async with client.watch(nodes=True, actor_ids=[b"a" * 16]) as watch:
                    await watch.until(lambda event: event.WhichOneof("event") == "ready")

            assert await cancel_at_each_await(look, control.state.validate) >= 2
            async with asyncio.timeout(10):
                while control.runner.watchers.statistics()["watchers"]:
                    await client.KvExists(namespace="", key=b"let the server notice")

    asyncio.run(main())


def test_a_line_that_is_cancelled_at_any_await_leaves_no_line(home):
    async def main():
        patient = Limits(nodes=NodeLimits(reconnect_s=600.0))
        config = ControlConfig(home, home / "control.sock")
        async with serve(config, limits=patient) as control, client_of(control.target) as client:
            raylet = FakeRaylet(client, str(home / "raylet.sock"))
            await raylet.register()
            look = client.request("KvExists", namespace="", key=b"k").SerializeToString()

            async def attach():
                line = client.raw("Attach")(metadata=auth.metadata(""))
                try:
                    call = control_pb2.LineCall(number=1, method="KvExists", payload=look)
                    await line.write(control_pb2.AttachRequest(node_id=raylet.node_id, calls=[call]))
                    assert (await line.read()).replies[0].number == 1
                finally:
                    line.cancel()

            assert await cancel_at_each_await(attach, control.state.validate) >= 2
            async with asyncio.timeout(10):
                while '"lines": 0' not in (await client.GetStatistics()).json:
                    pass

    asyncio.run(main())
