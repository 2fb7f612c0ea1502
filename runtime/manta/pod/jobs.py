"""Supervisors of submitted jobs, in the container of the head's raylet: there user code runs, and there its memory counts.

The dashboard, in a container of its own, cannot start them there, see their process ids or signal them. It says over a socket in
the shared folder which job is to begin or to stop, and hears which have ended: `jobs.hosts` has its side and the messages. A
connection begins with those that run. What they do is between them and control.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from manta.core.errors import MantaError
from manta.pod.first import First

#: Supervisors at a time; the dashboard starts fewer.
MOST_JOBS: Final = 512
#: Connections: a dashboard's, and one of its successor's.
MOST_CONNECTIONS: Final = 4
#: Of a message.
MOST_BYTES: Final = 4096
#: Bytes that a peer has not read; it has gone away.
MOST_UNSENT: Final = 1 << 20


class Jobs:
    """Listens and starts.

    Args:
        first: Starts and reaps processes.
        path: Of the socket.
        words: Command of a job's supervisor, after `python -m`; raises MantaError for what is no job's id.
    """

    def __init__(self, first: First, path: str, words: Callable[[str], list[str]]) -> None:
        self._first, self._words = first, words
        self._pids: dict[str, int] = {}
        self._peers: set[_Peer] = set()
        with suppress(FileNotFoundError):
            os.unlink(path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._listener.bind(path)
        self._listener.listen(MOST_CONNECTIONS)
        first.watch(self._listener, self._accept)

    @property
    def running(self) -> list[str]:
        """Jobs whose supervisors run."""
        return sorted(self._pids)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        if len(self._peers) >= MOST_CONNECTIONS:
            sock.close()
            return
        peer = _Peer(sock, self)
        self._peers.add(peer)
        self._first.watch(sock, peer.readable)
        peer.tell({"running": self.running})

    def hear(self, message: Any) -> None:
        """One message."""
        match message:
            case {"start": str(job_id)}:
                self._start(job_id)
            case {"stop": str(job_id)} if job_id in self._pids:
                # Its number is its own until we have reaped it, which we do by it.
                os.kill(self._pids[job_id], signal.SIGTERM)
            case {"kill": dict(run)}:
                from manta.jobs import groups  # late: a supervisor that is killed is rare

                _ = groups.kill(run, signal.SIGKILL)

    def _start(self, job_id: str) -> None:
        if job_id not in self._pids:
            if len(self._pids) >= MOST_JOBS:
                self._tell({"failed": job_id, "why": f"{MOST_JOBS} jobs run already"})
                return
            try:
                words = self._words(job_id)
                pid = self._first.start(words, lambda status: self._ended(job_id, status), session=True)
            except (MantaError, OSError) as wrong:
                self._tell({"failed": job_id, "why": str(wrong)})
                return
            self._pids[job_id] = pid
        self._tell({"started": job_id})

    def _ended(self, job_id: str, status: int) -> None:
        del status
        del self._pids[job_id]
        self._tell({"ended": job_id})

    def _tell(self, message: Any) -> None:
        for peer in list(self._peers):
            peer.tell(message)

    def left(self, peer: _Peer) -> None:
        """Its connection is gone."""
        self._peers.discard(peer)
        self._first.forget(peer.sock)
        peer.sock.close()


class _Peer:
    """One connection: a JSON object a line, both ways."""

    def __init__(self, sock: socket.socket, jobs: Jobs) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST_UNSENT)
        self.sock, self._jobs = sock, jobs
        self._received = b""

    def readable(self) -> None:
        """Something came, or the end."""
        try:
            data = self.sock.recv(MOST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._received += data
        *lines, self._received = self._received.split(b"\n")
        try:
            messages = [json.loads(line) for line in lines]
        except (ValueError, RecursionError):
            data = b""
        else:
            for message in messages:
                self._jobs.hear(message)
        if not data or len(self._received) > MOST_BYTES:
            self._jobs.left(self)

    def tell(self, message: Any) -> None:
        """Send one. Who does not read what a buffer holds is gone: it hears what runs when it comes back."""
        data = json.dumps(message).encode() + b"\n"
        try:
            whole = self.sock.send(data) == len(data)
        except OSError:
            whole = False
        if not whole:
            self._jobs.left(self)
