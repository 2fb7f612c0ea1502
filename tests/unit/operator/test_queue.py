"""Many workers share the keys: each key has one at a time, groups take turns, and no mistake stops the others."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from manta_operator.kube.errors import NotLeaderError, UnreachableError
from manta_operator.kube.queue import Queue
from manta_operator.kube.resources import Key


class Work:
    """Counts looks, and how many are under way."""

    def __init__(self, do=None):
        self.looks, self.under_way, self.most = [], Counter(), 0
        self._do = do

    async def __call__(self, key):
        self.looks.append(key)
        self.under_way[key] += 1
        assert self.under_way[key] == 1, f"{key} has two workers"
        self.most = max(self.most, self.under_way.total())
        try:
            return await self._do(key) if self._do else await asyncio.sleep(0)
        finally:
            self.under_way[key] -= 1


def run(work, body, *, workers=8, **options):
    async def whole():
        queue = Queue(lambda key: key.namespace, work, unit=lambda: 0.0, **options)
        tasks = [asyncio.create_task(queue.work()) for _ in range(workers)]
        try:
            async with asyncio.timeout(30.0):
                return await body(queue)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(whole())


async def idle(queue):
    while not queue.idle:
        await asyncio.sleep(0)


def test_many_workers_look_at_many_keys_at_once_and_at_each_by_one():
    """A key that changes while it is looked at is looked at again, afterwards."""
    keys = [Key(f"n{number % 5}", f"c{number}") for number in range(100)]

    async def body(queue):
        for key in keys * 2:
            queue.add(key)
        await asyncio.sleep(0)
        for key in keys:
            queue.add(key)
        await idle(queue)

    work = Work()
    run(work, body)
    assert set(work.looks) == set(keys)
    assert len(work.looks) <= 2 * len(keys)
    assert work.most == 8


def test_a_namespace_with_a_thousand_clusters_does_not_hold_up_one_with_a_single_one():
    """Its turn comes after one of each other namespace."""
    many = [Key("many", f"c{number}") for number in range(1000)]

    async def body(queue):
        for key in many:
            queue.add(key)
        queue.add(Key("few", "c"))
        await idle(queue)

    work = Work()
    run(work, body, workers=4)
    assert work.looks.index(Key("few", "c")) < 8


def test_a_slow_cluster_takes_one_worker_and_no_more():
    """All others are looked after meanwhile, however often the slow one changes."""
    slow, over = Key("n", "slow"), asyncio.Event()

    async def do(key):
        if key == slow:
            await over.wait()

    async def body(queue):
        queue.add(slow)
        while not work.looks:
            await asyncio.sleep(0)
        for number in range(50):
            queue.add(slow)
            queue.add(Key("n", f"c{number}"))
        while len(set(work.looks)) < 51:
            await asyncio.sleep(0)
        assert queue.busy == 1
        over.set()
        await idle(queue)

    work = Work(do)
    run(work, body, workers=2)
    assert work.looks.count(slow) == 2


def test_one_that_takes_too_long_is_cut_short_and_tried_again():
    """Every write is safe to repeat."""

    async def do(key):
        if len(work.looks) == 1:
            await asyncio.Event().wait()

    async def body(queue):
        queue.add(Key("n", "c"))
        while len(work.looks) < 2:
            await asyncio.sleep(0.001)
        await idle(queue)

    work = Work(do)
    run(work, body, timeout_s=0.01)


def test_a_mistake_of_ours_is_said_and_stops_nobody(caplog):
    """The object that brought it to light is tried again, later and later."""

    async def do(key):
        if key.name == "bad":
            raise ZeroDivisionError

    async def body(queue):
        queue.add(Key("n", "bad"))
        queue.add(Key("n", "good"))
        while len(work.looks) < 3:
            await asyncio.sleep(0.001)

    work = Work(do)
    run(work, body)
    assert Counter(key.name for key in work.looks)["good"] == 1
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("error", [UnreachableError("GET /", "cut"), TimeoutError()])
def test_what_failed_comes_again(error):
    """After a pause that grows."""

    async def do(key):
        if len(work.looks) < 3:
            raise error

    async def body(queue):
        queue.add(Key("n", "c"))
        await idle(queue)

    work = Work(do)
    run(work, body)
    assert len(work.looks) == 3


def test_who_does_not_lead_drops_what_there_is_to_do():
    """Whoever leads does it."""

    async def do(key):
        raise NotLeaderError

    async def body(queue):
        queue.add(Key("n", "c"))
        while not work.looks:
            await asyncio.sleep(0)
        await idle(queue)

    work = Work(do)
    run(work, body)
    assert len(work.looks) == 1


def test_how_long_keys_waited_is_told():
    """For a histogram: from when they were due."""
    waited = []

    async def body(queue):
        queue.add(Key("n", "c"))
        await idle(queue)

    run(Work(), body, waited=waited.append)
    assert len(waited) == 1
    assert 0.0 <= waited[0] < 30.0
