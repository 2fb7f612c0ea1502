"""What every store of control promises, as checks that each implementation passes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from manta.control.errors import StoreInUseError
from manta.control.storage import Record, Storage

#: Seconds that a commit may take before a check gives up.
PATIENCE_S = 30.0


class _Opened:
    """A store in use, with what it has told."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.found: list[Record] = storage.open()
        self.commits: list[int] = []
        self.failures: list[BaseException] = []
        self._news = asyncio.Event()
        storage.start(self._committed, self._failed)

    def _committed(self, number: int) -> None:
        assert self.storage.committed == number
        self.commits.append(number)
        self._news.set()

    def _failed(self, error: BaseException) -> None:
        self.failures.append(error)
        self._news.set()

    async def durable(self, number: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while self.storage.committed < number:
                assert not self.failures, self.failures
                self._news.clear()
                await self._news.wait()


def _fresh(make: Callable[[], Storage]) -> list[Record]:
    """What is there when it is opened once more, sorted."""
    storage = make()
    found = sorted(storage.open())
    storage.close()
    return found


async def check_storage(make: Callable[[], Storage]) -> None:
    """Check an implementation.

    Args:
        make: Gives a closed store on always the same, at first empty, place.

    Raises:
        AssertionError: A promise is broken; the text says which.
    """
    assert _fresh(make) == [], "a new store is empty"

    opened = _Opened(make())
    storage = opened.storage
    first = storage.submit([(1, b"a", b"1"), (1, b"b", b"2"), (2, b"a", b"other table")])
    await opened.durable(first)
    second = storage.submit([(1, b"a", None), (1, b"b", b"3"), (1, b"never there", None)])
    third = storage.submit([(1, b"", b""), (7, bytes(range(256)), b"\0" * 300_000)])
    assert (first, second, third) == (1, 2, 3), "batches are numbered in order"
    assert storage.committed >= first
    await opened.durable(third)
    assert opened.commits == sorted(opened.commits), "commits are told in order"
    assert opened.commits[-1] == third

    refusal = ""
    try:
        _fresh(make)
    except StoreInUseError as error:
        refusal = str(error)
    assert storage.name in refusal, "a store in use is refused, by name"

    expected = sorted(
        [(1, b"b", b"3"), (2, b"a", b"other table"), (1, b"", b""), (7, bytes(range(256)), b"\0" * 300_000)]
    )
    storage.close()
    storage.close()
    assert _fresh(make) == expected, "what was committed is there when it is opened again"

    opened = _Opened(make())
    assert sorted(opened.found) == expected
    for number in range(500):
        opened.storage.submit([(3, b"counter", str(number).encode()), (4, str(number).encode(), b"x")])
    opened.storage.submit([(4, str(number).encode(), None) for number in range(0, 500, 2)])
    # Closing writes what is queued: whoever stops in order loses nothing.
    opened.storage.close()
    statistics = opened.storage.statistics()
    assert (statistics["store_batches"], statistics["store_queued"]) == (501, 0)
    found = _fresh(make)
    assert (3, b"counter", b"499") in found, "of several writes to one record the last one counts"
    assert sorted(key for table, key, _ in found if table == 4) == sorted(
        str(number).encode() for number in range(1, 500, 2)
    ), "closing writes what is queued, in order"
