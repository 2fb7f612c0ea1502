"""Many threads, a fork in the driver, and Ctrl-C again and again."""

# mypy: ignore-errors
# The calls are wrong on purpose; a type checker finds most of them.

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from tests.process.semantics.support import run_driver, start_driver, until

pytestmark = pytest.mark.shared_cluster

CLUSTER = None

#: How long the storm blows. A minute is the release check; these seconds already hit thousands of times.
STORM_S = float(os.environ.get("MANTA_TEST_STORM_S", "5"))


def test_many_threads_use_one_driver(tmp_path):
    ended = run_driver(
        """
        import threading, manta
        manta.init(num_cpus=2, log_to_driver=False)
        square = manta.remote(lambda n: n * n)
        wrong, done = [], []

        def work(k):
            for n in range(50):
                ref = square.remote(k * n)
                manta.wait([ref], timeout=20)
                if manta.get(ref) != (k * n) ** 2 or manta.get(manta.put(n)) != n:
                    wrong.append((k, n))
            done.append(k)

        threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
        [t.start() for t in threads]
        [t.join(50) for t in threads]
        print(len(done), wrong)
        """,
        tmp_path,
    )
    assert ended.lines == ["8 []"], ended.stderr


@pytest.mark.parametrize(
    "call", ["manta.put(1)", "manta.get(ref)", "f.remote()", "manta.wait([ref])", "manta.shutdown()"]
)
def test_a_forked_child_is_told_and_the_parent_is_unharmed(call: str, tmp_path):
    ended = run_driver(
        f"""
        import os, manta
        manta.init(num_cpus=1, log_to_driver=False)
        f = manta.remote(lambda: 7)
        ref = f.remote()
        manta.get(ref)
        pid = os.fork()
        if pid == 0:
            try:
                {call}
                print("child did", flush=True)
            except RuntimeError as error:
                print("child:", "fork" in str(error), flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        print("parent", manta.get([ref, f.remote()]))
        """,
        tmp_path,
    )
    child, parent = ended.lines
    assert parent == "parent [7, 7]", ended.stderr
    assert child == ("child did" if "shutdown" in call else "child: True")


def test_a_forked_child_that_leaves_quietly_takes_nothing_with_it(tmp_path):
    """Its exit handlers run; the parent's cluster is not theirs to stop."""
    ended = run_driver(
        """
        import os, sys, manta
        manta.init(num_cpus=1, log_to_driver=False)
        ref = manta.put("kept")
        pid = os.fork()
        if pid == 0:
            sys.exit(0)
        os.waitpid(pid, 0)
        print(manta.get(ref), manta.get(manta.remote(lambda: 7).remote()))
        """,
        tmp_path,
    )
    assert ended.lines == ["kept 7"], ended.stderr


def test_a_forked_process_ends_at_sigterm_as_without_a_driver(tmp_path):
    """At once and without Python code: one that waits for a semaphore may never come to run any."""
    ended = run_driver(
        """
        import os, signal, manta
        manta.init(num_cpus=1, log_to_driver=False)
        mine = signal.getsignal(signal.SIGTERM)
        child = os.fork()
        if not child:
            os._exit(7 if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL else 8)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), callable(mine), signal.getsignal(signal.SIGTERM) is mine)
        """,
        tmp_path,
    )
    assert ended.lines == ["7 True True"], ended.stderr


def test_multiprocessing_with_fork_works_beside_it(tmp_path):
    ended = run_driver(
        """
        import multiprocessing, manta
        manta.init(num_cpus=1, log_to_driver=False)
        with multiprocessing.get_context("fork").Pool(2) as pool:
            print(pool.map(abs, [-1, -2]))
        print(manta.get(manta.remote(lambda: 7).remote()))
        """,
        tmp_path,
    )
    assert ended.lines == ["[1, 2]", "7"], ended.stderr


STORM = """
import signal, time, manta
manta.init(num_cpus=2, log_to_driver=False)
f = manta.remote(lambda n: n + 1)

@manta.remote
class Counter:
    def __init__(self):
        self.n = 0
    def add(self):
        self.n += 1
        return self.n

counter = Counter.remote()
manta.get(counter.add.remote())
interrupts = rounds = wrong = 0
last = 1

def rounds_until(end):
    # Outcomes are checked after each round; an interrupt ends a round, wherever it lands.
    global interrupts, rounds, wrong, last
    while time.monotonic() < end or not rounds:
        try:
            refs = [f.remote(n) for n in range(20)]
            wrong += manta.get(refs) != list(range(1, 21))
            n = manta.get(counter.add.remote())
            wrong += n <= last
            last = n
            rounds += 1
        except KeyboardInterrupt:
            interrupts += 1

end = time.monotonic() + STORM_S
print("ready", flush=True)
while time.monotonic() < end or not rounds:  # on a busy machine one may take longer than there is quiet
    try:
        rounds_until(end)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:  # it landed in the handler of the one before; the next is two milliseconds away
        interrupts += 1
signal.signal(signal.SIGINT, signal.SIG_IGN)
print(manta.get([f.remote(n) for n in range(100)]) == list(range(1, 101)), wrong, interrupts > 0, rounds > 0, flush=True)
"""


def test_an_interrupt_every_two_milliseconds_loses_nothing(tmp_path):
    """Every result is right, the actor's counter only grows, and afterwards all is as before."""
    driver = start_driver(STORM.replace("STORM_S", str(STORM_S)), tmp_path)
    assert driver.stdout is not None
    until(lambda: driver.stdout.readline() == "ready\n")
    stop = threading.Event()

    def storm() -> None:
        while not stop.wait(0.002) and driver.poll() is None:
            driver.send_signal(signal.SIGINT)

    thread = threading.Thread(target=storm)
    thread.start()
    try:
        time.sleep(STORM_S)  # the storm's length is the point; nothing is waited for
    finally:
        stop.set()
        thread.join()
    stdout, stderr = driver.communicate(timeout=40)
    assert stdout.split() == ["True", "0", "True", "True"], stderr
