"""Where the supervisors of jobs run: as children of this process, or in another container of the pod.

In a pod user code runs in the raylet's container, whose memory limit is its own; the dashboard is in another, with process ids of
its own. There the raylet container's first process (`manta.pod.jobs`) starts supervisors, and `Beside` speaks with it: a JSON
object a line over a socket in the folder that both share. From here `{"start": ID}`, `{"stop": ID}` and `{"kill": RUN}`, with
what a dead supervisor wrote of its process group; from there `{"running": [ID...]}` first and then `{"started": ID}`,
`{"failed": ID, "why": TEXT}`, `{"ended": ID}`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

from manta.jobs import groups

log = logging.getLogger(__name__)

#: Between two attempts to reach the other container, seconds.
_PAUSE_S: Final = 0.2
#: Of a message from there: the ids of all jobs that run.
_MOST_BYTES: Final = 1 << 20


class Host(Protocol):
    """Starts supervisors and knows which run."""

    def start(self, job_id: str) -> None:
        """Start a job's supervisor, now or as soon as there is somebody to do it. Raises OSError when it cannot be started."""

    def stop(self, job_id: str) -> None:
        """Tell it to stop its job; nothing happens where there is none."""

    def runs(self, job_id: str) -> bool:
        """Whether it runs, or will, or may."""

    def kill(self, run: Mapping[str, Any]) -> None:
        """End what a supervisor has left behind, by the fact that it wrote when it began."""

    def forget(self, job_id: str) -> None:
        """The job is over."""

    def wrong(self, job_id: str) -> str:
        """Why it could not be started; empty when it could."""


class Here:
    """They are children of this process.

    Args:
        words: Command of a job's supervisor, after `python`.
        session_dir: Of the cluster.
    """

    def __init__(self, words: Callable[[str], list[str]], session_dir: Path) -> None:
        self._words, self._session_dir = words, session_dir
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, job_id: str) -> None:
        """See `Host`."""
        self._children[job_id] = subprocess.Popen(
            [sys.executable, *self._words(job_id)], stdin=subprocess.DEVNULL, start_new_session=True, cwd="/"
        )

    def stop(self, job_id: str) -> None:
        """See `Host`."""
        pid = self._find(job_id)
        if not pid:
            return
        with suppress(ProcessLookupError):
            watched = os.pidfd_open(pid)
            try:
                # What the descriptor stands for stays the same; its number may have been given to another since it was looked up.
                if self._find(job_id) == pid:
                    signal.pidfd_send_signal(watched, signal.SIGTERM)
            finally:
                os.close(watched)

    def runs(self, job_id: str) -> bool:
        """See `Host`."""
        return bool(self._find(job_id))

    def kill(self, run: Mapping[str, Any]) -> None:
        """See `Host`."""
        _ = groups.kill(run, signal.SIGKILL)

    def forget(self, job_id: str) -> None:
        """See `Host`."""
        self._children.pop(job_id, None)

    def wrong(self, job_id: str) -> str:
        """See `Host`."""
        del job_id
        return ""

    def _find(self, job_id: str) -> int:
        child = self._children.get(job_id)
        if child is not None:
            return child.pid if child.poll() is None else 0
        # One that a dashboard before this one started.
        ours = [b"manta.jobs.supervisor", str(self._session_dir).encode(), job_id.encode()]
        for name in filter(re.compile("[0-9]+").fullmatch, os.listdir("/proc")):
            with suppress(OSError):
                words = Path("/proc", name, "cmdline").read_bytes().split(b"\0")
                if words[-2:-1] == ours[2:] and ours[0] in words and ours[1] in words:
                    return int(name)
        return 0


class Beside:
    """They run in another container of the pod. A dashboard that comes back finds them by their jobs' ids.

    Args:
        path: The socket of whoever starts them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        #: To be started, and said so as often as nobody has answered.
        self._wanted: dict[str, None] = {}
        self._running: set[str] = set()
        self._wrong: dict[str, str] = {}
        self._writer: asyncio.StreamWriter | None = None

    async def run(self) -> None:
        """Be connected, for ever."""
        told = False
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._path, limit=_MOST_BYTES)
            except OSError as away:
                if not told:
                    log.warning("no job can begin or end yet, as nobody starts supervisors at %s: %s", self._path, away)
                told = True
                await asyncio.sleep(_PAUSE_S)
                continue
            told = False
            try:
                while line := await reader.readline():
                    self._hear(json.loads(line), writer)
            except (OSError, ValueError) as broken:
                log.warning("the connection to who starts supervisors broke: %s", broken)
            finally:
                self._writer = None
                writer.close()
            # Who ended it may be ending: the jobs that it has are over when it, or one after it, says so.
            await asyncio.sleep(_PAUSE_S)

    def _hear(self, message: Any, writer: asyncio.StreamWriter) -> None:
        match message:
            case {"running": list(found)}:
                self._running = set(map(str, found))
                self._writer = writer
                for job_id in self._wanted:
                    self._say({"start": job_id})
            case {"started": str(job_id)}:
                self._wanted.pop(job_id, None)
                self._running.add(job_id)
            case {"failed": str(job_id), "why": str(why)}:
                self._wanted.pop(job_id, None)
                self._wrong[job_id] = why
            case {"ended": str(job_id)}:
                self._running.discard(job_id)

    def _say(self, message: Any) -> None:
        if self._writer is not None:
            self._writer.write(json.dumps(message).encode() + b"\n")

    def start(self, job_id: str) -> None:
        """See `Host`."""
        self._wanted[job_id] = None
        self._say({"start": job_id})

    def stop(self, job_id: str) -> None:
        """See `Host`. One that has not begun finds that it need not."""
        self._say({"stop": job_id})

    def runs(self, job_id: str) -> bool:
        """See `Host`: without a connection nobody knows, and nothing is over before somebody does."""
        return self._writer is None or job_id in self._wanted or job_id in self._running

    def kill(self, run: Mapping[str, Any]) -> None:
        """See `Host`: of another container's processes only that one knows which they are."""
        self._say({"kill": dict(run)})

    def forget(self, job_id: str) -> None:
        """See `Host`."""
        self._wrong.pop(job_id, None)
        self._wanted.pop(job_id, None)

    def wrong(self, job_id: str) -> str:
        """See `Host`."""
        return self._wrong.get(job_id, "")
