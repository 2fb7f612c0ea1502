"""The table of `lease.py`, line by line and under any order of events.

The owner's side is the real `Lease`. The worker's side is its real `Inbox` and the loop's
rule in a line: a task is popped and its token taken in one step. Between them two wires that keep their order, and
the semaphore, which is faster than both.
"""

from __future__ import annotations

from collections import Counter, deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from manta.client.lease import Lease, Record
from manta.worker.inbox import Inbox

PICK = st.integers(0, 255)
EXPECTED_US = 100


class Semaphore:
    """The lease's eventfd."""

    def __init__(self) -> None:
        self.count = 0

    def put(self, count: int) -> None:
        self.count += count

    def take(self, most: int) -> int:
        taken = min(most, self.count)
        self.count -= taken
        return taken


class Worker:
    """The worker's end: its queue, what runs, what is finished and not sent."""

    def __init__(self, tokens: Semaphore) -> None:
        self.tokens = tokens
        self.from_owner: deque[tuple] = deque()
        self.to_owner: deque[tuple] = deque()
        self.running: tuple[bytes, int] | None = None
        self.interrupted = False
        self.unsent: list[tuple[bytes, bool]] = []
        self.link = object()
        self.inbox = Inbox()

    def deliver(self) -> None:
        match self.from_owner.popleft():
            case ("push", tasks):
                self.inbox.queue.extend((self.link, task) for task in tasks)
            case ("take back", count):
                self.inbox.take_back(self.link, count)
                self.to_owner.append(("took back",))
            case ("cancel", oid):
                self.interrupted = self.interrupted or (self.running is not None and self.running[0] == oid)

    def turn(self) -> tuple[bytes, int] | None:
        """One turn of the loop: the task that starts, if one does."""
        task = self.inbox.queue.popleft()[1]
        if not self.tokens.take(1):
            self.inbox.without_token(self.link)
            return None
        self.running = task
        return task

    def finish(self) -> None:
        assert self.running is not None
        self.unsent.append((self.running[0], self.interrupted))
        self.running, self.interrupted = None, False

    def flush(self) -> None:
        self.to_owner.append(("results", self.unsent))
        self.unsent = []


class Owner:
    """What the submitter does with a lease, in a few lines."""

    def __init__(self, max_retries: int) -> None:
        self.max_retries = max_retries
        self.pending: deque[Record] = deque()
        self.attempts: Counter[bytes] = Counter()
        self.cancelled: set[bytes] = set()
        self.ended: dict[bytes, str] = {}
        #: How often each task was pushed: names the push, and so the start it allows.
        self.pushes: Counter[bytes] = Counter()
        self.allowed: set[tuple[bytes, int]] = set()
        self.started: Counter[tuple[bytes, int]] = Counter()
        self.connect()

    def connect(self) -> None:
        """A (new) worker on loan."""
        self.tokens = Semaphore()
        self.worker = Worker(self.tokens)
        self.lease = Lease(1, None, b"w", 1, self.tokens)
        self.lease.connection = "dialled"

    def end(self, oid: bytes, how: str) -> None:
        assert oid not in self.ended, f"{oid!r} ended twice: {self.ended[oid]}, then {how}"
        self.ended[oid] = how

    def push(self, most: int) -> None:
        if not self.lease.pushable or not self.pending:
            return
        tasks = []
        while self.pending and len(tasks) < most and self.lease.fits(EXPECTED_US):
            record = self.pending.popleft()
            self.pushes[record[0]] += 1
            tasks.append((record[0], self.pushes[record[0]]))
            self.lease.push(record, EXPECTED_US)
        self.allowed.update(tasks)
        self.tokens.put(len(tasks))
        if tasks:
            self.worker.from_owner.append(("push", tasks))

    def take_back(self, most: int) -> None:
        taken = self.lease.take_back(most)
        for record in taken:
            self.allowed.remove((record[0], self.pushes[record[0]]))
        self.pending.extendleft(reversed(taken))
        if taken:
            self.worker.from_owner.append(("take back", len(taken)))

    def cancel(self, oid: bytes) -> None:
        for record in self.pending:
            if record[0] == oid:
                self.pending.remove(record)
                self.end(oid, "cancelled")
                return
        if oid in self.lease.inflight:
            order = list(self.lease.inflight)
            self.take_back(len(order) - order.index(oid))
            if oid not in self.lease.inflight:
                self.cancel(oid)
                return
            self.cancelled.add(oid)
            self.worker.from_owner.append(("cancel", oid))

    def deliver(self) -> None:
        match self.worker.to_owner.popleft():
            case ("took back",):
                self.lease.took_back()
            case ("results", results):
                for oid, interrupted in results:
                    assert self.lease.done(oid) is not None
                    self.end(oid, "cancelled" if interrupted else "value")

    def worker_died(self) -> None:
        """The raylet's word: what is still on the wire is not read any more."""
        begun, unstarted = self.lease.lost()
        for oid, _, _ in unstarted:
            assert (oid, self.pushes[oid]) not in self.started, "it surely had not begun"
        self.pending.extendleft(reversed(unstarted))
        for record in begun:
            oid = record[0]
            if oid in self.cancelled:
                self.end(oid, "cancelled")
            elif self.attempts[oid] < self.max_retries:
                self.attempts[oid] += 1
                self.pending.append(record)
            else:
                self.end(oid, "crashed")
        self.connect()

    def start(self) -> None:
        task = self.worker.turn()
        if task is not None:
            assert task in self.allowed, f"{task} starts although it was taken back"
            self.started[task] += 1
            assert self.started[task] == 1, f"{task} starts twice"


class LeaseMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.owner = Owner(max_retries=1)
        self.tasks: list[bytes] = []

    @property
    def worker(self) -> Worker:
        return self.owner.worker

    @rule(count=st.integers(1, 5))
    def submit(self, count):
        for _ in range(count):
            oid = b"task%d" % len(self.tasks)
            self.tasks.append(oid)
            self.owner.pending.append((oid, 0, b""))

    @rule(most=st.integers(1, 5))
    def push(self, most):
        self.owner.push(most)

    @precondition(lambda self: self.owner.lease.inflight)
    @rule(most=st.integers(1, 5))
    def take_back(self, most):
        self.owner.take_back(most)

    @precondition(lambda self: self.tasks)
    @rule(which=PICK)
    def cancel(self, which):
        self.owner.cancel(self.tasks[which % len(self.tasks)])

    @precondition(lambda self: self.worker.from_owner)
    @rule()
    def worker_hears(self):
        self.worker.deliver()

    @precondition(lambda self: self.worker.to_owner)
    @rule()
    def owner_hears(self):
        self.owner.deliver()

    @precondition(lambda self: self.worker.inbox.queue and self.worker.running is None)
    @rule()
    def worker_turns(self):
        self.owner.start()

    @precondition(lambda self: self.worker.running is not None)
    @rule()
    def worker_finishes(self):
        self.worker.finish()

    @precondition(lambda self: self.worker.unsent)
    @rule()
    def worker_flushes(self):
        self.worker.flush()

    @precondition(lambda self: self.tasks)
    @rule()
    def worker_dies(self):
        self.owner.worker_died()

    @invariant()
    def one_token_per_task_that_may_start(self):
        self.owner.lease.validate()
        waiting = [oid for oid in self.owner.lease.inflight if (oid, self.owner.pushes[oid]) not in self.owner.started]
        assert self.owner.tokens.count == len(waiting)
        places = Counter(list(self.owner.ended)) + Counter(record[0] for record in self.owner.pending)
        places.update(list(self.owner.lease.inflight))
        assert places == Counter(self.tasks), "every task is in one place: ended, pending or with the worker"

    def teardown(self) -> None:
        """Left alone, everything ends."""
        for _ in range(10 * len(self.tasks) + 10):
            self.owner.push(5)
            while self.worker.from_owner:
                self.worker.deliver()
            if self.worker.running is None and self.worker.inbox.queue:
                self.owner.start()
            if self.worker.running is not None:
                self.worker.finish()
            if self.worker.unsent:
                self.worker.flush()
            while self.worker.to_owner:
                self.owner.deliver()
        assert set(self.owner.ended) == set(self.tasks), "every task ends"
        assert self.owner.tokens.count == 0
        for oid in self.tasks:
            starts = sum(count for (name, _), count in self.owner.started.items() if name == oid)
            assert starts <= 1 + self.owner.max_retries
            if self.owner.ended[oid] == "value":
                assert starts == 1 + self.owner.attempts[oid]
        super().teardown()


