"""`ObjectRefGenerator`: the refs of a streaming task's items, as they come."""

from __future__ import annotations

from manta.client import current, failures
from manta.client.refs import make_ref, released
from manta.client.waiter import Waiter
from manta.core.generics import Generic, T_co
from manta.rpc.v1 import channel_pb2 as pb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manta.client.arguments import Extra
    from manta.client.direct import DirectSession
    from manta.client.links import Link
    from manta.client.refs import ObjectRef
    from manta.client.session import Session
    from manta.client.values import Failure


#: What None is when it is pickled: the value of a stream that has ended.
NONE = b"\x80\x05N."


def item_id(task_id: bytes, index: int) -> bytes:
    """Id of a stream's item number `index`, from 0; the task's first result stands for the whole stream."""
    return task_id + (index + 2).to_bytes(4, "little")


def unwanted_item(session: DirectSession, link: Link, frame: pb.StreamItem) -> None:
    """An item came of which nobody will have a ref: it goes, with what it holds, and its task may stop."""
    session.store_return(item_id(frame.task_id, frame.index), frame.value)
    session.send(link, pb.StreamConsumed(task_id=frame.task_id, stop=True))


class StreamReader:
    """The owner's end of one stream. The session's lock guards it."""

    __slots__ = ("_session", "backpressure", "closed", "come", "length", "link", "read", "task_id", "waiters", "whole")

    def __init__(self, session: DirectSession, task_id: bytes, backpressure: int) -> None:
        self._session = session
        self.task_id = task_id
        #: The object that is there when the task has ended.
        self.whole = task_id + b"\1\0\0\0"
        #: Items that have come: all below this number.
        self.come = 0
        #: Items handed out.
        self.read = 0
        #: How many there are, once known; the last of them may be an error.
        self.length: int | None = None
        self.waiters: list[Waiter] = []
        self.closed = False
        self.backpressure = backpressure
        self.link: Link | None = None

    def item(self, link: Link, frame: pb.StreamItem) -> None:
        """One item came; of an earlier attempt's the second is dropped."""
        self.link = link
        if self.closed:
            unwanted_item(self._session, link, frame)
            return
        oid = item_id(self.task_id, frame.index)
        if frame.index != self.come:
            if not self._session.ownership.alive(oid):
                # Read and let go of before the crash: it was made again.
                self._session.store_return(oid, frame.value)
            return
        self._session.ownership.add(oid)
        self._session.store_return(oid, frame.value)
        self.come += 1
        self._wake()

    def ended(self, length: int) -> None:
        """The task made that many items; fewer than came before its last crash is an error."""
        if length < self.come:
            from manta.core.errors import StreamingGeneratorReplayInconsistentError

            text = (
                f"The generator was run again after a crash and made {length} values; {self.come} had come before it."
            )
            self.failed(failures.system(StreamingGeneratorReplayInconsistentError(text)))
            return
        self.length = length
        self._end()

    def failed(self, failure: Failure) -> None:
        """The task failed: one more ref holds the error."""
        if self.length is None:
            oid = item_id(self.task_id, self.come)
            if not self.closed:
                self._session.ownership.add(oid)
                self._session.values.set(oid, failure)
            self.come += 1
            self.length = self.come
        if self._session.ownership.alive(self.whole):
            self._session.values.set(self.whole, failure)
        self._end()

    def _end(self) -> None:
        session = self._session
        session.streams.pop(self.task_id, None)
        if self.whole not in session.values.known and session.ownership.alive(self.whole):
            session.values.set(self.whole, NONE)
        self._wake()

    def _wake(self) -> None:
        for waiter in self.waiters:
            self._session.pump.finish(waiter)
        self.waiters.clear()

    def next_ready(self) -> bool:
        """The next item, or the end, is there."""
        return self.read < self.come or self.length is not None

    def take(self) -> bytes | None:
        """The next item's id; None at the end. It is there."""
        if self.read >= self.come:
            return None
        oid = item_id(self.task_id, self.read)
        self.read += 1
        if self.backpressure and self.link is not None:
            self._session.send(self.link, pb.StreamConsumed(task_id=self.task_id, count=self.read))
        return oid

    def close(self) -> None:
        """Nobody reads any more: unread items go, and the task may stop."""
        if self.closed:
            return
        self.closed = True
        for index in range(self.read, self.come):
            self._session.ownership.drop(item_id(self.task_id, index))
        if self.link is not None and self.length is None:
            self._session.send(self.link, pb.StreamConsumed(task_id=self.task_id, stop=True))
        self._session.perform()


