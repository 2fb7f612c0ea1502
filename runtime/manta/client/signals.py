"""Ctrl-C without loss: where a KeyboardInterrupt may land.

A signal handler runs between any two bytecodes of the main thread; raised inside our own code it loses a frame, a lock or a
reference (measured: a naive receive loop lost a frame after one or two). So the handler looks at the frame it interrupted:
inside Manta's own code it only notes the interrupt, makes a waiting pump return, and the exception is raised where everything
is consistent. Inside user code, also user code called by us (a `__reduce__`, a task), it is raised at once. The hot path pays
nothing: the stack is looked at only when a signal arrives. trio marks its frames in the same spirit.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

#: Code of functions that call user code: from there outwards the interrupt is the user's. By identity: code objects that say
#: the same are equal, wherever they stand.
_OPEN: dict[int, CodeType] = {}

#: Modules of ours in which an interrupt may land: they hold nothing (serde runs user code inside C picklers). With their dots,
#: since `manta.client` begins with `manta.cli`.
_OPEN_MODULES = ("manta.serde.", "manta.testing.", "manta.cli.", "manta.compat.", "manta.util.")


def open_to_interrupts(function: Any) -> Any:
    """Mark a function that calls user code and holds nothing that an exception could tear."""
    _OPEN[id(function.__code__)] = function.__code__
    return function


def in_our_code(frame: FrameType | None) -> bool:
    """Whether an exception raised at `frame` would land in code that must not be torn."""
    while frame is not None:
        if id(frame.f_code) in _OPEN:
            return False
        module = frame.f_globals.get("__name__", "")
        if isinstance(module, str) and module.startswith("manta."):
            return not f"{module}.".startswith(_OPEN_MODULES)
        frame = frame.f_back
    return False


class Interrupts:
    """The process's SIGINT, deferred inside our code.

    Ownership: `install` replaces Python's default handler only, never a user's own; `remove` puts it back.
    """

    def __init__(self, wake: Callable[[], None], attend: Callable[[], None]) -> None:
        self._wake = wake
        self._attend = attend
        self._pending = False
        self._before: Any = None
        #: Whether an interrupt that arrives is meant for what runs now; a worker ties it to the cancelled task.
        self.wanted: Callable[[], bool] = lambda: True

    def install(self) -> None:
        """Take SIGINT over, in the main thread, if nobody else has."""
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._handle)

    def remove(self) -> None:
        """Give SIGINT back."""
        if self._before is None or threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGINT) == self._handle:
            signal.signal(signal.SIGINT, self._before)
        self._before = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.wanted():
            return
        if in_our_code(frame):
            self._pending = True
            self._wake()
            self._attend()
        else:
            self._pending = False
            raise KeyboardInterrupt

    def pending(self) -> bool:
        """An interrupt waits to be raised."""
        return self._pending

    def raise_pending(self) -> None:
        """Raise the interrupt that came while our code ran, if any. Called where everything is consistent."""
        if self._pending:
            self._pending = False
            if self.wanted():
                raise KeyboardInterrupt

    def forget(self) -> None:
        """The interrupt came too late: what it was meant for is over."""
        self._pending = False

    def send_again(self) -> None:
        """From the service thread: the interrupt landed in code that waits for nothing; try again now."""
        if self._pending:
            main = threading.main_thread().ident
            assert main is not None
            signal.pthread_kill(main, signal.SIGINT)
