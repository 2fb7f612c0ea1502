"""Control as a process of its own, killed where it hurts: what it acknowledged is there afterwards."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys

import grpc
import pytest

from manta.control.storage.sqlite import SqliteStorage
from manta.core.errors import AuthenticationError, MantaError
from manta.rpc.v1 import common_pb2, control_pb2, raylet_pb2
from manta.transport import auth
from manta.transport import grpc as wire
from tests.process.control.fakes import FakeRaylet, client_of
from tests.process.control.processes import ControlProcess, running

#: gRPC's poller thread and its descriptors live until this process ends, by design of gRPC.
pytestmark = [pytest.mark.may_leak("threads", "fds"), pytest.mark.timeout(120)]


def test_it_says_when_it_serves_prints_nothing_and_ends_in_order(home):
    control = ControlProcess(home)
    assert control.start() == b"\1"
    control.process.send_signal(signal.SIGTERM)
    assert control.wait() == 0
    assert control.output == (b"", b"")
    assert not (home / "control.sock").exists()


def test_it_ends_when_its_parent_does(home):
    """Whoever started it may be killed without a word."""
    parent = subprocess.Popen(["sleep", "60"])
    control = ControlProcess(home, "--parent-pid", str(parent.pid))
    assert control.start() == b"\1"
    parent.kill()
    parent.wait()
    assert control.wait() == 0


def test_a_second_control_on_one_store_says_who_the_first_is(home):
    first = ControlProcess(home)
    assert first.start() == b"\1"
    second = ControlProcess(home)
    told = second.start()
    assert second.wait() == 70
    assert told[:1] == b"\0"
    info = common_pb2.ErrorInfo.FromString(told[1:])
    assert info.code == "STORAGE_LOCKED"
    assert f"process {first.process.pid}" in info.message
    assert info.message.encode() in second.output[1]
    first.kill()


def test_without_the_token_nobody_is_let_in(home):
    auth.write_token(os.fspath(home / "token"), token := auth.new_token())

    async def main():
        async with running(home, "--token-file", os.fspath(home / "token")) as control:
            async with client_of(control.target, token) as client:
                await client.KvPut(namespace="n", key=b"k", value=b"v")
            for wrong in ("", auth.new_token(), token[:-1]):
                async with client_of(control.target, wrong) as client:
                    for name, method in client.methods.items():
                        if method.server_streaming:
                            call = client.raw(name)(metadata=auth.metadata(wrong))
                            assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
                        else:
                            with pytest.raises(AuthenticationError):
                                await getattr(client, name)()

    asyncio.run(main())


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_while_clients_write_it_loses_nothing_acknowledged(home, seed):
    luck = random.Random(seed)
    acknowledged: dict[bytes, bytes] = {}
    jobs: dict[bytes, bytes] = {}

    async def write(client, who, stop):
        number = 0
        while not stop.is_set():
            number += 1
            key = b"%d" % who
            value = b"%d" % number
            request = client.request("KvPut", namespace="n", key=key, value=value, overwrite=True)
            # The same request until it is answered: after a kill nobody knows whether it was executed.
            await wire.call(client.raw("KvPut"), request, timeout_s=2.0, attempts=100)
            acknowledged[key] = value

    async def begin_jobs(client, raylet, stop):
        while not stop.is_set():
            request = client.request("RegisterJob", driver=raylet.address())
            try:
                response = await wire.call(client.raw("RegisterJob"), request, timeout_s=2.0, attempts=100)
            except MantaError as error:
                if "is not registered" not in str(error):
                    raise
                await raylet.register()
                continue
            assert response.job.job_id not in jobs, "a job id was given twice"
            jobs[response.job.job_id] = request.driver.worker_id
            raylet.drivers.append(request.driver.worker_id)

    async def main():
        control = ControlProcess(home)
        assert control.start() == b"\1"
        stop = asyncio.Event()
        async with client_of(control.target) as client:
            raylet = FakeRaylet(client, os.fspath(home / "raylet.sock"))
            raylet.drivers = []
            await raylet.register()
            writers = [asyncio.ensure_future(write(client, who, stop)) for who in range(8)]
            writers.append(asyncio.ensure_future(begin_jobs(client, raylet, stop)))
            for _ in range(3):
                before = len(jobs)
                while len(jobs) < before + luck.randrange(5, 30):
                    await asyncio.sleep(0.001)
                control.kill()
                seen = dict(acknowledged), dict(jobs)
                assert control.start() == b"\1"
                for key, value in seen[0].items():
                    found = int((await client.KvGet(namespace="n", key=key)).value)
                    assert found >= int(value), f"key {key!r} went back from {value!r} to {found}"
                listed = {job.job_id: job.driver.worker_id for job in (await client.ListJobs()).jobs}
                assert seen[1].items() <= listed.items()
            stop.set()
            await asyncio.wait_for(asyncio.gather(*writers), 30)
        control.kill()

    asyncio.run(main())


@pytest.mark.parametrize("step", ["before-commit", "after-commit-before-reply"])
def test_killed_around_a_commit_the_repeated_request_gets_the_answer_of_a_single_call(home, step):
    async def main():
        control = ControlProcess(home)
        # The first commit is the new epoch's, the second the request's.
        assert control.start(f"{step}:2") == b"\1"
        async with client_of(control.target) as client:
            request = client.request("KvPut", namespace="n", key=b"k", value=b"v", overwrite=False)
            with pytest.raises(MantaError):
                await wire.call(client.raw("KvPut"), request, timeout_s=10.0)
            assert control.wait() == -signal.SIGKILL
            assert control.start("") == b"\1"
            assert (await client.KvExists(namespace="n", key=b"k")).exists == (step == "after-commit-before-reply")
            for _ in range(2):
                assert (await wire.call(client.raw("KvPut"), request, timeout_s=10.0)).added
            assert (await client.KvGet(namespace="n", key=b"k")).value == b"v"
        control.kill()

    asyncio.run(main())


@pytest.mark.parametrize("step", ["before-start-on-node", "after-start-on-node"])
def test_killed_around_a_start_the_actor_runs_once_under_one_incarnation(home, step):
    async def main():
        control = ControlProcess(home)
        assert control.start(step) == b"\1"
        async with (
            client_of(control.target) as client,
            FakeRaylet(client, os.fspath(home / "raylet.sock")).serving() as raylet,
        ):
            await raylet.register()
            job_id, owner = await raylet.job()
            actor_id = os.urandom(12) + job_id
            with contextlib.suppress(MantaError):  # whether the answer still came is luck
                await raylet.create(job_id, owner, actor_id=actor_id, detached=True, name="x")
            assert await asyncio.to_thread(control.wait) == -signal.SIGKILL
            was_asked = [request for request in raylet.asked if isinstance(request, raylet_pb2.StartActorOrder)]
            assert len(was_asked) == (step == "after-start-on-node")
            raylet.asked.clear()
            assert control.start("") == b"\1"
            running = [
                control_pb2.RunningActor(
                    actor_id=start.actor_id, incarnation=start.incarnation, job_id=job_id, owner=owner
                )
                for start in was_asked
            ]
            await raylet.register(actors=running, driver_ids=[owner.worker_id])
            start = was_asked[0] if was_asked else await raylet.asks(raylet_pb2.StartActorOrder)
            assert start.incarnation == 1
            assert (await raylet.started(start)).keep
            found = (await client.GetActor(actor_id=actor_id)).actor
            assert (found.state, found.incarnation) == (control_pb2.ACTOR_PHASE_ALIVE, 1)
        control.kill()

    asyncio.run(main())


def test_a_watcher_that_comes_back_after_a_restart_is_told_to_start_over(home):
    async def main():
        control = ControlProcess(home)
        assert control.start() == b"\1"
        async with client_of(control.target) as client:
            raylet = FakeRaylet(client, os.fspath(home / "raylet.sock"))
            await raylet.register()
            async with client.watch(nodes=True) as watch:
                last = await watch.until(lambda event: event.WhichOneof("event") == "ready")
            control.kill()
            assert control.start() == b"\1"
            await client.KvExists(namespace="", key=b"wait until it is reached")
            async with client.watch(nodes=True, after=last.position) as watch:
                first = await watch.next()
                assert first.resync.reason == "control was restarted"
                node = await watch.next()
                assert (node.node.node_id, node.node.state) == (raylet.node_id, control_pb2.NODE_STATE_EXPECTED)
                assert node.position.epoch == last.position.epoch + 1
        control.kill()

    asyncio.run(main())


def test_what_was_committed_survives_a_torn_end_of_the_log(home):
    """A kill in the middle of a write leaves half a frame behind: it is as if that commit had never been."""
    path = home / "store"
    script = f"""
import asyncio, os, signal
from pathlib import Path
from manta.control.storage.sqlite import SqliteStorage
async def main():
    storage = SqliteStorage(Path({str(path)!r}))
    storage.open()
    done = asyncio.Event()
    storage.start(lambda number: done.set() if number == 2 else None, print)
    storage.submit([(1, b"first", b"1")])
    await asyncio.sleep(0)
    storage.submit([(1, b"second", b"2")])
    await done.wait()
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", script], check=False, timeout=30)
    log = home / "store-wal"
    whole = log.read_bytes()
    assert whole, "the log is not yet in the file"
    log.write_bytes(whole + whole[: len(whole) // 3])
    storage = SqliteStorage(path)
    assert sorted(storage.open()) == [(1, b"first", b"1"), (1, b"second", b"2")]
    storage.close()
