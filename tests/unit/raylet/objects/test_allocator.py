"""Ranges of the arena: what is promised, and that the clever way and the obvious way agree."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from manta.raylet.objects.allocator import Allocator
from manta.raylet.objects.commands import PunchHole, ReserveExtent, Warm
from manta.shm.layout import MIB, PAGE_BYTES, aligned

EXTENT = 8 * PAGE_BYTES


def make(extents=4, *, span=None, margin=0, idle_s=30.0, present=None):
    """An arena of that many extents, all of them (or `present`) there and never touched."""
    allocator = Allocator(extents * EXTENT, span=span and span * EXTENT, extent=EXTENT, margin=margin, idle_s=idle_s)
    present = extents if present is None else present
    if present:
        commands = allocator.grow(present * EXTENT, now=0.0, cause="test")
        assert commands == [ReserveExtent(0, present * EXTENT, "test")]
        allocator.reserved(0, present * EXTENT, now=0.0)
    return allocator


def test_an_empty_arena_has_no_room_until_an_extent_was_reserved():
    allocator = Allocator(4 * EXTENT, extent=EXTENT)

    assert allocator.allocate(100, "a") is None
    assert allocator.grow(100, now=0.0, cause="c") == [ReserveExtent(0, EXTENT, "c")]
    assert allocator.allocate(100, "a") is None
    assert allocator.grow(100, now=0.0, cause="d") == []  # on its way
    allocator.reserved(0, EXTENT, now=0.1)
    assert allocator.allocate(100, "a") == 0


def test_offsets_are_cache_lines_and_an_empty_object_has_a_place_of_its_own():
    allocator = make(1)

    assert [allocator.allocate(size, "a") for size in (0, 1, 65, 64)] == [0, 64, 128, 256]
    allocator.validate()


def test_the_smallest_free_range_that_has_room_is_taken():
    allocator = make(1)
    offsets = [allocator.allocate(size, "a") for size in (1024, 64, 256, 64, 512, 64)]
    for offset, size in ((offsets[0], 1024), (offsets[2], 256), (offsets[4], 512)):
        allocator.free(offset, size, "a", now=1.0)
    allocator.forget("a")

    assert allocator.allocate(300, "b") == offsets[4]


def test_a_client_gets_back_the_very_range_it_freed():
    """A second put of a large array must land on the pages that this process has mapped."""
    allocator = make(4)
    small = allocator.allocate(EXTENT // 2, "other")
    large = allocator.allocate(2 * EXTENT, "a")
    allocator.free(small, EXTENT // 2, "other", now=1.0)
    allocator.free(large, 2 * EXTENT, "a", now=1.0)

    assert len(allocator.free_ranges()) == 1
    assert allocator.allocate(2 * EXTENT, "a") == large
    allocator.validate()


def test_small_objects_freed_next_to_each_other_are_one_range_for_their_client():
    allocator = make(4)
    allocator.allocate(640, "other")
    offsets = [allocator.allocate(1024, "a") for _ in range(16)]
    for offset in reversed(offsets):
        allocator.free(offset, 1024, "a", now=1.0)

    assert len(allocator.free_ranges()) == 1
    assert allocator.allocate(16 * 1024, "a") == offsets[0]


def test_what_a_client_freed_and_another_took_is_not_handed_out_twice():
    allocator = make(1)
    first = allocator.allocate(EXTENT, "a")
    allocator.free(first, EXTENT, "a", now=1.0)

    assert allocator.allocate(1024, "b") == 0
    assert allocator.allocate(1024, "a") == 1024
    allocator.validate()


def test_touched_ranges_are_preferred_to_never_touched_ones_of_similar_size():
    allocator = make(4, present=1)
    touched = allocator.allocate(EXTENT, "a")
    assert allocator.grow(EXTENT, now=0.0, cause="c") == [ReserveExtent(EXTENT, EXTENT, "c")]
    allocator.reserved(EXTENT, EXTENT, now=0.0)
    fence = allocator.allocate(64, "b")  # keeps the touched range from joining the untouched one
    assert fence == EXTENT
    allocator.free(touched, EXTENT, "a", now=0.0)
    allocator.forget("a")
    # By size alone the untouched range, an extent less 64 bytes, would be the better fit.
    assert allocator.allocate(1024, "c") == touched
    allocator.validate()


def test_an_object_over_several_extents_uses_what_is_free_before_them():
    allocator = make(4, present=1)
    allocator.allocate(EXTENT // 2, "a")

    assert allocator.grow(2 * EXTENT, now=0.0, cause="c") == [ReserveExtent(EXTENT, 2 * EXTENT, "c")]
    allocator.reserved(EXTENT, EXTENT, now=0.0)  # in parts, as they come
    assert allocator.allocate(2 * EXTENT, "a") is None
    allocator.reserved(2 * EXTENT, EXTENT, now=0.0)
    assert allocator.allocate(2 * EXTENT, "a") == EXTENT // 2
    allocator.validate()


def test_nothing_grows_beyond_the_capacity():
    allocator = make(2)
    allocator.allocate(2 * EXTENT, "a")

    assert allocator.grow(64, now=0.0, cause="c") is None
    assert allocator.grow(3 * EXTENT, now=0.0, cause="c") is None


def test_a_wide_span_gives_a_large_object_a_place_in_a_fragmented_store():
    """Two extents are unused but apart; given up, they are capacity for two that are neighbours elsewhere."""
    allocator = make(4, span=8)
    offsets = [allocator.allocate(EXTENT, "a") for _ in range(4)]
    for offset in (offsets[0], offsets[2]):
        allocator.free(offset, EXTENT, "a", now=1.0)

    commands = allocator.grow(2 * EXTENT, now=2.0, cause="c")
    assert commands == [
        PunchHole(0, EXTENT, "c"),
        PunchHole(2 * EXTENT, EXTENT, "c"),
        ReserveExtent(4 * EXTENT, 2 * EXTENT, "c"),
    ]
    allocator.validate()
    allocator.punched(0, EXTENT)
    allocator.punched(2 * EXTENT, EXTENT)
    allocator.reserved(4 * EXTENT, 2 * EXTENT, now=2.0)
    assert allocator.allocate(2 * EXTENT, "b") == 4 * EXTENT
    allocator.validate()


def test_after_the_machine_refused_memory_growth_pauses():
    allocator = make(4, present=0)
    assert allocator.grow(64, now=0.0, cause="c") == [ReserveExtent(0, EXTENT, "c")]
    allocator.refused(0, EXTENT, now=0.5)

    assert allocator.grow(64, now=1.0, cause="c") is None
    assert allocator.grow(64, now=allocator.retry_at(), cause="c") == [ReserveExtent(0, EXTENT, "c")]


def test_the_margin_is_reserved_and_warmed_one_step_at_a_time():
    allocator = make(4, present=0, margin=EXTENT)

    assert allocator.prepare(0.0, "c") == [ReserveExtent(0, EXTENT, "c")]
    assert allocator.prepare(0.0, "c") == []
    allocator.reserved(0, EXTENT, now=0.0)
    assert allocator.prepare(0.0, "c") == [Warm(0, EXTENT, "c")]
    assert allocator.prepare(0.0, "c") == []
    allocator.warmed(0, EXTENT)
    assert allocator.prepare(0.0, "c") == []
    assert allocator.allocate(64, "a") == 0
    assert allocator.prepare(0.0, "c") == [ReserveExtent(EXTENT, EXTENT, "c")]
    allocator.validate()


def test_warming_touches_no_page_outside_of_the_free_range():
    """The page in which an object ends is its creator's; the next whole one is where warming starts."""
    allocator = make(1, margin=EXTENT)
    allocator.allocate(100, "a")

    assert allocator.prepare(0.0, "c") == [Warm(PAGE_BYTES, EXTENT - PAGE_BYTES, "c")]


