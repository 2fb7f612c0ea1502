"""Placing objects in borrowed ranges, without a raylet in sight."""

from manta.shm.block import Block, Blocks
from manta.shm.layout import MAX_BLOCK_BYTES, MIB


def test_objects_follow_each_other_at_cache_lines_until_the_block_is_full():
    block = Block(1, offset=MIB, size=1024)

    assert [block.place(size) for size in (100, 0, 512, 321, 256)] == [MIB, MIB + 128, MIB + 192, None, MIB + 704]
    assert block.left == 64


def test_the_last_object_s_room_is_used_again_when_it_is_aborted():
    block = Block(1, offset=0, size=1024)
    first, second = block.place(100), block.place(100)
    block.aborted(first, 100)
    assert block.place(64) == 256
    block.aborted(256, 64)
    block.aborted(second, 100)

    assert block.place(64) == 128


def test_a_process_without_a_block_asks_once_and_uses_what_it_is_lent():
    blocks = Blocks()

    assert blocks.place(MIB) is None
    assert blocks.wanted(MIB, now=0.0) == 8 * MIB
    assert blocks.wanted(MIB, now=0.0) == 0
    blocks.lent(7, offset=0, size=8 * MIB)
    assert blocks.place(MIB) == (7, 0)
    assert blocks.place(MIB) == (7, MIB)


def test_the_next_block_is_asked_for_when_half_of_this_one_is_used_and_is_larger():
    blocks = Blocks()
    blocks.wanted(MIB, now=0.0)
    blocks.lent(1, offset=0, size=8 * MIB)
    asked = []
    for _ in range(5):
        blocks.place(MIB)
        asked.append(blocks.wanted(MIB, now=0.0))

    assert asked == [0, 0, 0, 16 * MIB, 0]


def test_a_used_up_block_is_returned_when_its_last_object_is_written():
    blocks = Blocks()
    blocks.lent(1, offset=0, size=4 * MIB)
    blocks.lent(2, offset=8 * MIB, size=4 * MIB)
    for _ in range(4):
        assert blocks.place(MIB)[0] == 1
    assert blocks.place(MIB) == (2, 8 * MIB)
    for _ in range(3):
        blocks.sealed(1)

    assert blocks.to_return() == []
    blocks.sealed(1)
    assert blocks.to_return() == [1]
    assert blocks.to_return() == []


def test_an_object_that_is_large_for_its_block_belongs_elsewhere():
    blocks = Blocks()
    blocks.lent(1, offset=0, size=8 * MIB)

    assert blocks.place(3 * MIB) is None
    assert blocks.place(2 * MIB) == (1, 0)
    assert blocks.wanted(MAX_BLOCK_BYTES, now=0.0) == 0


def test_larger_objects_make_larger_blocks_wanted():
    blocks = Blocks()

    assert blocks.wanted(7 * MIB, now=0.0) == 32 * MIB


def test_after_a_recall_nothing_is_placed_and_everything_goes_back():
    blocks = Blocks()
    blocks.lent(1, offset=0, size=8 * MIB)
    blocks.lent(2, offset=8 * MIB, size=8 * MIB)
    blocks.place(MIB)
    blocks.recall(now=0.0)

    assert blocks.place(MIB) is None
    assert blocks.wanted(MIB, now=0.1) == 0
    assert blocks.to_return() == [2]
    blocks.sealed(1)
    assert blocks.to_return() == [1]
    assert blocks.wanted(MIB, now=1.0) == 8 * MIB


def test_after_a_refusal_the_store_is_left_alone_for_a_while():
    blocks = Blocks()
    blocks.wanted(MIB, now=0.0)
    blocks.refused(now=0.0)

    assert blocks.wanted(MIB, now=0.1) == 0
    assert blocks.wanted(MIB, now=Blocks.RETRY_S) == 8 * MIB
