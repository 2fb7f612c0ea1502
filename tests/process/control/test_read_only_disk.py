"""A real file system that turns read-only under control, as ext4 does after errors."""

import asyncio
import os
import shutil
import subprocess

import pytest

from manta.control.config import ControlConfig
from manta.control.server import serve
from manta.control.storage import sqlite
from manta.core.errors import StorageUnwritableError
from tests.process.control.fakes import client_of

pytestmark = [
    #: gRPC's poller thread and its descriptors live until this process ends, by design of gRPC.
    pytest.mark.may_leak("threads", "fds"),
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("mkfs.ext4") is None, reason="mounts ext4, which takes root and mkfs.ext4"
    ),
]


@pytest.fixture
def disk(home):
    """A folder on a disk of its own."""
    image, folder = home / "image", home / "disk"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    folder.mkdir()
    mounted = subprocess.run(["mount", "-o", "loop", image, folder], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no loop device can be mounted here: {mounted.stderr.strip()}")
    state = folder / "state"
    state.mkdir(mode=0o700)
    yield state
    subprocess.run(["umount", "-l", folder], check=True)


def test_control_on_a_disk_that_turned_read_only_answers_and_refuses_with_the_reason(home, disk, monkeypatch):
    monkeypatch.setattr(sqlite, "LOOK_S", 0.05)

    async def main():
        config = ControlConfig(home, home / "control.sock", state_dir=disk)
        async with serve(config) as control, client_of(control.target) as client:
            await client.KvPut(namespace="n", key=b"a", value=b"x")
            await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,abort", disk.parent], check=True)
            under_way = asyncio.create_task(client.KvPut(namespace="n", key=b"b", value=b"x"))
            async with asyncio.timeout(20):
                while control.runner.shortage is None:
                    await asyncio.sleep(0.005)
            with pytest.raises(StorageUnwritableError, match="its file system is read-only"):
                await client.KvPut(namespace="n", key=b"c", value=b"x")
            assert (await client.KvGet(namespace="n", key=b"a")).value == b"x"
            assert control.runner.statistics()["store_writable"] == 0
            assert not under_way.done()
            under_way.cancel()
        # What was on the disk before is read by the next one too.
        async with serve(config) as control, client_of(control.target) as client:
            assert control.runner.shortage.stuck
            assert list((await client.KvKeys(namespace="n")).keys) == [b"a"]
            with pytest.raises(StorageUnwritableError, match="its file system is read-only"):
                await client.KvPut(namespace="n", key=b"c", value=b"x")

    asyncio.run(main())
