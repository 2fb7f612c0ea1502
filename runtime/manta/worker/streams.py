"""Generators: each item goes to the owner as it is made, no further ahead than the reader allows."""

from __future__ import annotations

from manta.client.pump import Waiter
from manta.rpc.v1 import channel_pb2 as pb
from manta.serde import serialize
from manta.worker.executor import Executor, call, nth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from typing import Any

    from manta.client.links import Link
    from manta.client.running import Running


class Stream:
    """The worker's end of one stream."""

    def __init__(self, executor: Executor, link: Link, now: Running) -> None:
        self._executor = executor
        self._session = executor.session
        self._link = link
        self._now = now
        self._task_id = now.oid[:24]
        self._ahead: int = now.template.definition.backpressure
        self.made = 0
        self._read = 0
        self.stopped = False
        self._waiter: Waiter | None = None
        with self._session.lock:
            executor.streams[self._task_id] = self

    def consumed(self, count: int, *, stop: bool) -> None:
        """The reader has come so far, or has left. Called under the lock."""
        self._read = max(self._read, count)
        self.stopped = self.stopped or stop
        if self._waiter is not None and self._may_go():
            self._session.pump.finish(self._waiter)

    def _may_go(self) -> bool:
        return self.stopped or not self._ahead or self.made - self._read < self._ahead

    def send(self, value: Any) -> None:
        """One item goes out."""
        serialized = serialize(value)
        message = pb.StreamItem(
            task_id=self._task_id,
            index=self.made,
            attempt=self._now.attempt,
            value=self._executor.return_value(self._link, nth(self._now.oid, self.made + 1), serialized),
        )
        with self._session.lock:
            self._executor.flush_all()
            self._session.send(self._link, message)
            self.made += 1

    def wait_for_reader(self) -> None:
        """Do not run further ahead than the reader allows."""
        with self._session.lock:
            if self._may_go():
                return
            waiter = self._waiter = Waiter()
        self._session.pump.wait(waiter)
        self._waiter = None
        self._session.interrupts.raise_pending()

    def end(self) -> pb.ResultExtra:
        """The generator is exhausted."""
        return pb.ResultExtra(stream_length=self.made)

    def close(self) -> None:
        """Nothing more will be sent."""
        with self._session.lock:
            self._executor.streams.pop(self._task_id, None)


def run_stream(executor: Executor, link: Link, now: Running, iterator: Iterator[Any]) -> pb.ResultExtra:
    """Run a generator to its end, sending each item. Exceptions out of it are the task's."""
    stream = Stream(executor, link, now)
    items = iter(iterator)
    try:
        while not stream.stopped:
            try:
                item = call(next, (items,), {})
            except StopIteration:
                break
            stream.send(item)
            item = None
            stream.wait_for_reader()
        if stream.stopped and hasattr(items, "close"):
            items.close()
        return stream.end()
    finally:
        stream.close()


async def run_async_stream(
    executor: Executor, link: Link, now: Running, iterator: AsyncIterator[Any]
) -> pb.ResultExtra:
    """The same for an async generator."""
    import asyncio

    stream = Stream(executor, link, now)
    try:
        async for item in iterator:
            stream.send(item)
            while not stream._may_go():  # noqa: ASYNC110 - events come to the pump, not to the loop
                await asyncio.sleep(0.001)
            if stream.stopped:
                break
        return stream.end()
    finally:
        stream.close()
