"""The arena itself: one memfd, made by the raylet, passed to its processes by descriptor.

One sparse file for the whole span, not one per extent: every process maps it once, an offset means the same everywhere, and
an object may lie across extents. Pages are reserved (`fallocate`), touched, and given back (a punched hole) by ranges; what
is not reserved costs addresses only. Nothing has a name: the last process that dies takes the memory with it, and a /dev/shm
of 64 MB, usual in containers, does not matter.

The file is sealed against shrinking and growing: a process that holds it cannot cut it short under the others' feet.
"""

import errno
import fcntl
import os
from collections.abc import Callable
from typing import Final

from manta.raylet.objects.headroom import Headroom, headroom
from manta.shm import libc
from manta.shm.client import Arena
from manta.shm.errors import ReservationError
from manta.shm.layout import MIB, PAGE_BYTES

#: Memory left to others: nothing is reserved that would leave less than this, or than this part of what is available.
_LEAVE_BYTES: Final = 256 * MIB
_LEAVE_SHARE: Final = 8

_MFD_NOEXEC_SEAL: Final = 8


class ArenaFile:
    """The node's shared memory.

    Attributes:
        fd: The memfd. Processes get a duplicate; whoever maps it may close theirs.
        span: Bytes of it; what processes map.
        mapping: The raylet's own view of it.
    """

    __slots__ = ("_headroom", "fd", "mapping", "span")

    def __init__(self, fd: int, span: int, room: Callable[[], Headroom | None]) -> None:
        self.fd, self.span, self._headroom = fd, span, room
        self.mapping = Arena.attach(fd, span)

    @classmethod
    def create(cls, span: int, *, room: Callable[[], Headroom | None] = headroom) -> "ArenaFile":
        """Make an arena with nothing reserved.

        Args:
            span: Bytes of addresses, a multiple of the page size.
            room: How much memory there is; asked before each reservation.

        Raises:
            ReservationError: This process may not make a file of that size.
            MappingError: It may not map it.
        """
        fd = _memfd()
        try:
            try:
                os.ftruncate(fd, span)
            except OSError as error:
                reason = f"{error.strerror} (see `ulimit -f`)" if error.errno == errno.EFBIG else str(error.strerror)
                raise ReservationError(span, None, reason) from error
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            return cls(fd, span, room)
        except BaseException:
            os.close(fd)
            raise

    def reserve(self, start: int, size: int) -> None:
        """Allocate the pages of a range; afterwards writing there cannot fail.

        Takes 30 ms per 64 MiB for memory the machine has used before. Safe to repeat.

        Raises:
            ReservationError: There is not enough memory. Nothing of the range is reserved.
        """
        self._check(start, size)
        room = self._headroom()
        if room is not None:
            left = room.available_bytes - min(_LEAVE_BYTES, room.available_bytes // _LEAVE_SHARE)
            if size > left:
                raise ReservationError(size, max(left, 0), f"{room.limit} has no more to give")
        try:
            os.posix_fallocate(self.fd, start, size)
        except OSError as error:
            # The kernel takes back what it had allocated; said again for file systems that do not.
            self._punch_quietly(start, size)
            raise ReservationError(size, None if room is None else room.available_bytes, str(error.strerror)) from error

    def warm(self, start: int, size: int) -> bool:
        """Touch the pages of a reserved range, without changing a byte: somebody may be writing there.

        The kernel zeroes a page when it is first touched; this takes that from the creator. False when it did not work.
        """
        self._check(start, size)
        return self.mapping.touch(start, size)

    def give_back(self, start: int, size: int) -> bool:
        """Give the pages of a range back to the machine. Nobody may be using it. False when the kernel refused."""
        self._check(start, size)
        return self._punch_quietly(start, size)

    def close(self) -> None:
        """Close the descriptor and make no more views. Views that live keep their memory. May be repeated."""
        self.mapping.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def resident_bytes(self) -> int:
        """Bytes of memory the file has now."""
        return os.fstat(self.fd).st_blocks * 512

    def _punch_quietly(self, start: int, size: int) -> bool:
        try:
            libc.punch_hole(self.fd, start, size)
        except OSError:
            return False
        return True

    def _check(self, start: int, size: int) -> None:
        if start < 0 or size <= 0 or start % PAGE_BYTES or size % PAGE_BYTES or start + size > self.span:
            raise ValueError(f"bytes {start} to {start + size} are not whole pages of an arena of {self.span} bytes")


def _memfd() -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        # Kernels from 6.3 can be told to refuse memfds without it.
        return os.memfd_create("manta-arena", flags | _MFD_NOEXEC_SEAL)
    except OSError:
        return os.memfd_create("manta-arena", flags)
