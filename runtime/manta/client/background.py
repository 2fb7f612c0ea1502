"""A thread for what must not run inside the pump: printing other processes' lines, completing futures.

Both call code that is not ours (a replaced `sys.stdout`, a future's callbacks), which may block or come back to us.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from manta.core.signals import leave_signals_to_main, take_signals

log = logging.getLogger(__name__)


class Background:
    """Runs callables one after the other in a daemon thread that starts with the first of them."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def run(self, work: Callable[[], None]) -> None:
        """Run `work` soon. Never blocks."""
        self._queue.put(work)
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name="manta-background", daemon=True)
                    self._thread.start()

    @property
    def waiting(self) -> int:
        """How much waits to be run."""
        return self._queue.qsize()

    def _work(self) -> None:
        while (work := self._next()) is not None:
            try:
                work()
            except Exception:
                log.exception("background work failed")
            # Not kept until the next comes: it holds the future of an awaited ref, and so its value.
            del work

    def _next(self) -> Callable[[], None] | None:
        if not self._queue.empty():
            return self._queue.get()
        leave_signals_to_main()
        try:
            return self._queue.get()
        finally:
            take_signals()

    def finish(self, timeout_s: float) -> None:
        """Run what was asked for so far, then end; give up waiting after `timeout_s`."""
        thread = self._thread
        if thread is None:
            try:
                while (work := self._queue.get_nowait()) is not None:
                    work()
            except Empty:
                pass
            return
        self._queue.put(None)
        if thread is not threading.current_thread():
            thread.join(timeout_s)
