"""The chains through control that everything else stands on, over the real wire with a scripted raylet."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from manta.control.config import ControlConfig, StorageKind
from manta.control.errors import NoRoomForStoreError
from manta.control.server import serve
from manta.control.storage.sqlite import SqliteStorage
from manta.core.errors import ActorAlreadyExistsError, MantaError, SettingError, StorageUnwritableError
from manta.rpc.v1 import control_pb2, raylet_pb2
from tests.process.control.fakes import FakeRaylet, client_of

#: gRPC's poller thread and its descriptors live until this process ends, by design of gRPC.
pytestmark = pytest.mark.may_leak("threads", "fds")


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def cluster(home, storage=StorageKind.MEMORY, cpus=2):
    """Control, one client and one registered raylet."""
    # Its raylet says nothing by itself, and a busy machine takes its time.
    config = ControlConfig(home, home / "control.sock", storage=storage, node_silence_s=600.0)
    async with AsyncExitStack() as stack:
        control = await stack.enter_async_context(serve(config))
        client = await stack.enter_async_context(client_of(control.target))
        raylet = await stack.enter_async_context(FakeRaylet(client, str(home / "raylet.sock"), cpus).serving())
        await raylet.register()
        yield control, client, raylet
        control.state.validate()


def test_an_actor_is_created_started_found_by_name_and_killed(home):
    async def main():
        async with cluster(home, StorageKind.SQLITE) as (_, client, raylet):
            job_id, owner = await raylet.job(namespace="here")
            created = await raylet.create(job_id, owner, name="counter", handle=b"methods")
            actor_id = created.actor.actor_id
            assert created.created
            assert created.actor.state == control_pb2.ACTOR_PHASE_PENDING_CREATION
            async with client.watch(actor_ids=[actor_id]) as watch:
                start = await raylet.asks(raylet_pb2.StartActorOrder)
                assert (start.actor_id, start.incarnation, start.spec) == (actor_id, 1, b"\x80opaque, never unpickled")
                address = raylet.address()
                assert (await raylet.started(start, address)).keep
                alive = await watch.actor(actor_id, control_pb2.ACTOR_PHASE_ALIVE)
                assert alive.address == address
                found = (await client.GetNamedActor(name="counter", namespace="here")).actor
                assert (found.actor_id, found.handle) == (actor_id, b"methods")
                await client.KillActor(actor_id=actor_id, no_restart=True)
                dead = await watch.actor(actor_id, control_pb2.ACTOR_PHASE_DEAD)
                assert "killed by `ray.kill`" in dead.death_cause.message
            kill = await raylet.asks(raylet_pb2.KillActorOrder)
            assert (kill.actor_id, kill.incarnation, kill.graceful) == (actor_id, 1, False)
            with pytest.raises(MantaError, match="no living actor is named 'counter'"):
                await client.GetNamedActor(name="counter", namespace="here")

    asyncio.run(main())


def test_a_name_is_taken_once_and_get_if_exists_gets_it(home):
    async def main():
        async with cluster(home) as (_, _client, raylet):
            job_id, owner = await raylet.job()
            first = await raylet.create(job_id, owner, name="one")
            with pytest.raises(ActorAlreadyExistsError, match=r"The name .one. .* is already taken"):
                await raylet.create(job_id, owner, name="one")
            again = await raylet.create(job_id, owner, name="one", get_if_exists=True)
            assert (again.created, again.actor.actor_id) == (False, first.actor.actor_id)

    asyncio.run(main())


def test_an_actor_that_dies_is_restarted_under_a_new_incarnation(home):
    async def main():
        async with cluster(home) as (_, client, raylet):
            job_id, owner = await raylet.job()
            created = await raylet.create(job_id, owner, max_restarts=1)
            actor_id = created.actor.actor_id
            async with client.watch(actor_ids=[actor_id]) as watch:
                first = await raylet.asks(raylet_pb2.StartActorOrder)
                await raylet.started(first)
                await watch.actor(actor_id, control_pb2.ACTOR_PHASE_ALIVE)
                await raylet.died(first)
                await watch.actor(actor_id, control_pb2.ACTOR_PHASE_RESTARTING)
                second = await raylet.asks(raylet_pb2.StartActorOrder, lambda start: start.incarnation == 2)
                assert second.num_restarts == 1
                assert not (await raylet.started(first)).keep, "the first incarnation is fenced"
                assert (await raylet.started(second)).keep
                await watch.actor(actor_id, control_pb2.ACTOR_PHASE_ALIVE)
                await raylet.died(second)
                dead = await watch.actor(actor_id, control_pb2.ACTOR_PHASE_DEAD)
                assert dead.death_cause.message == "The worker died."

    asyncio.run(main())


def test_the_end_of_a_job_ends_its_actors_but_detached_ones(home):
    async def main():
        async with cluster(home) as (control, client, raylet):
            job_id, owner = await raylet.job()
            mine = (await raylet.create(job_id, owner)).actor.actor_id
            stays = (await raylet.create(job_id, owner, detached=True, name="stays")).actor.actor_id
            await client.FinishJob(job_id=job_id, state=control_pb2.JOB_STATE_SUCCEEDED)
            states = {actor.actor_id: actor.state for actor in (await client.ListActors()).actors}
            assert states == {mine: control_pb2.ACTOR_PHASE_DEAD, stays: control_pb2.ACTOR_PHASE_PENDING_CREATION}
            finish = await raylet.asks(raylet_pb2.FinishJobOrder)
            assert finish.job_id == job_id
            with pytest.raises(MantaError, match="is over"):
                await raylet.create(job_id, owner)
            control.state.validate()

    asyncio.run(main())


def test_key_value_pairs_are_put_read_listed_and_deleted(home):
    async def main():
        async with cluster(home) as (_, client, _raylet):
            assert (await client.KvPut(namespace="n", key=b"a1", value=b"x", overwrite=False)).added
            assert not (await client.KvPut(namespace="n", key=b"a1", value=b"y", overwrite=False)).added
            assert (await client.KvGet(namespace="n", key=b"a1")).value == b"x"
            assert not (await client.KvPut(namespace="n", key=b"a1", value=b"", overwrite=True)).added
            empty = await client.KvGet(namespace="n", key=b"a1")
            assert (empty.found, empty.value) == (True, b"")
            assert (await client.KvPut(namespace="n", key=b"a2", value=b"z")).added
            assert list((await client.KvKeys(namespace="n", prefix=b"a")).keys) == [b"a1", b"a2"]
            assert not (await client.KvExists(namespace="other", key=b"a1")).exists
            assert (await client.KvDel(namespace="n", key=b"a", prefix=True)).deleted == 2
            assert not (await client.KvGet(namespace="n", key=b"a1")).found

    asyncio.run(main())


def test_a_node_whose_line_closes_is_dead_within_a_second_or_so(home):
    async def main():
        async with cluster(home) as (_, client, raylet), client.watch(nodes=True) as observer:
            look = client.request("KvExists", namespace="", key=b"k").SerializeToString()
            await raylet.say(calls=[control_pb2.LineCall(number=1, method="KvExists", payload=look)])
            await raylet.reply(1)  # control has the line: one that is given up before it came was none
            raylet.hang_up()
            dead = await observer.until(
                lambda event: event.WhichOneof("event") == "node" and event.node.state == control_pb2.NODE_STATE_DEAD
            )
            assert dead.node.node_id == raylet.node_id
            with pytest.raises(MantaError, match="declared dead"):
                await client.Heartbeat(node_id=raylet.node_id, number=1)

    asyncio.run(main())


def test_a_node_that_is_declared_dead_hears_its_line_end(home):
    async def main():
        async with cluster(home) as (_, client, raylet):
            await client.UnregisterNode(node_id=raylet.node_id)
            await asyncio.wait_for(raylet.line_ended.wait(), 10)
            with pytest.raises(MantaError, match="declared dead"):
                await raylet.register()

    asyncio.run(main())


def test_an_order_that_a_broken_line_left_open_is_given_on_the_next(home):
    async def main():
        async with cluster(home) as (_, _client, raylet):
            raylet.silent = True
            job_id, owner = await raylet.job()
            created = await raylet.create(job_id, owner)
            first = await raylet.asks(raylet_pb2.StartActorOrder)
            raylet.asked.clear()
            raylet.silent = False
            await raylet.register(driver_ids=[owner.worker_id])
            again = await raylet.asks(raylet_pb2.StartActorOrder)
            assert (again.actor_id, again.incarnation) == (created.actor.actor_id, first.incarnation)
            assert (await raylet.started(again)).keep

    asyncio.run(main())


def test_a_reply_that_nobody_waits_for_comes_all_the_same(home):
    async def main():
        async with cluster(home) as (_, client, raylet):
            look = client.request("KvExists", namespace="", key=b"k").SerializeToString()
            await raylet.say(calls=[control_pb2.LineCall(number=1, method="KvExists", payload=look, patient=True)])
            assert not (await raylet.reply(1)).HasField("error")

    asyncio.run(main())


def test_who_creates_an_actor_and_asks_for_it_in_one_message_is_told_its_state(home):
    """Nobody hears that it is unknown: that would make its owner announce it once more."""

    async def main():
        async with cluster(home) as (_, client, raylet):
            job_id, owner = await raylet.job()
            actor_id = b"a" * 12 + job_id
            request = client.request(
                "CreateActor", actor_id=actor_id, job_id=job_id, owner=owner, place={"amounts": {"CPU": 10000}}
            )
            call = control_pb2.LineCall(number=1, method="CreateActor", payload=request.SerializeToString())
            await raylet.say(calls=[call], watch=control_pb2.WatchRequest(actor_ids=[actor_id]))
            start = await raylet.asks(raylet_pb2.StartActorOrder)
            assert start.actor_id == actor_id
            reply = control_pb2.CreateActorResponse.FromString((await raylet.reply(1)).payload)
            assert reply.created
            about = [event for event in await raylet.news_until("actor") if event.WhichOneof("event") != "ready"]
            assert [event.WhichOneof("event") for event in about] == ["actor"]
            assert about[0].actor.actor_id == actor_id

    asyncio.run(main())


def test_an_infeasible_actor_says_so_and_starts_when_a_node_brings_room(home):
    async def main():
        async with cluster(home) as (_, client, raylet):
            job_id, owner = await raylet.job()
            created = await raylet.create(job_id, owner, place={"amounts": {"CPU": 64 * 10000}})
            assert (
                created.actor.waiting_reason
                == 'infeasible: needs {"CPU": 64}, the most that any node has is {"CPU": 2}'
            )
            async with FakeRaylet(client, str(home / "big.sock"), cpus=64).serving() as big:
                await big.register()
                start = await big.asks(raylet_pb2.StartActorOrder)
                assert start.actor_id == created.actor.actor_id

    asyncio.run(main())


def test_on_a_full_disk_control_answers_and_hears_nodes_and_what_it_could_not_write_is_not_acknowledged(home):
    """What was under way waits for room and is answered then; what comes meanwhile is refused before it is decided."""

    async def main():
        config = ControlConfig(home, home / "control.sock")
        small = SqliteStorage(config.store_path, max_pages=60)
        async with (
            serve(config, storage=small) as control,
            client_of(control.target) as client,
            FakeRaylet(client, str(home / "raylet.sock")).serving() as raylet,
        ):
            await raylet.register()
            await client.KvPut(namespace="n", key=b"small", value=b"x")
            large = asyncio.create_task(client.KvPut(namespace="n", key=b"large", value=b"x" * 1_000_000))
            await until(lambda: control.runner.shortage is not None)
            with pytest.raises(StorageUnwritableError, match="its disk is full") as caught:
                await client.KvPut(namespace="n", key=b"more", value=b"x")
            assert caught.value.path == str(config.store_path)
            assert (await client.KvGet(namespace="n", key=b"small")).value == b"x"
            beat = control_pb2.HeartbeatRequest(node_id=raylet.node_id, number=1000)
            call = control_pb2.LineCall(number=7, method="Heartbeat", payload=beat.SerializeToString())
            await raylet.say(calls=[call])
            assert not (await raylet.reply(7)).HasField("error")
            put = client.request("KvPut", namespace="n", key=b"line", value=b"x")
            call = control_pb2.LineCall(number=8, method="KvPut", payload=put.SerializeToString())
            await raylet.say(calls=[call])
            assert (await raylet.reply(8)).error.code == "STORAGE_UNWRITABLE"
            assert not large.done()
            small._db.execute("PRAGMA max_page_count = 10000")
            await large
            await until(lambda: control.runner.shortage is None)
            await client.KvPut(namespace="n", key=b"more", value=b"x")
        async with serve(config) as control, client_of(control.target) as client:
            assert sorted((await client.KvKeys(namespace="n")).keys) == [b"large", b"more", b"small"]

    asyncio.run(main())


def test_what_the_disk_refuses_at_the_start_is_said_at_the_start(home):
    async def main():
        config = ControlConfig(home, home / "control.sock")
        with pytest.raises(NoRoomForStoreError):
            async with serve(config, storage=SqliteStorage(config.store_path, max_pages=1)):
                raise AssertionError("it must not serve")

    asyncio.run(main())


def test_a_socket_in_use_or_too_long_is_refused_with_what_would_be_right(home):
    async def main():
        config = ControlConfig(home, home / "control.sock", storage=StorageKind.MEMORY)
        async with serve(config):
            with pytest.raises(SettingError, match="no other control serves"):
                async with serve(config):
                    pass
        with pytest.raises(SettingError, match="at most 107 bytes"):
            async with serve(ControlConfig(home, home / ("x" * 100), storage=StorageKind.MEMORY)):
                pass

    asyncio.run(main())
