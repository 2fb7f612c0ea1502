"""Threads that wait while another reads: what `pump` is on a node, without anything that only Linux has."""

from __future__ import annotations

import threading

from manta.client.waiter import Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Pump:
    """What the parts that are shared with sessions on a node know of a pump."""

    def __init__(self, lock: threading.RLock, look: Callable[[], None], now: Callable[[], float]) -> None:
        self._lock = lock
        self._look = look
        self._now = now

    def finish(self, waiter: Waiter) -> None:
        """What a thread waits for has come. Called under the lock."""
        waiter.done = True
        if waiter.sleeping:
            waiter.sleeping = False
            assert waiter.wakeup is not None
            waiter.wakeup.release()

    def wait(self, waiter: Waiter, deadline: float | None) -> bool:
        """Wait until `waiter` is done; False when the deadline, in monotonic seconds, has passed."""
        with self._lock:
            if waiter.done:
                return True
            if waiter.wakeup is None:
                waiter.wakeup = threading.Lock()
                waiter.wakeup.acquire()
            waiter.sleeping = True
        timeout = -1.0 if deadline is None else max(0.0, deadline - self._now())
        try:
            waiter.wakeup.acquire(timeout=timeout)
        finally:
            with self._lock:
                if waiter.sleeping:
                    waiter.sleeping = False
        return waiter.done

    def attend(self) -> None:
        """Make sure that what was said goes out soon."""
        self._look()

    def schedule(self, due: float) -> None:
        """As `attend`: nothing waits for a time here."""
        self._look()

    def poll_once(self) -> bool:
        """What has come was handled when it came."""
        return True
