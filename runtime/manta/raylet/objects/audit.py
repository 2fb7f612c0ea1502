"""Every invariant of the object table, checked the slow way.

Apart from the table because it is the one place that looks at everything at once; it changes nothing.
"""

from typing import TYPE_CHECKING

from manta.shm.layout import aligned

if TYPE_CHECKING:
    from manta.raylet.objects.table import ObjectTable


def check(table: "ObjectTable") -> None:
    """Raises AssertionError, with the invariant in words. O(n)."""
    table._allocator.validate()
    ranges = []
    sealed = pinned = unsealed = lent = 0
    for object_id, item in table._sealed.by_id.items():
        ranges.append((item.offset, aligned(item.size)))
        sealed += aligned(item.size)
        pinned += aligned(item.size) if item.pins else 0
        assert item.object_id == object_id, "objects are filed under their id"
        assert item.pins or not item.doomed, "a doomed object without pins is freed"
        assert all(count > 0 for count in item.pins.values()), "pins are counted from one"
        assert (object_id in table._sealed.lru) == (item.secondary and not item.pins and not item.doomed), (
            "LRU: unread copies"
        )
        assert table._sealed.owners.has(item) == (not item.doomed), "owners know their objects"
        made = table._sealed.made.get(item.creator, {})
        kept_for_another = item.owner != item.creator and not item.doomed and item.creator in table._processes
        assert (object_id in made) == kept_for_another, "what a client made for others is filed under it"
        for client in item.pins:
            assert table._processes[client].pins[object_id] is item, "pins belong to living clients"
    primary = [item.size for item in table._sealed.by_id.values() if not (item.secondary or item.doomed)]
    assert (table._sealed.primary_count, table._sealed.primary_bytes) == (len(primary), sum(primary)), "primary copies"
    for client, process in table._processes.items():
        for object_id, writing in process.unsealed.items():
            ranges.append((writing.offset, aligned(writing.size)))
            unsealed += aligned(writing.size)
            assert table._room.unsealed[object_id][client] is writing, "ranges being written are filed twice"
        for block in process.blocks.values():
            ranges += block.free_parts()
            lent += block.free_bytes
            assert sum(size for _, size in block.free_parts()) == block.free_bytes, "a block's rest is counted"
        assert all(client in item.pins for item in process.pins.values()), "pins are filed twice"
        total = sum(aligned(item.size) for item in process.pins.values())
        assert process.pinned_bytes == total, "a client's pinned bytes are counted"
        assert process.awaited == sum(len(get.ids) for get in process.gets.values()), "awaited entries are counted"
        for get in process.gets.values():
            assert get.missing, "a get waits for something"
            for object_id in get.missing:
                assert object_id not in table._sealed.by_id, "nobody waits for what is there"
                assert get in table._gets.by_id[object_id], "waits are filed twice"
    assert sum(len(writers) for writers in table._room.unsealed.values()) == sum(
        len(process.unsealed) for process in table._processes.values()
    ), "ranges being written belong to living clients"
    assert all(table._room.unsealed.values()), "no empty files"
    assert all(table._gets.by_id.values()), "no empty files"
    assert all(
        get in table._processes[get.client].gets.values() for file in table._gets.by_id.values() for get in file
    ), "waits belong to living clients"
    assert sum(len(process.waiting) for process in table._processes.values()) == len(table._room.creates), (
        "waiting creators are filed twice"
    )
    assert all(table._processes[entry.client].waiting[entry.object_id] is entry for entry in table._room.creates)
    ranges.sort()
    for (start, size), (after, _) in zip(ranges, ranges[1:], strict=False):
        assert start + size <= after, "no two ranges overlap"
    assert sealed == table._sealed.sealed_bytes, "sealed bytes are counted"
    assert pinned == table._sealed.pinned_bytes, "pinned bytes are counted"
    assert unsealed == table._room.unsealed_bytes, "bytes being written are counted"
    assert lent == table._room.lent_free_bytes, "lent bytes are counted"
    assert sealed + unsealed + lent == table._allocator.used_bytes, "every used byte is somebody's"
    assert table._sealed.lru_bytes == sum(aligned(item.size) for item in table._sealed.lru.values()), (
        "evictable bytes are counted"
    )
    table._sealed.owners.validate(table._sealed.by_id)
    assert table._sealed.made.keys() <= table._processes.keys(), "only the living have made something that matters"
    assert all(made and made.keys() <= table._sealed.by_id.keys() for made in table._sealed.made.values()), (
        "no empty files, and nothing that is gone"
    )
    table._ahead.validate(table._sealed.by_id, table._processes)