def test_unused_extents_are_given_back_after_a_time_and_the_margin_stays():
    allocator = make(4, margin=EXTENT, idle_s=10.0)
    offset = allocator.allocate(4 * EXTENT, "a")
    allocator.free(offset, 4 * EXTENT, "a", now=5.0)

    assert allocator.give_back_at() == 15.0
    assert allocator.give_back(14.9, "c") == []
    assert allocator.give_back(15.0, "c") == [PunchHole(EXTENT, 3 * EXTENT, "c")]
    allocator.validate()
    assert allocator.give_back_at() is None
    assert allocator.statistics()["free_bytes"] == EXTENT


def test_an_extent_that_is_being_warmed_is_not_given_back():
    """Touching a page that was given back would silently bring it back, on nobody's account."""
    allocator = make(2, margin=EXTENT, idle_s=0.0)
    assert allocator.prepare(0.0, "c") == [Warm(0, EXTENT, "c")]

    assert allocator.give_back(1.0, "c") == [PunchHole(EXTENT, EXTENT, "c")]


def test_freeing_twice_is_refused_and_changes_nothing():
    allocator = make(1)
    offset = allocator.allocate(1024, "a")
    allocator.free(offset, 512, "a", now=0.0)

    with pytest.raises(ValueError, match="free already"):
        allocator.free(offset, 1024, "a", now=0.0)
    allocator.validate()
    assert allocator.used_bytes == 512


