"""Objects of a node: facts, one per test. The random walk against a slow twin is in test_table_twin.py."""

import pytest

from manta.raylet.objects.allocator import Allocator
from manta.raylet.objects.commands import (
    AlreadyExists,
    BlockLent,
    BlockRefused,
    Created,
    Evicted,
    ExtentRefused,
    ExtentReserved,
    Gone,
    Holder,
    HolePunched,
    Left,
    PunchHole,
    RangeWarmed,
    Ready,
    RecallBlocks,
    Rejected,
    ReserveExtent,
    StoreFull,
    Warm,
)
from manta.raylet.objects.table import ObjectTable
from manta.shm.layout import MIB

A, B, C = "client-a", "client-b", "client-c"
X, Y, Z = b"x" * 28, b"y" * 28, b"z" * 28


def make(mib=16, *, present=True, clients=(A, B, C), full_timeout_s=10.0, **options):
    """A store of that many MiB in extents of one MiB, all of it reserved."""
    allocator = Allocator(mib * MIB, extent=MIB, idle_s=1e9, **options)
    if present:
        assert allocator.grow(mib * MIB, 0.0, "test")
        allocator.reserved(0, mib * MIB, 0.0)
    table = ObjectTable(allocator, full_timeout_s=full_timeout_s)
    for client in clients:
        table.joined(client)
    return table


def put(table, client, object_id, size, *, now=0.0, **options):
    (created,) = table.create(client, object_id, size, now=now, **options)
    assert isinstance(created, Created)
    assert table.seal(client, object_id, now=now) == []
    table.validate()
    return created.offset


def at_rest(table):
    table.validate()
    numbers = table.statistics()
    return not any(
        numbers[name] for name in ("used_bytes", "objects", "waiting_creates", "waiting_gets", "unsealed_bytes")
    )


# --- a life ---------------------------------------------------------------------------------------------------------------


def test_an_object_is_created_sealed_read_and_freed():
    table = make()

    assert table.create(A, X, 1000, now=0.0, cause="r1") == [Created(A, X, 0, 1000, "r1")]
    assert table.where(X) is None
    assert table.seal(A, X, now=1.0) == []
    assert table.where(X) == (0, 1000)
    assert table.get(B, 7, [X], now=2.0, cause="r2") == [Ready(B, 7, ((X, 0, 1000),), "r2")]
    assert table.statistics()["pinned_bytes"] == 1024
    assert table.release(B, [X], now=3.0) == []
    assert table.delete([X], now=4.0) == []
    assert at_rest(table)
    assert [what for _, what, _, _ in table.story(X)] == ["created", "sealed", "deleted"]


def test_readers_wait_for_the_seal_and_each_entry_is_a_pin():
    table = make()
    put(table, A, Y, 64)
    assert table.get(B, 1, [X, Y, X], now=0.0, cause="g") == []
    table.create(A, X, 100, now=0.0)

    assert table.seal(A, X, now=1.0) == [Ready(B, 1, ((X, 64, 100), (Y, 0, 64), (X, 64, 100)), "g")]
    table.delete([X, Y], now=2.0)
    table.release(B, [X, Y], now=3.0)
    table.validate()
    assert table.statistics()["objects"] == 1  # X has a second pin
    table.release(B, [X], now=4.0)
    assert at_rest(table)


def test_a_deleted_object_lives_as_long_as_somebody_reads_it_and_nobody_else_gets_it():
    table = make()
    put(table, A, X, 1000)
    table.get(B, 1, [X], now=0.0)
    table.delete([X], now=1.0)

    assert table.where(X) is None
    assert table.get(C, 1, [X], now=2.0, cause="late") == [Gone(C, 1, X, "late")]
    assert table.statistics()["used_bytes"] == 1024
    table.release(B, [X], now=3.0)
    assert at_rest(table)


def test_who_waits_for_an_object_that_its_owner_gave_up_is_told():
    table = make()
    put(table, A, Y, 64)
    table.get(B, 1, [Y, X], now=0.0, cause="g")

    assert table.delete([X], now=1.0) == [Gone(B, 1, X, "g")]
    table.validate()
    assert table.statistics()["pinned_bytes"] == 0


