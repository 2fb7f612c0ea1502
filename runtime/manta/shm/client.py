"""A process's own mapping of its node's arena, and the views it hands out.

Two mappings of the same memory, each made once and for the whole capacity (addresses only; pages come when they are
used):

* one for reading (`PROT_READ`), behind every buffer user code gets to see. A write through it, even one that goes
  around Python, ends the process and changes nothing.
* one for writing, behind the views of a creator until it seals.

**Pins.** Python keeps a memoryview's exporter alive as long as any slice of it, or any array over it, lives. The
exporter of a read view is a ctypes array over the mapping; when it goes, its pin is appended to `Arena.released`,
nothing else, because that can happen in any thread, in a garbage collection, in the middle of anything. (A finalizer
on the memoryview itself fires while a slice of it still lives: measured on CPython 3.11.) The exporter also holds the
mapping, so that memory is unmapped after the last view is gone and never earlier, `close()` included.

**Fork.** A child of a process that holds an arena inherits the read mapping: what its parent has pinned it can go on
reading, as forking libraries expect, for as long as the parent keeps it. It does not inherit the writable mapping
(MADV_DONTFORK): a write through a creator's view in the child is a fault in the child and not corruption in
everybody. Its `Arena` refuses to make views and never reports a pin; a child that wants objects of its own joins the
node as a process of its own.
"""

import ctypes
import os
import weakref
from collections import deque
from typing import Any, Final

from manta.shm import libc
from manta.shm.errors import ArenaClosedError, MappingError
from manta.shm.layout import PAGE_BYTES

#: Page tables are filled, and remembered as filled, in steps of this.
_WARM_STEP: Final = 2 << 20

#: Array types are made per size, at 36 us each; this many are kept.
_KEPT_TYPES: Final = 256


class _Mapping:
    """One mapping of the arena; unmapped when the last who holds it lets go."""

    __slots__ = ("_owner_pid", "address", "size_bytes")

    def __init__(self, fd: int, size_bytes: int, *, writable: bool) -> None:
        protection = libc.PROT_READ | libc.PROT_WRITE if writable else libc.PROT_READ
        self.size_bytes = size_bytes
        #: A writable mapping is not there in a forked child, whose addresses may hold something else by then.
        self._owner_pid = os.getpid() if writable else 0
        self.address = libc.map_shared(fd, size_bytes, protection)
        _try_advise(self.address, size_bytes, libc.MADV_DONTDUMP)
        if writable:
            libc.advise(self.address, size_bytes, libc.MADV_DONTFORK)

    # Defaults, not globals: this may run while the interpreter takes modules apart.
    def __del__(self, unmap: Any = libc.unmap, getpid: Any = os.getpid) -> None:
        address = getattr(self, "address", None)
        if address is not None and self._owner_pid in (0, getpid()):
            unmap(address, self.size_bytes)


class _Reading:
    """Mixed into array types: the exporter of a read view."""

    __slots__ = ()
    mapping: _Mapping
    pin: object
    released: "deque[object]"

    def __del__(self) -> None:
        self.released.append(self.pin)