def test_a_hundred_thousand_objects_come_and_go():
    allocator = Allocator(128 * MIB)
    assert allocator.grow(128 * MIB, now=0.0, cause="c")
    allocator.reserved(0, 128 * MIB, now=0.0)
    offsets = [allocator.allocate(1000, i % 7) for i in range(100_000)]
    assert None not in offsets
    for offset in offsets[::2] + offsets[1::2]:
        allocator.free(offset, 1000, None, now=1.0)

    assert allocator.free_ranges() == [(0, 128 * MIB)]
    allocator.validate()


class Twin:
    """Every cache line's owner in a list: obviously right, hopelessly slow."""

    def __init__(self, lines):
        self.lines = [None] * lines  # None: absent, 0: free, else who holds it

    def runs(self):
        found, start = [], None
        for at, owner in enumerate([*self.lines, None]):
            if owner == 0 and start is None:
                start = at
            elif owner != 0 and start is not None:
                found.append((start * 64, (at - start) * 64))
                start = None
        return found

    def fill(self, start, size, owner, expected):
        first, after = start // 64, (start + size) // 64
        assert set(self.lines[first:after]) == {expected}
        self.lines[first:after] = [owner] * (after - first)


class AllocatorMachine(RuleBasedStateMachine):
    """Any order of requests and answers leaves the free ranges that the twin has."""

    def __init__(self):
        super().__init__()
        self.allocator = Allocator(4 * EXTENT, span=6 * EXTENT, extent=EXTENT, margin=EXTENT // 2, idle_s=2.0)
        self.twin = Twin(6 * EXTENT // 64)
        self.live: dict[int, int] = {}
        self.next_owner = 1
        self.owners: dict[int, int] = {}
        self.out: list = []
        self.now = 0.0

    def perform(self, commands):
        for command in commands:
            if isinstance(command, PunchHole):
                self.twin.fill(command.start, command.size, None, 0)
            self.out.append(command)

    @rule(size=st.one_of(st.integers(0, 5000), st.integers(0, 4 * EXTENT)), client=st.sampled_from("ab"))
    def allocate(self, size, client):
        need = aligned(size)
        fitting = [run for run in self.twin.runs() if run[1] >= need]
        offset = self.allocator.allocate(size, client)
        assert (offset is not None) == bool(fitting), "room is found exactly when there is some"
        if offset is not None:
            self.twin.fill(offset, need, self.next_owner, 0)
            self.live[offset] = need
            self.owners[offset] = self.next_owner
            self.next_owner += 1
        else:
            commands = self.allocator.grow(size, self.now, "c")
            if commands:
                self.perform(commands)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), client=st.sampled_from("ab"), part=st.booleans())
    def free(self, data, client, part):
        offset = data.draw(st.sampled_from(sorted(self.live)))
        size, owner = self.live.pop(offset), self.owners.pop(offset)
        if part and size > 64:
            kept = data.draw(st.integers(1, size // 64 - 1)) * 64
            self.live[offset + size - kept] = kept
            self.owners[offset + size - kept] = owner
            size -= kept
        self.allocator.free(offset, size, client, self.now)
        self.twin.fill(offset, size, 0, owner)

    @precondition(lambda self: self.out)
    @rule(refuse=st.booleans())
    def answer(self, refuse):
        command = self.out.pop(0)
        if isinstance(command, PunchHole):
            self.allocator.punched(command.start, command.size)
        elif isinstance(command, Warm):
            self.allocator.warmed(command.start, command.size)
        elif refuse:
            self.allocator.refused(command.start, command.size, self.now)
        else:
            self.allocator.reserved(command.start, command.size, self.now)
            self.twin.fill(command.start, command.size, 0, None)

    @rule()
    def prepare(self):
        self.perform(self.allocator.prepare(self.now, "c"))

    @rule(later=st.floats(0.1, 3))
    def tick(self, later):
        self.now += later
        self.perform(self.allocator.give_back(self.now, "c"))

    @rule(client=st.sampled_from("ab"))
    def forget(self, client):
        self.allocator.forget(client)

    @invariant()
    def agrees_with_twin(self):
        self.allocator.validate()
        assert self.allocator.free_ranges() == self.twin.runs()

    def teardown(self):
        for offset, size in self.live.items():
            self.allocator.free(offset, size, "a", self.now)
        assert self.allocator.used_bytes == 0
        self.allocator.validate()


TestAllocatorMachine = AllocatorMachine.TestCase
TestAllocatorMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
