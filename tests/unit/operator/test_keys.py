"""Which object is looked after next: once at a time, groups in turn, later what failed."""

from __future__ import annotations

import hypothesis
from hypothesis import strategies as st

from manta_operator.kube.keys import BACKOFF, Keys


def keys():
    return Keys(group=lambda key: key[0])


def test_a_key_that_is_added_often_waits_once():
    """Ten changes are one look."""
    queue = keys()
    for _ in range(10):
        queue.add("a1")
    assert (queue.take(0.0), queue.take(0.0)) == ("a1", None)


def test_a_key_has_one_worker_at_a_time_and_comes_back_if_it_changed_meanwhile():
    """A change during the look may not have been seen by it."""
    queue = keys()
    queue.add("a1")
    assert queue.take(0.0) == "a1"
    queue.add("a1")
    assert queue.take(0.0) is None
    queue.done("a1")
    assert queue.take(0.0) == "a1"
    queue.done("a1")
    assert queue.take(0.0) is None
    assert queue.idle


def test_groups_take_turns():
    """A namespace with one object does not wait for the thousand of another."""
    queue = keys()
    for key in ("a1", "a2", "a3", "b1", "c1", "b2"):
        queue.add(key)
    assert [queue.take(0.0) for _ in range(6)] == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_what_fails_comes_back_later_and_later():
    """Until it goes well; then its failures are forgotten."""
    queue, now = keys(), 0.0
    queue.add("a1")
    for count in range(4):
        assert queue.take(now) == "a1"
        now += queue.failed("a1", now, 0.0)
        assert queue.next_at() == now
        assert queue.take(now - 0.01) is None
        assert BACKOFF.delay_s(count, 0.0) <= now
    assert queue.take(now) == "a1"
    queue.done("a1")
    queue.add("a1")
    queue.take(now)
    assert queue.failed("a1", now, 0.0) == BACKOFF.first_s


def test_a_change_brings_a_key_that_was_due_later_at_once():
    """And it is not due a second time then."""
    queue = keys()
    queue.add_at("a1", 30.0)
    queue.add("a1")
    assert queue.take(0.0) == "a1"
    queue.done("a1")
    assert queue.take(100.0) is None


def test_the_earliest_of_two_times_counts():
    """Whoever asked for later has what they asked for with sooner."""
    queue = keys()
    queue.add_at("a1", 30.0)
    queue.add_at("a1", 10.0)
    queue.add_at("a1", 20.0)
    assert queue.next_at() == 10.0
    assert queue.take(10.0) == "a1"
    queue.done("a1")
    assert queue.take(100.0) is None


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["add", "later", "take", "done", "fail"]), st.sampled_from(["a1", "a2", "b1"])),
    max_size=60,
)


@hypothesis.given(operations=OPERATIONS)
def test_no_key_is_lost_and_none_has_two_workers(operations):
    """Whatever the order: a key that was added after its last look began is looked at again."""
    queue, now, wanted, held = keys(), 0.0, set(), set()
    for what, key in operations:
        now += 0.1
        if what == "add":
            queue.add(key)
            wanted.add(key)
        elif what == "later":
            queue.add_at(key, now + 0.5)
            wanted.add(key)
        elif what == "take":
            taken = queue.take(now)
            if taken is not None:
                assert taken not in held
                held.add(taken)
                wanted.discard(taken)
        elif key in held:
            held.discard(key)
            if what == "done":
                queue.done(key)
            else:
                queue.failed(key, now, 0.0)
                wanted.add(key)
    for key in sorted(held):
        queue.done(key)
    seen = set()
    while (taken := queue.take(now + 1e6)) is not None:
        seen.add(taken)
        queue.done(taken)
    assert wanted <= seen
    assert queue.idle
