"""A sign for one coroutine."""

from __future__ import annotations

import asyncio

from manta.aio.bell import Bell


def test_what_rang_before_is_heard_at_once_and_once():
    async def run() -> None:
        bell = Bell()
        bell.ring()
        bell.ring()
        await bell.heard()
        waiting = asyncio.ensure_future(bell.heard())
        await asyncio.sleep(0)
        assert not waiting.done()
        bell.ring()
        bell.ring()
        await waiting

    asyncio.run(run())


def test_who_is_cancelled_misses_nothing():
    """Whoever waits next hears what rang meanwhile."""

    async def run() -> None:
        bell = Bell()
        waiting = asyncio.ensure_future(bell.heard())
        await asyncio.sleep(0)
        bell.ring()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await bell.heard()

    asyncio.run(run())
