"""A proxy on the way to a server, whose connections a test cuts, holds up, and counts; and what cuts them again and again."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from manta.client import current


class Cuts:
    """Passes bytes on, both ways, until told otherwise."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._all: list[socket.socket] = []
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        #: No new connections while this is set.
        self.closed = False
        #: How many there were.
        self.count = 0
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            if self.closed:
                near.close()
                continue
            try:
                far = socket.create_connection(self._target)
            except OSError:  # nobody is there: so it is said here
                near.close()
                continue
            with self._lock:
                self.count += 1
                self._pairs.append((near, far))
                self._all += [near, far]
            thread = threading.Thread(target=self._pass_on, args=(near, far), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _pass_on(self, near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError, ValueError):
            while True:
                for sock in select.select([near, far], [], [])[0]:
                    data = sock.recv(65536)
                    if not data:
                        return
                    (far if sock is near else near).sendall(data)

    def cut(self) -> None:
        """End every connection; what is under way is lost."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for sock in pair:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it all."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)
        for sock in self._all:
            sock.close()


class Cutter:
    """Cuts the way of this process's driver again and again, for a block.

    On a busy machine it takes longer to be back than from one cut to the next: after some in a row the driver is let through
    until it has said or heard something, else it would not be back within its time.
    """

    _IN_A_ROW = 3

    def __init__(self, cut: Callable[[], None], pause_s: float) -> None:
        self._cut, self._pause_s = cut, pause_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        # A driver outside is the only kind whose way is cut.
        log = current.session.outbox.log  # type: ignore[union-attr]
        before, in_a_row = (0, 0), 0
        while not self._done.wait(self._pause_s):
            now = (log.sent, log.received)
            in_a_row = in_a_row + 1 if now == before else 0
            before = now
            if in_a_row < self._IN_A_ROW:
                self._cut()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
