"""Copies into the arena: small ones plain, larger ones without the GIL, large ones on two threads.

Measured on a 2-core x86-64 VM, CPython 3.11, pages warm:

======= ======= ======= ===========
bytes   slice   memmove two threads
======= ======= ======= ===========
4 KiB   0.5 us  4 us
64 KiB  2.3 us  8 us
256 KiB 11 us   14 us
1 MiB   36 us   40 us   75 us
16 MiB          1.4 ms  1.5 ms
64 MiB          6.6 ms  5.9 ms
1 GiB           97 ms   54-88 ms
======= ======= ======= ===========

A slice assignment holds the GIL, which at 11 us nobody notices and at 800 MB stalled another thread for more than a
second. Giving the GIL up is not free either: a thread that wants it back may wait for the 5 ms switch interval. So
the borders are where the copy is long enough for that to be the better trade, and a large copy goes in few pieces.
"""

import ctypes
import itertools
import os
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

from manta.core.signals import leave_signals_to_main

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer

#: From here on the GIL is given up during the copy.
WITHOUT_GIL_BYTES: Final = 256 << 10

#: From here on a second thread takes part.
TWO_THREADS_BYTES: Final = 16 << 20

#: A large copy is cut into at most this many pieces, none smaller than the second number. Whichever thread is free
#: takes the next one, so a helper that the machine does not schedule costs one piece at most; every piece costs one
#: return to the GIL.
_PIECES: Final = 8
_MIN_PIECE_BYTES: Final = 8 << 20


class _PyBuffer(ctypes.Structure):
    """`Py_buffer`: the only way to the address of a read-only buffer without numpy."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


_PYBUF_SIMPLE: Final = 0
_PYBUF_WRITABLE: Final = 1
_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = [ctypes.py_object, ctypes.POINTER(_PyBuffer), ctypes.c_int]
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = [ctypes.POINTER(_PyBuffer)]
_release_buffer.restype = None
_memmove = ctypes.memmove  # a CFUNCTYPE: it gives the GIL up while it runs


def copy(dst: memoryview, src: "Buffer") -> None:
    """Copy all of `src` to `dst`.

    Args:
        dst: Writable, contiguous, as many bytes as `src`.
        src: Any contiguous buffer, in C or Fortran order, of any item type.

    Raises:
        ValueError: The two differ in size; nothing was written.
        BufferError: One of them is not contiguous, or `dst` is read-only.
    """
    source = memoryview(src)
    if source.format != "B" or source.ndim != 1 or not source.c_contiguous:
        source = _flat(source)
    size = source.nbytes
    if size != dst.nbytes:
        raise ValueError(f"cannot copy {size} bytes into a range of {dst.nbytes}: both must have the same size")
    if size < WITHOUT_GIL_BYTES:
        if dst.readonly:
            raise BufferError("cannot copy into a read-only buffer: pass the creator's writable view")
        if dst.format != "B" or dst.ndim != 1:
            dst = dst.cast("B")
        dst[:] = source
        return
    to, origin = _PyBuffer(), _PyBuffer()
    _get_buffer(dst, ctypes.byref(to), _PYBUF_WRITABLE)
    try:
        _get_buffer(source, ctypes.byref(origin), _PYBUF_SIMPLE)
        try:
            if size < TWO_THREADS_BYTES:
                _memmove(to.buf, origin.buf, size)
            else:
                _copy_in_pieces(to.buf, origin.buf, size)
        finally:
            _release_buffer(ctypes.byref(origin))
    finally:
        _release_buffer(ctypes.byref(to))


def _flat(source: memoryview) -> memoryview:
    """The same bytes in one dimension, as they lie in memory. What serde hands over is flat already, so a copy here is nobody's.

    `pickle.PickleBuffer` could do without one; but processes that never unpickle copy too, and have no way to `pickle`.
    """
    if not source.contiguous:
        raise BufferError("cannot copy from a buffer with gaps: pass one that is contiguous")
    return memoryview(source.tobytes("A"))


class _Job:
    """One large copy: pieces that two threads take until none is left."""

    __slots__ = ("_helping", "_next", "_origin", "_piece", "_size", "_to")

    def __init__(self, to: int, origin: int, size: int) -> None:
        self._to, self._origin, self._size = to, origin, size
        # Whole pages, so that no page is written by both.
        self._piece = max(_MIN_PIECE_BYTES, -(-size // _PIECES) + 4095 & -4096)
        #: `next` on it is atomic: every piece is taken once.
        self._next: Iterator[int] = itertools.count()
        #: Held by the helper while it may write.
        self._helping = threading.Lock()

    def run(self) -> None:
        """Take pieces until none is left. The helper may still be writing its last one."""
        while (start := next(self._next) * self._piece) < self._size:
            _memmove(self._to + start, self._origin + start, min(self._piece, self._size - start))

    def help(self) -> None:
        """What the helper does with it; nothing when it comes too late."""
        with self._helping:
            self.run()

    def end(self) -> None:
        """Return when the helper does not write any more, and see to it that it never will.

        The buffers are released right after this, so it holds under a signal handler that raises as well: the
        exception is kept until the helper is done.
        """
        self._size = 0
        raised: BaseException | None = None
        while True:
            try:
                with self._helping:
                    break
            except BaseException as error:  # noqa: BLE001 - raised below, once nobody writes
                raised = error
        if raised is not None:
            raise raised


def _copy_in_pieces(to: int, origin: int, size: int) -> None:
    job = _Job(to, origin, size)
    try:
        _helper_queue().put(job)
        job.run()
    finally:
        job.end()


#: Where the helper takes jobs from; None until the first large copy, and again in a forked child, which has no helper.
_jobs: "SimpleQueue[_Job | None] | None" = None
_starting = threading.Lock()


def _helper_queue() -> "SimpleQueue[_Job | None]":
    global _jobs
    if _jobs is not None:
        return _jobs
    with _starting:
        if _jobs is None:
            jobs: SimpleQueue[_Job | None] = SimpleQueue()
            threading.Thread(target=_help, args=(jobs,), name="manta-copy", daemon=True).start()
            _jobs = jobs
        return _jobs


def _help(jobs: "SimpleQueue[_Job | None]") -> None:
    leave_signals_to_main()
    while (job := jobs.get()) is not None:
        job.help()
        job = None  # else the thread would keep the last one while it waits


def end_helper() -> None:
    """Let the helper end after what it is at. A copy that comes later is done by its own thread, or starts another helper."""
    global _jobs
    with _starting:
        jobs, _jobs = _jobs, None
    if jobs is not None:
        jobs.put(None)


def _after_fork_in_child() -> None:
    global _jobs, _starting
    _jobs, _starting = None, threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
