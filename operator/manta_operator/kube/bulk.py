"""Many writes of one kind: carefully at first, then side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import TypeVar

T = TypeVar("T")

#: Writes at the same time: more only wait for one another's connections.
MOST_AT_ONCE = 64


class Outcome(Enum):
    """How one of many went."""

    DONE = "done"
    #: It failed, for reasons of its own.
    FAILED = "failed"
    #: It failed, and the others would fail alike.
    STOP = "stop"


async def slow_start(items: Sequence[T], do: Callable[[T], Awaitable[Outcome]], *, most: int = MOST_AT_ONCE) -> int:
    """Do one, and for each that is done begin two, up to `most` side by side: a mistake that all share costs one request, not a
    thousand. Nobody waits for the slowest of a batch.

    Args:
        items: In the order in which they are begun.
        do: Does one; what it raises ends all that are under way, and is raised.
        most: At the same time.

    Returns:
        How many were tried; the rest was not, as one said to stop.
    """
    at, window, stopped = 0, 1, False
    running: set[asyncio.Task[Outcome]] = set()
    async with asyncio.TaskGroup() as group:
        while True:
            while at < len(items) and len(running) < window and not stopped:
                running.add(group.create_task(_run(do, items[at])))
                at += 1
            if not running:
                return at
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                outcome = task.result()
                stopped = stopped or outcome is Outcome.STOP
                if outcome is Outcome.DONE:
                    window = min(window + 1, most)


async def _run(do: Callable[[T], Awaitable[Outcome]], item: T) -> Outcome:
    return await do(item)
