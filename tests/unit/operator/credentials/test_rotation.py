"""Something new takes the place of something old: the phases, without what they are for."""

from __future__ import annotations

from itertools import count

import pytest

from manta_operator.credentials.rotation import Schedule, Turn, Wish, step

SCHEDULE = Schedule(asked_s=10.0, planned_s=1000.0)
REST = Turn(now="a")


def next_of(turn, wish=Wish(), *, published=True, now=0.0):  # noqa: B008 (frozen)
    return step(turn, wish, published=published, now=now, make=lambda: "b", schedule=SCHEDULE)


def test_at_rest_nothing_happens():
    """At any time, and if the word was answered."""
    assert next_of(REST) == REST
    answered = Turn(now="a", answered="x")
    assert next_of(answered, Wish(asked="x")) == answered


def test_all_phases_of_a_rotation_that_was_asked_for():
    """Known, then shown, then alone; time counts from when it was seen published."""
    wish = Wish(asked="x")
    known = next_of(REST, wish)
    assert known == Turn(now="a", coming="b", pace_s=10.0, answered="x")
    assert next_of(known, wish, published=False, now=99.0) == known
    counting = next_of(known, wish, now=100.0)
    assert counting == Turn(now="a", coming="b", until=110.0, pace_s=10.0, answered="x")
    assert next_of(counting, wish, now=109.0) == counting
    assert next_of(counting, wish, now=110.0, published=False) == counting
    shown = next_of(counting, wish, now=110.0)
    assert shown == Turn(now="b", going="a", pace_s=10.0, answered="x")
    settling = next_of(shown, wish, now=111.0)
    assert settling == Turn(now="b", going="a", until=121.0, pace_s=10.0, answered="x")
    assert next_of(settling, wish, now=121.0) == Turn(now="b", answered="x")


@pytest.mark.parametrize(
    ("wish", "pace_s"),
    [(Wish(asked="y"), 10.0), (Wish(due=True), 1000.0), (Wish(given="g"), 10.0), (Wish(asked="x", due=True), 1000.0)],
)
def test_how_fast_it_goes(wish, pace_s):
    """By time alone slowly, as nobody waits for it and many should notice; else quickly."""
    begun = next_of(Turn(now="a", answered="x"), wish)
    assert begun.pace_s == pace_s
    assert begun.coming == (wish.given or "b")


def test_the_users_own_begins_by_itself_and_only_when_it_is_another():
    """Its bytes are the word. And when the user takes it back, one is made."""
    assert next_of(Turn(now="g", given=True), Wish(given="g")) == Turn(now="g", given=True)
    assert next_of(Turn(now="g", given=True), Wish(given="h")) == Turn(now="g", coming="h", pace_s=10.0, given=True)
    assert next_of(Turn(now="g", given=True), Wish()) == Turn(now="g", coming="b", pace_s=10.0)


def test_a_word_about_the_users_own_is_heard_and_changes_nothing():
    """It is changed where it is kept; and the word is not answered later either."""
    heard = next_of(Turn(now="g", given=True), Wish(given="g", asked="x"))
    assert heard == Turn(now="g", given=True, answered="x")


def test_nothing_begins_while_the_user_means_to_bring_something():
    """Neither by time nor by word; what is under way goes on."""
    kept = Wish(asked="x", due=True, keep=True)
    assert next_of(REST, kept) == REST
    assert next_of(Turn(now="a", going="z", until=5.0, pace_s=10.0), kept, now=5.0) == Turn(now="a")


def test_who_asks_again_waits_for_the_end_of_what_is_under_way():
    """A slow one is hurried on; the next begins when it is over."""
    slow = Turn(now="a", coming="b", until=900.0, pace_s=1000.0)
    wish = Wish(asked="x")
    hurried = next_of(slow, wish, now=100.0)
    assert hurried == Turn(now="a", coming="b", until=110.0, pace_s=10.0)
    assert next_of(hurried, wish, now=105.0) == hurried
    turn, clock = hurried, count(110.0, 10.0)
    while not turn.resting:
        turn = next_of(turn, wish, now=next(clock))
    assert turn == Turn(now="b")
    assert next_of(turn, wish) == Turn(now="b", coming="b", pace_s=10.0, answered="x")


def test_what_is_taken_begins_with_what_is_shown():
    """So that the first of a list is the one to show."""
    assert Turn(now="a", coming="b").taken == ("a", "b")
    assert Turn(now="b", going="a").taken == ("b", "a")
    assert Turn(now="a", coming="b").newest == "b"
