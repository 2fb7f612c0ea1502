"""Both stores keep the promises of the interface; SQLite's keeps some more: see tests/process/control for kills."""

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest

from manta.control.errors import (
    StoreCorruptError,
    StoreError,
    StoreInUseError,
    StoreVersionError,
)
from manta.control.storage import Shortage, room, sqlite
from manta.control.storage.memory import MemoryStorage
from manta.control.storage.sqlite import SqliteStorage
from manta.core.errors import StorageLockedError
from manta.testing.storage import check_storage


def test_the_memory_store_passes_the_checks():
    storage = MemoryStorage()
    asyncio.run(check_storage(lambda: storage))


def test_the_sqlite_store_passes_the_checks(tmp_path):
    asyncio.run(check_storage(lambda: SqliteStorage(tmp_path / "store")))


def write(path, writes, **options):
    async def main():
        storage = SqliteStorage(path, **options)
        failed = asyncio.get_running_loop().create_future()
        done = asyncio.Event()
        storage.open()
        try:
            storage.start(lambda number: done.set(), failed.set_result)
            for batch in writes:
                storage.submit(batch)
            await asyncio.wait([failed, asyncio.ensure_future(done.wait())], return_when=asyncio.FIRST_COMPLETED)
            return storage.committed, failed.result() if failed.done() else None
        finally:
            storage.close()

    return asyncio.run(main())


def test_a_flipped_bit_is_noticed_and_its_record_named(tmp_path):
    path = tmp_path / "store"
    write(path, [[(3, b"\xab\xcd", b"value")]])
    database = sqlite3.connect(path)
    database.execute("UPDATE records SET value = ?", (b"valuf",))
    database.commit()
    database.close()
    with pytest.raises(StoreCorruptError, match="record abcd of table 3 is damaged") as caught:
        SqliteStorage(path).open()
    assert caught.value.record == "record abcd of table 3"


def test_a_record_in_another_ones_place_is_noticed(tmp_path):
    path = tmp_path / "store"
    write(path, [[(3, b"a", b"value")]])
    database = sqlite3.connect(path)
    database.execute("UPDATE records SET key = ?", (b"b",))
    database.commit()
    database.close()
    with pytest.raises(StoreCorruptError):
        SqliteStorage(path).open()


def test_a_file_of_garbage_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "store"
    path.write_bytes(b"not a database at all, " * 1000)
    with pytest.raises(StoreCorruptError, match="the file is damaged"):
        SqliteStorage(path).open()
    assert path.read_bytes().startswith(b"not a database")


def test_somebody_elses_database_is_refused(tmp_path):
    path = tmp_path / "store"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE t (x)")
    database.close()
    with pytest.raises(StoreVersionError, match="something else"):
        SqliteStorage(path).open()


def test_a_store_of_a_later_version_is_refused(tmp_path):
    path = tmp_path / "store"
    write(path, [[(1, b"a", b"b")]])
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(StoreVersionError, match="has format 99, this version of Manta reads format 1"):
        SqliteStorage(path).open()


def test_the_second_control_is_told_who_the_first_is(tmp_path):
    first = SqliteStorage(tmp_path / "store")
    first.open()
    with pytest.raises(StoreInUseError, match=f"is in use by process {os.getpid()}") as caught:
        SqliteStorage(tmp_path / "store").open()
    assert isinstance(caught.value, StorageLockedError)
    assert caught.value.pid == os.getpid()
    first.close()
    again = SqliteStorage(tmp_path / "store")
    again.open()
    again.close()


async def waited(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def test_what_a_full_disk_does_not_take_is_kept_and_written_when_there_is_room(tmp_path, monkeypatch):
    """Nothing is acknowledged meanwhile, in order nothing is lost, and shortage and room are said once each."""
    monkeypatch.setattr(sqlite, "LOOK_S", 0.01)

    async def main():
        storage = SqliteStorage(tmp_path / "store", max_pages=20)
        storage.open()
        told, failures = [], []
        storage.start(lambda number: None, failures.append, told.append)
        first = storage.submit([(1, b"small", b"x")])
        await waited(lambda: storage.committed == first)
        last = storage.submit([(1, b"large", b"x" * 1_000_000)])
        await waited(lambda: told)
        tried = storage.submit([(1, b"small", b"y")])
        assert told[0].stuck
        assert (told[0].error.path, told[0].error.reason) == (storage.name, "its disk is full")
        assert storage.committed < last
        assert storage.statistics()["store_writable"] == 0
        storage._db.execute("PRAGMA max_page_count = 10000")
        await waited(lambda: storage.committed == tried)
        await waited(lambda: told[-1] is None)
        assert (len(told), failures) == (2, [])
        storage.close()

    asyncio.run(main())
    storage = SqliteStorage(tmp_path / "store")
    assert sorted(storage.open()) == [(1, b"large", b"x" * 1_000_000), (1, b"small", b"y")]
    storage.close()


def test_a_store_that_became_read_only_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "LOOK_S", 0.01)

    async def main():
        storage = SqliteStorage(tmp_path / "store")
        storage.open()
        told, failures = [], []
        storage._db.execute("PRAGMA query_only = 1")
        storage.start(lambda number: None, failures.append, told.append)
        number = storage.submit([(1, b"a", b"b")])
        await waited(lambda: told)
        assert told[0].error.reason == "it is read-only"
        storage._db.execute("PRAGMA query_only = 0")
        await waited(lambda: storage.committed == number)
        assert failures == []
        storage.close()

    asyncio.run(main())


def test_what_was_never_written_is_let_go_of_when_the_store_is_closed(tmp_path):
    async def main():
        storage = SqliteStorage(tmp_path / "store", max_pages=20)
        storage.open()
        told = []
        storage.start(lambda number: None, lambda error: told.append("failed"), told.append)
        storage.submit([(1, b"large", b"x" * 1_000_000)])
        await waited(lambda: told)
        storage.close()
        assert len(told) == 1
        assert told[0].stuck

    asyncio.run(main())


class Disk(room.Disk):
    """One that says what it is told to."""

    says = ""

    def reason(self, least_bytes):
        self.asked = least_bytes
        return self.says


def test_a_disk_is_full_below_its_reserve_and_has_room_above_twice_of_it():
    """It is looked at now and then, and after each write that failed."""
    disk = Disk(Path("store"))
    assert disk.look(None, 1.0) is None
    assert disk.asked == room.RESERVE_BYTES
    disk.says = "its disk is full"
    assert disk.look(None, 1.1) is None
    short = disk.look(None, 1.2)
    assert short == Shortage(short.error, stuck=False)
    assert disk.look(short, 1.4) is short
    assert disk.asked == room.ENOUGH_BYTES
    assert disk.look(Shortage(short.error, stuck=True), 1.41).stuck is False
    disk.says = ""
    assert disk.look(short, 2.0) is None


def test_a_directory_that_is_not_there_is_a_typed_error(tmp_path):
    with pytest.raises(StoreError, match="No such file or directory"):
        SqliteStorage(tmp_path / "nowhere" / "store").open()
