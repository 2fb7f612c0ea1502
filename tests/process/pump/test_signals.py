"""Signals of the process reach its main thread, whatever other threads of ours there are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from manta.client.background import Background
from tests.support.waiting import wait_until


def blocked(pid: int, thread: int) -> int:
    """The mask of signals that a thread has blocked."""
    for line in Path(f"/proc/{pid}/task/{thread}/status").read_text().splitlines():
        if line.startswith("SigBlk"):
            return int(line.split()[1], 16)
    raise AssertionError("no SigBlk")


def test_only_the_main_thread_takes_signals():
    program = (
        "import time, manta; manta.init(num_cpus=1, log_to_driver=False); print('ready', flush=True); time.sleep(1000)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stdout is not None
            assert driver.stdout.readline() == "ready\n"
            others = [int(name) for name in os.listdir(f"/proc/{driver.pid}/task") if int(name) != driver.pid]
            assert others
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM):
                assert all(blocked(driver.pid, thread) >> (number - 1) & 1 for thread in others)
                assert not blocked(driver.pid, driver.pid) >> (number - 1) & 1
            assert not any(blocked(driver.pid, thread) >> (signal.SIGSEGV - 1) & 1 for thread in others)
        finally:
            driver.terminate()
        assert driver.wait(20) == 128 + signal.SIGTERM


def test_user_code_in_the_background_thread_starts_children_that_hear_signals():
    background = Background()
    seen: list[int] = []
    background.run(lambda: seen.append(blocked(os.getpid(), threading.get_native_id())))
    wait_until(lambda: bool(seen))
    thread = background._thread
    assert thread is not None
    assert thread.native_id is not None
    native = thread.native_id
    wait_until(lambda: bool(blocked(os.getpid(), native) >> (signal.SIGTERM - 1) & 1), what="a thread that waits")
    background.finish(5)
    assert seen == [0]
