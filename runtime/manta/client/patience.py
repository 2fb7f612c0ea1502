"""How a session waits, whatever brings what it waits for: with a word when it takes long, attending to the user's signals."""

from __future__ import annotations

import logging
import threading

from manta.core import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from manta.client.signals import Interrupts
    from manta.client.waiter import Waiter

log = logging.getLogger(__name__)

#: A wait that has lasted so many seconds says once what it waits for.
NOTICE_S = 10.0


class Patient:
    """A session that can wait. Those that are one have these attributes."""

    #: Reads what comes, or sleeps until somebody else has.
    pump: Any
    interrupts: Interrupts
    now: Callable[[], float]
    closed: bool
    #: Why the session ended by itself.
    broken: errors.MantaError | None
    #: The main thread.
    _main: int | None
    #: Called around waits of a worker's task: (begins, ends).
    blocking: tuple[Callable[[], None], Callable[[], None]] | None = None

    def wait_for(self, waiter: Waiter, what: str | Callable[[], str], deadline: float | None = None) -> bool:
        """Wait, saying once what for when it takes long; tells the raylet that a task's CPU is free meanwhile."""
        if waiter.done:
            return True
        blocking = self.blocking
        if blocking is not None:
            blocking[0]()
        main = threading.get_ident() == self._main
        if main:
            self.interrupts.guard()
        try:
            notice = self.now() + NOTICE_S
            if deadline is None or notice < deadline:
                if not self._wait(waiter, notice, main) and not self.interrupts.pending() and not self.closed:
                    text = what if isinstance(what, str) else what()
                    log.warning("waiting for %s since %d s", text, NOTICE_S)
                    self._wait(waiter, deadline, main)
            else:
                self._wait(waiter, deadline, main)
        finally:
            if blocking is not None:
                blocking[1]()
        if main:
            self.interrupts.raise_pending()
        if not waiter.done:
            if self.broken is not None:
                raise self.broken
            if self.closed:
                raise errors.NotConnectedError("the cluster was left by shutdown() while this waited")
        return waiter.done

    def _wait(self, waiter: Waiter, deadline: float | None, main: bool) -> bool:
        """Wait; handlers of the user's signals run in between, and when they return the wait goes on."""
        while not self.pump.wait(waiter, deadline) and main and self.interrupts.run_deferred():
            pass
        return waiter.done