def test_a_reader_may_stop_waiting():
    table = make()
    put(table, A, Y, 64)
    table.get(B, 1, [Y, X], now=0.0)

    assert table.cancel_get(B, 1, now=1.0) == []
    assert table.cancel_get(B, 1, now=1.0) == []
    table.create(A, X, 64, now=2.0)
    assert table.seal(A, X, now=2.0) == []
    table.delete([X, Y], now=3.0)
    assert at_rest(table)


def test_an_aborted_object_leaves_nothing():
    table = make()
    table.create(A, X, 1000, now=0.0)
    table.abort(A, X, now=1.0)
    table.abort(A, X, now=1.0)

    assert at_rest(table)


# --- a deletion that overtakes the seal -----------------------------------------------------------------------------------


def test_what_its_owner_deleted_before_the_seal_was_heard_is_freed_when_it_is():
    table = make()
    table.create(A, X, 1000, now=0.0, owner=B)
    table.delete([X], now=1.0, by=B)
    table.seal(A, X, now=2.0)

    assert at_rest(table)


def test_the_same_in_a_block():
    table = make()
    (block,) = table.blocks.lend(A, MIB, now=0.0)
    table.delete([X], now=1.0, by=B)
    assert table.blocks.seal_in_block(A, block.block_id, X, block.offset, 1000, now=2.0, owner=B) == []
    table.blocks.return_block(A, block.block_id, now=3.0)

    assert at_rest(table)


def test_who_waits_for_an_object_that_was_deleted_ahead_may_read_it():
    table = make()
    (block,) = table.blocks.lend(A, MIB, now=0.0)
    table.delete([X], now=1.0, by=B)
    table.get(C, 1, [X], now=2.0)
    ready, *_ = table.blocks.seal_in_block(A, block.block_id, X, block.offset, 1000, now=3.0, owner=B)

    assert isinstance(ready, Ready)
    assert table.where(X) is None
    table.release(C, [X], now=4.0)
    assert table.statistics()["objects"] == 0


def test_a_deletion_ahead_is_forgotten_with_the_last_who_may_have_made_the_object():
    table = make()
    table.blocks.lend(A, MIB, now=0.0)
    table.create(C, X, 100, now=0.0)
    table.delete([X], now=1.0, by=B)
    assert table.statistics()["deleted_ahead"] == 1
    table.abort(C, X, now=2.0)
    table.validate()
    assert table.statistics()["deleted_ahead"] == 1

    table.died(A, now=3.0)
    assert table.statistics()["deleted_ahead"] == 0


def test_a_deletion_of_what_nobody_can_have_made_is_not_remembered():
    """What a process made itself it had sealed before, on the same connection."""
    table = make()
    table.blocks.lend(B, MIB, now=0.0)
    table.delete([X], now=1.0, by=B)

    assert table.statistics()["deleted_ahead"] == 0


def test_whoever_asks_to_create_a_deleted_object_makes_it_anew():
    table = make()
    table.blocks.lend(C, MIB, now=0.0)
    table.delete([X], now=1.0, by=B)
    put(table, A, X, 1000)

    assert table.where(X) is not None


def test_deletions_ahead_have_a_bound(monkeypatch):
    monkeypatch.setattr("manta.raylet.objects.ahead._MOST", 2)
    table = make()
    (block,) = table.blocks.lend(A, MIB, now=0.0)
    table.delete([X, Y, Z], now=1.0, by=B)
    assert table.statistics()["deleted_ahead"] == 2

    table.blocks.seal_in_block(A, block.block_id, X, block.offset, 100, now=2.0, owner=B)
    assert table.where(X) == (block.offset, 100)


# --- the same id again ----------------------------------------------------------------------------------------------------


def test_creating_what_exists_says_so():
    table = make()
    put(table, A, X, 1000)

    assert table.create(B, X, 1000, now=1.0, cause="again") == [AlreadyExists(B, X, "again")]


def test_two_attempts_write_side_by_side_and_the_first_seal_wins():
    table = make()
    table.create(A, X, 1000, now=0.0)
    (second,) = table.create(B, X, 1000, now=1.0)

    assert second.offset == 1024
    table.seal(B, X, now=2.0)
    assert table.where(X) == (1024, 1000)
    assert table.seal(A, X, now=3.0) == []
    assert table.where(X) == (1024, 1000)
    assert table.statistics()["used_bytes"] == 1024
    table.validate()


