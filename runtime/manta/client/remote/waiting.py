"""Threads that wait while another reads: what `pump` is on a node, without anything that only Linux has."""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue

from manta.client.waiter import Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Poke:
    """Wakes one thread. From signal handlers too, so without a lock that the interrupted code may hold."""

    def __init__(self) -> None:
        self._pokes: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        """Wake it."""
        self._pokes.put(None)

    def wait(self, timeout_s: float) -> bool:
        """Sleep until then, or until woken; whether it was."""
        try:
            self._pokes.get(timeout=timeout_s)
            while True:
                self._pokes.get_nowait()
        except Empty:
            return True


class Pump:
    """What the parts that are shared with sessions on a node know of a pump."""

    def __init__(self, lock: threading.RLock, look: Callable[[], None], now: Callable[[], float]) -> None:
        self._lock = lock
        self._look = look
        self._now = now
        #: A signal handler asks the main thread to leave its wait: see `signals`.
        self.interrupted: Callable[[], bool] = lambda: False
        self._main_waiter: Waiter | None = None
        self._main = threading.main_thread().ident

    def finish(self, waiter: Waiter) -> None:
        """What a thread waits for has come. Called under the lock."""
        waiter.done = True
        if waiter.sleeping:
            waiter.sleeping = False
            self._let_go(waiter)

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
        main = threading.get_ident() == self._main
        if main:
            self._main_waiter = waiter
        if not main or not self.interrupted():
            waiter.wakeup.acquire(timeout=timeout)
        self._main_waiter = None if main else self._main_waiter
        with self._lock:
            waiter.sleeping = False
            # Held again, for the next wait: a signal and the answer may both have let it go, or neither.
            waiter.wakeup.acquire(blocking=False)
        return waiter.done

    def interrupt_main(self) -> None:
        """Make the main thread leave its wait soon. Called from a signal handler: takes no lock that could be held."""
        waiter = self._main_waiter
        if waiter is not None and waiter.sleeping and waiter.wakeup is not None:
            self._let_go(waiter)

    @staticmethod
    def _let_go(waiter: Waiter) -> None:
        assert waiter.wakeup is not None
        try:
            waiter.wakeup.release()
        except RuntimeError:
            pass

    def attend(self) -> None:
        """Make sure that what was said goes out soon."""
        self._look()

    def schedule(self, due: float) -> None:
        """As `attend`: nothing waits for a time here."""
        self._look()

    def poll_once(self) -> bool:
        """What has come was handled when it came."""
        return True
