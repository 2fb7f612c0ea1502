"""Waiting for a condition instead of sleeping for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], *, timeout_s: float = 30.0, what: str = "") -> T:
    """Return the first truthy value of `condition`.

    Args:
        condition: Asked every few milliseconds; should be cheap.
        timeout_s: Seconds after which the test fails. Never the fact: a busy machine gives a process nothing for seconds.
        what: What is waited for, for the failure's text.

    Raises:
        AssertionError: The time is over; the text holds the last value seen.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = 0.001
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout_s} s still not: {what or condition!r}; last seen: {value!r}")
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 0.05)


def soon(attempt: Callable[[], float], within_s: float, *, tries: int = 5) -> None:
    """Try until something took no longer than is promised.

    What a thing itself takes is in every try; what a busy machine adds, seconds at times, is in some.

    Args:
        attempt: Tries once; returns the seconds it took.
        within_s: What is promised.
        tries: After so many that all took longer the test fails.

    Raises:
        AssertionError: No try was in time; the text holds what they took.
    """
    took: list[float] = []
    while not took or took[-1] > within_s:
        assert len(took) < tries, f"it takes at most {within_s} s, and took {took}"
        took.append(attempt())
