"""Two ends of a conversation over connections that break, beside a slow twin that forgets nothing."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from manta.core.errors import ProtocolError
from manta.transport.message_log import ACKNOWLEDGE_MESSAGES, MESSAGE_BYTES, MessageLog


def test_what_was_acknowledged_is_kept_no_longer():
    log = MessageLog()
    for text in (b"one", b"two", b"three"):
        log.add(text)

    log.acknowledged(2)
    assert log.resume(2) == [b"three"]
    assert log.kept_bytes == 5 + MESSAGE_BYTES


def test_a_message_that_comes_twice_is_taken_once():
    log = MessageLog()

    assert [log.take(1, 10), log.take(1, 10), log.take(2, 10)] == [True, False, True]


def test_a_gap_is_refused():
    log = MessageLog()
    log.take(1, 10)

    with pytest.raises(ProtocolError, match="message 3 came, 2 was next"):
        log.take(3, 10)


@pytest.mark.parametrize(("received", "words"), [(4, "never sent|last that was sent"), (0, "lacks message 1")])
def test_a_side_that_lies_about_what_it_has_is_refused(received, words):
    log = MessageLog()
    for _ in range(3):
        log.add(b"x")
    log.acknowledged(1)

    with pytest.raises(ProtocolError, match=words):
        log.resume(received)


def test_a_full_window_says_so_until_there_is_room():
    log = MessageLog(window_bytes=2 * (MESSAGE_BYTES + 1))
    log.add(b"x")
    assert not log.full
    log.add(b"x")
    assert log.full

    assert log.acknowledged(1)
    assert not log.full


def test_after_many_messages_the_other_side_should_hear_of_them():
    log = MessageLog()
    for number in range(ACKNOWLEDGE_MESSAGES):
        assert not log.should_acknowledge
        log.take(number + 1, 1)
    assert log.should_acknowledge
    log.said()
    assert not log.should_acknowledge


class End:
    """One side with its log, and what has reached it."""

    def __init__(self) -> None:
        self.log = MessageLog(window_bytes=5 * MESSAGE_BYTES)
        self.said: list[bytes] = []
        self.heard: list[bytes] = []
        #: On the wire to the other side: (number, acknowledged so far, text). Number 0 only acknowledges.
        self.wire: list[tuple[int, int, bytes]] = []

    def say(self, text: bytes) -> None:
        number = self.log.next_number()
        self.log.add(text)
        self.said.append(text)
        self.wire.append((number, self.log.received, text))


class Conversation(RuleBasedStateMachine):
    """What was said on one side is what was heard on the other, in order, whatever broke in between."""

    def __init__(self) -> None:
        super().__init__()
        self.ends = (End(), End())

    @rule(side=st.integers(0, 1), text=st.binary(max_size=3))
    def say(self, side: int, text: bytes) -> None:
        if not self.ends[side].log.full:
            self.ends[side].say(text)

    @rule(side=st.integers(0, 1))
    def acknowledge(self, side: int) -> None:
        end = self.ends[side]
        end.wire.append((0, end.log.received, b""))
        end.log.said()

    @precondition(lambda self: any(end.wire for end in self.ends))
    @rule(side=st.integers(0, 1), count=st.integers(1, 5))
    def arrive(self, side: int, count: int) -> None:
        end, other = self.ends[side], self.ends[1 - side]
        for _ in range(min(count, len(end.wire))):
            number, received, text = end.wire.pop(0)
            other.log.acknowledged(received)
            if number and other.log.take(number, len(text)):
                other.heard.append(text)

    @rule()
    def break_and_resume(self) -> None:
        """All that was on the way is lost."""
        for end in self.ends:
            end.wire.clear()
        one, two = self.ends
        for end, other in ((one, two), (two, one)):
            first = end.log.sent - len(end.log.resume(other.log.received))
            for at, text in enumerate(end.log.resume(other.log.received)):
                end.wire.append((first + at + 1, end.log.received, text))

    @invariant()
    def nothing_is_lost_and_nothing_comes_twice(self) -> None:
        for end, other in (self.ends, self.ends[::-1]):
            assert other.heard == end.said[: len(other.heard)]
            assert len(other.heard) == other.log.received
            assert end.log.kept_bytes <= 6 * (MESSAGE_BYTES + 3)

    def teardown(self) -> None:
        self.break_and_resume()
        for side in (0, 1):
            self.arrive(side, 1_000_000)
        for end, other in (self.ends, self.ends[::-1]):
            assert other.heard == end.said


TestConversation = Conversation.TestCase