def open_stream(reader: StreamReader, extra: Extra) -> None:
    """A task about to be submitted has this reader. Called under the lock."""
    session = reader._session
    session.streams[reader.task_id] = reader
    extra.stream = reader
    session.ownership.add(reader.whole)


class ObjectRefGenerator(Generic[T_co]):
    """Refs of the items of a streaming task: `next()` waits until the next one is there. For one thread at a time."""

    def __init__(self, session: Session, reader: StreamReader) -> None:
        self._session = session
        self._reader = reader

    def __iter__(self) -> ObjectRefGenerator[T_co]:
        return self

    def __next__(self) -> ObjectRef[T_co]:
        return self._next(None)

    def _next(self, timeout_s: float | None) -> ObjectRef[Any]:
        session, reader = self._session, self._reader
        deadline = None if timeout_s is None else session.now() + timeout_s
        if session is not current.session:
            from manta.core.errors import StaleRefError

            raise StaleRefError(reader.whole.hex())
        while True:
            with session.lock:
                if reader.next_ready():
                    oid = reader.take()
                    if oid is None:
                        raise StopIteration
                    return make_ref(oid)
                session.check()
                waiter = Waiter()
                reader.waiters.append(waiter)
                session.flush()
            if not session.wait_for(waiter, f"the next item of task {reader.task_id.hex()}", deadline):
                from manta.client.refs import ObjectRef

                return ObjectRef.nil()

    async def __anext__(self) -> ObjectRef[T_co]:
        import asyncio

        while not self.next_ready():  # noqa: ASYNC110 - events come to the pump, not to the loop
            await asyncio.sleep(0.001)
        try:
            return self._next(None)
        except StopIteration:
            raise StopAsyncIteration from None

    def __aiter__(self) -> ObjectRefGenerator[T_co]:
        return self

    def completed(self) -> ObjectRef[Any]:
        """A ref that is there when the task has ended, and raises what the task raised."""
        with self._session.lock:
            self._session.ownership.add(self._reader.whole)
        return make_ref(self._reader.whole)

    def next_ready(self) -> bool:
        """Whether `next()` would return at once."""
        with self._session.lock:
            self._session.flush()
        self._session.poll_once()
        return self._reader.next_ready()

    def is_finished(self) -> bool:
        """Whether every item has been read."""
        reader = self._reader
        return reader.length is not None and reader.read >= reader.come

    def task_id(self) -> Any:
        """The generator's task."""
        from manta.core.ids import TaskID

        return TaskID(self._reader.task_id)

    def send(self, value: Any) -> None:
        """Not available: items are made without waiting for their reader."""
        raise NotImplementedError("Gen.send is not supported.")

    def throw(self, value: Any) -> None:
        """Not available: items are made without waiting for their reader."""
        raise NotImplementedError("Gen.throw is not supported.")

    def close(self) -> None:
        """Not available; drop the generator, or cancel it."""
        raise NotImplementedError("Gen.close is not supported.")

    def __reduce__(self) -> Any:
        raise TypeError("Serialization of ObjectRefGenerator is not allowed. Pass the refs it yields instead.")

    def __repr__(self) -> str:
        return f"ObjectRefGenerator({self._reader.task_id.hex()})"

    def __del__(self) -> None:
        try:
            reader = self._reader
            released.append(reader.whole)
            closing.append(reader)
        except AttributeError:
            pass


#: Readers whose generator is gone; the session closes them when it next has a moment.
closing: list[StreamReader] = []
