"""The store on disk: SQLite with a write-ahead log and a full fsync per commit, written by one thread in groups.

Whatever was queued while a commit ran goes into the next one: the fsync, 1 to 8 ms, is shared by everybody who waits, so the
rate grows with the load and the delay doesn't. The event loop never touches the database.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote
from zlib import crc32

from manta.control import failpoints
from manta.control.errors import (
    NoRoomForStoreError,
    StoreCorruptError,
    StoreError,
    StoreInUseError,
    StoreVersionError,
)
from manta.control.storage import Record, Shortage, StoreWrite
from manta.control.storage.room import Disk, unwritable

#: Marks the file as ours: "mnta".
APPLICATION_ID = 0x6D6E7461
#: Grows when older versions could no longer read the records.
SCHEMA_VERSION = 1
#: The disk is looked at so often, and what it did not take is tried again after so long, seconds.
LOOK_S = 1.0
#: Up to this size the whole file's structure is checked when it is opened, which takes about 1 ms per MB.
CHECKED_BYTES = 64 << 20

_SCHEMA = """
CREATE TABLE records (
  tbl INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, checksum INTEGER NOT NULL,
  PRIMARY KEY (tbl, key)
) WITHOUT ROWID
"""
_PUT = "INSERT INTO records VALUES (?, ?, ?, ?) ON CONFLICT (tbl, key) DO UPDATE SET value = excluded.value, checksum = excluded.checksum"  # noqa: E501
_FORGET = "DELETE FROM records WHERE tbl = ? AND key = ?"


def checksum(table: int, key: bytes, value: bytes) -> int:
    """What a record must sum to: its place is part of it, so that a record found elsewhere is noticed too."""
    return crc32(value, crc32(key, crc32(b"%d:%d:" % (table, len(key)))))


def fingerprint(records: Iterable[Record]) -> bytes:
    """What two readings of one store have in common, and two stores do not."""
    found = hashlib.blake2b(digest_size=16)
    for table, key, value in records:
        found.update(b"%d:%d:%d:" % (table, len(key), len(value)))
        found.update(key)
        found.update(value)
    return found.digest()


class SqliteStorage:
    """Records in one SQLite file.

    Where its disk takes nothing, a file that is there is read all the same, and opened for writing when that can be.

    Args:
        path: The file; made, with its directory's permissions, if absent. Its lock is `<path>.lock`.
        max_pages: The database may have so many pages; for tests of a full disk.
    """

    def __init__(self, path: Path, *, max_pages: int | None = None) -> None:
        self._path = path
        self._max_pages = max_pages
        self._lock: int | None = None
        self._db: sqlite3.Connection | None = None
        #: What was read, of a file that could not be opened for writing: it must be the same when it can.
        self._seen = b""
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_commit: Callable[[int], None] | None = None
        self._on_failure: Callable[[BaseException], None] | None = None
        self._on_shortage: Callable[[Shortage | None], None] | None = None
        #: The writer's look at the disk, and what it told last.
        self._disk = Disk(path)
        self._short: Shortage | None = None
        #: Guards what both threads touch: the queue, `_closing` and `_failed`.
        self._wake = threading.Condition()
        self._queue: deque[tuple[int, list[StoreWrite]]] = deque()
        #: The writer's: what the disk did not take, only the last write to a record, so that it does not grow for ever.
        self._left: list[tuple[int, list[StoreWrite]]] = []
        self._closing = False
        self._failed = False
        self._last = self._committed = 0
        self._commits = self._commit_us = self._largest_group = 0

    @property
    def name(self) -> str:
        """See Storage."""
        return str(self._path)

    @property
    def committed(self) -> int:
        """See Storage."""
        return self._committed

    # ---- opening

    def open(self) -> list[Record]:
        """See Storage."""
        self._lock = self._take_lock()
        try:
            return self._read()
        except BaseException:
            self.close()
            raise

    def _take_lock(self) -> int:
        path = f"{self._path}.lock"
        read_only = False
        try:
            try:
                lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                # A lock can be taken there too, if not made.
                if error.errno != errno.EROFS or not os.path.exists(path):
                    raise
                read_only = True
                lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise self._translated(error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # Whoever has it may not have been able to say so.
            owner = b"" if read_only else os.pread(lock, 20, 0)
            os.close(lock)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise self._translated(error) from error
            raise StoreInUseError(self.name, int(owner) if owner.strip().isdigit() else 0) from None
        if not read_only:
            self._sign(lock)
        return lock

    def _sign(self, lock: int) -> None:
        """Say whose the store is, which helps people only: in this order a file that is there already needs no room."""
        with suppress(OSError):
            os.ftruncate(lock, os.pwrite(lock, str(os.getpid()).encode(), 0))

    def _read(self) -> list[Record]:
        try:
            self._db, records = self._opened()
        except (sqlite3.Error, OSError) as error:
            if unwritable(self._path, error, self._disk) is None or not self._path.exists():
                raise self._translated(error) from error
            records = self._read_only(error)
            self._seen = fingerprint(records)
        return records

    def _opened(self) -> tuple[sqlite3.Connection, list[Record]]:
        """The store for writing, made if it is new, and what is in it."""
        if not self._path.exists():
            self._path.touch(mode=0o600)
        # The writer thread is the only one to use it from `start` on.
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            self._set(db)
            if self._made(db):
                return db, self._verified(db)
            db.execute("BEGIN IMMEDIATE")
            db.execute(_SCHEMA)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            db.execute("COMMIT")
            self._sync_directory()
        except BaseException:
            db.close()
            raise
        return db, []

    def _set(self, db: sqlite3.Connection) -> None:
        # The first one: then SQLite keeps its index of the log in memory, and needs no third file.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise StoreError(self.name, "its file system allows no write-ahead log; put it on a local disk")
        db.execute("PRAGMA synchronous = FULL")
        if self._max_pages is not None:
            db.execute(f"PRAGMA max_page_count = {int(self._max_pages)}")

    def _read_only(self, refused: BaseException) -> list[Record]:
        """What is in a store that cannot be opened for writing, its log included. `<path>.lock` is what keeps others out."""
        log = Path(f"{self._path}-wal")
        # Without locks of its own SQLite reads the log where nothing can be written. It does not read one that is not
        # there, and says so; of a file that never changes it expects none. With neither it would want to make one.
        how = "vfs=unix-none" if log.exists() and log.stat().st_size else "immutable=1"
        db = sqlite3.connect(f"file:{quote(str(self._path))}?mode=ro&{how}", uri=True, isolation_level=None)
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            if not self._made(db):
                raise self._translated(refused) from refused
            return self._verified(db)
        except (sqlite3.Error, OSError) as error:
            raise self._translated(error) from error
        finally:
            db.close()

    def _reopened(self) -> sqlite3.Connection:
        """The store for writing, which could not be opened so at first."""
        assert self._lock is not None
        if not os.path.samestat(os.stat(f"{self._path}.lock"), os.fstat(self._lock)):
            raise StoreError(self.name, "is not the file any more that was read when its disk could not be written")
        db, records = self._opened()
        if fingerprint(records) != self._seen:
            # A file system that was mounted without its journal shows an older state.
            db.close()
            raise StoreError(self.name, "has changed since it was read, when its disk could not be written")
        with suppress(OSError):
            lock = os.open(f"{self._path}.lock", os.O_WRONLY | os.O_CLOEXEC)
            self._sign(lock)
            os.close(lock)
        return db

    def _made(self, db: sqlite3.Connection) -> bool:
        """Whether there are records in it, or could be; False for a new file."""
        mark = db.execute("PRAGMA application_id").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if mark == 0 and version == 0 and not db.execute("SELECT 1 FROM sqlite_master").fetchone():
            return False
        if mark != APPLICATION_ID:
            raise StoreVersionError(self.name, "is a database of something else; choose another path")
        if version != SCHEMA_VERSION:
            raise StoreVersionError(
                self.name, f"has format {version}, this version of Manta reads format {SCHEMA_VERSION}"
            )
        return True

    def _verified(self, db: sqlite3.Connection) -> list[Record]:
        if self._path.stat().st_size <= CHECKED_BYTES:
            verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise StoreCorruptError(self.name, "the file", verdict)
        records: list[Record] = []
        for table, key, value, expected in db.execute("SELECT tbl, key, value, checksum FROM records"):
            if checksum(table, key, value) != expected:
                raise StoreCorruptError(self.name, f"record {key.hex()} of table {table}", "its checksum is wrong")
            records.append((table, key, value))
        return records

    def _sync_directory(self) -> None:
        """A new file is durable only with the directory that names it."""
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _translated(self, error: BaseException) -> StoreError:
        text = str(error)
        unwritten = unwritable(self._path, error, self._disk)
        if unwritten is not None:
            return NoRoomForStoreError(self.name, unwritten.reason, unwritten.free_bytes)
        if "malformed" in text or "not a database" in text:
            return StoreCorruptError(self.name, "the file", text)
        return StoreError(self.name, text)

    # ---- writing

    def start(
        self,
        on_commit: Callable[[int], None],
        on_failure: Callable[[BaseException], None],
        on_shortage: Callable[[Shortage | None], None] = lambda shortage: None,
    ) -> None:
        """See Storage."""
        self._on_shortage = on_shortage
        self._loop = asyncio.get_running_loop()
        self._on_commit, self._on_failure = on_commit, on_failure
        self._thread = threading.Thread(target=self._write_for_ever, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, writes: Sequence[StoreWrite]) -> int:
        """See Storage."""
        with self._wake:
            self._last += 1
            self._queue.append((self._last, list(writes)))
            self._wake.notify()
            return self._last

    def _write_for_ever(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closing or (self._queue and not self._left), LOOK_S)
                group = self._left + list(self._queue)
                self._queue.clear()
                closing = self._closing
            if group:
                # Only the last write to a record counts, and one statement for many rows is several times cheaper.
                last = {(table, key): value for _, writes in group for table, key, value in writes}
                try:
                    self._commit(last, len(group))
                except (sqlite3.Error, OSError, StoreError) as error:
                    why = unwritable(self._path, error, self._disk)
                    if why is None:
                        # Nothing after this may be acknowledged: what the database holds now is not what we decided on.
                        self._failed = True
                        self._tell(
                            self._on_failure, error if isinstance(error, StoreError) else self._translated(error)
                        )
                        return
                    if closing:
                        # None of it was acknowledged.
                        return
                    self._left = [(group[-1][0], [(table, key, value) for (table, key), value in last.items()])]
                    self._say_shortage(Shortage(why, stuck=True))
                    continue
                self._left = []
                self._tell(self._on_commit_here, group[-1][0])
            elif closing:
                return
            shortage = self._disk.look(self._short, time.monotonic())
            if shortage is not self._short:
                self._say_shortage(shortage)

    def _say_shortage(self, shortage: Shortage | None) -> None:
        before, self._short = self._short, shortage
        if shortage is None or before is None or shortage.stuck != before.stuck:
            self._tell(self._on_shortage, shortage)

    def _commit(self, last: dict[tuple[int, bytes], bytes | None], batches: int) -> None:
        started = time.perf_counter_ns()
        puts = [
            (table, key, value, checksum(table, key, value))
            for (table, key), value in last.items()
            if value is not None
        ]
        forgotten = [place for place, value in last.items() if value is None]
        db = self._db
        if db is None:
            db = self._db = self._reopened()
        db.execute("BEGIN IMMEDIATE")
        try:
            db.executemany(_PUT, puts)
            db.executemany(_FORGET, forgotten)
            failpoints.reached("before-commit")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        failpoints.reached("after-commit-before-reply")
        self._commits += 1
        self._commit_us += (time.perf_counter_ns() - started) // 1000
        self._largest_group = max(self._largest_group, batches)

    def _tell(self, listener: Callable[..., None] | None, news: object) -> None:
        assert self._loop is not None
        if listener is None:
            return
        try:
            self._loop.call_soon_threadsafe(listener, news)
        except RuntimeError:
            # The loop is closed: there is nobody left to tell.
            pass

    def _on_commit_here(self, number: int) -> None:
        self._committed = number
        if self._on_commit is not None:
            self._on_commit(number)

    def close(self) -> None:
        """See Storage."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._db is not None:
            db, self._db = self._db, None
            db.close()
        if self._lock is not None:
            lock, self._lock = self._lock, None
            os.close(lock)

    def statistics(self) -> dict[str, int]:
        """See Storage."""
        return {
            "store_batches": self._last,
            "store_commits": self._commits,
            "store_commit_us": self._commit_us,
            "store_largest_group": self._largest_group,
            "store_queued": len(self._queue) + len(self._left),
            "store_writable": int(self._short is None),
            "store_free_bytes": self._disk.free_bytes,
        }
