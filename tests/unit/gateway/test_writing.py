"""What writes to a driver's connection: in order, one at a time, begun at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from manta.gateway.writing import Writer

if TYPE_CHECKING:
    from collections.abc import Coroutine


class Wire:
    """Takes messages as gRPC does: each write is over once it is told so."""

    def __init__(self) -> None:
        self.begun: list[bytes] = []
        self.ended: list[bytes] = []
        self.taken: list[asyncio.Future[None]] = []

    def write(self, data: bytes) -> Coroutine[Any, Any, None]:
        return self._write(data)

    async def _write(self, data: bytes) -> None:
        self.begun.append(data)
        taken = asyncio.get_running_loop().create_future()
        self.taken.append(taken)
        await taken
        self.ended.append(data)


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def test_a_message_is_begun_at_once_and_the_next_when_it_is_taken():
    async def go() -> None:
        wire = Wire()
        out = Writer(wire.write)
        out.put(b"1")
        assert wire.begun == [b"1"], "nobody had to be woken for it"
        out.put(b"2")
        out.put(b"3")
        assert wire.begun == [b"1"], "one at a time"

        for _ in range(2):
            wire.taken[-1].set_result(None)
            await turn()
        assert wire.begun == [b"1", b"2", b"3"]
        assert wire.ended == [b"1", b"2"]

    asyncio.run(go())


def test_it_is_over_once_all_that_came_before_the_end_is_written():
    async def go() -> None:
        wire = Wire()
        out = Writer(wire.write)
        out.put(b"1")
        out.put(None)
        out.put(b"after the end")
        await turn()
        assert not out.over.done()

        wire.taken[-1].set_result(None)
        await turn()
        assert out.over.done()
        assert out.over.exception() is None
        assert wire.begun == [b"1"]

    asyncio.run(go())


def test_a_write_that_fails_ends_it_with_that_error():
    async def go() -> None:
        wire = Wire()
        out = Writer(wire.write)
        out.put(b"1")
        out.put(b"2")
        wire.taken[-1].set_exception(OSError("gone"))
        await turn()
        with pytest.raises(OSError, match="gone"):
            out.over.result()
        out.put(b"3")
        assert wire.begun == [b"1"]

    asyncio.run(go())


def test_closing_cancels_what_is_under_way_and_writes_nothing_more():
    async def go() -> None:
        wire = Wire()
        out = Writer(wire.write)
        out.put(b"1")
        out.put(b"2")
        out.close()
        await turn()
        assert wire.taken[0].cancelled()
        assert out.over.cancelled()
        out.put(b"3")
        assert wire.begun == [b"1"]
        assert wire.ended == []

    asyncio.run(go())


def test_a_write_that_only_gives_way_goes_on():
    async def go() -> None:
        ended: list[bytes] = []

        async def write(data: bytes) -> None:
            await asyncio.sleep(0)
            ended.append(data)

        out = Writer(write)
        out.put(b"1")
        out.put(b"2")
        out.put(None)
        await asyncio.wait_for(out.over, 10)
        assert ended == [b"1", b"2"]

    asyncio.run(go())
