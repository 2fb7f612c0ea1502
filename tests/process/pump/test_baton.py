"""One baton per process: whoever waits reads, nobody is forgotten, somebody always reads. Real threads, no cluster."""

from __future__ import annotations

import os
import random
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from manta.client.pump import Pump
from manta.client.waiter import Waiter
from tests.support.waiting import soon, wait_until

#: Reached only when something is broken.
DEADLINE_S = 20.0


class Line:
    """A socket into the pump: each byte that arrives finishes the waiter of that number."""

    def __init__(self, pump: Pump) -> None:
        self.pump = pump
        self.inside, self.outside = socket.socketpair()
        self.inside.setblocking(False)
        self.waiters: dict[int, Waiter] = {}
        self.readers: list[int] = []
        pump.add(self.inside.fileno(), self.ready)

    def ready(self, mask: int) -> None:
        self.readers.append(threading.get_ident())
        for number in self.inside.recv(65536):
            waiter = self.waiters.pop(number, None)
            if waiter is not None:
                self.pump.finish(waiter)

    def expect(self, number: int) -> Waiter:
        waiter = Waiter()
        with self.pump.lock:
            self.waiters[number] = waiter
        return waiter

    def bring(self, *numbers: int) -> None:
        self.outside.send(bytes(numbers))

    def close(self) -> None:
        self.pump.remove(self.inside.fileno())
        self.inside.close()
        self.outside.close()


@pytest.fixture
def pump() -> Iterator[Pump]:
    pump = Pump(threading.RLock())
    pump.start()
    yield pump
    pump.close()


@pytest.fixture
def line(pump: Pump) -> Iterator[Line]:
    line = Line(pump)
    yield line
    line.close()


def deadline() -> float:
    return time.monotonic() + DEADLINE_S


class Threads:
    """Threads whose failures are the test's."""

    def __init__(self) -> None:
        self.failures: list[BaseException] = []
        self.threads: list[threading.Thread] = []

    def start(self, work: Callable[..., object], *args: object) -> threading.Thread:
        def run() -> None:
            try:
                work(*args)
            except BaseException as failure:
                self.failures.append(failure)

        thread = threading.Thread(target=run)
        self.threads.append(thread)
        thread.start()
        return thread

    def join(self) -> None:
        for thread in self.threads:
            thread.join(2 * DEADLINE_S)
            assert not thread.is_alive(), "a thread waits for ever"
        if self.failures:
            raise self.failures[0]


@pytest.fixture
def threads() -> Threads:
    return Threads()


def asleep(waiter: Waiter) -> Waiter:
    """Until its thread sleeps behind the one that reads."""
    wait_until(lambda: waiter.sleeping, timeout_s=DEADLINE_S, what="the second thread sleeps")
    return waiter


# ---- who reads


def bring_once_a_user_reads(pump: Pump, line: Line, number: int) -> None:
    wait_until(lambda: pump._baton.locked() and not pump._service_reads)
    line.bring(number)


def test_the_thread_that_waits_reads_the_socket_itself(pump, line, threads):
    waiter = line.expect(1)
    threads.start(bring_once_a_user_reads, pump, line, 1)

    assert pump.wait(waiter, deadline())
    threads.join()
    assert line.readers == [threading.get_ident()]


def test_the_service_thread_reads_when_nobody_waits(pump, line):
    waiter = line.expect(1)
    line.bring(1)

    wait_until(lambda: waiter.done, what="the service thread reads")
    assert threading.get_ident() not in line.readers


def test_it_gives_way_to_a_user_thread_and_takes_over_again(pump, line, threads):
    for number in range(5):
        unwatched = line.expect(100 + number)
        line.bring(100 + number)
        wait_until(lambda unwatched=unwatched: unwatched.done)
        line.readers.clear()

        waiter = line.expect(number)
        threads.start(bring_once_a_user_reads, pump, line, number)
        assert pump.wait(waiter, deadline())
        assert line.readers == [threading.get_ident()]
        threads.join()


