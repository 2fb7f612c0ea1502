"""Which threads of user code wait in `get` or `wait`: while one does, this worker's CPU is lent to others."""

from __future__ import annotations


class Blocked:
    """Threads that wait. Events in, changes out; the session's lock guards it."""

    __slots__ = ("threads",)

    def __init__(self) -> None:
        #: Those that count.
        self.threads: set[int] = set()

    def begins(self, thread: int) -> bool:
        """A thread begins to wait; whether it is the first."""
        self.threads.add(thread)
        return len(self.threads) == 1

    def ends(self, thread: int) -> bool:
        """A thread waits no longer; whether it was the last.

        Not one whose wait began while nothing ran here, or whose task is over: it does not count.
        """
        if thread not in self.threads:
            return False
        self.threads.remove(thread)
        return not self.threads

    def task_over(self) -> None:
        """Threads that wait on have outlived their task: they say nothing of the next one, whose CPU they must not take."""
        self.threads.clear()
