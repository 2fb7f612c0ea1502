"""Keeps the cluster's own processes beside the head's raylet running: one that ends is started again, as what it was.

On Kubernetes that is the kubelet's job. Elsewhere a cluster has nobody but its own processes, and of these the head's raylet is
the one that is never busy with user code. Control's acknowledged writes are on disk; the raylets tell the new process the rest
when they register with it. A gateway's sessions end with it, and drivers that were there hear so; new ones come in. A dashboard
holds nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from manta.core.errors import ProtocolError
from manta.raylet.clients import Client
from manta.raylet.workers.process import Watch
from manta.rpc.v1 import channel_pb2 as pb

log = logging.getLogger(__name__)

#: Pause before the first new start, and the longest between two, seconds. A process that cannot start (a full disk, a broken
#: store, a port that somebody else has taken) is tried again and again: what runs does not need it, and somebody may mend that.
FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 2.0
#: One that lived so long was well; the next pause is short again, seconds.
WELL_S: Final = 1.0
#: The same for those that nobody's work waits for.
LATER_LONGEST_PAUSE_S: Final = 15.0
LATER_WELL_S: Final = 10.0
#: How long it may take to end at our own end before it is killed, seconds.
STOP_S: Final = 1.0

#: What a tool may have kept running, and the module that each is.
MODULES: Final = {"gateway": "manta.gateway", "dashboard": "manta.dashboard"}


class Pauses:
    """How long to wait before a process is started again."""

    def __init__(self, longest_s: float = LONGEST_PAUSE_S, well_s: float = WELL_S) -> None:
        self._longest_s, self._well_s = longest_s, well_s
        self._next_s = FIRST_PAUSE_S

    def ended(self, lived_s: float) -> float:
        """It ended after so long: the pause before the next start, seconds."""
        if lived_s > self._well_s:
            self._next_s = FIRST_PAUSE_S
        pause_s = self._next_s
        self._next_s = min(2 * pause_s, self._longest_s)
        return pause_s


class ChildService:
    """Watches one process and starts it again.

    Args:
        name: For logs.
        pid: The one that runs now.
        command: What it was started as, without `--parent-pid` and `--ready-fd`; a new one ends with this process.
        output: File its output is appended to.
        pauses: How long to wait in between.
    """

    def __init__(self, name: str, pid: int, command: Sequence[str], output: Path, pauses: Pauses) -> None:
        self._loop = asyncio.get_running_loop()
        self._name = name
        self._command = [*command, "--parent-pid", str(os.getpid())]
        self._output = output
        self._pauses = pauses
        self._timer: asyncio.TimerHandle | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._since = self._loop.time()
        self._gone = asyncio.Event()
        self._closing = False
        #: The process now, 0 while there is none, and how often a new one was started.
        self.pid = pid
        self.restarts = 0
        self._watch = Watch(self._loop, pid, self._ended)

    def _ended(self, pid: int) -> None:
        self._gone.set()
        self.pid = 0
        if self._process is not None:
            self._process.poll()
        if self._closing:
            return
        pause_s = self._pauses.ended(self._loop.time() - self._since)
        log.error("%s ended: pid=%d; it is started again in %.2f s", self._name, pid, pause_s)
        self._timer = self._loop.call_later(pause_s, self._start)

    def _start(self) -> None:
        self._since = self._loop.time()
        self._gone.clear()
        self.restarts += 1
        try:
            with self._output.open("ab") as output:
                self._process = subprocess.Popen(
                    self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
        except OSError as error:
            log.warning("%s cannot be started: %s", self._name, error)
            self._ended(0)
            return
        self.pid = self._process.pid
        log.warning("%s started: pid=%d", self._name, self.pid)
        self._watch = Watch(self._loop, self.pid, self._ended)

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


class ChildServices:
    """All that are kept, by name.

    Args:
        output: File their output is appended to.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self._kept: dict[str, ChildService] = {}

    def keep_control(self, pid: int, command: Sequence[str]) -> None:
        """Control, without which nothing new begins anywhere."""
        self._kept["control"] = ChildService("control", pid, command, self._output, Pauses())

    def asked(self, client: Client, message: pb.KeepService) -> None:
        """A tool has started one (`KeepService`). Once each.

        Raises:
            ProtocolError: It is none of those that are kept, or kept already, or no tool says it.
        """
        if client.role != pb.ROLE_TOOL:
            raise ProtocolError("what a node keeps running is said by `manta start`")
        name, command = message.name, list(message.command)
        if name not in MODULES or command[:3] != [sys.executable, "-m", MODULES[name]] or message.pid <= 1:
            raise ProtocolError(f"a raylet keeps {' and '.join(MODULES)} running, and no other program")
        if name in self._kept:
            raise ProtocolError(f"a {name} is kept running already")
        pauses = Pauses(LATER_LONGEST_PAUSE_S, LATER_WELL_S)
        self._kept[name] = ChildService(name, message.pid, command, self._output, pauses)

    def statistics(self) -> dict[str, dict[str, int]]:
        """Each one's process, 0 while there is none, and how often it was started again."""
        return {name: {"pid": one.pid, "restarts": one.restarts} for name, one in sorted(self._kept.items())}

    async def close(self) -> None:
        """Start none any more, and end those that were started here."""
        await asyncio.gather(*(one.close() for one in self._kept.values()))


def read_command(text: str) -> tuple[str, ...]:
    """A command line as a JSON list of words.

    Raises:
        ValueError: It is none.
    """
    words = json.loads(text)
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise ValueError(f"--control-command must be a JSON list of words, got {text!r}")
    return tuple(words)
