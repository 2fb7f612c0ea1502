"""Control begins on a disk that takes nothing: what is there is served, what is new refused, and room is noticed."""

import asyncio
import os
import shutil
from contextlib import AsyncExitStack, contextmanager

import pytest

from manta.control.config import ControlConfig
from manta.control.errors import NoRoomForStoreError, StoreError, StoreInUseError
from manta.control.server import serve
from manta.control.storage import sqlite
from manta.control.storage.sqlite import SqliteStorage
from manta.core.errors import StorageUnwritableError
from manta.rpc.v1 import common_pb2
from tests.process.control.fakes import FakeRaylet, client_of
from tests.process.control.processes import ControlProcess
from tests.support.disks import disk, fill, needs_mounts, remount, second_view

pytestmark = [
    #: gRPC's poller thread and its descriptors live until this process ends, by design of gRPC.
    pytest.mark.may_leak("threads", "fds"),
    needs_mounts,
]


@pytest.fixture
def place(home):
    """Where the store is: a disk of its own."""
    folder = home / "small"
    with disk(folder, "size=4m"):
        yield folder


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(sqlite, "LOOK_S", 0.05)


@contextmanager
def full(place):
    """Not a byte is free."""
    fill(place / "ballast")
    yield
    (place / "ballast").unlink()


@contextmanager
def read_only(place):
    """The file system is mounted so."""
    remount(place, "ro")
    yield
    remount(place, "rw")


@contextmanager
def no_names(place):
    """Nothing can be made, as there are no inodes, and what is there can grow."""
    remount(place, f"nr_inodes={sum(1 for _ in place.iterdir()) + 1}")
    yield
    remount(place, "nr_inodes=1000")


UNWRITABLE = [(full, "its disk is full"), (read_only, "its file system is read-only")]


def config(home, place):
    return ControlConfig(home, home / "control.sock", state_dir=place)


async def used(home, place, ended):
    """Have a control on it that knew a node and a key, and ended in order or by a kill; the number of its start."""
    process = ControlProcess(home, "--state-dir", place)
    await asyncio.to_thread(process.start)
    async with client_of(process.target) as client:
        raylet = FakeRaylet(client, os.fspath(home / "raylet.sock"))
        epoch = (await raylet.register()).epoch
        await client.KvPut(namespace="n", key=b"before", value=b"x")
    if ended == "killed":
        process.kill()
        assert (place / "control.sqlite-wal").stat().st_size, "there is a log, and it matters"
    else:
        process.process.terminate()
        assert process.wait() == 0
        assert not (place / "control.sqlite-wal").exists()
    return raylet.node_id, epoch


async def write(path, record):
    """Add a record to a store."""
    storage = SqliteStorage(path)
    storage.open()
    storage.start(lambda number: None, lambda error: None)
    storage.submit([record])
    await asyncio.to_thread(storage.close)


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("ended", ["killed", "stopped"])
@pytest.mark.parametrize(("unwritable", "reason"), UNWRITABLE)
def test_what_is_there_is_served_and_what_is_new_refused_until_there_is_room(home, place, unwritable, reason, ended):
    """Nodes come back, and new ones come. What a control on such a disk has said of itself no other one says."""

    async def main():
        node_id, epoch = await used(home, place, ended)
        epochs = {epoch}
        async with AsyncExitStack() as stack:
            with unwritable(place):
                for _ in range(2):
                    await stack.aclose()
                    control = await stack.enter_async_context(serve(config(home, place)))
                    client = await stack.enter_async_context(client_of(control.target))
                    assert control.runner.shortage.stuck
                    assert (await client.KvGet(namespace="n", key=b"before")).value == b"x"
                    with pytest.raises(StorageUnwritableError, match=reason) as refused:
                        await client.KvPut(namespace="n", key=b"new", value=b"x")
                    assert refused.value.path == str(place / "control.sqlite")
                    known = FakeRaylet(client, os.fspath(home / "raylet.sock"))
                    known.node_id = node_id
                    new = FakeRaylet(client, os.fspath(home / "raylet.sock"))
                    epochs |= {(await known.register()).epoch, (await new.register()).epoch}
                    assert (await client.KvKeys(namespace="n")).keys == [b"before"]
            await until(lambda: control.runner.shortage is None)
            await client.KvPut(namespace="n", key=b"after", value=b"x")
        assert len(epochs) == 3
        async with serve(config(home, place)) as control, client_of(control.target) as client:
            assert sorted((await client.KvKeys(namespace="n")).keys) == [b"after", b"before"]
            assert control.state.epoch not in epochs
            nodes = {node.node_id for node in (await client.ListNodes()).nodes}
            assert {node_id, new.node_id} <= nodes

    asyncio.run(main())


