"""Ctrl-C and waits of several threads in a real driver: prompt, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

from tests.process.semantics.support import run_driver, start_driver, until
from tests.support.waiting import soon

#: How long the storm blows.
STORM_S = float(os.environ.get("MANTA_TEST_STORM_S", "4"))


def read_line(driver: subprocess.Popen[str]) -> str:
    assert driver.stdout is not None
    return driver.stdout.readline().strip()


WAITING = """
import threading, time, manta
manta.init(num_cpus=1, log_to_driver=False)

@manta.remote
def for_ever():
    time.sleep(1000)

@manta.remote
def quick():
    return "quick"

ref = for_ever.remote()
{before}
try:
    print("waiting", flush=True)
    {wait}
except KeyboardInterrupt:
    print("interrupted", flush=True)
manta.cancel(ref)
print(manta.get(quick.remote(), timeout=20), flush=True)
"""

SECOND_READER = """
threading.Thread(target=lambda: manta.wait([ref], timeout=30), daemon=True).start()
session = __import__("manta.client.current").client.current.session
while not session.pump._baton.locked() or session.pump._service_reads:
    time.sleep(0.01)
"""


def interrupt(tmp_path: Path, wait: str, before: str = "") -> None:
    soon(lambda: interrupted(tmp_path, wait, before), 0.5)


def interrupted(tmp_path: Path, wait: str, before: str) -> float:
    """How long it takes a driver to hear of it."""
    driver = start_driver(WAITING.format(wait=wait, before=before), tmp_path)
    assert read_line(driver) == "waiting"
    until(lambda: blocked(driver.pid), what="the main thread waits")
    began = time.monotonic()
    driver.send_signal(signal.SIGINT)
    assert read_line(driver) == "interrupted"
    took = time.monotonic() - began
    # `communicate` would pass over what has been read ahead of a line.
    assert driver.stdout is not None
    rest = driver.stdout.read()
    _, stderr = driver.communicate(timeout=40)
    assert rest.strip() == "quick", stderr
    assert driver.returncode == 0
    return took


def blocked(pid: int) -> bool:
    """The main thread sleeps in the kernel: in epoll, or on a lock."""
    return Path(f"/proc/{pid}/wchan").read_text() not in ("", "0") or (
        Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"
    )


def test_ctrl_c_ends_a_get_at_once(tmp_path):
    interrupt(tmp_path, "manta.get(ref)")


def test_ctrl_c_ends_a_wait_at_once(tmp_path):
    interrupt(tmp_path, "manta.wait([ref])")


def test_ctrl_c_ends_a_get_while_another_thread_reads(tmp_path):
    """The main thread sleeps on a lock then, which a signal does not end by itself."""
    interrupt(tmp_path, "manta.get(ref)", SECOND_READER)


def test_a_get_hears_of_a_cancel_by_another_thread(tmp_path):
    """The cancelled task never reached a worker: no frame will ever tell."""
    ended = run_driver(
        """
        import threading, time, manta
        manta.init(num_cpus=1, log_to_driver=False)
        f = manta.remote(lambda: time.sleep(1000))
        running, queued = f.remote(), f.remote()
        done, _ = manta.wait([running], timeout=0.5)
        outcome = []

        def get():
            try:
                manta.get(queued, timeout=40)
            except Exception as error:
                outcome.append(type(error).__name__)

        thread = threading.Thread(target=get)
        thread.start()
        session = __import__("manta.client.current").client.current.session
        while queued.binary() not in session.values.watchers:
            time.sleep(0.01)
        time.sleep(0.05)
        began = time.monotonic()
        manta.cancel(queued)
        thread.join()
        # By itself it would look again at the end of its time.
        print(outcome, time.monotonic() - began < 20)
        manta.cancel(running)
        """,
        tmp_path,
    )
    assert ended.lines == ["['TaskCancelledError'] True"], ended.stderr


def test_get_returns_by_its_timeout_in_every_thread(tmp_path):
    ended = run_driver(
        """
        import threading, time, manta
        from manta.exceptions import GetTimeoutError
        manta.init(num_cpus=1, log_to_driver=False)
        ref = manta.remote(lambda: time.sleep(1000)).remote()
        def get(timeout, late):
            began = time.monotonic()
            try:
                manta.get(ref, timeout=timeout)
            except GetTimeoutError:
                late.append(time.monotonic() - began - timeout)

        def latest():
            late = []
            threads = [threading.Thread(target=get, args=(0.1 + 0.02 * n, late)) for n in range(10)]
            [t.start() for t in threads]
            [t.join() for t in threads]
            assert len(late) == 10 and min(late) >= 0, late
            return max(late)

        # What a busy machine adds is not in every try.
        print(any(latest() < 0.5 for _ in range(10)))
        manta.cancel(ref)
        """,
        tmp_path,
    )
    assert ended.lines == ["True"], ended.stderr


STORM = """
import os, signal, time, manta
heard = os.open(HEARD, os.O_WRONLY | os.O_APPEND)
manta.init(num_cpus=2, log_to_driver=False)

@manta.remote(max_retries=0)
def record(n):
    with open(LEDGER, "a") as file:
        file.write(f"{n}\\n")
    return n

refs, values, interrupts, at = {}, [], 0, 0
end = time.monotonic() + STORM_S

