"""Many writes begin one by one, and end where one says that the others would fail alike."""

from __future__ import annotations

import asyncio

from manta_operator.kube.bulk import Outcome, slow_start


def run(count, do, most=64):
    """How many were tried, and the greatest number that was under way at the same time, for each batch."""
    batches = []
    under_way = 0

    async def one(item):
        nonlocal under_way
        under_way += 1
        if under_way == 1:
            batches.append(0)
        batches[-1] = max(batches[-1], under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return do(item)

    tried = asyncio.run(slow_start(range(count), one, most=most))
    return tried, batches


def test_batches_double_up_to_the_most():
    """One, two, four, and then as many as may be."""
    assert run(20, lambda item: Outcome.DONE, most=4) == (20, [1, 2, 4, 4, 4, 4, 1])


def test_a_failure_of_one_keeps_the_size_and_does_not_stop_the_rest():
    """Each has its own reasons."""
    assert run(7, lambda item: Outcome.FAILED if item == 0 else Outcome.DONE) == (7, [1, 1, 2, 3])


def test_one_that_says_stop_ends_it_after_its_batch():
    """A quota: a thousand more requests would be refused alike."""
    assert run(1000, lambda item: Outcome.STOP if item == 2 else Outcome.DONE) == (3, [1, 2])


def test_nothing_is_nothing():
    """No batch at all."""
    assert run(0, lambda item: Outcome.DONE) == (0, [])