def test_it_reads_again_after_it_slept_through_a_long_wait(pump, line, threads):
    """While one and the same thread reads it naps; the end of that wait wakes it."""
    long = line.expect(1)
    threads.start(pump.wait, long, deadline())
    wait_until(lambda: pump._napping, what="the service thread naps")
    line.bring(1)
    threads.join()

    later = line.expect(2)
    line.bring(2)
    wait_until(lambda: later.done, what="the service thread is awake")


def test_timers_run_while_nobody_waits(pump):
    called = threading.Event()
    pump.on_round = lambda now: called.set()
    with pump.lock:
        pump.schedule(time.monotonic() + 0.01)

    assert called.wait(DEADLINE_S)


def test_timers_run_while_a_thread_waits(pump, line, threads):
    called = threading.Event()
    pump.on_round = lambda now: called.set() if pump._due else None
    waiter = line.expect(1)
    threads.start(pump.wait, waiter, deadline())
    with pump.lock:
        pump.schedule(time.monotonic() + 0.01)

    assert called.wait(DEADLINE_S)
    line.bring(1)
    threads.join()


def test_closing_ends_the_service_thread():
    pump = Pump(threading.RLock())
    pump.start()
    pump.close()

    assert pump._thread is not None
    assert not pump._thread.is_alive()


# ---- nobody is forgotten


def test_each_of_two_threads_gets_its_own_whichever_comes_first(pump, line, threads):
    for first, second in ((1, 2), (2, 1)):
        reading, sleeping = line.expect(1), line.expect(2)
        one = threads.start(pump.wait, reading, deadline())
        wait_until(pump._baton.locked)
        two = threads.start(pump.wait, sleeping, deadline())
        line.bring(first)
        (one if first == 1 else two).join(DEADLINE_S)
        line.bring(second)
        threads.join()
        assert reading.done
        assert sleeping.done


def test_the_baton_goes_on_when_its_holder_has_what_it_wanted(pump, line, threads):
    reading = line.expect(0)
    threads.start(pump.wait, reading, deadline())
    wait_until(lambda: pump._baton.locked() and not pump._service_reads)
    others = [line.expect(number) for number in range(1, 6)]
    for waiter in others:
        threads.start(pump.wait, waiter, deadline())
        asleep(waiter)

    for number in range(6):
        line.bring(number)
    threads.join()
    assert all(waiter.done for waiter in others)


def test_a_thread_that_reads_hears_of_what_another_thread_did(pump, line, threads):
    """A task is cancelled by one thread while another waits for it: no frame will ever say so."""
    waiter = line.expect(1)
    threads.start(pump.wait, waiter, deadline())
    wait_until(lambda: pump._napping, what="the other thread reads")

    with pump.lock:
        pump.finish(waiter)
    threads.join()
    assert waiter.done


def test_a_thread_that_sleeps_hears_of_what_another_thread_did(pump, line, threads):
    reading, sleeping = line.expect(1), line.expect(2)
    threads.start(pump.wait, reading, deadline())
    wait_until(pump._baton.locked)
    second = threads.start(pump.wait, sleeping, deadline())

    with pump.lock:
        pump.finish(sleeping)
    second.join(DEADLINE_S)
    assert not second.is_alive()
    line.bring(1)
    threads.join()


def test_a_chosen_thread_that_has_no_use_for_the_baton_passes_it_on(pump, line, threads):
    """Chosen by the one that leaves, and finished by somebody else before it could read: the third must not sleep for ever."""
    reading, chosen, third = line.expect(1), line.expect(2), line.expect(3)
    threads.start(pump.wait, reading, deadline())
    wait_until(pump._baton.locked)
    for waiter in (chosen, third):
        threads.start(pump.wait, waiter, deadline())
        asleep(waiter)
    with pump.lock:  # neither of them gets on before both has happened
        pump._sleepers.remove(chosen)
        pump._rouse(chosen)
        chosen.done = True
    line.bring(1)
    line.bring(3)
    threads.join()


