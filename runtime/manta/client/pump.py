"""Who reads the sockets inside a driver or worker: one baton per process.

A thread that waits takes the baton and reads the sockets itself, so that a synchronous call costs two context switches and not
four: handing a frame to another Python thread costs 20-50 us, and the interpreter's switch interval can cost far more. When
nobody has held the baton for about 2 ms, the process's one service thread takes it, so that cancels, borrowers' questions,
dependent submits, futures and log lines go on while user code computes.

Handlers run under `lock`, the one lock of a process's state. They never block and never run user code.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from manta.client.waiter import Waiter
from manta.core.signals import leave_signals_to_main

#: How long nobody may hold the baton before the service thread takes it.
NAP_S: Final = 0.002

#: A reference that user code drops while it calls nothing of ours wakes nobody (`__del__` may not): the service thread looks for
#: them, first after so many seconds, then less and less often.
LOOK_S: Final = 0.1
LOOK_CAP_S: Final = 0.8

#: Checks during which one and the same thread held the baton, after which the service thread sleeps until called.
IDLE_CHECKS: Final = 10

#: How long a thread that waits looks again and again before it sleeps. Waking a sleeping process costs 40-100 us of both sides'
#: CPU on a virtual machine; in a loop of synchronous calls the answer is there sooner (measured: ping-pong of two processes
#: 12,500/s asleep, 36,000/s awake). Between two looks the CPU is offered to others.
SPIN_S: Final = 0.0001

#: Where answers come a little later, each soon after the spin has ended, as those from another node do, it lasts so long. Only
#: after so many such in a row: a process that waits for two kinds of things in turn would look for the late ones in vain.
LONG_SPIN_S: Final = 0.00025
NEARLY: Final = 2

#: After so many spins in a row that saw nothing, only every `SPIN_AGAIN`th wait begins with one.
SPIN_MISSES: Final = 3
SPIN_AGAIN: Final = 16

#: Most events taken from the kernel at once.
MAX_EVENTS: Final = 64

#: epoll's numbers, also where there is none: IN, ERR, HUP; OUT.
READ: Final = 0x1 | 0x8 | 0x10
WRITE: Final = 0x4

#: Elsewhere than on Linux whoever waits offers nothing: drivers there look less often anyway.
_yield: Callable[[], None] = getattr(os, "sched_yield", lambda: None)

Handler = Callable[[int], None]


class Pump:
    """Sockets, their handlers, timers, and the right to read them.

    Ownership: `start` makes the service thread, `close` ends it. Descriptors belong to those who added them.
    """

    def __init__(self, lock: threading.RLock) -> None:
        #: Guards the process's state; handlers run under it.
        self.lock = lock
        self._epoll: Any
        self._poke: Callable[[int, int], object]
        self._unpoke: Callable[[int], object]
        self._close_poke: Callable[[int], object]
        if hasattr(select, "epoll") and hasattr(os, "eventfd"):
            self._epoll = select.epoll()
            self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._poke, self._unpoke, self._close_poke = os.eventfd_write, os.eventfd_read, os.close
        else:
            from manta.client.poller import Poke, Select

            poke = Poke()
            self._epoll = Select()
            self._wake_fd = poke.fileno()
            self._poke, self._unpoke, self._close_poke = poke.set, poke.clear, lambda fd: poke.close()
        self._epoll.register(self._wake_fd, READ)
        self._handlers: dict[int, Handler] = {}
        self._baton = threading.Lock()
        #: Threads that found the baton taken.
        self._sleepers: deque[Waiter] = deque()
        #: The service thread holds the baton and may be asked to give it up.
        self._service_reads = False
        self._give_up = False
        #: Handlers run: whoever is finished now is either asleep or the thread that runs them.
        self._handling = False
        #: Counts how often a user thread took the baton.
        self._turns = 0
        self._napping = False
        self._nap = threading.Lock()
        self._nap.acquire()
        self._thread: threading.Thread | None = None
        self._closing = False
        #: Called with `now` under the lock after every round of events; returns the next time it wants to be called.
        self.on_round: Callable[[float], float | None] = lambda now: None
        #: Waits that began with a spin and saw nothing, in a row; and all waits.
        self._misses = 0
        self._waits = 0
        #: Waits in a row that ended within LONG_SPIN_S, but not within SPIN_S.
        self._nearly = 0
        #: Next time a timer is due, monotonic seconds.
        self._due: float | None = None
        #: A signal handler asks the main thread to leave its wait: see `signals`.
        self.interrupted: Callable[[], bool] = lambda: False
        #: Whether references have been dropped since the last round.
        self.dropped: Callable[[], bool] = lambda: False
        self._main_waiter: Waiter | None = None
        self._main = threading.main_thread().ident
        self._loop_readable: Callable[[], None] = lambda: None
        #: An event loop reads; the service thread rests.
        self._loop: Any = None

    # -- descriptors

    def add(self, fd: int, handler: Handler) -> None:
        """Call `handler(mask)` when `fd` can be read."""
        self._handlers[fd] = handler
        self._epoll.register(fd, READ)

    def want_write(self, fd: int, wanted: bool) -> None:
        """Also call the handler when `fd` can be written."""
        self._epoll.modify(fd, READ | WRITE if wanted else READ)

    def remove(self, fd: int) -> None:
        """Forget `fd`; before it is closed."""
        if self._handlers.pop(fd, None) is not None:
            try:
                self._epoll.unregister(fd)
            except (OSError, ValueError):
                pass

    # -- one round

    def _round(self, timeout: float | None) -> None:
        """Wait for events and handle them. The caller holds the baton."""
        self._handle(self._epoll.poll(timeout, MAX_EVENTS))

    def _patient_round(self, timeout: float | None) -> None:
        """A round for a thread whose answer may be microseconds away: look for a moment, then sleep."""
        began = time.monotonic()
        spin_s = SPIN_S if self._nearly < NEARLY else LONG_SPIN_S
        if (timeout is None or timeout > spin_s) and self._spin(began, spin_s):
            return
        events = self._epoll.poll(timeout, MAX_EVENTS)
        self._nearly = self._nearly + 1 if events and time.monotonic() - began < LONG_SPIN_S else 0
        self._handle(events)

    def _spin(self, began: float, spin_s: float) -> bool:
        """Look again and again for a moment; whether there was something to handle. The caller holds the baton."""
        self._waits += 1
        if spin_s == SPIN_S and self._misses >= SPIN_MISSES and self._waits % SPIN_AGAIN:
            return False
        poll, end = self._epoll.poll, began + spin_s
        while True:
            events = poll(0, MAX_EVENTS)
            if events:
                self._misses = 0
                self._handle(events)
                return True
            _yield()
            if time.monotonic() > end:
                break
        self._misses += 1
        return False

    def look_around(self) -> bool:
        """For an event loop with nothing to do: see for a moment whether something comes."""
        if not self._baton.acquire(blocking=False):
            return False
        self._turns += 1
        try:
            return self._spin(time.monotonic(), SPIN_S)
        finally:
            self._release()

    def _handle(self, events: list[tuple[int, int]]) -> None:
        with self.lock:
            handlers = self._handlers
            self._handling = True
            try:
                for fd, mask in events:
                    if fd == self._wake_fd:
                        try:
                            self._unpoke(fd)
                        except BlockingIOError:
                            pass
                        continue
                    handler = handlers.get(fd)
                    if handler is not None:
                        handler(mask)
                self._due = self.on_round(time.monotonic())
            finally:
                self._handling = False

    def poll_once(self) -> bool:
        """Handle what is there now, without waiting; False when another thread is at it."""
        if not self._baton.acquire(blocking=False):
            return False
        self._turns += 1
        try:
            self._round(0)
        finally:
            self._release()
        return True

    def read_by_loop(self, loop: Any, readable: Callable[[], None]) -> None:
        """Let an asyncio loop of this thread read the sockets, calling `readable`; None gives them back."""
        if loop is None:
            if self._loop is not None:
                self._loop.remove_reader(self._epoll.fileno())
            self._loop = None
            self.attend()
            return
        self._loop = loop
        self._loop_readable = readable
        self._give_up = True
        self.wake()
        loop.add_reader(self._epoll.fileno(), readable)

    def schedule(self, due: float) -> None:
        """A timer became due earlier than the reader knows. Called under the lock."""
        if self._due is None or due < self._due:
            self._due = due
            if self._loop is not None:
                delay = max(0.0, due - time.monotonic())
                self._loop.call_soon_threadsafe(self._loop.call_later, delay, self._loop_readable)
            elif self._baton.locked():
                if not self._handling:
                    self.wake()
            else:
                self.attend()

    def wake(self) -> None:
        """Make the thread that reads look around."""
        self._poke(self._wake_fd, 1)

    def attend(self) -> None:
        """Make sure the service thread looks after the sockets from now on."""
        if self._napping:
            self._napping = False
            try:
                self._nap.release()
            except RuntimeError:
                pass

    # -- waiting

    def finish(self, waiter: Waiter) -> None:
        """What a thread waits for has come. Called under the lock."""
        waiter.done = True
        if waiter.sleeping:
            self._rouse(waiter)
        elif not self._handling:
            # Not a frame's doing but another thread's, which cancelled a task say: the waiting thread may be the one that reads.
            self.wake()

    def _rouse(self, waiter: Waiter) -> None:
        waiter.sleeping = False
        assert waiter.wakeup is not None
        try:
            waiter.wakeup.release()
        except RuntimeError:
            pass

    def wait(self, waiter: Waiter, deadline: float | None = None) -> bool:
        """Wait until `waiter` is done, reading the sockets meanwhile if nobody else does.

        Args:
            waiter: Set done by a handler.
            deadline: Monotonic seconds; None waits for ever.
        Returns:
            Whether it is done. Not when the deadline has passed, or the pump was closed meanwhile.
        Raises:
            KeyboardInterrupt: A signal came that asks for it; nothing is lost.
        """
        main = threading.get_ident() == self._main
        if main:
            self._main_waiter = waiter
        try:
            while not (waiter.done or self._closing):
                if self._baton.acquire(blocking=False):
                    self._turns += 1
                    try:
                        if not self._read_for(waiter, deadline, main):
                            break
                    finally:
                        self._release()
                elif not self._sleep(waiter, deadline):
                    break
                if main and self.interrupted():
                    break
        finally:
            if main:
                self._main_waiter = None
            if self._sleepers and self._baton.acquire(blocking=False):
                # Whoever gave the baton back may have chosen this thread, which has no use for it any more: pass it on.
                self._release()
        return waiter.done

    def _read_for(self, waiter: Waiter, deadline: float | None, main: bool) -> bool:
        """Read until done; False when the deadline has passed."""
        while not (waiter.done or self._closing):
            if main and self.interrupted():
                return True
            limit = deadline
            if self._due is not None and (limit is None or self._due < limit):
                limit = self._due
            if limit is None:
                self._patient_round(None)
                continue
            now = time.monotonic()
            self._patient_round(max(0.0, limit - now))
            if deadline is not None and not waiter.done and time.monotonic() >= deadline:  # type: ignore[redundant-expr]
                return False
        return True

    def _sleep(self, waiter: Waiter, deadline: float | None) -> bool:
        """Another thread reads. Sleep until it finishes this wait or passes the baton; False when the deadline has passed."""
        with self.lock:
            if waiter.done or self._closing:
                return True
            if waiter.wakeup is None:
                waiter.wakeup = threading.Lock()
                waiter.wakeup.acquire()
            waiter.sleeping = True
            self._sleepers.append(waiter)
        if self._service_reads:
            self._give_up = True
            self.wake()
        elif self._baton.acquire(blocking=False):
            # Released between our try and our entry into the queue: pass it on, perhaps to ourselves.
            self._release()
        timeout = -1.0 if deadline is None else max(0.0, deadline - time.monotonic())
        woken = waiter.wakeup.acquire(timeout=timeout)
        with self.lock:
            if waiter.sleeping:
                waiter.sleeping = False
                try:
                    self._sleepers.remove(waiter)
                except ValueError:
                    pass
        return woken or waiter.done

    def _release(self) -> None:
        """Give the baton back and wake one thread that wants it."""
        self._baton.release()
        if self._sleepers:
            with self.lock:
                while self._sleepers:
                    waiter = self._sleepers.popleft()
                    if waiter.sleeping:
                        self._rouse(waiter)
                        return
        if self._napping:
            self.attend()

    def interrupt_main(self) -> None:
        """Make the main thread leave its wait soon. Called from a signal handler: takes no lock that could be held."""
        self.wake()
        waiter = self._main_waiter
        if waiter is not None and waiter.sleeping and waiter.wakeup is not None:
            try:
                waiter.wakeup.release()
            except RuntimeError:
                pass

    # -- the service thread

    def start(self) -> None:
        """Start the service thread."""
        self._thread = threading.Thread(target=self._serve, name="manta-service", daemon=True)
        self._thread.start()

    @property
    def service_thread(self) -> int | None:
        """Identity of the service thread."""
        return None if self._thread is None else self._thread.ident

    @property
    def loop(self) -> Any:
        """The event loop that reads the sockets; None while threads do."""
        return self._loop

    def _serve(self) -> None:
        leave_signals_to_main()
        seen, still = -1, 0
        while not self._closing:
            if still >= IDLE_CHECKS:
                self._napping = True
                if self._baton.locked():
                    self._take_a_nap()
                self._napping = False
                still = 0
            time.sleep(NAP_S)
            if self._loop is not None:
                self._napping = True
                self._take_a_nap()
                self._napping = False
                continue
            if self._turns != seen:
                seen = self._turns
                still = 0
                continue
            if self._sleepers or not self._baton.acquire(blocking=False):
                still += 1
                continue
            self._service_reads = True
            try:
                look_s = LOOK_S
                while not (self._give_up or self._sleepers or self._closing):
                    due = self._due
                    self._round(look_s if due is None else min(look_s, max(0.0, due - time.monotonic())))
                    look_s = min(2 * look_s, LOOK_CAP_S)
            finally:
                self._service_reads = False
                self._give_up = False
                self._release()
            still = 0

    def _take_a_nap(self) -> None:
        """Sleep until there is something to do. Whoever reads meanwhile is shown what others have dropped."""
        look_s = LOOK_S
        while not self._nap.acquire(timeout=look_s):
            look_s = min(2 * look_s, LOOK_CAP_S)
            if self.dropped():
                self.wake()
                look_s = LOOK_S

    def close(self) -> None:
        """End the service thread, and every wait. Descriptors that were added stay with their owners."""
        self._closing = True
        self.wake()
        with self.lock:
            while self._sleepers:
                waiter = self._sleepers.popleft()
                if waiter.sleeping:
                    self._rouse(waiter)
        self._napping = True
        self.attend()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5)
        # Kept for good: nobody may look at a descriptor that is closed, and perhaps somebody else's by then.
        self._baton.acquire(timeout=5)
        self._epoll.close()
        self._close_poke(self._wake_fd)
