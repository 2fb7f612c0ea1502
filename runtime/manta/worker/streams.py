"""Generators: each item goes to the owner as it is made, no further ahead than the reader and the connection allow."""

from __future__ import annotations

from manta.client.waiter import Waiter
from manta.rpc.v1 import channel_pb2 as pb
from manta.serde import serialize
from manta.worker.calls import call, leave_if_forked, nth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator
    from typing import Any

    from manta.client.links import Link
    from manta.client.running import Running
    from manta.worker.executor import Executor


class Window:
    """How far a generator may run ahead of its reader. Events in, answers out."""

    __slots__ = ("_ahead", "_read", "made", "stopped")

    def __init__(self, ahead: int) -> None:
        #: Items made and not read, at most; 0 for no bound.
        self._ahead = ahead
        #: Items made so far.
        self.made = 0
        self._read = 0
        #: Nobody reads any more.
        self.stopped = False

    def consumed(self, count: int, *, stop: bool) -> None:
        """The reader has read that many in all, or has left. Frames may repeat and overtake each other."""
        self._read = max(self._read, count)
        self.stopped = self.stopped or stop

    def open(self) -> bool:
        """Whether the generator may go on, to its next item or to its end."""
        return self.stopped or not self._ahead or self.made - self._read < self._ahead


class Stream:
    """The worker's end of one stream."""

    def __init__(self, executor: Executor, link: Link, now: Running, received: Collection[bytes]) -> None:
        self._executor = executor
        self._session = executor.session
        self.link = link
        self._now = now
        self._received = received
        self._task_id = now.oid[:24]
        self.window = Window(now.template.definition.backpressure)
        self._waiter: Waiter | None = None
        #: Called when the reader lets an async generator go on.
        self.on_open: Callable[[], object] | None = None
        with self._session.lock:
            executor.streams[self._task_id] = self

    def consumed(self, count: int, *, stop: bool) -> None:
        """The reader has come so far, or has left. Called under the lock."""
        self.window.consumed(count, stop=stop)
        self.look()

    def open(self) -> bool:
        """Whether the generator may go on: its reader has come far enough, and reads the connection at all."""
        return self.window.open() and (not self.link.full or self.window.stopped)

    def look(self) -> None:
        """Something changed: the generator goes on if it may. Called under the lock."""
        if not self.open():
            return
        if self._waiter is not None:
            self._session.pump.finish(self._waiter)
        if self.on_open is not None:
            self.on_open()

    def send(self, value: Any) -> None:
        """One item goes out."""
        serialized = serialize(value)
        message = pb.StreamItem(
            task_id=self._task_id,
            index=self.window.made,
            attempt=self._now.attempt,
            value=self._executor.results.one(
                self.link, nth(self._now.oid, self.window.made + 1), serialized, self._received
            ),
        )
        with self._session.lock:
            self._executor.delivery.flush_all()
            self._session.send(self.link, message)
            self.window.made += 1

    def wait_for_reader(self) -> None:
        """Do not run further ahead than the reader allows."""
        with self._session.lock:
            if self.open():
                return
            waiter = self._waiter = Waiter()
        self._session.pump.wait(waiter)
        self._waiter = None
        self._session.interrupts.raise_pending()

    def end(self) -> pb.ResultExtra:
        """The generator is exhausted."""
        return pb.ResultExtra(stream_length=self.window.made)

    def close(self) -> None:
        """Nothing more will be sent."""
        with self._session.lock:
            self._executor.streams.pop(self._task_id, None)


def run_stream(
    executor: Executor, link: Link, now: Running, iterator: Iterator[Any], received: Collection[bytes]
) -> pb.ResultExtra:
    """Run a generator to its end, sending each item. Exceptions out of it are the task's."""
    stream = Stream(executor, link, now, received)
    items = iter(iterator)
    try:
        while not stream.window.stopped:
            try:
                item = call(next, (items,), {})
            except StopIteration:
                break
            if executor.session.closed:
                leave_if_forked(executor.session, None)
            stream.send(item)
            item = None
            stream.wait_for_reader()
        if stream.window.stopped and hasattr(items, "close"):
            items.close()
        return stream.end()
    finally:
        stream.close()


async def run_async_stream(
    executor: Executor, link: Link, now: Running, iterator: AsyncIterator[Any], received: Collection[bytes]
) -> pb.ResultExtra:
    """The same for an async generator."""
    import asyncio

    stream = Stream(executor, link, now, received)
    loop, moved = asyncio.get_running_loop(), asyncio.Event()
    stream.on_open = lambda: loop.call_soon_threadsafe(moved.set)
    try:
        async for item in iterator:
            stream.send(item)
            moved.clear()
            while not stream.open():
                await moved.wait()
                moved.clear()
            if stream.window.stopped:
                break
        if stream.window.stopped and hasattr(iterator, "aclose"):
            await iterator.aclose()
        return stream.end()
    finally:
        stream.close()
