"""A sign for one coroutine that waits: thousands of them are kept, and an `asyncio.Event` holds 700 bytes for waiters to come."""

from __future__ import annotations

import asyncio


class Bell:
    """Rings once for however many things have happened since it was last heard."""

    __slots__ = ("_rung", "_waiting")

    def __init__(self) -> None:
        self._rung = False
        self._waiting: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Something has happened."""
        self._rung = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def heard(self) -> None:
        """Wait until it rings, or has rung since this returned last. One at a time."""
        if not self._rung:
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        self._rung = False
