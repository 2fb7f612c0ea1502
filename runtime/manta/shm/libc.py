"""The few C library calls behind the arena, with types and errno turned into OSError.

Python's `mmap` module is not used: it hides the address of a read-only mapping, and it cannot leave a mapping alone
while views of it live.
"""

import ctypes
import os
from typing import Final

PROT_READ: Final = 1
PROT_WRITE: Final = 2
_MAP_SHARED: Final = 1
_MAP_NORESERVE: Final = 0x4000

MADV_DONTFORK: Final = 10
MADV_DONTDUMP: Final = 16
MADV_POPULATE_READ: Final = 22
MADV_POPULATE_WRITE: Final = 23

_FALLOC_FL_KEEP_SIZE: Final = 1
_FALLOC_FL_PUNCH_HOLE: Final = 2

_libc = ctypes.CDLL(None, use_errno=True)
_mmap = _libc.mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64]
_munmap = _libc.munmap
_munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_madvise = _libc.madvise
_madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_fallocate = getattr(_libc, "fallocate64", None) or _libc.fallocate
_fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]

#: Of malloc's: bytes kept at the end of the heap, bytes by which it grows beyond need, size that gets a mapping of its own.
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3

_FAILED: Final = ctypes.c_void_p(-1).value


def map_shared(fd: int, size_bytes: int, protection: int) -> int:
    """Map the first `size_bytes` of `fd`. Returns the address. Raises OSError."""
    address = _mmap(None, size_bytes, protection, _MAP_SHARED | _MAP_NORESERVE, fd, 0)
    if address == _FAILED or address is None:
        raise _error()
    return int(address)


def unmap(address: int, size_bytes: int) -> None:
    """Undo `map_shared`. The caller knows that nothing points there any more."""
    _munmap(address, size_bytes)


def advise(address: int, size_bytes: int, advice: int) -> None:
    """`madvise`. Raises OSError: EINVAL when this kernel does not know the advice, ENOMEM or EFAULT without pages."""
    if _madvise(address, size_bytes, advice):
        raise _error()


def keep_freed(size_bytes: int) -> None:
    """Have malloc keep so much of what is freed, at most, instead of giving its pages back.

    For processes through which large values pass in parts: each part's pages would be asked for and cleared again. Where the C
    library has no such wish, nothing happens.
    """
    wish = getattr(_libc, "mallopt", None)
    if wish is not None:
        wish(_M_MMAP_THRESHOLD, size_bytes)
        wish(_M_TRIM_THRESHOLD, size_bytes)
        wish(_M_TOP_PAD, size_bytes // 4)


def punch_hole(fd: int, start: int, size_bytes: int) -> None:
    """Give the pages of a range back to the machine; its bytes read as zero afterwards. Raises OSError."""
    if _fallocate(fd, _FALLOC_FL_KEEP_SIZE | _FALLOC_FL_PUNCH_HOLE, start, size_bytes):
        raise _error()


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