def test_asking_twice_gives_the_same_range_and_another_size_a_new_one():
    table = make()
    (first,) = table.create(A, X, 1000, now=0.0)

    assert table.create(A, X, 1000, now=0.0) == [first]
    (other,) = table.create(A, X, 2000, now=0.0)
    assert other.size == 2000
    assert table.statistics()["unsealed_bytes"] == 2048
    table.validate()


def test_creating_a_deleted_object_that_is_still_read_brings_it_back():
    """Its task runs again because its value is wanted after all; the value is there."""
    table = make()
    put(table, A, X, 1000)
    table.get(B, 1, [X], now=0.0)
    table.delete([X], now=1.0)

    assert table.create(A, X, 1000, now=2.0) == [AlreadyExists(A, X, 0)]
    table.release(B, [X], now=3.0)
    assert table.where(X) == (0, 1000)
    table.validate()


def test_sealing_twice_is_fine_and_sealing_nothing_is_rejected():
    table = make()
    put(table, A, X, 10)

    assert table.seal(A, X, now=1.0) == []
    assert table.seal(A, Y, now=1.0, cause="s") == [Rejected(A, Y, "it seals what it is not writing", "s")]


# --- death ----------------------------------------------------------------------------------------------------------------


def test_what_a_dead_client_was_writing_and_reading_is_settled_and_what_it_sealed_stays():
    table = make()
    put(table, A, X, 1000)
    table.create(A, Y, 1000, now=0.0)
    table.get(A, 1, [X], now=0.0)
    table.get(A, 2, [X, Z], now=0.0)

    assert table.died(A, now=1.0) == []
    table.validate()
    assert table.statistics()["used_bytes"] == 1024
    assert table.statistics()["pinned_bytes"] == 0
    assert table.where(X) == (0, 1000)
    assert table.owner_died(A, now=2.0) == []
    assert at_rest(table)


def test_an_owner_hears_what_a_dead_process_had_made_for_it():
    """Of what that one owned itself, of what its owner gave up, and of owners that are no clients, nobody does."""
    table = make()
    put(table, A, X, 1000, owner=B)
    put(table, A, Y, 1000)
    put(table, A, Z, 1000, owner="job")
    put(table, A, b"w" * 28, 1000, owner=B)
    table.get(C, 1, [b"w" * 28], now=0.0)
    table.delete([b"w" * 28], now=0.0, by=B)

    assert table.died(A, now=1.0, cause="c") == [Left(B, A, (X,), "c")]
    table.validate()


def test_what_an_owner_was_not_told_of_by_the_dead_is_freed_when_it_says_so():
    table = make()
    put(table, A, X, 1000, owner=B)
    table.died(A, now=1.0)

    assert table.delete([X, Y], now=2.0, by=B, creator=A) == []
    assert at_rest(table)
    assert table.statistics()["deleted_ahead"] == 0


@pytest.mark.parametrize("way", ["create", "seal", "block", "wait"])
def test_what_the_next_attempt_finds_made_is_not_the_dead_one_s_any_more(way):
    """Its owner hears of it from the next attempt; the answer about the dead one may come later than that."""
    table = make(16)
    (block,) = table.blocks.lend(C, MIB, now=0.0)
    if way == "seal":
        table.create(C, X, 1000, now=0.0, owner=B)
    (created,) = table.create(A, X, 1000, now=0.0, owner=B)
    if way == "wait":
        table.create(B, Y, 14 * MIB, now=0.0)
        table.create(B, Z, 2 * MIB, now=0.0)
        assert table.create(C, X, 1000, now=0.0, owner=B) == []
    told = table.seal(A, X, now=0.0)
    if way == "create":
        told = table.create(C, X, 1000, now=0.5, owner=B)
    elif way == "seal":
        table.seal(C, X, now=0.5)
    elif way == "block":
        table.blocks.seal_in_block(C, block.block_id, X, block.offset, 1000, now=0.5, owner=B)
    if way in ("create", "wait"):
        assert told == [AlreadyExists(C, X, 0)]
    table.validate()

    assert table.died(A, now=1.0) == []
    table.delete([X], now=2.0, by=B, creator=A)
    assert table.where(X) == (created.offset, 1000)
    assert table.died(C, now=3.0) == [Left(B, C, (X,), 0)]


def test_much_that_was_left_comes_in_parts(monkeypatch):
    monkeypatch.setattr("manta.raylet.objects.table._LEFT_AT_ONCE", 2)
    table = make()
    for object_id in (X, Y, Z):
        put(table, A, object_id, 10, owner=B)

    assert table.died(A, now=1.0) == [Left(B, A, (X, Y), 0), Left(B, A, (Z,), 0)]


