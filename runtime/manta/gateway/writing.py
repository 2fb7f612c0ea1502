"""One connection's way out: messages written one after the other, each begun at once.

A task that waits for what there is to write is woken by the event loop's next turn only, which was 30 us of every answer of a
synchronous call. Here whoever brings a message begins to write it, and the loop is asked again when gRPC has taken it.
"""

from __future__ import annotations

import asyncio
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any


class Writer:
    """Writes to one call. Runs in the event loop; what may wait in it is bounded by whoever puts it there.

    Args:
        write: Writes one message; a coroutine of its own for each.
    """

    def __init__(self, write: Callable[[bytes], Coroutine[Any, Any, object]]) -> None:
        self._write = write
        self._waiting: deque[bytes | None] = deque()
        #: Writes the present message; None between two.
        self._writing: Coroutine[Any, Any, object] | None = None
        #: What that one waits for.
        self._until: asyncio.Future[Any] | None = None
        self._loop = asyncio.get_running_loop()
        #: Done once all is written, or with what went wrong.
        self.over: asyncio.Future[None] = self._loop.create_future()

    def put(self, data: bytes | None) -> None:
        """The next message; None: there will be no more."""
        self._waiting.append(data)
        if self._writing is None:
            self._next()

    def _next(self) -> None:
        while self._waiting and not self.over.done():
            data = self._waiting.popleft()
            if data is None:
                self.over.set_result(None)
                return
            self._writing = self._write(data)
            if not self._step():
                return

    def _step(self) -> bool:
        """Go on with the present message, as a task would; whether it is written."""
        assert self._writing is not None
        try:
            until = self._writing.send(None)
        except StopIteration:
            self._writing = self._until = None
            return True
        except BaseException as error:  # noqa: BLE001 - told to whoever waits for the end
            self._writing = self._until = None
            if not self.over.done():
                if isinstance(error, asyncio.CancelledError):
                    self.over.cancel()
                else:
                    self.over.set_exception(error)
            return False
        if until is None:
            self._loop.call_soon(self._go_on)
        else:
            # How asyncio's tasks take the future that a coroutine waits for.
            until._asyncio_future_blocking = False
            until.add_done_callback(self._go_on)
            self._until = until
        return False

    def _go_on(self, _: object = None) -> None:
        if self._writing is not None and self._step():
            self._next()

    def close(self) -> None:
        """The connection is over: nothing more is written."""
        self._waiting.clear()
        if self._until is not None:
            self._until.cancel()
        if not self.over.cancel() and not self.over.cancelled():
            self.over.exception()  # seen: the connection ends by it
