"""Cancelling: whom a request is for, and whether an interrupt that lands now was meant for what runs now.

A task is interrupted by a signal to the main thread, which may arrive late: when the task has ended, or the next one runs. So the
request names its task, and is forgotten when that ends.
"""

from __future__ import annotations

from enum import Enum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.client.running import Running


class Verdict(Enum):
    """What a request to cancel comes to."""

    #: It waits here and is never started: tell its owner.
    DROP = 1
    #: It waits here on a lease: its owner takes it back by its token, nobody else can.
    LEAVE = 2
    #: It runs here: it and, if asked, its children.
    STOP = 3
    #: It is over, or was never here.
    LATE = 4


def verdict(*, queued: bool, leased: bool, runs: bool) -> Verdict:
    """What becomes of a call that somebody wants cancelled.

    Args:
        queued: It waits in the inbox.
        leased: It came on a lease, so that its start is claimed by a token.
        runs: It has begun and has not ended.
    """
    if queued:
        return Verdict.LEAVE if leased else Verdict.DROP
    return Verdict.STOP if runs else Verdict.LATE


class Interrupt:
    """The request to interrupt the running task. The session's lock guards the changes; a signal handler reads."""

    __slots__ = ("task_id",)

    def __init__(self) -> None:
        #: Of the task that is to be interrupted; None for none. Public to the loop, which looks after every task.
        self.task_id: bytes | None = None

    def ask(self, now: Running) -> None:
        """The running task is to be interrupted."""
        now.cancelled = True
        self.task_id = now.oid[:24]

    def wanted(self, now: Running | None) -> bool:
        """Whether an interrupt that lands while `now` runs was meant for it."""
        return now is not None and self.task_id is not None and now.oid[:24] == self.task_id
