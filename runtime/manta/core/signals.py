"""Which of the process's threads take its signals."""

from __future__ import annotations

import signal

try:
    # The public one spends 150 us on making enums of what it returns.
    from _signal import SIG_BLOCK, SIG_UNBLOCK, pthread_sigmask  # type: ignore[import-not-found]
except ImportError:  # a system where threads have no masks
    SIG_BLOCK = SIG_UNBLOCK = 0

    def pthread_sigmask(how: int, signals: object) -> None:  # noqa: D103
        pass


#: What a fault of the thread itself raises stays deliverable to it (faulthandler reports those), and so does a profiler's clock.
_KEPT = ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS", "SIGPROF")
_OTHERS = frozenset(map(int, signal.valid_signals())) - {int(getattr(signal, name, 0)) for name in _KEPT}


def leave_signals_to_main() -> None:
    """Block the process's signals in the calling thread.

    Python runs handlers in the main thread whoever the kernel picked, but only a main thread that was itself picked leaves its
    `time.sleep`: a SIGTERM taken by another thread would be answered when the sleep is over. The kernel picks others when the
    main thread has a signal pending, as right after SIGCONT.
    """
    pthread_sigmask(SIG_BLOCK, _OTHERS)


def take_signals() -> None:
    """Undo `leave_signals_to_main`: for user code that runs in the thread, whose children inherit what is blocked."""
    pthread_sigmask(SIG_UNBLOCK, _OTHERS)
