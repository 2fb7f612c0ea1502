"""Copies: every size goes through its own path and all of them copy."""

import os
import threading

import pytest

from manta.shm import copy as copying
from manta.shm.copy import TWO_THREADS_BYTES, WITHOUT_GIL_BYTES, copy

SIZES = [
    0,
    1,
    1000,
    WITHOUT_GIL_BYTES - 1,
    WITHOUT_GIL_BYTES,
    WITHOUT_GIL_BYTES + 77,
    TWO_THREADS_BYTES,
    TWO_THREADS_BYTES + 12345,
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_byte_arrives_and_none_beside_it_changes(size, kind):
    source = os.urandom(min(size, 5000)) * (size // 5000 + 1)
    source = source[:size]
    target = bytearray(b"\xee" * (size + 128))

    copy(memoryview(target)[64 : 64 + size], kind(source))
    assert target == b"\xee" * 64 + source + b"\xee" * 64


@pytest.mark.parametrize("size", [80, WITHOUT_GIL_BYTES])
def test_arrays_of_any_type_and_order_are_copied_as_they_lie_in_memory(size):
    numpy = pytest.importorskip("numpy")
    array = numpy.asfortranarray(numpy.arange(size, dtype="int64").reshape(8, -1))
    target = bytearray(array.nbytes)

    copy(memoryview(target), array)
    assert target == array.tobytes(order="A")


@pytest.mark.parametrize("size", SIZES[2:])
def test_sizes_that_differ_are_refused_before_anything_is_written(size):
    target = bytearray(size + 1)

    with pytest.raises(ValueError, match="same size"):
        copy(memoryview(target), b"\1" * size)
    assert not any(target)


@pytest.mark.parametrize("size", SIZES[1:])
def test_a_read_only_target_is_refused(size):
    with pytest.raises(BufferError):
        copy(memoryview(bytes(size)), b"\1" * size)


@pytest.mark.parametrize("size", [100, WITHOUT_GIL_BYTES])
def test_a_source_with_gaps_is_refused(size):
    with pytest.raises(BufferError):
        copy(memoryview(bytearray(size)), memoryview(bytes(2 * size))[::2])


def test_copies_of_several_threads_at_once_all_arrive():
    """They share one helper."""
    sources = [bytes([number]) * TWO_THREADS_BYTES for number in range(4)]
    targets = [bytearray(TWO_THREADS_BYTES) for _ in sources]
    threads = [
        threading.Thread(target=copy, args=(memoryview(target), source))
        for target, source in zip(targets, sources, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert targets == sources


def test_an_exception_in_the_middle_of_a_copy_leaves_nobody_writing(monkeypatch):
    """A signal handler may raise between two pieces: when `copy` is over, the target may be freed."""
    real, writing = copying._memmove, threading.Lock()
    main = threading.current_thread()
    helping, go_on = threading.Event(), threading.Event()

    def memmove(*arguments):
        if threading.current_thread() is main:
            assert helping.wait(10)
            go_on.set()
            raise KeyboardInterrupt
        with writing:
            helping.set()
            assert go_on.wait(10)
            real(*arguments)

    monkeypatch.setattr(copying, "_memmove", memmove)
    with pytest.raises(KeyboardInterrupt):
        copy(memoryview(bytearray(8 * TWO_THREADS_BYTES)), bytes(8 * TWO_THREADS_BYTES))
    assert not writing.locked()
