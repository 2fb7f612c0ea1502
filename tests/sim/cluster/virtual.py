"""Time, machines and semaphores that are not there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from manta.client import lease
from manta.raylet import control_calls, kept, moving, neighbours, object_service, runner, semaphores, transfers
from tests.sim.clock import Clock

#: The clock's.
RESOLUTION_S = 1e-6


class Timer:
    """What asyncio gives who asks to be called later."""

    __slots__ = ("_when", "call")

    def __init__(self, when: float, call: Callable[[], None] | None) -> None:
        self._when, self.call = when, call

    def when(self) -> float:
        return self._when

    def cancelled(self) -> bool:
        return self.call is None

    def cancel(self) -> None:
        self.call = None


class Machine:
    """Where processes run: it may crash, with all of them, or stand still; and it is an event loop for those that want one."""

    def __init__(self, clock: Clock, node_id: bytes = b"") -> None:
        self.clock = clock
        self.node_id = node_id
        self.alive = True
        #: Nothing runs before that; frames wait.
        self.stands_still_until = 0.0
        #: Nothing gets in or out before that.
        self.cut_off_until = 0.0
        #: Ends of connections here.
        self.ends: dict[Any, None] = {}

    def run(self, call: Callable[[], None]) -> None:
        """Call now, or when the machine runs again; never if it is dead."""
        if not self.alive:
            return
        if self.stands_still_until > self.clock.now:
            self.clock.at(self.stands_still_until, lambda: self.run(call))
        else:
            call()

    # ---- an event loop

    def time(self) -> float:
        return self.clock.now

    def call_at(self, when: float, call: Callable[..., object], *arguments: Any) -> Timer:
        timer = Timer(when, lambda: call(*arguments) and None)

        def fire() -> None:
            then, timer.call = timer.call, None
            if then is not None:
                then()

        self.clock.at(when, lambda: self.run(fire) if timer.call is not None else None)
        return timer

    def call_soon(self, call: Callable[..., object], *arguments: Any) -> Timer:
        return self.call_at(self.clock.now, call, *arguments)

    def call_later(self, delay: float, call: Callable[..., object], *arguments: Any) -> Timer:
        # However short it is, some time passes.
        return self.call_at(self.clock.now + max(delay, RESOLUTION_S if delay > 0 else 0.0), call, *arguments)


class Kernel:
    """Semaphores, for the modules that make them."""

    EFD_CLOEXEC = EFD_NONBLOCK = 0
    EFD_SEMAPHORE = 1

    def __init__(self) -> None:
        #: The count, and whether it is read one by one.
        self._counts: dict[int, list[int]] = {}
        self._last = 0

    def eventfd(self, initial: int, flags: int) -> int:
        self._last += 1
        self._counts[self._last] = [initial, flags & self.EFD_SEMAPHORE]
        return self._last

    def dup(self, fd: int) -> int:
        self._last += 1
        self._counts[self._last] = self._counts[fd]
        return self._last

    def eventfd_write(self, fd: int, count: int) -> None:
        self._counts[fd][0] += count

    def eventfd_read(self, fd: int) -> int:
        count = self._counts[fd]
        if not count[0]:
            raise BlockingIOError
        read = 1 if count[1] else count[0]
        count[0] -= read
        return read

    def close(self, fd: int) -> None:
        del self._counts[fd]

    def __len__(self) -> int:
        return len(self._counts)


class Virtual:
    """What modules find instead of the real thing while a world exists.

    Attributes:
        loop: The machine on which something is being made.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.kernel = Kernel()
        self.loop: Machine = Machine(clock)

    @contextmanager
    def installed(self, connection: type) -> Iterator[None]:
        """Within the block modules of the runtime see this."""
        loops = SimpleNamespace(get_running_loop=lambda: self.loop)
        times = SimpleNamespace(monotonic=lambda: self.clock.now)
        before = logging.root.manager.disable
        with ExitStack() as stack:
            for module in (runner, control_calls, neighbours, object_service, transfers, moving, kept):
                stack.enter_context(patch.object(module, "asyncio", loops))
            for module in (runner, object_service, transfers, moving):
                stack.enter_context(patch.object(module, "time", times))
            for module in (semaphores, lease):
                stack.enter_context(patch.object(module, "os", self.kernel))
            stack.enter_context(patch.object(neighbours, "AsyncConnection", connection))
            logging.disable(logging.CRITICAL)
            try:
                yield
            finally:
                logging.disable(before)
