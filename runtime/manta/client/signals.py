"""Ctrl-C without loss: where a KeyboardInterrupt may land.

A signal handler runs between any two bytecodes of the main thread; raised inside our own code it loses a frame, a lock or a
reference (measured: a naive receive loop lost a frame after one or two). So the handler looks at the frame it interrupted:
inside Manta's own code it only notes the interrupt, makes a waiting pump return, and the exception is raised where everything
is consistent. Inside user code, also user code called by us (a `__reduce__`, a task), it is raised at once. The hot path pays
nothing: the stack is looked at only when a signal arrives. trio marks its frames in the same spirit.

The same holds for handlers that the user installs: one for SIGALRM that raises is the usual way to limit the time of a block,
a `get` in it included. `signal.signal` wraps them while a session lasts, and they run when everything is consistent: between two
waits inside `get`, or before user code calls anything.
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

from manta.core.handler_errors import mark_as_handler_s

#: Code of functions that call user code: from there outwards the interrupt is the user's. By identity: code objects that say
#: the same are equal, wherever they stand.
_OPEN: dict[int, CodeType] = {}

#: Modules of ours in which an interrupt may land: they hold nothing, and run user code inside C picklers. With their dots, since
#: `manta.client` begins with `manta.cli`.
_OPEN_MODULES = ("manta.serde.",)

#: Modules of ours that are as whoever called them: users' programs run below some, and `compat` answers to imports, ours as well.
_TRANSPARENT_MODULES = ("manta.testing.", "manta.cli.", "manta.compat.", "manta.util.")


#: Signals whose handlers people write.
_GUARDED = tuple(
    getattr(signal, name)
    for name in ("SIGALRM", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGINT", "SIGHUP", "SIGVTALRM", "SIGPROF")
    if hasattr(signal, name)  # not every system has all
)


#: What `try_again` sends: a number of its own, so that a signal of the user's is never sent, nor taken for one of theirs. It
#: announces out-of-band data on sockets that asked for that; everybody else ignores it.
_NUDGE: int | None = getattr(signal, "SIGURG", None)


_set, _get = signal.signal, signal.getsignal


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
        if (
            isinstance(module, str)
            and module.startswith("manta.")
            and not f"{module}.".startswith(_TRANSPARENT_MODULES)
        ):
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

    def run(self, number: int, frame: FrameType | None) -> None:
        """Call what the user installed."""
        try:
            self.handler(number, frame)
        except BaseException as error:
            mark_as_handler_s(error)
            raise


def _getsignal(number: int) -> Any:
    """`signal.getsignal` while a session lasts: what the user installed."""
    handler = _get(number)
    return handler.handler if type(handler) is Guarded else handler


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
            self._before = _set(signal.SIGINT, self._handle)
        if _NUDGE is not None and _get(_NUDGE) is signal.SIG_DFL:
            _set(_NUDGE, self._nudged)
        if signal.signal is _set:
            signal.signal = self._signal  # type: ignore[assignment]
            signal.getsignal = _getsignal  # type: ignore[assignment]
        self.guard()

    def remove(self) -> None:
        """Give SIGINT and the user's handlers back."""
        self.let_go()
        if signal.signal == self._signal:
            signal.signal, signal.getsignal = _set, _get
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _GUARDED:
            handler: Any = getsignal(number)
            if type(handler) is Guarded and handler.owner is self:
                _set(number, handler.handler)
        if _NUDGE is not None and _get(_NUDGE) == self._nudged:
            _set(_NUDGE, signal.SIG_DFL)
        if self._before is None:
            return
        if _get(signal.SIGINT) == self._handle:
            _set(signal.SIGINT, self._before)
        self._before = None

    def guard(self) -> None:
        """Keep handlers that were installed past `signal.signal` out of our code. In the main thread, where nothing is held."""
        for number in _GUARDED:
            handler: Any = getsignal(number)
            if not callable(handler) or handler == self._handle:
                continue
            if type(handler) is Guarded:
                if handler.owner is self:
                    continue
                handler = handler.handler  # of a session that ended in another thread
            _set(number, Guarded(handler, self))

    def _signal(self, number: int, handler: Any) -> Any:
        """`signal.signal` while the session lasts: a handler is kept out of our code from its first moment."""
        if number in _GUARDED and callable(handler) and type(handler) is not Guarded and handler != self._handle:
            handler = Guarded(handler, self)
        before = _set(number, handler)
        return before.handler if type(before) is Guarded else before

    def arrived(self, guarded: Guarded, number: int, frame: FrameType | None) -> None:
        """The signal came: run its handler now, or note that it has to."""
        if self.active() and in_our_code(frame):
            self.deferred[number] = guarded
            self._later()
        else:
            self.deferred.pop(number, None)
            guarded.run(number, frame)

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
            guarded.run(number, sys._getframe())
        return True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.wanted():
            return
        if in_our_code(frame):
            self._pending = True
            self._later()
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

    def _later(self) -> None:
        """End a wait, if there is one; else run what came when user code goes on: before it calls anything, or soon."""
        self._wake()
        self._attend()
        if sys.getprofile() is None:
            sys.setprofile(self._profiled)

    def _profiled(self, frame: FrameType, event: str, argument: object) -> None:
        """The interpreter, at each call and return in the main thread.

        Without it a handler could come after user code has called off the alarm that it was for.
        """
        if not in_our_code(frame):
            sys.setprofile(None)  # first: what comes from here on sees that it has to ask again
            if self.pending():
                self._run()

    def try_again(self) -> None:
        """From the service thread: the interrupt landed in code that waits for nothing; look at where the main thread is now.

        For user code that calls nothing, or has a profiler. The signal itself is not sent again: by the time it came its handler
        might have run, and it would run twice.
        """
        main = threading.main_thread().ident
        assert main is not None
        if _NUDGE is not None:
            signal.pthread_kill(main, _NUDGE)

    def _nudged(self, number: int, frame: FrameType | None) -> None:
        if self.pending() and not in_our_code(frame):
            self._run()

    def _run(self) -> None:
        self.raise_pending()
        self.run_deferred()


open_to_interrupts(Guarded.run)