class Arena:
    """A node's shared memory, as this process sees it.

    Attributes:
        capacity: Bytes mapped.
        released: Pins whose last view is gone, oldest first. The process's service thread takes them out (`drain`).
    """

    __slots__ = ("__weakref__", "_forked", "_read", "_read_types", "_warm", "_whole", "_write", "capacity", "released")

    def __init__(self, read: _Mapping, write: _Mapping, capacity: int) -> None:
        self._read: _Mapping | None = read
        self._write: _Mapping | None = write
        #: The whole writable mapping; views of creators are slices of it and keep it, as they count no pins.
        self._whole: memoryview | None = _exported(write)
        self._read_types: dict[int, Any] = {}
        self.capacity = capacity
        self.released: deque[object] = deque()
        self._forked = False
        #: One byte per `_WARM_STEP` of the writable mapping: 1 when this process has filled that part's page tables.
        #: A hint: the raylet may give pages back behind our back, and then writing is slower, not wrong.
        self._warm = bytearray(-(-capacity // _WARM_STEP))
        _arenas.add(self)

    @classmethod
    def attach(cls, fd: int, capacity: int) -> "Arena":
        """Map the arena behind `fd`.

        Args:
            fd: The raylet's memfd. Only read here: the caller closes it, at once if it likes.
            capacity: Bytes to map, as the raylet said.

        Raises:
            MappingError: Not an arena of that size, or this process may not map that much.
        """
        there = os.fstat(fd).st_size
        if capacity <= 0 or capacity % PAGE_BYTES or there < capacity:
            raise MappingError(capacity, f"the descriptor holds {there} bytes; pass the arena's own size")
        try:
            return cls(_Mapping(fd, capacity, writable=False), _Mapping(fd, capacity, writable=True), capacity)
        except OSError as error:
            raise MappingError(
                capacity, f"{error.strerror}; it takes twice that of address space (see `ulimit -v`), not of memory"
            ) from error

    def create_view(self, offset: int, size: int) -> memoryview:
        """A writable view of a range this process was given to create an object in.

        Args:
            offset: A multiple of 64, as the raylet or a block said.
            size: Bytes; 0 is an empty view.

        Ownership:
            The caller writes, calls `release()` on it, and only then seals. It keeps the mapping, not the range: a
            range that was sealed or aborted belongs to someone else.

        Raises:
            ArenaClosedError: `close` was called, or this is a forked child.
            ValueError: Outside of the arena.
        """
        whole = self._whole
        if whole is None:
            raise self._closed()
        self._check(offset, size)
        return whole[offset : offset + size]

    def read_view(self, offset: int, size: int, pin: object) -> memoryview:
        """A read-only view of a sealed object that is pinned for this process.

        Args:
            offset: Where it is, a multiple of 64.
            size: Its bytes.
            pin: What stands in `released` once the last view of it is gone: usually the object's id.

        Returns:
            A view that nothing makes writable: an array over it raises ValueError on writing.

        Ownership:
            Exactly one `pin` per call appears in `released`, when this view, all its slices and all arrays over them
            are gone. A view of no bytes pins nothing after the call: its pin is there at once.

        Raises:
            ArenaClosedError: `close` was called, or this is a forked child. The pin is not in `released`.
            ValueError: Outside of the arena. The pin is not in `released`.
        """
        mapping = self._read
        if mapping is None or self._forked:
            raise self._closed()
        self._check(offset, size)
        if not size:
            self.released.append(pin)
            return memoryview(b"")
        kind = self._read_types.get(size)
        if kind is None:
            kind = self._read_type(size)
        exporter = kind.from_address(mapping.address + offset)
        exporter.released = self.released
        exporter.pin = pin
        exporter.mapping = mapping
        return memoryview(exporter).cast("B").toreadonly()

    def warm(self, offset: int, size: int) -> None:
        """Fill the writable mapping's page tables for a range this process is about to write.

        Writing does that too, page by page: 1 MB of allocated but unmapped pages copies at 2.2 GB/s, and at 11 after
        this, which itself runs at 4. What was filled before costs nothing. The GIL is free meanwhile. Meant for
        blocks and large objects: below 2 MiB it does nothing. Only pages that hold bytes of the range are touched:
        those beside it may not be reserved.
        """
        mapping = self._write
        if mapping is None:
            return
        first, after = -(-offset // _WARM_STEP), (offset + size) // _WARM_STEP
        if first >= after or self._warm.find(0, first, after) < 0:
            return
        start, end = offset & -PAGE_BYTES, (offset + size + PAGE_BYTES - 1) & -PAGE_BYTES
        if _try_advise(mapping.address + start, end - start, libc.MADV_POPULATE_WRITE):
            self._warm[first:after] = b"\1" * (after - first)

    def touch(self, offset: int, size: int) -> bool:
        """Have the kernel make every page of a reserved range ready, whoever writes there; no byte changes.

        Returns:
            Whether it worked. Before Linux 5.14 pages are touched by reading one byte of each, in the caller's time.
        """
        write, read = self._write, self._read
        if write is None or read is None:
            return False
        self._check(offset, size)
        if _try_advise(write.address + offset, size, libc.MADV_POPULATE_WRITE):
            return True
        pages = (ctypes.c_ubyte * size).from_address(read.address + offset)
        bytes(memoryview(pages)[::PAGE_BYTES])
        return True

    def drain(self) -> list[object]:
        """Take out the pins released so far, oldest first. Empty in a forked child: the pins are its parent's."""
        released = self.released
        if self._forked:
            released.clear()
            return []
        taken: list[object] = []
        # Not `list(released)` and `clear()`: a finalizer may append between the two.
        while released:
            taken.append(released.popleft())
        return taken

    def close(self) -> None:
        """Make no more views. Those that live keep their memory, unmapped after the last of them. May be repeated."""
        self._read = self._write = self._whole = None

    def _read_type(self, size: int) -> Any:
        if len(self._read_types) >= _KEPT_TYPES:
            self._read_types.clear()
        namespace = {"__slots__": ("mapping", "pin", "released")}
        kind = self._read_types[size] = type("Exporter", (_Reading, ctypes.c_ubyte * size), namespace)
        return kind

    def _check(self, offset: int, size: int) -> None:
        if offset < 0 or size < 0 or offset + size > self.capacity or offset % 64:
            raise ValueError(
                f"no object can be at offset {offset} with {size} bytes: "
                f"the arena has {self.capacity} bytes and objects start at multiples of 64"
            )

    def _closed(self) -> ArenaClosedError:
        if self._forked:
            return ArenaClosedError(
                "this process was forked from one that had joined a node; call init() to join as well"
            )
        return ArenaClosedError("this process has left its node; call init() to join one")

    def _after_fork(self) -> None:
        self._forked = True
        self._write = self._whole = None
        self.released.clear()


def _exported(mapping: _Mapping) -> memoryview:
    exporter: Any = (ctypes.c_ubyte * mapping.size_bytes).from_address(mapping.address)
    exporter.mapping = mapping  # a ctypes instance has a dict: the mapping lives as long as any slice
    return memoryview(exporter).cast("B")


def _try_advise(address: int, size_bytes: int, advice: int) -> bool:
    """Whether the kernel took the advice; MADV_POPULATE_* needs 5.14."""
    try:
        libc.advise(address, size_bytes, advice)
    except OSError:
        return False
    return True


_arenas: "weakref.WeakSet[Arena]" = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for arena in list(_arenas):
        arena._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