def work():
    global at
    at += 1
    refs[at] = record.remote(at)
    values.append(manta.put(at))
    if at % 7 == 0:
        manta.get(refs[at])
    if at % 11 == 0:
        manta.wait(list(refs.values())[-5:], num_returns=len(list(refs.values())[-5:]))

def rounds():
    global interrupts
    while time.monotonic() < end or len(refs) <= 100 or not interrupts:
        try:
            while time.monotonic() < end or len(refs) <= 100 or not interrupts:
                work()
        except KeyboardInterrupt:
            interrupts += 1
            os.write(heard, b"x")

print("ready", flush=True)
while time.monotonic() < end or len(refs) <= 100 or not interrupts:
    try:
        rounds()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:  # it landed in the handler of the one before; the next comes much later
        pass
signal.signal(signal.SIGINT, signal.SIG_IGN)
wrong = [n for n, ref in refs.items() if manta.get(ref, timeout=30) != n]
print(interrupts > 0, len(refs) > 100, wrong, at, *refs, flush=True)
"""


def test_an_interrupt_every_two_milliseconds_costs_no_task_and_doubles_none(tmp_path):
    """Every task whose ref the script got has its value, and ran once; one that was interrupted before may have run once.

    The next comes when the one before has been heard: two at once would end the script in the handler of its handler.
    """
    ledger, heard = tmp_path / "ledger", tmp_path / "heard"
    heard.touch()
    program = STORM.replace("STORM_S", str(STORM_S)).replace("LEDGER", repr(str(ledger)))
    driver = start_driver(program.replace("HEARD", repr(str(heard))), tmp_path)
    assert read_line(driver) == "ready"
    stop = threading.Event()

    def storm() -> None:
        before, again = -1, 0.0
        while not stop.wait(0.002) and driver.poll() is None:
            count = heard.stat().st_size
            if count > before or time.monotonic() > again:
                before, again = count, time.monotonic() + 0.5
                driver.send_signal(signal.SIGINT)

    thread = threading.Thread(target=storm)
    thread.start()
    try:
        line = read_line(driver)
    finally:
        stop.set()
        thread.join()
    _, stderr = driver.communicate(timeout=40)
    assert line, stderr
    interrupted, many, wrong, _, *known = line.split()
    assert (interrupted, many, wrong) == ("True", "True", "[]"), stderr
    runs = Counter(ledger.read_text().split())
    assert max(runs.values()) == 1, "no task ran twice"
    assert set(known) <= set(runs), "no task was lost"


def test_handlers_that_raise_cost_no_result(tmp_path):
    """The usual way to limit the time of a block: SIGALRM's handler raises, here every few milliseconds, amid gets."""
    ended = run_driver(
        f"""
        import collections, itertools, signal, time, manta
        manta.init(num_cpus=2, log_to_driver=False)

        class TooLong(Exception):
            pass

        def handler(number, frame):
            raise TooLong

        @manta.remote
        def double(x):
            return 2 * x

        manta.get(double.remote(1))
        signal.signal(signal.SIGALRM, handler)
        seen = collections.Counter()
        end = time.monotonic() + {STORM_S}
        # However fast the machine is: some of these end a `get` in its middle, some let it through.
        limits = itertools.cycle((0.0002, 0.0005, 0.001, 0.003, 0.01, 0.03))
        while time.monotonic() < end or seen["values"] <= 100 or seen["raised"] <= 10:
            refs = [double.remote(x) for x in range(50)]
            left = list(range(50))
            while True:  # a handler runs at the latest where a loop begins anew: so the loop stands inside of the `try`
                try:
                    while left:
                        signal.setitimer(signal.ITIMER_REAL, next(limits))
                        assert manta.get(refs[left[-1]], timeout=20) == 2 * left[-1]
                        signal.setitimer(signal.ITIMER_REAL, 0)
                        left.pop()
                        seen["values"] += 1
                    break
                except TooLong:
                    seen["raised"] += 1
            signal.setitimer(signal.ITIMER_REAL, 0)

        def busy(number, frame):
            seen["counted"] += 1

        signal.signal(signal.SIGALRM, busy)
        assert manta.get(double.remote(0)) == 0
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        slow = manta.remote(lambda: time.sleep(0.3) or 7)
        while seen["counted"] <= 10:
            assert manta.get(slow.remote(), timeout=20) == 7
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(signal.getsignal(signal.SIGALRM) is busy)
        manta.shutdown()
        print(signal.getsignal(signal.SIGALRM) is busy)
        """,
        tmp_path,
    )
    assert ended.lines == ["True", "True"], ended.stderr


def test_a_handler_that_raises_in_a_task_is_the_task_s_own(tmp_path):
    """It limits a `get` there as it does in a driver, and the worker goes on."""
    ended = run_driver(
        """
        import os, signal, time, manta
        manta.init(num_cpus=2, log_to_driver=False)

        @manta.remote
        def sleeper():
            time.sleep(1000)

        @manta.remote(num_cpus=0)
        def limited(refs):
            def handler(number, frame):
                raise RuntimeError("time is up")
            signal.signal(signal.SIGALRM, handler)
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.2)
                manta.get(refs[0])
            except RuntimeError as error:
                return str(error), os.getpid()

        @manta.remote(num_cpus=0)
        def pid():
            return os.getpid()

        ref = sleeper.remote()
        said, first = manta.get(limited.remote([ref]), timeout=20)
        print(said)
        manta.cancel(ref, force=True)
        """,
        tmp_path,
    )
    assert ended.lines == ["time is up"], ended.stderr
