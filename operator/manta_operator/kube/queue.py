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
        waited: Is told how many seconds each key was due until a worker took it.
    """

    def __init__(
        self,
        group: Callable[[K], Hashable],
        look_after: Callable[[K], Awaitable[float | None]],
        *,
        timeout_s: float = 120.0,
        unit: Callable[[], float] = random.random,
        waited: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._keys = Keys(group)
        self._look_after, self._timeout_s, self._unit = look_after, timeout_s, unit
        self._waited = waited
        self._changed = asyncio.Event()
        #: How many workers have a key.
        self.busy = 0

    def __len__(self) -> int:
        """How many keys are due and have no worker."""
        return len(self._keys)

    @property
    def idle(self) -> bool:
        """Whether nothing is due, being done, or due later."""
        return self._keys.idle

    def add(self, key: K) -> None:
        """It wants to be looked after; from the event loop's thread."""
        self._keys.add(key, asyncio.get_running_loop().time())
        self._changed.set()

    def forget(self, key: K) -> None:
        """Its object is no more."""
        self._keys.forget(key)

    async def work(self) -> None:
        """One worker, until cancelled. Several share the keys."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            key = self._keys.take(now)
            if key is None:
                await self._something(now)
                continue
            self._waited(now - self._keys.due_since(key))
            again_at: float | None = None
            self.busy += 1
            try:
                async with asyncio.timeout(self._timeout_s):
                    after_s = await self._look_after(key)
            except NotLeaderError:
                self._keys.done(key)  # who leads does it, or we do when we lead again: all keys are added then
            except (KubeError, TimeoutError) as error:
                delay_s = self._keys.failed(key, loop.time(), self._unit())
                log.warning("%s: again in %.1f s: %s", key, delay_s, str(error) or "it took too long")
            except Exception:
                # A mistake of ours that one object brings to light: the others are looked after all the same.
                delay_s = self._keys.failed(key, loop.time(), self._unit())
                log.exception("%s: again in %.1f s", key, delay_s)
            except asyncio.CancelledError:
                self._keys.done(key)
                raise
            else:
                again_at = None if after_s is None else loop.time() + after_s
                self._keys.done(key, again_at=again_at)
            finally:
                self.busy -= 1
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
