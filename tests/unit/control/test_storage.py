"""Both stores keep the promises of the interface; SQLite's keeps some more: see tests/process/control for kills."""

import asyncio
import os
import sqlite3

import pytest

from manta.control.errors import (
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreInUseError,
    StoreVersionError,
)
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


def test_a_full_disk_is_said_once_and_nothing_is_acknowledged_after_it(tmp_path):
    path = tmp_path / "store"
    committed, error = write(path, [[(1, b"small", b"x")]], max_pages=20)
    assert (committed, error) == (1, None)
    committed, error = write(path, [[(1, b"large", b"x" * 1_000_000)]], max_pages=20)
    assert isinstance(error, StoreFullError)
    assert "the disk is full" in str(error)
    assert committed == 0
    storage = SqliteStorage(path)
    assert storage.open() == [(1, b"small", b"x")]
    storage.close()


def test_a_directory_that_is_not_there_is_a_typed_error(tmp_path):
    with pytest.raises(StoreError, match="No such file or directory"):
        SqliteStorage(tmp_path / "nowhere" / "store").open()
