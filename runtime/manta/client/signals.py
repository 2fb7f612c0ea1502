"""Ctrl-C without loss: where a KeyboardInterrupt may land.

A signal handler runs between any two bytecodes of the main thread; raised inside our own code it loses a frame, a lock or a
reference (measured: a naive receive loop lost a frame after one or two). So the handler looks at the frame it interrupted:
inside Manta's own code it only notes the interrupt, makes a waiting pump return, and the exception is raised where everything
is consistent. Inside user code, also user code called by us (a `__reduce__`, a task), it is raised at once. The hot path pays
nothing: the stack is looked at only when a signal arrives. trio marks its frames in the same spirit.

The same holds for handlers that the user installs: one for SIGALRM that raises is the usual way to limit the time of a block,
a `get` in it included. They are wrapped when the main thread is about to wait (`guard`), and run when that is consistent.
"""

from __future__ import annotations

import signal
import sys
import threading

# The public one spends 0.3 us on making an enum of what it found.
from _signal import getsignal  # type: ignore[import-not-found]
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

#: Code of functions that call user code: from there outwards the interrupt is the user's. By identity: code objects that say
#: the same are equal, wherever they stand.
_OPEN: dict[int, CodeType] = {}

#: Modules of ours in which an interrupt may land: they hold nothing (serde runs user code inside C picklers). With their dots,
#: since `manta.client` begins with `manta.cli`.
_OPEN_MODULES = ("manta.serde.", "manta.testing.", "manta.cli.", "manta.compat.", "manta.util.")


#: Signals whose handlers people write.
_GUARDED = tuple(
    getattr(signal, name)
    for name in ("SIGALRM", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGINT", "SIGHUP", "SIGVTALRM", "SIGPROF")
    if hasattr(signal, name)  # not every system has all
)


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


class Guarded:
    """A user's signal handler, which does not run inside our code."""

    __slots__ = ("handler", "owner")

    def __init__(self, handler: Callable[[int, FrameType | None], Any], owner: Interrupts) -> None:
        #: What the user installed.
        self.handler = handler
        self.owner = owner

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """As the interpreter calls it, between two bytecodes of the main thread."""
        self.owner.arrived(self, number, frame)


class Interrupts:
    """The process's SIGINT and the handlers of its user, deferred inside our code.

    Ownership: `install` replaces Python's default handler only, never a user's own; `remove` puts it back.
    """

    def __init__(self, wake: Callable[[], None], attend: Callable[[], None]) -> None:
        self._wake = wake
        self._attend = attend
        self._pending = False
        self._before: Any = None
        #: Whether an interrupt that arrives is meant for what runs now; a worker ties it to the cancelled task.
        self.wanted: Callable[[], bool] = lambda: True
        #: Whether user code stands on the main thread's stack, so that a deferred handler will find its time.
        self.active: Callable[[], bool] = lambda: True
        #: Handlers that wait to run, by signal.
        self.deferred: dict[int, Guarded] = {}

    def install(self) -> None:
        """Take SIGINT over, in the main thread, if nobody else has."""
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._handle)

    def remove(self) -> None:
        """Give SIGINT and the user's handlers back."""
        self.let_go()
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _GUARDED:
            handler: Any = getsignal(number)
            if type(handler) is Guarded and handler.owner is self:
                signal.signal(number, handler.handler)
        if self._before is None:
            return
        if signal.getsignal(signal.SIGINT) == self._handle:
            signal.signal(signal.SIGINT, self._before)
        self._before = None

    def guard(self) -> None:
        """Keep the handlers that the user has installed since out of our code. In the main thread, where nothing is held."""
        for number in _GUARDED:
            handler: Any = getsignal(number)
            if not callable(handler) or handler == self._handle:
                continue
            if type(handler) is Guarded:
                if handler.owner is self:
                    continue
                handler = handler.handler  # of a session that ended in another thread
            signal.signal(number, Guarded(handler, self))

    def arrived(self, guarded: Guarded, number: int, frame: FrameType | None) -> None:
        """The signal came: run its handler now, or note that it has to."""
        if self.active() and in_our_code(frame):
            self.deferred[number] = guarded
            self._wake()
            self._attend()
        else:
            self.deferred.pop(number, None)
            guarded.handler(number, frame)

    def let_go(self) -> None:
        """From now on every handler runs where its signal lands."""
        self.active = lambda: False
        self.forget()

    def run_deferred(self) -> bool:
        """Run the handlers that had to wait; False when there is none. What they raise comes out of here.

        Called in the main thread, where everything is consistent.
        """
        if not self.deferred:
            return False
        while self.deferred:
            number, guarded = self.deferred.popitem()
            guarded.handler(number, sys._getframe())
        return True

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
        """An interrupt waits to be raised, or a handler to be run."""
        return self._pending or bool(self.deferred)

    def raise_pending(self) -> None:
        """Raise the interrupt that came while our code ran, if any. Called where everything is consistent."""
        if self._pending:
            self._pending = False
            if self.wanted():
                raise KeyboardInterrupt

    def forget(self) -> None:
        """What came, came too late: what it was meant for is over."""
        self._pending = False
        self.deferred.clear()

    def send_again(self) -> None:
        """From the service thread: the interrupt landed in code that waits for nothing; try again now."""
        main = threading.main_thread().ident
        assert main is not None
        if self._pending:
            signal.pthread_kill(main, signal.SIGINT)
        for number in list(self.deferred):
            signal.pthread_kill(main, number)


open_to_interrupts(Interrupts.run_deferred)
