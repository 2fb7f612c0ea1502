"""Many writes begin one by one, and end where one says that the others would fail alike."""

from __future__ import annotations

import asyncio

import pytest

from manta_operator.kube.bulk import Outcome, slow_start


def run(count, do, most=64):
    """How many were tried, and how many were under way when each was begun, itself included. Each takes a turn of the loop."""
    beside = []
    under_way = 0

    async def one(item):
        nonlocal under_way
        under_way += 1
        beside.append(under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return do(item)

    tried = asyncio.run(slow_start(range(count), one, most=most))
    return tried, beside


def test_each_that_is_done_makes_room_for_two_up_to_the_most():
    """One, two, four, and then as many as may be."""
    tried, beside = run(20, lambda item: Outcome.DONE, most=4)
    assert tried == len(beside) == 20
    assert beside[:3] == [1, 1, 2]
    assert max(beside) == 4
    assert max(run(200, lambda item: Outcome.DONE)[1]) == 64


def test_a_slow_one_holds_up_nobody():
    """The others go on beside it."""

    async def body():
        release = asyncio.Event()
        begun = []

        async def one(item):
            begun.append(item)
            if item == 1:
                await release.wait()
            elif item == 19:
                release.set()
            return Outcome.DONE

        return await asyncio.wait_for(slow_start(range(20), one, most=2), 10.0), begun

    assert asyncio.run(body()) == (20, list(range(20)))


def test_a_failure_of_one_makes_no_room_and_does_not_stop_the_rest():
    """Each has its own reasons; where all fail it stays one at a time."""
    assert run(7, lambda item: Outcome.FAILED) == (7, [1] * 7)
    tried, beside = run(7, lambda item: Outcome.FAILED if item == 0 else Outcome.DONE)
    assert (tried, beside[:3]) == (7, [1, 1, 1])


def test_one_that_says_stop_ends_it_with_those_that_were_begun():
    """A quota: a thousand more requests would be refused alike."""
    assert run(1000, lambda item: Outcome.STOP) == (1, [1])
    tried, _ = run(1000, lambda item: Outcome.STOP if item >= 2 else Outcome.DONE)
    assert 3 <= tried <= 5


def test_what_one_raises_is_raised_and_ends_the_others():
    """Whoever cuts it short, or a mistake of ours."""

    async def body():
        ended = []

        async def one(item):
            if item == 2:
                raise KeyError(item)
            try:
                await asyncio.sleep(60.0 if item else 0.0)
            finally:
                ended.append(item)
            return Outcome.DONE

        with pytest.raises(BaseExceptionGroup) as raised:
            await asyncio.wait_for(slow_start(range(10), one), 10.0)
        assert raised.group_contains(KeyError)
        return ended

    assert asyncio.run(body()) == [0, 1]


def test_nothing_is_nothing():
    """Nobody is asked."""
    assert run(0, lambda item: Outcome.DONE) == (0, [])
