"""When a container's server is told to end. Pure: what happened and `now` in, whether to pass a signal on out.

All containers of a pod are told at once. Most pass that on at once; control does not, as the others have things to tell it:
their nodes' farewells, where their objects have gone, how their jobs ended. It goes when none of them is connected to it any
more, which the network that they share shows without their help, or when the grace is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from manta.pod.settings import Role

#: A raylet that has not left so long after its grace is told again, which ends it at once, seconds.
_SLACK_S: Final = 5.0
#: Others must be seen gone for so long: a raylet may be about to dial again.
_GONE_S: Final = 0.5

#: In the kernel's tables of connections: established.
_ESTABLISHED: Final = "01"


class Ending:
    """One container's end.

    Args:
        role: What it is.
        grace_s: What a signal leaves to what runs, seconds.
    """

    def __init__(self, role: Role, grace_s: float) -> None:
        self._role, self._grace_s = role, grace_s
        self._told_at: float | None = None
        self._gone_since: float | None = None
        #: How often the server was told.
        self._passed = 0
        self._again = False

    @property
    def begun(self) -> bool:
        """A signal has come."""
        return self._told_at is not None

    def told(self, now: float) -> None:
        """A signal came. The second makes an end of waiting."""
        if self._told_at is None:
            self._told_at = now
        else:
            self._again = True

    def due(self, now: float, others: bool) -> bool:
        """Whether to tell the server now.

        Args:
            now: Monotonic.
            others: Somebody of this pod is connected to control.
        """
        if self._told_at is None:
            return False
        if self._again:
            self._again = False
            return self._pass_on()
        waited = now - self._told_at
        if self._role is Role.RAYLET and self._passed == 1 and waited >= self._grace_s + _SLACK_S:
            return self._pass_on()
        if self._passed:
            return False
        if self._role is not Role.CONTROL or waited >= self._grace_s:
            return self._pass_on()
        if others:
            self._gone_since = None
            return False
        if self._gone_since is None:
            self._gone_since = now
        return now - self._gone_since >= _GONE_S and self._pass_on()

    def _pass_on(self) -> bool:
        self._passed += 1
        return True


def loopback_peers(tables: Iterable[str], port: int) -> int:
    """How many connections to a port came from this very pod by loopback.

    Args:
        tables: /proc/net/tcp and tcp6 of the pod's network.
        port: Where control listens.
    """
    return sum(
        local[1] == port and state == _ESTABLISHED and _is_loopback(remote[0])
        for table in tables
        for local, remote, state in _rows(table)
    )


def _rows(table: str) -> Iterator[tuple[tuple[str, int], tuple[str, int], str]]:
    for line in table.splitlines()[1:]:
        words = line.split()
        if len(words) > 3:
            yield _end(words[1]), _end(words[2]), words[3]


def _end(text: str) -> tuple[str, int]:
    host, _, port = text.partition(":")
    return host, int(port, 16)


def _is_loopback(host: str) -> bool:
    """Of an address as the kernel writes it: each group of four bytes as a number of this machine, in hex."""
    last = host[-8:]
    if len(host) == 8 or host[:24] == "0000000000000000FFFF0000":
        return last.endswith("7F")
    return host[:24] == "0" * 24 and last == "01000000"
