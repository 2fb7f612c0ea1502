"""The arena's file, what the machine has left, and the thread between the allocator and both."""

import errno
import os
from queue import SimpleQueue

import pytest

from manta.raylet.objects import arena as arena_module
from manta.raylet.objects.arena import ArenaFile
from manta.raylet.objects.commands import (
    ExtentRefused,
    ExtentReserved,
    HolePunched,
    PunchHole,
    RangeWarmed,
    ReserveExtent,
    Warm,
)
from manta.raylet.objects.headroom import Headroom, headroom
from manta.raylet.objects.keeper import Keeper
from manta.shm.errors import ReservationError
from manta.shm.layout import MIB

SPAN = 64 * MIB


@pytest.fixture
def arena():
    arena = ArenaFile.create(SPAN, room=lambda: None)
    yield arena
    arena.close()


def test_an_arena_costs_nothing_until_a_range_is_reserved_and_nothing_after_it_was_given_back(arena):
    assert arena.resident_bytes() == 0
    arena.reserve(MIB, 2 * MIB)
    assert arena.resident_bytes() == 2 * MIB
    assert arena.warm(MIB, 2 * MIB)
    assert arena.resident_bytes() == 2 * MIB
    assert arena.give_back(MIB, MIB)
    assert arena.resident_bytes() == MIB


def test_nobody_who_holds_the_descriptor_can_cut_the_arena_short(arena):
    with pytest.raises(PermissionError):
        os.ftruncate(arena.fd, MIB)
    with pytest.raises(PermissionError):
        os.ftruncate(arena.fd, 2 * SPAN)


def test_memory_that_is_not_there_is_an_error_and_not_a_killed_process():
    with_little = ArenaFile.create(SPAN, room=lambda: Headroom(8 * MIB, "the pod's limit"))
    with_little.reserve(0, 7 * MIB)

    with pytest.raises(ReservationError, match="the pod's limit has no more to give") as caught:
        with_little.reserve(8 * MIB, 8 * MIB)
    assert (caught.value.size_bytes, caught.value.available_bytes) == (8 * MIB, 7 * MIB)
    assert with_little.resident_bytes() == 7 * MIB
    with_little.close()


def test_a_reservation_the_kernel_refuses_half_way_leaves_nothing(arena, monkeypatch):
    real = os.posix_fallocate

    def fallocate(fd, start, size):
        real(fd, start, size // 2)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(arena_module.os, "posix_fallocate", fallocate)
    with pytest.raises(ReservationError, match="No space left"):
        arena.reserve(0, 4 * MIB)
    assert arena.resident_bytes() == 0


@pytest.mark.parametrize(("start", "size"), [(1, 4096), (0, 100), (0, 0), (-4096, 4096), (SPAN, 4096)])
def test_only_whole_pages_of_the_arena_can_be_meant(arena, start, size):
    for method in (arena.reserve, arena.warm, arena.give_back):
        with pytest.raises(ValueError, match="whole pages"):
            method(start, size)


def files(root, **texts):
    for name, text in texts.items():
        path = root / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_the_tightest_limit_counts_and_droppable_cache_is_available(tmp_path):
    files(tmp_path, proc__meminfo="MemFree: 1 kB\nMemAvailable:  1000 kB\n", proc__self__cgroup="0::/pod/raylet\n")
    group = tmp_path / "cgroup"
    files(group, pod__memory_DOT_max="900000\n", pod__memory_DOT_current="500000\n")
    files(group, pod__memory_DOT_stat="anon 5\ninactive_file 1000\n")
    files(group, pod__raylet__memory_DOT_max="max\n", pod__raylet__memory_DOT_current="400000\n")

    assert headroom(tmp_path / "proc", group) == Headroom(401_000, f"the memory limit of {group / 'pod'}")
    files(group, pod__memory_DOT_max="max\n")
    assert headroom(tmp_path / "proc", group) == Headroom(1_024_000, "the machine's memory")


def test_older_control_groups_are_understood(tmp_path):
    files(tmp_path, proc__meminfo="", proc__self__cgroup="5:cpu:/x\n4:memory:/a/path/of/the/host\n")
    files(tmp_path / "cgroup", memory__memory_DOT_limit_in_bytes="1000\n", memory__memory_DOT_usage_in_bytes="1500\n")

    assert headroom(tmp_path / "proc", tmp_path / "cgroup").available_bytes == 0


def test_a_machine_that_says_nothing_limits_nothing(tmp_path):
    assert headroom(tmp_path, tmp_path) is None


def test_this_machine_has_some_memory():
    room = headroom()
    assert room is not None
    assert room.available_bytes > 0


def test_the_keeper_does_what_it_is_told_in_order_and_says_so(arena):
    said = SimpleQueue()
    with Keeper(arena, MIB, said.put) as keeper:
        keeper.perform([ReserveExtent(0, 2 * MIB, "a"), Warm(0, 2 * MIB, "b"), PunchHole(MIB, MIB, "c")])
        keeper.perform([ReserveExtent(4 * MIB, MIB, "d")])
        events = [said.get(timeout=10) for _ in range(5)]

    assert events == [
        ExtentReserved(0, MIB, "a"),
        ExtentReserved(MIB, MIB, "a"),
        RangeWarmed(0, 2 * MIB, "b"),
        HolePunched(MIB, MIB, "c"),
        ExtentReserved(4 * MIB, MIB, "d"),
    ]
    assert arena.resident_bytes() == 2 * MIB


def test_what_the_machine_refuses_is_reported_with_what_was_got_before():
    room = [Headroom(100 * MIB, "the machine's memory"), Headroom(0, "the machine's memory")]
    arena = ArenaFile.create(SPAN, room=lambda: room.pop(0))
    said = SimpleQueue()
    with Keeper(arena, MIB, said.put) as keeper:
        keeper.perform([ReserveExtent(0, 4 * MIB, "a")])
        assert said.get(timeout=10) == ExtentReserved(0, MIB, "a")
        refused = said.get(timeout=10)
    arena.close()

    assert refused[:2] == (MIB, 3 * MIB)
    assert isinstance(refused, ExtentRefused)
    assert "the machine's memory" in refused.reason


def test_a_report_that_fails_is_raised_where_the_keeper_ends(arena):
    def report(event):
        raise RuntimeError(f"cannot take {event}")

    with pytest.raises(RuntimeError, match="cannot take"), Keeper(arena, MIB, report) as keeper:
        keeper.perform([ReserveExtent(0, MIB, "a")])
        keeper._thread.join()