def test_a_log_that_cannot_be_made_is_made_later(home, place):
    async def main():
        await used(home, place, "stopped")
        async with AsyncExitStack() as stack:
            with no_names(place):
                control = await stack.enter_async_context(serve(config(home, place)))
                client = await stack.enter_async_context(client_of(control.target))
                with pytest.raises(StorageUnwritableError, match="its disk is full"):
                    await client.KvPut(namespace="n", key=b"new", value=b"x")
                assert (await client.KvGet(namespace="n", key=b"before")).value == b"x"
            await until(lambda: control.runner.shortage is None)
            await client.KvPut(namespace="n", key=b"new", value=b"x")

    asyncio.run(main())


@pytest.mark.parametrize(("unwritable", "reason"), UNWRITABLE)
@pytest.mark.parametrize("made", [False, True])
def test_a_new_cluster_cannot_begin_there_and_says_why(home, place, unwritable, reason, made):
    """Nor can one whose store is a file with nothing in it, as a kill in the first moment leaves."""
    if made:
        storage = SqliteStorage(place / "control.sqlite")
        storage.open()
        storage.close()
    with unwritable(place):
        process = ControlProcess(home, "--state-dir", place)
        told = process.start()
        assert process.wait() == 70
        info = common_pb2.ErrorInfo.FromString(told[1:])
        assert info.code == "STORAGE_FULL"
        assert f"{place / 'control.sqlite'}: a new one cannot be begun: {reason} (" in info.message
        assert "bytes are free" in info.message
        assert info.message.encode() in process.output[1]
    assert process.start() == b"\1", "what it left behind is no hindrance"
    process.kill()


def test_without_a_lock_nothing_is_served(home, place):
    """Where a lock cannot be made, a second control would not know of the first."""
    asyncio.run(used(home, place, "stopped"))
    (place / "control.sqlite.lock").unlink()
    with read_only(place), pytest.raises(NoRoomForStoreError, match="read-only"):
        SqliteStorage(place / "control.sqlite").open()


@pytest.mark.parametrize("unwritable", [full, read_only])
def test_a_second_control_refuses_also_where_nothing_can_be_written(home, place, unwritable):
    async def main():
        await used(home, place, "killed")
        async with AsyncExitStack() as stack:
            with unwritable(place):
                await stack.enter_async_context(serve(config(home, place)))
                with pytest.raises(StoreInUseError):
                    SqliteStorage(place / "control.sqlite").open()
            with pytest.raises(StoreInUseError):
                SqliteStorage(place / "control.sqlite").open()

    asyncio.run(main())


def test_a_store_that_is_another_one_when_it_can_be_written_is_not_written(home, place):
    """Such as a file system that was mounted without its journal, and later with it. Control ends; the next one reads anew."""

    async def main():
        await used(home, place, "stopped")
        view = home / "view"
        async with AsyncExitStack() as stack:
            stack.enter_context(second_view(view, place))
            remount(view, "bind,ro")
            server = await stack.enter_async_context(AsyncExitStack())
            control = await server.enter_async_context(serve(config(home, view)))
            shutil.copy(place / "control.sqlite", place / "other")
            await write(place / "other", (5, b"n\0later", b"x"))
            os.replace(place / "other", place / "control.sqlite")
            before = (place / "control.sqlite").read_bytes()
            remount(view, "bind,rw")
            with pytest.raises(StoreError, match="has changed since it was read"):
                await asyncio.shield(control.runner.failure)
            assert (place / "control.sqlite").read_bytes() == before
            with pytest.raises(StoreError):
                await server.aclose()

    asyncio.run(main())
