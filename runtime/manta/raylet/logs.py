"""What workers print: read from their files, cut into lines, sent to the driver of their job.

A worker writes to its own two files; nothing of it passes through a pipe, so a worker never waits for us and nothing is lost when
either dies. Files are read with bounds: a worker that prints without end delays its own lines only.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from manta.core.log_marks import source_of
from manta.rpc.v1 import channel_pb2 as pb

#: Between two looks at the files of workers that have something to do, seconds.
PERIOD_S: Final = 0.05
#: Bytes read at once, and of one file in one look.
READ_BYTES: Final = 64 << 10
LOOK_BYTES: Final = 1 << 20
#: A longer line is cut: nobody holds an endless one in memory.
LINE_BYTES: Final = 64 << 10
#: Lines in one frame.
BATCH_LINES: Final = 500


class Lines:
    """Bytes in, whole lines out, each with the name of who printed it."""

    __slots__ = ("_rest", "source")

    def __init__(self) -> None:
        #: The name in the last mark.
        self.source = ""
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[str, str]]:
        """Take bytes as they were read; return the (source, line) pairs they complete."""
        *whole, rest = (self._rest + data).split(b"\n")
        while len(rest) > LINE_BYTES:
            whole.append(rest[:LINE_BYTES])
            rest = rest[LINE_BYTES:]
        self._rest = rest
        return self._named(whole)

    def end(self) -> list[tuple[str, str]]:
        """Nothing more comes: the last line counts without its end."""
        rest, self._rest = self._rest, b""
        return self._named([rest]) if rest else []

    def _named(self, whole: list[bytes]) -> list[tuple[str, str]]:
        named: list[tuple[str, str]] = []
        for raw in whole:
            for start in range(0, len(raw) or 1, LINE_BYTES):
                line = raw[start : start + LINE_BYTES].decode("utf-8", "replace").rstrip("\r")
                source = source_of(line)
                if source is None:
                    named.append((self.source, line))
                else:
                    self.source = source
        return named


@dataclass(slots=True)
class _Output:
    """One file of one worker."""

    path: Path
    stderr: bool
    lines: Lines = field(default_factory=Lines)
    fd: int = -1

    def read(self, limit: int) -> bytes:
        """The next bytes, at most `limit`."""
        if self.fd < 0:
            try:
                self.fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except OSError:
                return b""
        try:
            return os.read(self.fd, limit)
        except OSError:
            return b""

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@dataclass(slots=True)
class _Worker:
    """One worker's output."""

    job: bytes
    pid: int
    outputs: tuple[_Output, _Output]


class LogTail:
    """Follows the output of this node's workers.

    Args:
        node_ip: Said with every line.
        send: Sends lines to the driver of a job.
        wanted: Whether the job's driver takes lines now; those of others stay in their files.
        busy: Ids of workers that print now or did a moment ago.
    """

    def __init__(
        self,
        *,
        node_ip: str,
        send: Callable[[bytes, pb.LogLines], None],
        wanted: Callable[[bytes], bool],
        busy: Callable[[], list[bytes]],
    ) -> None:
        self._node_ip = node_ip
        self._send = send
        self._wanted = wanted
        self._busy = busy
        self._workers: dict[bytes, _Worker] = {}
        self._something_runs = asyncio.Event()

    def follow(self, worker_id: bytes, job: bytes, stdout: Path, stderr: Path) -> None:
        """A worker's lines belong to this job."""
        if worker_id not in self._workers:
            self._workers[worker_id] = _Worker(job, 0, (_Output(stdout, stderr=False), _Output(stderr, stderr=True)))

    def runs(self, worker_id: bytes, pid: int) -> None:
        """A worker has got something to do: look at its files from now on."""
        worker = self._workers.get(worker_id)
        if worker is not None:
            worker.pid = pid
        self._something_runs.set()

    async def run(self) -> None:
        """Look at the files of busy workers, for ever."""
        while True:
            await self._something_runs.wait()
            busy = self._busy()
            if not busy:
                self._something_runs.clear()
                continue
            for worker_id in busy:
                self._look(worker_id, LOOK_BYTES)
            await asyncio.sleep(PERIOD_S)

    def flush(self, job: bytes) -> None:
        """The job's driver leaves: send what its workers have written so far, lines without an end too."""
        for worker_id, worker in self._workers.items():
            if worker.job == job:
                self._look(worker_id, _size(worker) + READ_BYTES)
                for output in worker.outputs:
                    self._forward(worker, output, output.lines.end())

    def ended(self, worker_id: bytes) -> None:
        """A worker is dead: send what is left, the last line too. Empty files go."""
        worker = self._workers.get(worker_id)
        if worker is None:
            return
        self._look(worker_id, _size(worker) + READ_BYTES)
        del self._workers[worker_id]
        for output in worker.outputs:
            if self._wanted(worker.job):
                self._forward(worker, output, output.lines.end())
            output.close()
            with suppress(OSError):
                if output.path.stat().st_size == 0:
                    output.path.unlink()

    def close(self) -> None:
        """Close every file."""
        for worker in self._workers.values():
            for output in worker.outputs:
                output.close()

    def _look(self, worker_id: bytes, limit: int) -> None:
        worker = self._workers.get(worker_id)
        if worker is None:
            return
        for output in worker.outputs:
            left = limit
            while left > 0 and self._wanted(worker.job):
                data = output.read(min(left, READ_BYTES))
                if not data:
                    break
                left -= len(data)
                self._forward(worker, output, output.lines.feed(data))

    def _forward(self, worker: _Worker, output: _Output, named: list[tuple[str, str]]) -> None:
        frame: pb.LogLines | None = None
        for source, line in named:
            if frame is None or frame.source != source or len(frame.lines) >= BATCH_LINES:
                if frame is not None:
                    self._send(worker.job, frame)
                frame = pb.LogLines(pid=worker.pid, source=source, stderr=output.stderr, node_ip=self._node_ip)
            frame.lines.append(line)
        if frame is not None:
            self._send(worker.job, frame)


def _size(worker: _Worker) -> int:
    """Bytes in the worker's files: what a flush has to read at most, even while it goes on writing."""
    total = 0
    for output in worker.outputs:
        with suppress(OSError):
            total = max(total, output.path.stat().st_size)
    return total
