"""Semaphores of leases whose owners live on other nodes: one token per task that is with the worker and has not begun.

A descriptor does not travel between machines, so the raylet keeps it for the owner, hands it to the worker with the connection
that the lease is served on, and takes tokens back when the owner asks: the worker's cooperation is not needed for that. Beside
it is a counter of the tasks that the worker has read: with what was taken and what is left it says, when the worker is dead, how
many were begun.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from manta.raylet.scheduling.records import Lease


class _Tokens:
    __slots__ = ("read", "semaphore", "taken")

    def __init__(self) -> None:
        self.semaphore = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK | os.EFD_SEMAPHORE)
        #: Tasks that the worker has read.
        self.read = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        #: Tokens taken back.
        self.taken = 0

    def take(self, most: int) -> int:
        taken = 0
        try:
            while taken < most:
                os.eventfd_read(self.semaphore)
                taken += 1
        except BlockingIOError:
            pass
        return taken

    def close(self) -> int:
        """Close both; how many tasks were begun."""
        left = self.take(1 << 31)
        try:
            read = os.eventfd_read(self.read)
        except BlockingIOError:
            read = 0
        os.close(self.semaphore)
        os.close(self.read)
        return max(0, read - self.taken - left)


class Semaphores:
    """By lease.

    Args:
        lease: A lease that is out; None for one that is not.
    """

    def __init__(self, lease: Callable[[int], Lease | None]) -> None:
        self._lease = lease
        self._tokens: dict[int, _Tokens] = {}

    def __len__(self) -> int:
        return len(self._tokens)

    def of(self, lease_id: int, worker_id: bytes) -> tuple[int, int] | None:
        """The semaphore of a lease of that worker and its counter of tasks read, made when first asked for; None when there is no
        such lease. They stay ours.
        """
        lease = self._lease(lease_id)
        if lease is None or lease.worker_id != worker_id or lease.actor is not None:
            return None
        tokens = self._tokens.get(lease_id)
        if tokens is None:
            self.sweep()
            tokens = self._tokens[lease_id] = _Tokens()
        return tokens.semaphore, tokens.read

    def take(self, owner: bytes, lease_id: int, count: int) -> int:
        """Take up to `count` tokens for the lease's owner; how many there were."""
        lease = self._lease(lease_id)
        tokens = self._tokens.get(lease_id)
        if lease is None or lease.owner != owner or tokens is None:
            return 0
        taken = tokens.take(count)
        tokens.taken += taken
        return taken

    def end(self, lease_id: int) -> int:
        """The lease is over; how many of its tasks were begun."""
        tokens = self._tokens.pop(lease_id, None)
        return 0 if tokens is None else tokens.close()

    def sweep(self) -> None:
        """Close those of leases that are over."""
        for lease_id in [lease_id for lease_id in self._tokens if self._lease(lease_id) is None]:
            self.end(lease_id)

    def close(self) -> None:
        """Close all."""
        for lease_id in list(self._tokens):
            self.end(lease_id)
