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
    """Do one, then two, four and so on side by side: a mistake that all share costs one request, not a thousand.

    Args:
        items: In the order in which they are begun.
        do: Does one; what it raises ends all that are under way, and is raised.
        most: At the same time.

    Returns:
        How many were tried; the rest was not, as one said to stop.
    """
    at, size = 0, 1
    while at < len(items):
        batch = items[at : at + size]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_run(do, item)) for item in batch]
        outcomes = [task.result() for task in tasks]
        at += len(batch)
        if Outcome.STOP in outcomes:
            break
        if Outcome.FAILED not in outcomes:
            size = min(2 * size, most)
    return at


async def _run(do: Callable[[T], Awaitable[Outcome]], item: T) -> Outcome:
    return await do(item)
