"""Every task has a parent and a name; one that dies takes its server down loudly.

What `asyncio.TaskGroup` lacks for a server: it waits for its tasks at the end (a server's tasks never end), it wraps even a
lone exception in a group, and it doesn't know when a task is ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class TasksStuckError(RuntimeError):
    """Tasks that were cancelled did not end within the grace.

    Attributes:
        names: Their names, sorted.
        grace_s: How long they had.
    """

    def __init__(self, names: tuple[str, ...], grace_s: float) -> None:
        self.names, self.grace_s = names, grace_s
        super().__init__(names, grace_s)

    def __str__(self) -> str:
        return f"still running {self.grace_s:g} s after they were cancelled: {', '.join(self.names)}"


class Ready(Generic[T]):
    """What a task calls, once, when it is ready; the starter gets the value."""

    __slots__ = ("_future",)

    def __init__(self, future: asyncio.Future[T]) -> None:
        self._future = future

    def __call__(self, value: T) -> None:
        """Say it; a second time means nothing."""
        if not self._future.done():
            self._future.set_result(value)


class Supervisor:
    """Parent of a server's background tasks.

    `async with Supervisor() as tasks:` ends when its body ends: every task is cancelled and awaited. A task that raises
    cancels the body and its siblings, and the block raises that exception itself; several become one ExceptionGroup.

    Args:
        grace_s: Seconds that cancelled tasks have to end; past them the block raises `TasksStuckError`.
    """

    def __init__(self, *, grace_s: float = 5.0) -> None:
        self.grace_s = grace_s
        #: Tasks that have not ended.
        self._tasks: set[asyncio.Task[Any]] = set()
        #: What tasks died of, in order.
        self._errors: list[BaseException] = []
        #: The task that runs the body; None outside the block.
        self._parent: asyncio.Task[Any] | None = None
        #: Whether we have cancelled the body because a task died.
        self._cancelled_body = False
        self._stopping = False

    @property
    def names(self) -> list[str]:
        """Names of the running tasks, sorted."""
        return sorted(task.get_name() for task in self._tasks)

    def start(self, coro: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Run a coroutine until it ends or the block does.

        Raises:
            RuntimeError: The block is not open (any more); the coroutine is closed.
        """
        if self._parent is None or self._stopping:
            coro.close()
            raise RuntimeError(f"cannot start {name!r}: the supervisor is {'stopping' if self._parent else 'not open'}")
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def start_ready(self, run: Callable[[Ready[T]], Coroutine[Any, Any, Any]], *, name: str) -> T:
        """Start `run(ready)` and wait until it calls `ready(value)`.

        Returns:
            That value.

        Raises:
            RuntimeError: The task ended without being ready.
            BaseException: What the task died of before it was ready; the block goes down with it too.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        task = self.start(run(Ready(future)), name=name)
        try:
            await asyncio.wait((task, future), return_when=asyncio.FIRST_COMPLETED)
            if future.done():
                return future.result()
        except asyncio.CancelledError:
            # Nobody will use what it makes ready.
            task.cancel()
            raise
        finally:
            future.cancel()
        if task.cancelled() or task.exception() is None:
            raise RuntimeError(f"{name!r} ended before it was ready")
        error = task.exception()
        assert error is not None
        raise error

    async def __aenter__(self) -> Supervisor:
        if self._parent is not None:
            raise RuntimeError("a supervisor's block is entered once")
        self._parent = asyncio.current_task()
        assert self._parent is not None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping = True
        assert self._parent is not None
        for task in self._tasks:
            task.cancel()
        outer: BaseException | None = error
        if self._cancelled_body:
            # Our own cancellation of the body is not the caller's: take it back.
            unwanted = self._parent.uncancel() == 0
            if not isinstance(error, asyncio.CancelledError):
                # The body ended before it was delivered; it would come out of the next await: let it, here.
                try:
                    await asyncio.sleep(0)
                except asyncio.CancelledError:
                    pass
            elif unwanted:
                outer = None
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.grace_s
        while self._tasks:
            try:
                await asyncio.wait(self._tasks, timeout=max(0.0, deadline - loop.time()))
            except asyncio.CancelledError as late:
                # Cancelled from outside while stopping: stop all the same, then say so.
                outer = outer or late
                continue
            if self._tasks and loop.time() >= deadline:
                self._errors.append(TasksStuckError(tuple(self.names), self.grace_s))
                break
        self._raise(outer)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        error.add_note(f"in task {task.get_name()!r}")
        self._errors.append(error)
        if not self._stopping and not self._cancelled_body:
            assert self._parent is not None
            self._cancelled_body = True
            self._parent.cancel()

    def _raise(self, outer: BaseException | None) -> None:
        errors = self._errors
        self._errors = []
        if outer is not None and not isinstance(outer, asyncio.CancelledError):
            # What the body itself raised is raised by the `with` statement; it joins the tasks' errors only if there are any.
            if not errors:
                return
            errors = [outer, *(error for error in errors if error is not outer)]
        elif isinstance(outer, asyncio.CancelledError) and not errors:
            # The body was cancelled from outside, perhaps only while we stopped.
            raise outer
        if not errors:
            return
        if len(errors) == 1:
            # A lone error is itself: callers catch it by its type.
            raise errors[0]
        raise BaseExceptionGroup(f"{len(errors)} tasks failed", errors)
