"""Which threads of user code wait in `get` or `wait`: while one does, this worker's CPU is lent to others."""

from __future__ import annotations


class Blocked:
    """Threads that wait. Events in, changes out; the session's lock guards it."""

    __slots__ = ("_threads",)

    def __init__(self) -> None:
        self._threads: set[int] = set()

    def begins(self, thread: int) -> bool:
        """A thread begins to wait; whether it is the first."""
        self._threads.add(thread)
        return len(self._threads) == 1

    def ends(self, thread: int) -> bool:
        """A thread waits no longer; whether it was the last.

        Not one whose wait began while nothing ran here, a thread that outlived its task say: that never counted.
        """
        if thread not in self._threads:
            return False
        self._threads.remove(thread)
        return not self._threads
