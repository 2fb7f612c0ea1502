"""A proxy as companies have them: connects by CONNECT, for those who say a name and a password."""

from __future__ import annotations

import base64
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class ConnectProxy:
    """A running one.

    Attributes:
        port: Where it listens.
        asked: Where it was asked to connect to.
    """

    def __init__(self, name: str, password: str) -> None:
        self._wanted = "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.asked: list[str] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(near,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, near: socket.socket) -> None:
        with near, suppress(OSError):
            near.settimeout(20)
            head = b""
            while b"\r\n\r\n" not in head:
                head += near.recv(4096)
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines if ": " in line)
            if headers.get("Proxy-Authorization") != self._wanted:
                near.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
            where = first.split()[1]
            self.asked.append(where)
            host, _, port = where.rpartition(":")
            with socket.create_connection((host, int(port)), 20) as far:
                near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                while True:
                    for sock in select.select([near, far], [], [], 20)[0]:
                        data = sock.recv(65536)
                        if not data:
                            return
                        (far if sock is near else near).sendall(data)

    def close(self) -> None:
        """End it, when everybody who came has gone."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join(20)


@contextmanager
def running(name: str, password: str) -> Iterator[ConnectProxy]:
    """One for the block."""
    proxy = ConnectProxy(name, password)
    try:
        yield proxy
    finally:
        proxy.close()
