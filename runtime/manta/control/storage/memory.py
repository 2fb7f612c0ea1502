"""A store that forgets: the double of `sqlite` for tests and for clusters that may forget."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from manta.control.errors import StoreInUseError
from manta.control.storage import Record, Shortage, StoreWrite


class MemoryStorage:
    """Records in a dict. Opened again after `close`, it still has them; the process's end takes them along.

    Args:
        name: What messages call it.

    Attributes:
        held: True makes commits wait for `release`: tests look at what must not be seen before.
    """

    def __init__(self, name: str = "memory") -> None:
        self._name = name
        self._records: dict[tuple[int, bytes], bytes] = {}
        self._queued: list[tuple[int, list[StoreWrite]]] = []
        self._last = self._committed = 0
        self._on_commit: Callable[[int], None] | None = None
        self._opened = False
        self.held = False

    @property
    def name(self) -> str:
        """See Storage."""
        return self._name

    @property
    def committed(self) -> int:
        """See Storage."""
        return self._committed

    def open(self) -> list[Record]:
        """See Storage."""
        if self._opened:
            raise StoreInUseError(self._name, 0)
        self._opened = True
        self._last = self._committed = 0
        return [(table, key, value) for (table, key), value in self._records.items()]

    def start(
        self,
        on_commit: Callable[[int], None],
        on_failure: Callable[[BaseException], None],
        on_shortage: Callable[[Shortage | None], None] = lambda shortage: None,
    ) -> None:
        """See Storage. Memory is never short; a test that wants it to be calls `on_shortage` itself."""
        self._on_commit = on_commit

    def submit(self, writes: Sequence[StoreWrite]) -> int:
        """See Storage."""
        self._last += 1
        self._queued.append((self._last, list(writes)))
        if not self.held:
            self.release()
        return self._last

    def release(self) -> None:
        """Commit everything queued."""
        queued, self._queued = self._queued, []
        for _, writes in queued:
            for table, key, value in writes:
                if value is None:
                    self._records.pop((table, key), None)
                else:
                    self._records[table, key] = value
        if queued:
            self._committed = queued[-1][0]
            if self._on_commit is not None:
                self._on_commit(self._committed)

    def crash(self) -> None:
        """Forget what is queued, as a kill would."""
        self._queued.clear()
        self._on_commit = None
        self._opened = False

    def close(self) -> None:
        """See Storage."""
        self.release()
        self._on_commit = None
        self._opened = False

    def statistics(self) -> dict[str, int]:
        """See Storage."""
        return {
            "store_batches": self._last,
            "store_commits": self._committed,
            "store_queued": len(self._queued),
            "store_writable": 1,
        }
