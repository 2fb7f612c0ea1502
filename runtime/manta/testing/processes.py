"""Processes of a cluster under test: started, waited for, ended; they never outlive the process that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

from manta.api import embedded

if TYPE_CHECKING:
    from collections.abc import Sequence

#: How long a process may take to end when it was asked to, before it is killed, seconds.
GRACE_S: Final = 30.0


class Processes:
    """All processes of one cluster.

    Args:
        output: File their output is appended to.
    """

    def __init__(self, output: str) -> None:
        self._output = output
        self._all: list[subprocess.Popen[bytes]] = []

    def start(self, words: Sequence[str], *, parent: int = 0) -> tuple[subprocess.Popen[bytes], str]:
        """Run `python -m words...` until it is ready; the process and what it said then.

        Args:
            words: A module and its arguments.
            parent: The process it ends with; by default this one.

        Raises:
            MantaError: It could not start; says why.
        """
        mine, theirs = os.pipe()
        try:
            with open(self._output, "a+b") as output:
                process = subprocess.Popen(
                    [
                        sys.executable, "-P", "-m", *words, "--ready-fd", str(theirs),
                        "--parent-pid", str(parent or os.getpid()),
                    ],
                    stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=embedded.child_environment(),
                    pass_fds=(theirs,), start_new_session=True,
                )  # fmt: skip
                self._all.append(process)
                os.close(theirs)
                theirs = -1
                return process, embedded.await_ready({mine: words[0]}, output)[words[0]]
        finally:
            os.close(mine)
            if theirs >= 0:
                os.close(theirs)

    def end(self, process: subprocess.Popen[bytes], *, graceful: bool) -> None:
        """End one and wait until it is gone: by SIGTERM, or by SIGKILL as in a crash."""
        if process.poll() is None:
            process.send_signal(signal.SIGTERM if graceful else signal.SIGKILL)
            _gone(process, time.monotonic() + GRACE_S)
        self._all.remove(process)

    def close(self) -> None:
        """End all, the last one first."""
        for process in reversed(self._all):
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + embedded.STOP_S
        for process in reversed(self._all):
            _gone(process, deadline)
        self._all.clear()


def _gone(process: subprocess.Popen[bytes], deadline: float) -> None:
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
