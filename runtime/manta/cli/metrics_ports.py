"""At which ports a node's processes show health and metrics: the usual ones, or the next that are free.

Several nodes on one machine all begin with the same numbers, and nobody dials these ports but who was told of them: a port that
is taken is no error, but another is chosen and said.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing
from typing import Final

from manta.core.errors import SettingError

#: The raylet's; the others follow it, in this order.
PORT: Final = 8090
OFFSETS: Final = {"raylet": 0, "control": 1, "gateway": 2, "dashboard": 3}
#: So many numbers are tried.
_TRIED: Final = 400


class MetricsPorts:
    """Chooses them.

    Args:
        host: Address to listen on.
        port: The raylet's, from which the others follow; 0 takes any free ones, None has none at all.
        free: Whether one can be had: (host, port) to a port, 0 for none; asked for 0 it finds one.
    """

    def __init__(self, host: str, port: int | None, free: Callable[[str, int], int] | None = None) -> None:
        self._host, self._port = host, port
        self._free = free or find_free
        self._chosen: set[int] = set()

    def choose(self, process: str) -> tuple[str, int] | None:
        """Address and port for one of OFFSETS; None where none is wanted.

        Raises:
            SettingError: None is free, or the address is not this machine's.
        """
        if self._port is None:
            return None
        first = self._port + OFFSETS[process] if self._port else 0
        for port in range(first, min(first + _TRIED, 65536)) if first else (0,):
            # The numbers next to ours are the neighbours': the first choice of each stays free for it.
            others = {self._port + offset for name, offset in OFFSETS.items() if name != process}
            if port and (port in self._chosen or port in others):
                continue
            found = self._free(self._host, port)
            if found:
                self._chosen.add(found)
                return self._host, found
        raise SettingError("metrics_port", f"{self._host}:{first}", f"one of {_TRIED} ports from there on to be free")


def find_free(host: str, port: int) -> int:
    """The port if nobody listens there, else 0; any free one for 0."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError:
            return 0
        found: int = sock.getsockname()[1]
        return found
