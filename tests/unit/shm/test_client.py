"""A process's mapping: what is read-only, what a pin is, when memory goes."""

import gc
import os
from pathlib import Path

import pytest

from manta.shm.client import Arena
from manta.shm.errors import ArenaClosedError, MappingError
from manta.shm.layout import MIB

SIZE = 16 * MIB


@pytest.fixture
def fd():
    number = os.memfd_create("test")
    os.ftruncate(number, SIZE)
    yield number
    os.close(number)


@pytest.fixture
def arena(fd):
    arena = Arena.attach(fd, SIZE)
    yield arena
    arena.close()


def mapped():
    """Bytes this process has mapped of memfds of this test."""
    total = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "memfd:test" in line:
            low, high = line.split()[0].split("-")
            total += int(high, 16) - int(low, 16)
    return total


def write(arena, offset, data):
    view = arena.create_view(offset, len(data))
    view[:] = data
    view.release()


def test_what_a_creator_writes_a_reader_sees_without_a_copy(arena):
    write(arena, 128, b"hello")
    view = arena.read_view(128, 5, "pin")

    assert bytes(view) == b"hello"
    write(arena, 128, b"HELLO")
    assert bytes(view) == b"HELLO"


def test_a_pin_is_released_once_when_the_last_slice_is_gone(arena):
    view = arena.read_view(64, 1000, "pin")
    part = view[10:20][2:4]
    view.release()
    del view
    gc.collect()

    assert arena.drain() == []
    del part
    assert arena.drain() == ["pin"]
    assert arena.drain() == []


def test_an_array_over_a_slice_keeps_the_pin(arena):
    numpy = pytest.importorskip("numpy")
    view = arena.read_view(0, 8000, "pin")
    array = numpy.frombuffer(view[800:], dtype="float64").reshape(9, 100)[1:, ::2]
    del view
    gc.collect()

    assert arena.drain() == []
    del array
    assert arena.drain() == ["pin"]


def test_pins_are_released_in_order_and_each_view_has_its_own(arena):
    views = [arena.read_view(0, 100, number) for number in range(3)]
    del views[1]
    del views[0]

    assert arena.drain() == [1, 0]
    del views[0]
    assert arena.drain() == [2]


def test_nothing_makes_a_read_view_writable(arena):
    numpy = pytest.importorskip("numpy")
    view = arena.read_view(0, 800, "pin")
    array = numpy.frombuffer(view, dtype="float64")

    assert view.readonly
    with pytest.raises(TypeError):
        view[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1.0
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True


def test_objects_are_at_cache_lines_in_memory_too(arena):
    numpy = pytest.importorskip("numpy")
    for offset in (0, 64, 192):
        array = numpy.frombuffer(arena.read_view(offset, 64, "pin"), dtype="uint8")
        assert array.ctypes.data % 64 == 0


def test_an_object_of_no_bytes_pins_nothing(arena):
    view = arena.read_view(64, 0, "pin")

    assert bytes(view) == b""
    assert arena.drain() == ["pin"]
    assert len(arena.create_view(64, 0)) == 0


@pytest.mark.parametrize(("offset", "size"), [(-64, 10), (SIZE, 1), (SIZE - 64, 65), (1, 10), (0, -1)])
def test_ranges_outside_are_refused_and_pin_nothing(arena, offset, size):
    with pytest.raises(ValueError, match="no object can be at"):
        arena.read_view(offset, size, "pin")
    with pytest.raises(ValueError, match="no object can be at"):
        arena.create_view(offset, size)
    assert arena.drain() == []


def test_closing_keeps_what_is_read_and_unmaps_after_the_last_view(fd):
    before = mapped()
    arena = Arena.attach(fd, SIZE)
    write(arena, 0, b"still here")
    view = arena.read_view(0, 10, "pin")[6:]
    assert mapped() == before + 2 * SIZE
    arena.close()
    arena.close()
    gc.collect()

    assert mapped() == before + SIZE  # the writable mapping is gone
    assert bytes(view) == b"here"
    del view
    gc.collect()
    assert mapped() == before
    assert arena.drain() == ["pin"]
    with pytest.raises(ArenaClosedError, match="init"):
        arena.read_view(0, 10, "pin")
    with pytest.raises(ArenaClosedError, match="init"):
        arena.create_view(0, 10)


def test_the_descriptor_may_be_closed_once_it_is_mapped():
    number = os.memfd_create("test")
    os.ftruncate(number, SIZE)
    arena = Arena.attach(number, SIZE)
    os.close(number)

    write(arena, 0, b"x")
    assert bytes(arena.read_view(0, 1, "pin")) == b"x"
    arena.close()


@pytest.mark.parametrize("size", [0, -4096, 4097, SIZE + 4096])
def test_a_file_of_another_size_is_refused(fd, size):
    with pytest.raises(MappingError, match=str(SIZE)):
        Arena.attach(fd, size)


def test_warming_changes_no_byte_and_touches_no_page_beside(fd, arena):
    write(arena, MIB + 64, b"kept")
    arena.warm(MIB, 5 * MIB)
    assert os.fstat(fd).st_blocks * 512 == 5 * MIB
    assert bytes(arena.read_view(MIB + 64, 4, "pin")) == b"kept"
    assert arena.touch(8 * MIB, MIB)
    assert os.fstat(fd).st_blocks * 512 == 6 * MIB


def test_views_of_many_sizes_do_not_pile_up_types(arena):
    for size in range(1, 2000):
        arena.read_view(0, size, size)

    assert len(arena._read_types) <= 256
    assert arena.drain() == list(range(1, 2000))
