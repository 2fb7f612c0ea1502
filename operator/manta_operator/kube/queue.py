"""Workers that look after objects: performs what `keys` decides."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from manta_operator.kube.errors import KubeError, NotLeaderError
from manta_operator.kube.keys import Keys

K = TypeVar("K", bound=Hashable)
log = logging.getLogger(__name__)


class Queue(Generic[K]):
    """Keys for workers.

    Args:
        group: Whose turn a key's is, such as its namespace.
        look_after: Does the work for one key; returns after how many seconds to do it again anyway, or None.
        timeout_s: The most that one call may take. Every write is safe to repeat, so it is cut short and tried again.
        unit: Randomness in [0, 1).
    """

    def __init__(
        self,
        group: Callable[[K], Hashable],
        look_after: Callable[[K], Awaitable[float | None]],
        *,
        timeout_s: float = 120.0,
        unit: Callable[[], float] = random.random,
    ) -> None:
        self._keys = Keys(group)
        self._look_after, self._timeout_s, self._unit = look_after, timeout_s, unit
        self._changed = asyncio.Event()

    @property
    def idle(self) -> bool:
        """Whether nothing is due, being done, or due later."""
        return self._keys.idle

    def add(self, key: K) -> None:
        """It wants to be looked after; from the event loop's thread."""
        self._keys.add(key)
        self._changed.set()

    def forget(self, key: K) -> None:
        """Its object is no more."""
        self._keys.forget(key)

    async def work(self) -> None:
        """One worker, until cancelled. Several share the keys."""
        loop = asyncio.get_running_loop()
        while True:
            key = self._keys.take(loop.time())
            if key is None:
                await self._something(loop.time())
                continue
            again_at: float | None = None
            try:
                async with asyncio.timeout(self._timeout_s):
                    after_s = await self._look_after(key)
            except NotLeaderError:
                self._keys.done(key)  # who leads does it, or we do when we lead again: all keys are added then
            except (KubeError, TimeoutError) as error:
                delay_s = self._keys.failed(key, loop.time(), self._unit())
                log.warning("%s: again in %.1f s: %s", key, delay_s, str(error) or "it took too long")
            except asyncio.CancelledError:
                self._keys.done(key)
                raise
            else:
                again_at = None if after_s is None else loop.time() + after_s
                self._keys.done(key, again_at=again_at)
            self._changed.set()

    async def _something(self, now: float) -> None:
        """Wait for a change, or for the next key to be due."""
        at = self._keys.next_at()
        self._changed.clear()
        try:
            async with asyncio.timeout(None if at is None else max(0.0, at - now)):
                await self._changed.wait()
        except TimeoutError:
            pass
