"""What tests wait with notices what does not come, and what always comes late."""

from __future__ import annotations

import pytest

from tests.support.waiting import soon, wait_until


def test_one_try_in_time_is_enough():
    """What a busy machine added to the others is none of the product's."""
    took = iter([3.0, 0.7, 0.5, 9.0])
    soon(lambda: next(took), 0.5)
    assert next(took) == 9.0, "nothing is tried after that"


def test_what_is_late_each_time_is_told_with_its_times():
    took = iter([3.0, 0.7, 0.6])
    with pytest.raises(AssertionError, match=r"at most 0\.5 s, and took \[3\.0, 0\.7, 0\.6\]"):
        soon(lambda: next(took), 0.5, tries=3)


def test_what_never_comes_is_told_with_what_was_seen_last():
    with pytest.raises(AssertionError, match=r"still not: 'the moon'; last seen: 0"):
        wait_until(lambda: 0, timeout_s=0.01, what="the moon")
