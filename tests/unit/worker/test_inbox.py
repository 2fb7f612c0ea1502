"""The worker's queue under any order of pushes, turns, take-backs and closed links, against one list per link."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from manta.rpc.v1 import channel_pb2 as pb
from manta.worker.inbox import Inbox

LINKS = st.integers(0, 2)


class Link:
    """What the inbox knows of a connection."""

    def __init__(self) -> None:
        self.templates = {1: "one", 2: "two"}


def oid(number: int) -> bytes:
    return number.to_bytes(24, "big") + b"\1\0\0\0"


class InboxMachine(RuleBasedStateMachine):
    """The twin: tasks in order of arrival, and per link how many of those at its tail are the owner's again."""

    def __init__(self) -> None:
        super().__init__()
        self.inbox = Inbox()
        self.links = [Link() for _ in range(3)]
        self.waiting: list[tuple[int, bytes]] = []
        #: Taken back by the owner's token; the frames that say so are on their way, oldest first.
        self.tokens = [0, 0, 0]
        self.frames: list[tuple[int, int]] = []
        self.pushed = 0
        #: Links whose results nobody reads; and whether there ever was one.
        self.held: set[int] = set()
        self.ever_held = False

    def unconfirmed(self, which: int) -> bool:
        return any(owner == which for owner, _ in self.frames)

    @rule(which=LINKS, count=st.integers(1, 4))
    def push(self, which, count):
        if self.unconfirmed(which):
            return  # the owner pushes nothing while a take-back is on its way
        ids = [oid(self.pushed + number) for number in range(count)]
        self.pushed += count
        self.inbox.add(self.links[which], pb.PushTasks(ids=b"".join(ids), templates=[1], args=[b""] * count))
        self.waiting += [(which, one) for one in ids]
        self.tokens[which] += count

    @rule(which=LINKS, most=st.integers(1, 4))
    def owner_takes_tokens(self, which, most):
        taken = min(most, self.tokens[which])
        if taken:
            self.tokens[which] -= taken
            self.frames.append((which, taken))

    @precondition(lambda self: self.frames)
    @rule()
    def a_take_back_arrives(self):
        which, count = self.frames.pop(0)
        self.inbox.take_back(self.links[which], count)
        self.drop_the_ownerless(which)

    def drop_the_ownerless(self, which):
        """Once every frame of a link is there, only what has a token is left."""
        if not self.unconfirmed(which):
            mine = [task for task in self.waiting if task[0] == which]
            for task in mine[self.tokens[which] :]:
                self.waiting.remove(task)

    @precondition(lambda self: self.inbox.queue)
    @rule()
    def turn(self):
        task = self.inbox.queue.popleft()
        which = self.links.index(task[0])
        mine = [one for one in self.waiting if one[0] == which]
        if self.tokens[which]:
            assert task[1] == mine[0][1], "it starts in the order of arrival"
            self.tokens[which] -= 1
        else:
            self.inbox.without_token(task[0])
        self.waiting.remove((which, task[1]))

    @rule(which=LINKS)
    def nobody_reads_the_results(self, which):
        if which not in self.held:
            self.inbox.hold(self.links[which])
            self.held.add(which)
            self.ever_held = True

    @rule(which=LINKS)
    def the_results_are_read(self, which):
        self.inbox.release(self.links[which])
        self.held.discard(which)

    @rule(which=LINKS)
    def a_link_closes(self, which):
        self.inbox.forget(self.links[which])
        self.links[which] = Link()
        self.held.discard(which)
        self.waiting = [task for task in self.waiting if task[0] != which]
        self.frames = [frame for frame in self.frames if frame[0] != which]
        self.tokens[which] = 0

    @invariant()
    def what_waits_is_what_arrived_and_was_not_taken_back(self):
        assert {self.links.index(link) for link in self.inbox.held} == self.held
        assert not any(task[0] in self.inbox.held for task in self.inbox.queue), "none of them begins"
        waiting = [*self.inbox.queue, *(task for held in self.inbox.held.values() for task in held)]
        found = [(self.links.index(task[0]), task[1]) for task in waiting]
        for which in range(3):
            mine = [task for task in found if task[0] == which]
            expected = [task for task in self.waiting if task[0] == which]
            if self.unconfirmed(which):
                # Some at its tail are gone already, none of those that may start.
                assert mine == expected[: len(mine)]
                assert len(mine) >= self.tokens[which]
            else:
                assert mine == expected
        numbers = [one for _, one in found]
        assert numbers == sorted(numbers) or self.ever_held, "links do not overtake each other"