def test_the_last_reader_s_death_frees_a_deleted_object():
    table = make()
    put(table, A, X, 1000)
    table.get(B, 1, [X, X], now=0.0)
    table.delete([X], now=0.0)

    table.died(B, now=1.0)
    assert at_rest(table)


def test_what_is_sealed_for_a_dead_owner_is_freed_at_once():
    table = make()
    table.create(A, X, 1000, now=0.0, owner="driver")
    table.owner_died("driver", now=1.0)
    table.seal(A, X, now=2.0)

    assert at_rest(table)


def test_whoever_did_not_join_is_rejected():
    table = make(clients=())

    assert table.create(A, X, 10, now=0.0, cause="c") == [Rejected(A, X, "it has not joined this node", "c")]
    assert table.get(A, 1, [X], now=0.0, cause="c") == [Rejected(A, b"", "it has not joined this node", "c")]
    assert table.release(A, [X], now=0.0) == []
    assert table.died(A, now=0.0) == []


# --- time -----------------------------------------------------------------------------------------------------------------


def test_while_the_second_try_to_grow_is_under_way_it_is_not_tried_again():
    table = make(present=False)
    table.create(A, X, 100, now=0.0)
    table.arena_event(ExtentRefused(0, MIB, "no memory", 0), now=0.5)
    assert table.wake_at() == 1.5

    assert table.tick(now=1.5) == [ReserveExtent(0, MIB, 0)]
    assert table.wake_at() == 10.0


def test_an_extent_goes_back_at_the_very_time_the_table_asked_for():
    """As numbers go, 0.6 + 0.7 - 0.6 is less than 0.7."""
    allocator = Allocator(2 * MIB, extent=MIB, idle_s=0.7)
    allocator.grow(MIB, 0.6, "test")
    allocator.reserved(0, MIB, 0.6)
    table = ObjectTable(allocator)

    due = table.wake_at()
    assert table.tick(now=due) == [PunchHole(0, MIB, 0)]


def test_an_extent_that_is_being_warmed_is_not_due_to_go_back():
    allocator = Allocator(3 * MIB, extent=MIB, idle_s=5.0, margin=MIB)
    allocator.grow(3 * MIB, 0.0, "test")
    allocator.reserved(MIB, 2 * MIB, 0.0)
    assert [allocator.allocate(size, A) for size in (64, MIB)] == [MIB, MIB + 64]
    allocator.free(MIB + 64, MIB - 64, A, 0.0)
    # Extents 1 and 2 have 64 bytes in use each, and 0 is free.
    allocator.reserved(0, MIB, 0.0)
    table = ObjectTable(allocator)
    assert table.wake_at() == 5.0
    assert table.tick(now=1.0) == [Warm(0, MIB, 0)]

    assert table.wake_at() is None
    assert table.tick(now=5.0) == []
    assert table.arena_event(RangeWarmed(0, MIB, 0), now=6.0) == []
    assert table.wake_at() == 5.0
    assert table.tick(now=6.0) == [PunchHole(0, MIB, 0)]


# --- room -----------------------------------------------------------------------------------------------------------------


def test_the_arena_grows_for_a_creator_who_is_answered_when_it_has():
    table = make(present=False)

    assert table.create(A, X, 3 * MIB, now=0.0, cause="c") == [ReserveExtent(0, 3 * MIB, "c")]
    assert table.arena_event(ExtentReserved(0, MIB, "c"), now=0.1) == []
    assert table.arena_event(ExtentReserved(MIB, MIB, "c"), now=0.2) == []
    assert table.arena_event(ExtentReserved(2 * MIB, MIB, "c"), now=0.3) == [Created(A, X, 0, 3 * MIB, "c")]
    table.validate()


def test_a_small_object_passes_a_large_one_that_waits_for_growth():
    table = make(present=False)
    table.create(A, X, 3 * MIB, now=0.0, cause="large")
    table.create(B, Y, 100, now=0.0, cause="small")

    assert table.arena_event(ExtentReserved(0, MIB, "large"), now=0.1)[0] == Created(B, Y, 0, 100, "small")
    table.validate()


