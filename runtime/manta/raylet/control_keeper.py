"""Keeps an embedded cluster's control running: when its process ends, it is started again on the same store.

In a cluster on several machines that is the job of whoever runs the head (Kubernetes, systemd). An embedded cluster has nobody
but its own processes, and of these the head's raylet is the one that is never busy with user code. Control's acknowledged
writes are on disk; the raylets tell the new process the rest when they register with it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from manta.raylet.workers.process import Watch

log = logging.getLogger(__name__)

#: Pause before the first new start, and the longest between two, seconds. A control that cannot start (a full disk, a broken
#: store) is tried again and again: what runs does not need it, and somebody may mend what is wrong.
FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 2.0
#: One that lived so long was well; the next pause is short again, seconds.
WELL_S: Final = 1.0
#: How long it may take to end at our own end before it is killed, seconds.
STOP_S: Final = 1.0


class ControlKeeper:
    """Watches control's process and starts it again.

    Args:
        pid: The control that runs now.
        command: What it was started as, without `--parent-pid` and `--ready-fd`; a new one ends with this process.
        output: File its output is appended to.
    """

    def __init__(self, pid: int, command: Sequence[str], output: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._command = [*command, "--parent-pid", str(os.getpid())]
        self._output = output
        self._pause_s = FIRST_PAUSE_S
        self._timer: asyncio.TimerHandle | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._since = self._loop.time()
        self._gone = asyncio.Event()
        self._closing = False
        self._watch = Watch(self._loop, pid, self._ended)

    def _ended(self, pid: int) -> None:
        self._gone.set()
        if self._process is not None:
            self._process.poll()
        if self._closing:
            return
        if self._loop.time() - self._since > WELL_S:
            self._pause_s = FIRST_PAUSE_S
        log.error("control ended: pid=%d; it is started again in %.2f s", pid, self._pause_s)
        self._timer = self._loop.call_later(self._pause_s, self._start)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _start(self) -> None:
        self._since = self._loop.time()
        self._gone.clear()
        try:
            with self._output.open("ab") as output:
                self._process = subprocess.Popen(
                    self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
        except OSError as error:
            log.warning("control cannot be started: %s", error)
            self._ended(0)
            return
        log.warning("control started: pid=%d", self._process.pid)
        self._watch = Watch(self._loop, self._process.pid, self._ended)

    async def close(self) -> None:
        """Start it no more, and end the one that was started here; the first one is its starter's."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        if self._process is not None and not self._gone.is_set():
            self._watch.kill(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._gone.wait(), STOP_S)
            except TimeoutError:
                self._watch.kill()
        self._watch.close()


def read_command(text: str) -> tuple[str, ...]:
    """A command line as a JSON list of words.

    Raises:
        ValueError: It is none.
    """
    words = json.loads(text)
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise ValueError(f"--control-command must be a JSON list of words, got {text!r}")
    return tuple(words)