TestInboxMachine = InboxMachine.TestCase
TestInboxMachine.settings = settings(stateful_step_count=60)


def test_columns_become_tasks():
    """Ids, templates and arguments by place; what is special by its index."""
    inbox, here = Inbox(), Link()
    extra = pb.TaskExtra(index=1, attempt=3)

    inbox.add(here, pb.PushTasks(ids=oid(1) + oid(2), templates=[1, 2], args=[b"a", b"b"], extras=[extra]))
    inbox.add(here, pb.PushTasks(ids=oid(3) + oid(4), templates=[2], args=[b"c", b"d"]))

    assert [
        (here, oid(1), "one", b"a", None),
        (here, oid(2), "two", b"b", extra),
        (here, oid(3), "two", b"c", None),
        (here, oid(4), "two", b"d", None),
    ] == list(inbox.queue)


def test_a_task_is_found_by_its_id_and_removed_alone():
    inbox, here = Inbox(), Link()
    inbox.add(here, pb.PushTasks(ids=oid(1) + oid(2) + oid(3), templates=[1], args=[b""] * 3))

    task = inbox.find(oid(2)[:24])
    assert task is not None
    inbox.remove(task)

    assert [oid(1), oid(3)] == [one[1] for one in inbox.queue]
    assert inbox.find(oid(2)[:24]) is None


def test_tasks_that_were_popped_and_have_not_begun_go_back_in_front_of_what_is_held():
    inbox, here, there = Inbox(), Link(), Link()
    inbox.add(here, pb.PushTasks(ids=oid(1) + oid(2), templates=[1], args=[b""] * 2))
    inbox.add(there, pb.PushTasks(ids=oid(9), templates=[1], args=[b""]))
    popped = inbox.queue.popleft()

    inbox.hold(here, [popped])
    inbox.add(here, pb.PushTasks(ids=oid(3), templates=[1], args=[b""]))
    assert [oid(9)] == [task[1] for task in inbox.queue]
    assert inbox.find(oid(3)[:24]) is not None
    inbox.release(here)

    assert [oid(9), oid(1), oid(2), oid(3)] == [task[1] for task in inbox.queue]


def ids_in(inbox):
    return [task[1] for task in inbox.queue]


def test_without_a_token_the_tasks_of_an_owner_elsewhere_wait_for_what_is_on_its_way():
    """Its raylet took two tokens of the first three, while two more tasks came another way: the last two are those taken back."""
    inbox, far, near = Inbox(), Link(), Link()
    inbox.add(far, pb.PushTasks(ids=oid(1) + oid(2) + oid(3), templates=[1], args=[b""] * 3))
    inbox.add(near, pb.PushTasks(ids=oid(9), templates=[1], args=[b""]))
    inbox.queue.popleft()  # had the only token
    inbox.starve(inbox.queue.popleft())
    assert [oid(9)] == ids_in(inbox)
    assert inbox.find(oid(3)[:24]) is not None

    inbox.add(far, pb.PushTasks(ids=oid(4) + oid(5), templates=[1], args=[b""] * 2))
    assert [oid(9), oid(2), oid(3), oid(4), oid(5)] == ids_in(inbox)
    inbox.take_back(far, 2)
    assert [oid(9), oid(2), oid(3)] == ids_in(inbox)
    assert not inbox.starved


def test_when_nothing_is_on_its_way_the_tasks_without_tokens_are_those_taken_back():
    """Also when nobody reads the results meanwhile, and when the link closes nothing is left."""
    inbox, far = Inbox(), Link()
    inbox.add(far, pb.PushTasks(ids=oid(1) + oid(2) + oid(3), templates=[1], args=[b""] * 3))
    inbox.starve(inbox.queue.popleft())
    inbox.take_back(far, 1)
    assert [oid(1), oid(2)] == ids_in(inbox)

    inbox.starve(inbox.queue.popleft())
    inbox.hold(far)
    inbox.take_back(far, 1)
    inbox.release(far)
    assert [oid(1)] == ids_in(inbox)

    inbox.starve(inbox.queue.popleft())
    inbox.forget(far)
    assert [] == list(inbox.all())
