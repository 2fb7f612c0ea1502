"""A connection that is carried closes both of its ends, whatever ends it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from manta.client.kube.carrying import Carried


class Socket:
    """A WebSocket on which nothing comes, and whose reader takes its time to stop."""

    def __init__(self) -> None:
        self.stopping, self.may_stop = asyncio.Event(), asyncio.Event()
        self.closed = False

    async def receive(self) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            self.stopping.set()
            await self.may_stop.wait()

    async def send_bytes(self, data: bytes) -> None:
        """Taken."""

    async def close(self) -> None:
        self.closed = True


class Writer:
    closed = False

    def close(self) -> None:
        self.closed = True


def test_one_that_is_cancelled_while_it_ends_by_itself_closes_both_ends():
    async def main():
        socket, writer, reader = Socket(), Writer(), asyncio.StreamReader()
        ends: Any = (socket, reader, writer)
        task = asyncio.create_task(Carried(*ends, lambda words: None, halves=False).run())
        await asyncio.sleep(0)
        reader.feed_eof()
        async with asyncio.timeout(10):
            await socket.stopping.wait()
            task.cancel()
            await asyncio.sleep(0)
            socket.may_stop.set()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert (socket.closed, writer.closed) == (True, True)

    asyncio.run(main())
