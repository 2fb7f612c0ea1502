"""Signals and what is ours: threads beside the main one, and exceptions that a handler of the user's raises inside our code."""

from __future__ import annotations

import signal

# The public one spends 150 us on making enums of what it returns.
from _signal import pthread_sigmask  # type: ignore[import-not-found]

#: What a fault of the thread itself raises stays deliverable to it (faulthandler reports those), and so does a profiler's clock.
_KEPT = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGABRT,
        signal.SIGTRAP,
        signal.SIGSYS,
        signal.SIGPROF,
    }
)
_OTHERS = frozenset(map(int, signal.valid_signals() - _KEPT))


def leave_signals_to_main() -> None:
    """Block the process's signals in the calling thread.

    Python runs handlers in the main thread whoever the kernel picked, but only a main thread that was itself picked leaves its
    `time.sleep`: a SIGTERM taken by another thread would be answered when the sleep is over. The kernel picks others when the
    main thread has a signal pending, as right after SIGCONT.
    """
    pthread_sigmask(signal.SIG_BLOCK, _OTHERS)


def take_signals() -> None:
    """Undo `leave_signals_to_main`: for user code that runs in the thread, whose children inherit what is blocked."""
    pthread_sigmask(signal.SIG_UNBLOCK, _OTHERS)


def mark_as_handler_s(error: BaseException) -> None:
    """Say that a signal handler of the user's raised it: it is no failure of what it interrupted."""
    try:
        error.__manta_handler__ = True  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001, S110 - a class of the user's that wants no attributes
        pass


def is_handler_s(error: BaseException) -> bool:
    """Whether a signal handler of the user's raised it, wherever that was: whoever catches it here lets it pass."""
    return getattr(error, "__manta_handler__", False) is True
