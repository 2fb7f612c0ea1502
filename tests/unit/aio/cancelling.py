"""Cancels a coroutine at its n-th suspension: the tool behind every "cancel it everywhere" test."""

import asyncio
import types
from collections.abc import Callable, Coroutine
from typing import Any


@types.coroutine
def _cancelling_at(coro: Coroutine[Any, Any, Any], step: int, seen: list[int]):
    """Forward everything; at suspension number `step` cancel the task that runs us, as an outside caller would."""
    send: Any = None
    raised: BaseException | None = None
    while True:
        try:
            waits_for = coro.throw(raised) if raised is not None else coro.send(send)
        except StopIteration as done:
            return done.value
        raised = None
        seen[0] += 1
        if seen[0] == step:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        try:
            send = yield waits_for
        except BaseException as error:  # whatever the loop throws in is the coroutine's to handle
            raised = error


async def _driven(coro: Coroutine[Any, Any, Any], step: int, seen: list[int]) -> Any:
    return await _cancelling_at(coro, step, seen)


async def cancel_at_each_await(
    make: Callable[[], Coroutine[Any, Any, Any]], check: Callable[[], Any], *, limit: int = 200
) -> int:
    """Run `make()` again and again, cancelled at its first, second, ... suspension, and `check()` after each.

    Returns:
        At how many suspensions it was cancelled: until a run came through without being reached.
    """
    for step in range(1, limit):
        seen = [0]
        task = asyncio.ensure_future(_driven(make(), step, seen))
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        result = check()
        if asyncio.iscoroutine(result):
            await result
        if seen[0] < step:
            return step - 1
    raise AssertionError(f"still suspending after {limit} steps")