TestLeaseMachine = LeaseMachine.TestCase
TestLeaseMachine.settings = settings(stateful_step_count=60)


# ---- the table, cell by cell


def with_worker(state: str, *, max_retries: int = 1) -> Owner:
    """Two tasks are with the worker; the first, b"a", is in the given state."""
    owner = Owner(max_retries)
    owner.pending.extend([(b"a", 0, b""), (b"b", 0, b"")])
    owner.push(2)
    owner.worker.deliver()
    if state in ("claimed", "finished"):
        owner.start()
    if state == "finished":
        owner.worker.finish()
    return owner


def names(records) -> list[bytes]:
    return [record[0] for record in records]


@pytest.mark.parametrize(
    ("state", "pending", "left"),
    [("queued", [b"a", b"b"], []), ("claimed", [b"b"], [b"a"]), ("finished", [b"b"], [b"a"])],
)
def test_taking_back_gets_what_has_not_begun_and_nothing_else(state, pending, left):
    owner = with_worker(state)

    owner.take_back(2)

    assert pending == names(owner.pending)
    assert left == list(owner.lease.inflight)
    assert owner.tokens.count == 0


@pytest.mark.parametrize(
    ("state", "ended", "pending"),
    [("queued", {b"a": "cancelled"}, [b"b"]), ("claimed", {}, [b"b"]), ("finished", {}, [b"b"])],
)
def test_cancelling_drops_a_queued_task_and_interrupts_a_running_one(state, ended, pending):
    """A queued one ends at once; a claimed one ends as its worker says; a finished one keeps its value."""
    owner = with_worker(state)

    owner.cancel(b"a")

    assert ended == owner.ended
    assert pending == names(owner.pending)
    while owner.worker.from_owner:
        owner.worker.deliver()
    if state == "claimed":
        owner.worker.finish()
    if state != "queued":
        owner.worker.flush()
    while owner.worker.to_owner:
        owner.deliver()
    assert owner.ended[b"a"] == ("value" if state == "finished" else "cancelled")


@pytest.mark.parametrize("max_retries", [0, 1])
@pytest.mark.parametrize("state", ["queued", "claimed", "finished"])
def test_a_dead_worker_costs_a_retry_only_what_had_begun(state, max_retries):
    """Also a finished task whose result was never sent: its owner cannot know, so it is tried again or fails."""
    owner = with_worker(state, max_retries=max_retries)

    owner.worker_died()

    if state == "queued":
        assert ([b"a", b"b"], {}) == (names(owner.pending), owner.ended)
        assert owner.attempts.total() == 0
    elif max_retries:
        assert ([b"b", b"a"], {}) == (names(owner.pending), owner.ended)
        assert owner.attempts == {b"a": 1}
    else:
        assert ([b"b"], {b"a": "crashed"}) == (names(owner.pending), owner.ended)


@pytest.mark.parametrize("state", ["queued", "claimed", "finished"])
def test_nothing_of_a_dead_owner_starts_once_its_worker_is_told(state):
    """The worker forgets what a closed link brought; what runs is ended by its raylet, a result has no reader."""
    owner = with_worker(state)

    owner.worker.inbox.forget(owner.worker.link)

    assert not owner.worker.inbox.queue


def test_nothing_is_pushed_until_every_taking_back_is_confirmed():
    """Two in a row: a token put after the first confirmation could start a task that the second took back."""
    owner = with_worker("claimed")
    owner.pending.append((b"c", 0, b""))
    owner.push(1)

    owner.take_back(1)
    owner.take_back(1)
    owner.worker.deliver()  # pushes c
    owner.worker.deliver()  # forgets c
    owner.deliver()

    assert not owner.lease.pushable
    owner.worker.deliver()
    owner.deliver()
    assert owner.lease.pushable