def test_an_object_larger_than_the_store_is_refused_at_once():
    table = make(16)
    put(table, B, Y, MIB)

    (full,) = table.create(A, X, 17 * MIB, now=0.0, cause="c")
    assert full == StoreFull(
        A,
        X,
        17 * MIB,
        16 * MIB,
        MIB,
        15 * MIB,
        (Holder(B, MIB, 1, 0, 0),),
        0.0,
        "the object is larger than the store",
        "c",
    )


def test_a_full_store_is_described_with_sizes_and_holders():
    holders = (Holder(b"\xab", 3 * MIB, 2, 0, 0), Holder("driver", 0, 0, MIB, 0))
    full = StoreFull(A, b"\x01", 2 * MIB, 4 * MIB, 3 * MIB, MIB, holders, 10.0, "no room in 10 s", "c")

    assert full.text() == (
        "2.0 MiB for object 01 do not fit: no room in 10 s. 3.0 of 4.0 MiB are in use, 1.0 are free in one piece.\n"
        "  ab: owns 3.0 MiB in 2 objects, reads 0.0 MiB, has 0.0 MiB lent\n"
        "  driver: owns 0.0 MiB in 0 objects, reads 1.0 MiB, has 0.0 MiB lent"
    )


def test_creators_wait_in_order_and_are_served_as_others_free():
    table = make(4)
    put(table, A, X, 4 * MIB)
    assert table.create(B, Y, 3 * MIB, now=0.0, cause="first") == []
    assert table.create(C, Z, 1 * MIB, now=0.0, cause="second") == []

    assert table.delete([X], now=1.0) == [Created(B, Y, 0, 3 * MIB, "first"), Created(C, Z, 3 * MIB, MIB, "second")]
    table.validate()


def test_a_later_small_creator_does_not_starve_a_large_one():
    table = make(4)
    put(table, A, X, 2 * MIB)
    table.create(B, Y, 3 * MIB, now=0.0, cause="first")

    assert table.create(C, Z, MIB, now=0.0) == []
    assert table.delete([X], now=1.0)[0] == Created(B, Y, 0, 3 * MIB, "first")


def test_a_creator_who_waited_in_vain_hears_who_holds_how_much():
    table = make(4, full_timeout_s=10.0)
    put(table, A, X, 3 * MIB, owner="driver")
    put(table, B, b"s" * 28, MIB)
    table.get(C, 1, [X], now=0.0)
    assert table.create(B, Y, 2 * MIB, now=5.0, cause="c") == []

    assert table.wake_at() == 15.0
    assert table.tick(now=14.9) == []
    assert table.tick(now=15.0) == [
        StoreFull(
            B,
            Y,
            2 * MIB,
            4 * MIB,
            4 * MIB,
            0,
            (
                Holder("driver", 3 * MIB, 1, 0, 0),
                Holder(C, 0, 0, 3 * MIB, 0),
                Holder(B, MIB, 1, 0, 0),
            ),
            10.0,
            "no room in 10 s",
            "c",
        )
    ]
    table.validate()
    assert table.wake_at() is None


def test_when_the_machine_has_no_memory_the_store_says_so():
    table = make(present=False, full_timeout_s=10.0)
    table.create(A, X, 100, now=0.0, cause="c")

    assert table.arena_event(ExtentRefused(0, MIB, "no memory left", "c"), now=0.5) == []
    assert table.wake_at() == 1.5
    assert table.tick(now=1.5) == [ReserveExtent(0, MIB, 0)]
    assert table.arena_event(ExtentRefused(0, MIB, "no memory left", "c"), now=9.8) == []
    (full,) = table.tick(now=10.0)
    assert isinstance(full, StoreFull)
    assert full.reason == "no memory left"


def test_unread_copies_of_objects_elsewhere_make_room_oldest_use_first():
    table = make(4)
    for object_id in (X, Y, Z):
        put(table, A, object_id, MIB, secondary=True)
    table.get(B, 1, [X], now=1.0)
    table.release(B, [X], now=1.0)  # X was used last
    put(table, A, b"p" * 28, MIB)

    assert table.create(C, b"n" * 28, MIB, now=2.0, cause="c") == [
        Evicted(Y, MIB, "c"),
        Created(C, b"n" * 28, MIB, MIB, "c"),
    ]
    table.validate()
    assert table.where(X)
    assert table.where(b"p" * 28)


