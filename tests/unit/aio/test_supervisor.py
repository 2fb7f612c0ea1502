import asyncio

import pytest

from manta.aio.supervisor import Ready, Supervisor, TasksStuckError
from tests.unit.aio.cancelling import cancel_at_each_await


class Boom(Exception):
    pass


async def forever():
    await asyncio.Event().wait()


async def fail_at_once():
    raise Boom("it")


def background_tasks():
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


def test_the_block_ends_every_task_when_its_body_ends():
    async def main():
        async with Supervisor() as tasks:
            tasks.start(forever(), name="b")
            tasks.start(forever(), name="a")
            assert tasks.names == ["a", "b"]
        assert background_tasks() == set()

    asyncio.run(main())


def test_a_task_that_dies_ends_the_block_with_its_own_exception_and_its_name():
    async def main():
        with pytest.raises(Boom, match="it") as caught:
            async with Supervisor() as tasks:
                tasks.start(forever(), name="sibling")
                tasks.start(fail_at_once(), name="bad")
                await forever()
        assert caught.value.__notes__ == ["in task 'bad'"]
        assert background_tasks() == set()
        current = asyncio.current_task()
        assert current is not None
        assert current.cancelling() == 0
        await asyncio.sleep(0)  # a stray cancellation would come out here

    asyncio.run(main())


def test_several_deaths_come_together():
    async def stubborn():
        try:
            await forever()
        finally:
            raise KeyError("while stopping")

    async def main():
        with pytest.raises(BaseExceptionGroup) as caught:
            async with Supervisor() as tasks:
                tasks.start(stubborn(), name="stubborn")
                tasks.start(fail_at_once(), name="bad")
                await forever()
        assert [type(error) for error in caught.value.exceptions] == [Boom, KeyError]

    asyncio.run(main())


def test_the_bodys_own_exception_is_raised_as_it_is():
    async def main():
        with pytest.raises(Boom, match="body"):
            async with Supervisor() as tasks:
                tasks.start(forever(), name="a")
                raise Boom("body")

    asyncio.run(main())


def test_a_task_that_dies_while_the_body_ends_by_itself_is_still_raised_and_no_cancellation_stays_behind():
    async def main():
        with pytest.raises(Boom):
            async with Supervisor() as tasks:
                task = tasks.start(fail_at_once(), name="bad")
                while not task.done():
                    await asyncio.sleep(0)
                # The done callback has not run yet or has just asked for our cancellation: leave without another await.
        await asyncio.sleep(0)

    asyncio.run(main())


def test_a_cancellation_from_outside_stays_a_cancellation():
    async def main():
        async def body():
            async with Supervisor() as tasks:
                tasks.start(forever(), name="a")
                await forever()

        task = asyncio.ensure_future(body())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert background_tasks() == set()

    asyncio.run(main())


def test_a_task_that_ignores_its_cancellation_is_named():
    async def main():
        release = asyncio.Event()

        async def deaf():
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    pass

        with pytest.raises(TasksStuckError, match="deaf") as caught:
            async with Supervisor(grace_s=0.01) as tasks:
                task = tasks.start(deaf(), name="deaf")
                await asyncio.sleep(0)
        assert caught.value.names == ("deaf",)
        release.set()
        await task

    asyncio.run(main())


def test_nothing_starts_once_the_block_is_over():
    async def main():
        async with Supervisor() as tasks:
            pass
        with pytest.raises(RuntimeError, match="'late'"):
            tasks.start(forever(), name="late")

    asyncio.run(main())


def test_start_ready_returns_what_the_task_is_ready_with():
    async def serve(ready: Ready[int]):
        await asyncio.sleep(0)
        ready(7600)
        await forever()

    async def main():
        async with Supervisor() as tasks:
            assert await tasks.start_ready(serve, name="server") == 7600
            assert tasks.names == ["server"]

    asyncio.run(main())


def test_start_ready_raises_what_the_task_died_of():
    async def serve(ready: Ready[int]):
        raise Boom("port taken")

    async def main():
        with pytest.raises(Boom, match="port taken"):
            async with Supervisor() as tasks:
                await tasks.start_ready(serve, name="server")

    asyncio.run(main())


def test_start_ready_says_so_when_the_task_ends_without_being_ready():
    async def serve(ready: Ready[int]):
        return

    async def main():
        async with Supervisor() as tasks:
            with pytest.raises(RuntimeError, match="ended before it was ready"):
                await tasks.start_ready(serve, name="server")

    asyncio.run(main())


def test_cancelled_at_any_await_it_leaves_no_task_behind():
    async def serve(ready: Ready[int]):
        await asyncio.sleep(0)
        ready(1)
        await forever()

    async def use():
        async with Supervisor() as tasks:
            tasks.start(forever(), name="a")
            await tasks.start_ready(serve, name="b")
            await asyncio.sleep(0)

    async def main():
        assert await cancel_at_each_await(use, no_tasks) >= 3

    def no_tasks():
        assert background_tasks() == set()

    asyncio.run(main())
