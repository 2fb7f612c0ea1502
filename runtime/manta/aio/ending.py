"""When a server process ends: told to by a signal, or because its parent is gone."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def ending(parent: int = 0) -> AsyncIterator[asyncio.Future[str]]:
    """For the block, SIGTERM, SIGINT and the end of the parent are heard; the future says which came first.

    Args:
        parent: Its process id; 0 for none to end with.
    """
    loop = asyncio.get_running_loop()
    over: asyncio.Future[str] = loop.create_future()

    def end(reason: str) -> None:
        if not over.done():
            over.set_result(reason)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, f"signal {number.name}")
    watched = -1
    try:
        if parent:
            try:
                watched = os.pidfd_open(parent)
                loop.add_reader(watched, end, "the parent is gone")
            except ProcessLookupError:
                end("the parent is gone")
        yield over
    finally:
        if watched >= 0:
            loop.remove_reader(watched)
            os.close(watched)
