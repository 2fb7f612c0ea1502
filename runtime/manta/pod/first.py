"""PID 1 of a container: starts processes, reaps them and every orphan, and hears signals. One thread, nothing that blocks.

The kernel gives PID 1 every orphan of its container, and ends the container with it. Signals that it has no handler for do not
reach it at all.
"""

from __future__ import annotations

import os
import selectors
import signal
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, Final

#: What is passed on to the server.
_PASSED: Final = (signal.SIGTERM, signal.SIGINT)


def say(text: str) -> None:
    """A line for the container's log."""
    sys.stderr.write(f"manta.pod: {text}\n")
    sys.stderr.flush()


def leave(text: str, path: str = "/dev/termination-log") -> None:
    """The reason why the container ends, also where the kubelet looks for it: it stands in the pod's status then."""
    say(text)
    with suppress(OSError), open(path, "r+") as file:
        file.write(f"{text}\n")


class First:
    """Processes, descriptors and signals.

    Args:
        environ: Of the processes.
        on_signal: Called with each SIGTERM and SIGINT.

    Ownership: A `with` block; it takes the process's signal handlers for its length.
    """

    def __init__(self, environ: Mapping[str, str], on_signal: Callable[[], None]) -> None:
        self._environ = dict(environ)
        self._on_signal = on_signal
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, Callable[[int], None]] = {}
        self._handlers: dict[int, Any] = {}
        self._awake, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __enter__(self) -> First:
        self._old_wakeup = signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        for number in (*_PASSED, signal.SIGCHLD):
            self._handlers[number] = signal.signal(number, lambda _number, _frame: None)
        self._selector.register(self._awake, selectors.EVENT_READ, self._awoken)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_wakeup)
        self._selector.close()
        os.close(self._awake)
        os.close(self._wake)

    # ---- descriptors

    def watch(self, file: Any, callback: Callable[[], None]) -> None:
        """Call back whenever there is something to read."""
        self._selector.register(file, selectors.EVENT_READ, callback)

    def forget(self, file: Any) -> None:
        """No more."""
        with suppress(KeyError, ValueError):
            self._selector.unregister(file)

    def turn(self, timeout_s: float) -> None:
        """Wait for something, at most so long, and do what there is to do."""
        for key, _events in self._selector.select(timeout_s):
            key.data()
        # A SIGCHLD may stand for several, and one may have been merged with another.
        self._reap()

    def _awoken(self) -> None:
        for number in os.read(self._awake, 4096):
            if number in _PASSED:
                self._on_signal()

    # ---- processes

    def start(
        self,
        words: list[str],
        on_end: Callable[[int], None],
        *,
        session: bool = False,
        inherit: Collection[int] = (),
    ) -> int:
        """Start `python -m words...`; its process id.

        Args:
            words: A module and its arguments.
            on_end: Called with the exit code, or minus the signal, when it has been reaped.
            session: It leads a session of its own.
            inherit: Descriptors that it gets under the same numbers.

        Raises:
            OSError: It cannot be started.
        """
        for descriptor in inherit:
            os.set_inheritable(descriptor, True)
        try:
            # Modules of ours, never files of the folder that the image starts in.
            line = [sys.executable, "-P", "-m", *words]
            pid = os.posix_spawn(
                sys.executable, line, self._environ, setsid=session, setsigmask=(), setsigdef=_PASSED,
                file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
            )  # fmt: skip
        finally:
            for descriptor in inherit:
                os.set_inheritable(descriptor, False)
        self._children[pid] = on_end
        return pid

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            ended = self._children.pop(pid, None)
            if ended is not None:
                ended(os.waitstatus_to_exitcode(status))

    @property
    def children(self) -> list[int]:
        """Those that were started here and have not ended."""
        return list(self._children)
