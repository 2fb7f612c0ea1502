"""Connections that gRPC has accepted, seen from outside, and ended when they are too many strangers (see `transport.strangers`).

gRPC bounds connections in total alone, refuses the next whoever it is, and takes no socket that was accepted by us. But its
sockets are this process's: the kernel says which there are and whose, and one that is shut down ends for gRPC as if the other
side had hung up. While there are few, all this costs is a count of open files ten times a second.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from contextlib import suppress
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from manta.transport.strangers import Crowd, Peer

_FILES: Final = "/proc/self/fd"
#: Between two looks at how many there are: in quiet, and while strangers are sent away. Short enough for what comes in between
#: to fit into the room that is kept free.
CALM_S: Final = 0.1
BUSY_S: Final = 0.02


class Accepted:
    """The connections of a server.

    Args:
        most: At which gRPC refuses the next.
    """

    def __init__(self, most: int) -> None:
        self._crowd = Crowd[int](most)

    @property
    def dismissed(self) -> int:
        """How many strangers had to go."""
        return self._crowd.dismissed

    def shown(self, peer: str) -> None:
        """A call with a credential has come from there, which is a context's `peer()`. As often as one likes."""
        self._crowd.show(named(peer))

    async def keep_room(self, port: int) -> None:
        """Send strangers away while there are too many of them. Runs for ever.

        Args:
            port: Where the server listens, on TCP.
        """
        crowd, sockets = self._crowd, _Sockets(port)
        pause = CALM_S
        while True:
            await asyncio.sleep(pause)
            pause = CALM_S
            # A process that has no descriptor left for a look has to live on, and may have one the next time.
            with suppress(OSError):
                files = open_files()
                if crowd.is_due(files):
                    pause = BUSY_S
                    for inode in crowd.look(sockets.look(), files):
                        sockets.end(inode)


@lru_cache(maxsize=4096)
def named(peer: str) -> Peer:
    """Who gRPC means: "ipv4:10.0.0.1:4711" or "ipv6:%5B::1%5D:4711"; others, as "unix:", are nobody of ours."""
    host, _, port = unquote(peer).partition(":")[2].rpartition(":")
    return _peer(host.strip("[]"), int(port) if port.isdecimal() else 0)


def _peer(host: str, port: int) -> Peer:
    """One name for one end, whichever way the kernel or gRPC writes it."""
    return Peer(host.partition("%")[0].removeprefix("::ffff:"), port)


def open_files() -> int:
    """How many files this process has open."""
    # Since Linux 6.2 the size says it; before, it is 0.
    return os.stat(_FILES).st_size or len(os.listdir(_FILES))


class _Sockets:
    """The connections of one port, by their sockets' inodes: a descriptor's number may be another's a moment later."""

    def __init__(self, port: int) -> None:
        self._port = port
        #: Every socket of the process: its descriptor, and the other end if it is a connection of the port.
        self._known: dict[int, tuple[int, Peer | None]] = {}

    def look(self) -> dict[int, Peer]:
        """Those there are now.

        Raises:
            OSError: The process has no descriptor left, and not all of them can be told.
        """
        known: dict[int, tuple[int, Peer | None]] = {}
        for name in os.listdir(_FILES):
            descriptor = int(name)
            try:
                status = os.fstat(descriptor)
                if stat.S_ISSOCK(status.st_mode):
                    known[status.st_ino] = self._known.get(status.st_ino) or (descriptor, self._peer_of(descriptor))
            except OSError as wrong:
                if wrong.errno != errno.EBADF:  # it is closed by now
                    raise
        self._known = known
        return {inode: peer for inode, (_, peer) in known.items() if peer is not None}

    def _peer_of(self, descriptor: int) -> Peer | None:
        # A copy: gRPC may close its own meanwhile.
        with socket.socket(fileno=os.dup(descriptor)) as sock:
            if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.getsockname()[1] == self._port:
                with suppress(OSError):  # the listener has no other end, nor has one who has hung up
                    return _peer(*sock.getpeername()[:2])
        return None

    def end(self, inode: int) -> None:
        """Hang up; gRPC sees the end and closes its side."""
        with suppress(OSError), socket.socket(fileno=os.dup(self._known[inode][0])) as sock:
            if os.fstat(sock.fileno()).st_ino == inode:
                sock.shutdown(socket.SHUT_RDWR)