def test_a_storm_loses_no_wake_up(pump, threads):
    """Many threads wait at once on different things, which arrive in any order and by any thread; each returns, every time."""
    rounds, count = 150, 8
    lines = [Line(pump) for _ in range(4)]
    started = threading.Barrier(count + 1, timeout=DEADLINE_S)
    current: list[list[tuple[Line, int, Waiter]]] = []

    def work(which: int) -> None:
        for number in range(rounds):
            started.wait()
            waiter = current[number][which][2]
            assert pump.wait(waiter, deadline()), "a wake-up was lost"

    for which in range(count):
        threads.start(work, which)
    chance = random.Random(7)
    for round_ in range(rounds):
        things: list[tuple[Line, int, Waiter]] = []
        for which in range(count):
            line, number = chance.choice(lines), (round_ * count + which) % 256
            things.append((line, number, line.expect(number)))
        current.append(things)
        started.wait()
        for line, number, _ in chance.sample(things, count):
            if chance.random() < 0.3:
                with pump.lock:
                    pump.finish(line.waiters.pop(number))
            else:
                line.bring(number)
            if chance.random() < 0.2:
                pump.poll_once()
    threads.join()
    for line in lines:
        line.close()


# ---- timeouts


@pytest.mark.parametrize("timeout_s", [0.0, 0.05])
def test_a_reading_thread_returns_in_time(pump, line, timeout_s):
    soon(lambda: lateness(pump, line, timeout_s), 0.5)


def lateness(pump: Pump, line: Line, timeout_s: float) -> float:
    """By how much a wait for nothing is too long."""
    began = time.monotonic()
    assert pump.wait(line.expect(2), began + timeout_s) is False
    late = time.monotonic() - began - timeout_s
    assert late >= 0
    return late


def test_a_sleeping_thread_returns_in_time(pump, line, threads):
    threads.start(pump.wait, line.expect(1), deadline())
    wait_until(pump._baton.locked)

    soon(lambda: lateness(pump, line, 0.05), 0.5)
    line.bring(1)
    threads.join()


def test_a_busy_line_does_not_keep_a_thread_beyond_its_time(pump, line, threads):
    stop = threading.Event()

    def chatter() -> None:
        while not stop.is_set():
            line.bring(99)
            select.select([], [line.outside], [], 0.1)

    threads.start(chatter)

    soon(lambda: lateness(pump, line, 0.1), 0.5)
    stop.set()
    threads.join()


def test_those_who_time_out_leave_nothing_behind(pump, line, threads):
    """Twenty threads give up at about the same time, one of them with the baton: the next wait works."""

    def give_up(number: int) -> None:
        pump.wait(line.expect(number), time.monotonic() + 0.02)

    for number in range(20):
        threads.start(give_up, number)
    threads.join()
    last = line.expect(200)
    line.bring(200)

    assert pump.wait(last, deadline())
    assert not pump._sleepers


# ---- descriptors


def test_a_handler_may_remove_descriptors_that_are_ready_too(pump):
    """The first of two ready ones closes the other: the other is not called."""
    pairs = [os.pipe() for _ in range(2)]
    called: list[int] = []

    def handler(own: int, other: int) -> Callable[[int], None]:
        def ready(mask: int) -> None:
            called.append(own)
            pump.remove(own)
            pump.remove(other)

        return ready

    with pump.lock:
        for number in range(2):
            own, other = pairs[number][0], pairs[1 - number][0]
            pump.add(own, handler(own, other))
        for _, end in pairs:
            os.write(end, b"x")
    wait_until(lambda: called)
    pump.poll_once()
    assert len(called) == 1
    for one in pairs:
        os.close(one[0])
        os.close(one[1])
