"""A lease as its owner sees it: which tasks are with the worker, which have surely not begun, how deep to fill the pipe.

Starting is claimed by a token. The lease's eventfd holds one token per task that is with the worker and has not begun; the
worker takes one before each start, the owner takes tokens back from the tail, and neither needs the other's cooperation: a
worker stuck in C code cannot stop its queue from going elsewhere. What happens to a task of a lease:

    state of the task     taken back         cancelled            worker died              owner died
    queued (has token)    pending again      tail taken, dropped  pending, costs nothing   never runs
    claimed, running      not possible       interrupted          retry or error           worker is killed
    finished, unsent      not possible       no effect            retry or error           result is lost

Pure: `Tokens` is the one door to the kernel and tests pass their own.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class TokenStore(Protocol):
        """A counting semaphore."""

        def put(self, count: int) -> None:
            """Add tokens."""

        def take(self, most: int) -> int:
            """Take up to that many; returns how many."""
            ...


#: Work that may wait in a worker's queue. Deep enough to hide the owner's round trip, short enough that nothing waits long.
PIPELINE_US = 3_000

#: What a task of unknown duration counts as: it gets a worker of its own.
UNKNOWN_US = 1_000_000

#: Most tasks in one frame, and about how many bytes of arguments.
BATCH_TASKS = 512
BATCH_BYTES = 1 << 20

#: Least a task counts as, whatever was measured: no more than 1,500 are ever queued with one worker.
FLOOR_US = 2

#: A task as it waits and travels: id of its first result, number of its template, serialised arguments. Bytes and an int: the
#: collector does not track it.
Record = tuple[bytes, int, bytes]


class Tokens:
    """The lease's eventfd: a semaphore shared with the worker."""

    __slots__ = ("fd",)

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK | os.EFD_SEMAPHORE)

    def put(self, count: int) -> None:
        """Let `count` more tasks start."""
        os.eventfd_write(self.fd, count)

    def take(self, most: int) -> int:
        """Take up to `most` tokens back; how many there were."""
        taken = 0
        try:
            while taken < most:
                os.eventfd_read(self.fd)
                taken += 1
        except BlockingIOError:
            pass
        return taken

    def close(self) -> None:
        """Close the descriptor; the worker has its own."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Lease:
    """One worker on loan. The submitter's lock guards it."""

    __slots__ = (
        "blocked",
        "broken_at",
        "clogged",
        "connection",
        "draining",
        "functions",
        "idle_since",
        "inflight",
        "key",
        "lease_id",
        "lender",
        "pid",
        "progress_at",
        "queued_us",
        "retiring",
        "taking_back",
        "templates",
        "tokens",
        "worker_id",
    )

    def __init__(self, lease_id: int, key: Any, worker_id: bytes, pid: int, tokens: TokenStore) -> None:
        self.lease_id = lease_id
        #: The scheduling key it was granted for.
        self.key = key
        self.worker_id = worker_id
        self.pid = pid
        self.tokens = tokens
        #: The link to the raylet of another node that lent it; None for the own one.
        self.lender: Any = None
        #: Where frames go; None until dialled and after the end.
        self.connection: Any = None
        #: Tasks with the worker, in the order pushed, each with its expected microseconds.
        self.inflight: dict[bytes, tuple[Record, int]] = {}
        #: Sum of what is expected of them.
        self.queued_us = 0
        #: The running task waits for something: nothing more is pushed.
        self.blocked = False
        #: When the connection ended, and the raylet has not said why yet; 0 while there is one.
        self.broken_at = 0.0
        #: The worker does not read what it was sent: nothing more is pushed until it has.
        self.clogged = False
        #: How often tasks were taken back that the worker has not confirmed to have forgotten. Until it has, every time, nothing
        #: is pushed: a fresh token could start a task that was taken back.
        self.taking_back = 0
        #: To be returned as soon as it is empty.
        self.draining = False
        #: The worker has run what it may run and leaves.
        self.retiring = False
        #: Monotonic seconds when the worker was first seen with several tasks after it last sent a result; 0 for not since.
        self.progress_at = 0.0
        #: Template numbers and function hashes the worker knows.
        self.templates: set[int] = set()
        self.functions: set[bytes] = set()
        #: Monotonic seconds since when nothing is with the worker.
        self.idle_since = 0.0

    @property
    def pushable(self) -> bool:
        """Whether tasks may be pushed now."""
        return not (self.taking_back or self.draining or self.blocked or self.clogged or self.connection is None)

    def fits(self, expected_us: int) -> bool:
        """Whether one more task of that length may queue here."""
        return not self.inflight or self.queued_us + expected_us <= PIPELINE_US

    def push(self, record: Record, expected_us: int) -> None:
        """A task goes to the worker; the caller puts its token before the frame."""
        self.inflight[record[0]] = (record, expected_us)
        self.queued_us += expected_us

    def done(self, oid: bytes) -> Record | None:
        """A result came; None for a task that is not here."""
        entry = self.inflight.pop(oid, None)
        if entry is None:
            return None
        self.queued_us -= entry[1]
        return entry[0]

    def take_back(self, most: int) -> list[Record]:
        """Take up to `most` tasks back from the tail, in the order they were pushed. None of them has begun or ever will."""
        taken = []
        for _ in range(self.tokens.take(min(most, len(self.inflight)))):
            _oid, (record, expected_us) = self.inflight.popitem()
            self.queued_us -= expected_us
            taken.append(record)
        taken.reverse()
        if taken:
            self.taking_back += 1
        return taken

    def taken(self, count: int) -> list[Record]:
        """The last `count` tasks, whose tokens somebody else took, in the order they were pushed; none of them ever begins."""
        taken = []
        for _ in range(min(count, len(self.inflight))):
            _oid, (record, expected_us) = self.inflight.popitem()
            self.queued_us -= expected_us
            taken.append(record)
        taken.reverse()
        return taken

    def took_back(self) -> None:
        """The worker has forgotten what one `take_back` took."""
        self.taking_back -= 1

    def lost(self) -> tuple[list[Record], list[Record]]:
        """The worker is dead: tasks that may have begun, and tasks that surely had not."""
        unstarted = list(self.take_back(len(self.inflight)))
        begun = [record for record, _ in self.inflight.values()]
        self.inflight.clear()
        self.queued_us = 0
        return begun, unstarted

    def validate(self) -> None:
        """All invariants."""
        assert self.queued_us == sum(expected for _, expected in self.inflight.values()), "queued_us is off"


class Estimate:
    """How long tasks of one template take, in microseconds: quick to rise, slower to fall.

    One long task among short ones must stop the queueing at once; one short among long ones proves little.
    """

    __slots__ = ("us",)

    def __init__(self) -> None:
        self.us = UNKNOWN_US

    def add(self, micros: int) -> None:
        """One more measured run."""
        if self.us == UNKNOWN_US or micros > self.us:
            self.us = max(micros, FLOOR_US)
        else:
            self.us = max((self.us * 7 + micros) >> 3, FLOOR_US)


class Alone(Estimate):
    """Of tasks with which their worker may end: nothing is ever queued with one, as with tasks of unknown duration."""

    __slots__ = ()

    def add(self, micros: int) -> None:
        """However short it was."""


def wanted_leases(tasks: int, expected_us: int) -> int:
    """Leases that would help: one per task when tasks are long, one per pipe's worth of work when they are short."""
    if not tasks:
        return 0
    return min(tasks, 1 + tasks * expected_us // PIPELINE_US)