def test_a_copy_that_is_read_or_became_the_primary_is_not_evicted():
    table = make(2)
    put(table, A, X, MIB, secondary=True)
    put(table, A, Y, MIB, secondary=True)
    table.get(B, 1, [X], now=0.0)
    assert table.promote(Y)
    assert not table.promote(Z)

    assert table.create(C, Z, MIB, now=1.0) == []
    table.validate()
    assert table.where(X)
    assert table.where(Y)


def test_eviction_is_not_begun_when_it_cannot_be_enough():
    table = make(4)
    put(table, A, X, MIB, secondary=True)
    put(table, A, Y, 3 * MIB)

    assert table.create(B, Z, 2 * MIB, now=0.0) == []
    assert table.where(X)


def test_a_waiting_creator_may_leave_the_queue_or_die_in_it():
    table = make(1)
    put(table, A, X, MIB)
    table.create(B, Y, MIB, now=0.0)
    table.create(C, Z, MIB, now=0.0)
    table.abort(B, Y, now=1.0)
    table.died(C, now=1.0)

    table.delete([X], now=2.0)
    assert at_rest(table)


def test_a_waiting_creator_whose_object_another_attempt_seals_is_told():
    table = make(2)
    table.create(A, X, 2 * MIB, now=0.0)
    assert table.create(B, X, 2 * MIB, now=0.0, cause="retry") == []

    assert table.seal(A, X, now=1.0) == [AlreadyExists(B, X, "retry")]
    table.validate()


def test_unused_extents_go_back_when_it_is_time():
    allocator = Allocator(8 * MIB, extent=MIB, idle_s=30.0)
    table = ObjectTable(allocator)
    table.joined(A)
    table.create(A, X, 2 * MIB, now=0.0, cause="c")
    table.arena_event(ExtentReserved(0, 2 * MIB, "c"), now=0.0)
    table.abort(A, X, now=5.0)

    assert table.wake_at() == 35.0
    assert table.tick(now=35.0, cause="t") == [PunchHole(0, 2 * MIB, "t")]
    assert table.arena_event(HolePunched(0, 2 * MIB, "t"), now=35.0) == []
    assert table.wake_at() is None
    table.validate()


def test_the_margin_is_prepared_from_the_first_tick():
    table = make(present=False, margin=MIB)

    assert table.tick(now=0.0, cause="t") == [ReserveExtent(0, MIB, "t")]
    assert table.arena_event(ExtentReserved(0, MIB, "t"), now=0.1) == [Warm(0, MIB, "t")]


# --- blocks ---------------------------------------------------------------------------------------------------------------


def lend(table, client, size=4 * MIB, now=0.0):
    (block,) = table.blocks.lend(client, size, now=now)
    assert isinstance(block, BlockLent)
    return block


def test_objects_are_sealed_inside_a_block_and_its_rest_goes_back():
    table = make(64)
    block = lend(table, A)

    assert block.size == 4 * MIB
    assert table.blocks.seal_in_block(A, block.block_id, X, block.offset, 1000, now=0.0) == []
    assert table.blocks.seal_in_block(A, block.block_id, Y, block.offset + 2048, 1000, now=0.0) == []
    table.validate()
    assert table.statistics()["lent_bytes"] == 4 * MIB - 2048
    assert table.where(Y) == (block.offset + 2048, 1000)
    assert table.blocks.return_block(A, block.block_id, now=1.0) == []
    table.validate()
    assert table.statistics()["used_bytes"] == 2048
    table.delete([X, Y], now=2.0)
    assert at_rest(table)


def test_an_object_freed_before_its_block_comes_back_is_not_freed_twice():
    table = make(64)
    block = lend(table, A)
    table.blocks.seal_in_block(A, block.block_id, X, block.offset, 1000, now=0.0)
    table.delete([X], now=0.0)
    put(table, B, Y, 500)  # may take what X left
    table.blocks.return_block(A, block.block_id, now=1.0)

    table.validate()
    assert table.statistics()["used_bytes"] == 512


def test_sealing_in_a_block_answers_readers():
    table = make(64)
    block = lend(table, A)
    table.get(B, 1, [X], now=0.0, cause="g")

    assert table.blocks.seal_in_block(A, block.block_id, X, block.offset, 10, now=0.0) == [
        Ready(B, 1, ((X, block.offset, 10),), "g")
    ]


