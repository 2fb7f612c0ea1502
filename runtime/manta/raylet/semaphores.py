"""Semaphores of leases whose owners live on other nodes: one token per task that is with the worker and has not begun.

A descriptor does not travel between machines, so the raylet keeps it for the owner, hands it to the worker with the connection
that the lease is served on, and takes tokens back when the owner asks: the worker's cooperation is not needed for that.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from manta.raylet.scheduling.records import Lease


class Semaphores:
    """By lease.

    Args:
        lease: A lease that is out; None for one that is not.
    """

    def __init__(self, lease: Callable[[int], Lease | None]) -> None:
        self._lease = lease
        self._fds: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._fds)

    def of(self, lease_id: int, worker_id: bytes) -> int | None:
        """The semaphore of a lease of that worker, made when first asked for; None when there is no such lease. It stays ours."""
        lease = self._lease(lease_id)
        if lease is None or lease.worker_id != worker_id or lease.actor is not None:
            return None
        fd = self._fds.get(lease_id)
        if fd is None:
            self.sweep()
            fd = self._fds[lease_id] = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK | os.EFD_SEMAPHORE)
        return fd

    def take(self, owner: bytes, lease_id: int, count: int) -> int:
        """Take up to `count` tokens for the lease's owner; how many there were."""
        lease = self._lease(lease_id)
        if lease is None or lease.owner != owner:
            return 0
        return self._take(lease_id, count)

    def _take(self, lease_id: int, count: int) -> int:
        fd = self._fds.get(lease_id)
        taken = 0
        if fd is not None:
            try:
                while taken < count:
                    os.eventfd_read(fd)
                    taken += 1
            except BlockingIOError:
                pass
        return taken

    def end(self, lease_id: int) -> int:
        """The lease is over; how many tasks had surely not begun."""
        left = self._take(lease_id, 1 << 31)
        fd = self._fds.pop(lease_id, None)
        if fd is not None:
            os.close(fd)
        return left

    def sweep(self) -> None:
        """Close those of leases that are over."""
        for lease_id in [lease_id for lease_id in self._fds if self._lease(lease_id) is None]:
            self.end(lease_id)

    def close(self) -> None:
        """Close all."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()
