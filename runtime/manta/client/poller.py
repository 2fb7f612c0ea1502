"""What the pump waits with. On Linux that is the kernel's epoll and an eventfd; here is what stands in for them elsewhere.

Drivers outside of a cluster run where those are not. A driver has two descriptors to look at, so `select` is all it takes.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from typing import Any

#: epoll's numbers, which the masks of handlers have everywhere.
_IN, _OUT = 0x1, 0x4


class Select:
    """Stands in for `select.epoll`: the calls that the pump makes. One thread polls at a time; the others are of any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._masks: dict[int, int] = {}
        #: Makes a poll look again at what it waits for.
        self.changed = Poke()
        self.register(self.changed.fileno(), _IN)

    def register(self, fd: int, mask: int) -> None:
        """Look after a descriptor."""
        with self._lock:
            self._masks[fd] = mask
        self.changed.set()

    modify = register

    def unregister(self, fd: int) -> None:
        """Look after it no more."""
        with self._lock:
            self._masks.pop(fd, None)
        self.changed.set()

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
        """Descriptors that can be read or written, with which; empty when time was up, or there is something new to look at."""
        with self._lock:
            reading = [fd for fd, mask in self._masks.items() if mask & _IN]
            writing = [fd for fd, mask in self._masks.items() if mask & _OUT]
        try:
            readable, writable, _ = select.select(reading, writing, (), timeout)
        except (OSError, ValueError):
            # One of them was closed meanwhile; it is not among them the next time.
            return []
        found = dict.fromkeys(readable, _IN)
        for fd in writable:
            found[fd] = found.get(fd, 0) | _OUT
        if found.pop(self.changed.fileno(), 0):
            self.changed.clear()
        return list(found.items())

    def close(self) -> None:
        """End it."""
        self.changed.close()


class Poke:
    """A descriptor that can be read once somebody has said so."""

    def __init__(self) -> None:
        self._ends: tuple[int, int] = (-1, -1)
        self._sockets: tuple[socket.socket, ...] = ()
        if os.name == "nt":  # where nothing but sockets can be selected
            self._sockets = socket.socketpair()
            for end in self._sockets:
                end.setblocking(False)
        else:
            self._ends = os.pipe()
            for fd in self._ends:
                os.set_blocking(fd, False)

    def fileno(self) -> int:
        """To be polled."""
        return self._sockets[0].fileno() if self._sockets else self._ends[0]

    def set(self, *_ignored: Any) -> None:
        """Say so. Never blocks; from signal handlers too."""
        try:
            if self._sockets:
                self._sockets[1].send(b"\0")
            else:
                os.write(self._ends[1], b"\0")
        except OSError:
            pass  # full: it has been said often enough; closed: nobody listens

    def clear(self, *_ignored: Any) -> None:
        """Forget it."""
        try:
            while self._sockets[0].recv(4096) if self._sockets else os.read(self._ends[0], 4096):
                pass
        except OSError:
            pass

    def close(self) -> None:
        """Close both ends. Twice is harmless."""
        for end in self._sockets:
            end.close()
        ends, self._ends = self._ends, (-1, -1)
        for fd in ends:
            if fd >= 0:
                os.close(fd)