@pytest.mark.parametrize(
    ("offset", "size"), [(0, 4 * MIB + 1), (-64, 64), (32, 64), (4 * MIB, 1), (1024, 10), (512, 1024), (0, -1)]
)
def test_a_part_that_is_not_the_block_s_or_already_taken_is_rejected(offset, size):
    table = make(64)
    put(table, B, Z, 64)
    block = lend(table, A)
    table.blocks.seal_in_block(A, block.block_id, X, block.offset + 1024, 100, now=0.0)

    (rejected,) = table.blocks.seal_in_block(A, block.block_id, Y, block.offset + offset, size, now=0.0)
    assert isinstance(rejected, Rejected)
    table.validate()


def test_nobody_seals_in_a_block_of_another():
    table = make(64)
    block = lend(table, A)

    (rejected,) = table.blocks.seal_in_block(B, block.block_id, X, block.offset, 10, now=0.0)
    assert isinstance(rejected, Rejected)
    assert table.blocks.return_block(B, block.block_id, now=0.0) == []
    assert table.statistics()["lent_bytes"] == block.size


def test_a_dead_client_s_blocks_come_back_without_their_objects():
    table = make(64)
    block = lend(table, A)
    table.blocks.seal_in_block(A, block.block_id, X, block.offset, 1000, now=0.0)
    table.died(A, now=1.0)

    table.validate()
    assert table.statistics()["used_bytes"] == 1024
    table.delete([X], now=2.0)
    assert at_rest(table)


def test_a_client_is_lent_the_range_again_whose_objects_it_lost():
    """The pages it has mapped: after a few blocks a loop of puts and deletes runs in warm memory only."""
    table = make(256)
    put(table, B, Z, 1000)
    seen = set()
    number = 0
    for _ in range(20):
        block = lend(table, A, 16 * MIB)
        seen.add(block.offset)
        for at in range(0, block.size, MIB):
            object_id = b"%028d" % number
            number += 1
            table.blocks.seal_in_block(A, block.block_id, object_id, block.offset + at, MIB, now=0.0)
            table.delete([object_id], now=0.0)
        table.blocks.return_block(A, block.block_id, now=0.0)

    assert len(seen) == 1


def test_a_tight_store_lends_nothing_and_asks_for_what_it_lent():
    table = make(64)
    put(table, B, X, 50 * MIB)
    lend(table, A)

    assert table.blocks.lend(C, 4 * MIB, now=0.0, cause="l") == [BlockRefused(C, "l")]
    assert table.create(B, Y, 12 * MIB, now=0.0) == [RecallBlocks(A, 0)]
    assert table.create(C, Z, 12 * MIB, now=0.0) == []  # asked once
    assert table.blocks.return_block(A, 1, now=1.0)[0] == Created(B, Y, 50 * MIB, 12 * MIB, 0)
    table.validate()


def test_a_block_waits_for_growth():
    table = make(64, present=False)

    assert table.blocks.lend(A, 2 * MIB, now=0.0, cause="l") == [ReserveExtent(0, 2 * MIB, "l")]
    assert table.arena_event(ExtentReserved(0, 2 * MIB, "l"), now=0.1) == [BlockLent(A, 1, 0, 2 * MIB, "l")]


def test_one_client_cannot_borrow_the_store():
    table = make(64)
    answers = [table.blocks.lend(A, 32 * MIB, now=0.0)[0] for _ in range(6)]

    assert [type(answer) for answer in answers] == [BlockLent] * 4 + [BlockRefused] * 2
    assert table.statistics()["lent_bytes"] == 16 * MIB


def test_large_arrays_land_on_the_range_just_freed():
    table = make(256)
    put(table, B, Z, 3 * MIB)
    offsets = set()
    for number in range(5):
        object_id = b"%028d" % number
        offsets.add(put(table, A, object_id, 80 * MIB))
        put(table, B, b"b%027d" % number, 1000)
        table.delete([object_id], now=1.0)

    assert len(offsets) == 1


def test_what_went_with_its_owner_is_not_waited_for():
    """Its reader was told of it before, and asks after it is gone."""
    table = make(16)
    put(table, A, X, MIB, owner="driver")
    put(table, A, Y, MIB)
    table.owner_died("driver", now=1.0)

    assert table.get(B, 1, [Y, X], now=2.0, cause="g") == [Gone(B, 1, X, "g")]
    put(table, C, X, MIB)
    assert isinstance(table.get(B, 2, [X], now=3.0)[0], Ready), "made anew it is there"
    table.validate()
