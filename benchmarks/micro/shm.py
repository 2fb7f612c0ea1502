"""Memory of a node, without messages: copies, puts of 1 MB through a block, large puts, decisions of the table.

Prints; asserts nothing. `python benchmarks/micro/shm.py [MB]`: the size of the large array, 800 by default. Runs some 15 s.
"""

import os
import sys
import time
from collections.abc import Callable
from itertools import count
from typing import Any

from manta.raylet.objects.allocator import Allocator
from manta.raylet.objects.arena import ArenaFile
from manta.raylet.objects.commands import BlockLent, Created, ExtentReserved, ReserveExtent
from manta.raylet.objects.table import ObjectTable
from manta.shm import copy as copying
from manta.shm.block import Blocks
from manta.shm.client import Arena
from manta.shm.copy import copy
from manta.shm.layout import MIB


def line(name: str, value: str) -> None:
    print(f"{name:<72}{value:>20}")


def best(work: Callable[[], object], repeat: int = 5) -> float:
    """Seconds of the fastest run: the others measure the neighbours."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def speed(name: str, size: int, seconds: float) -> None:
    line(name, f"{size / seconds / 1e9:.2f} GB/s")


def each(name: str, number: int, seconds: float) -> None:
    line(name, f"{seconds / number * 1e6:.2f} us")


def large_copies(size: int) -> None:
    source = memoryview(bytearray(os.urandom(MIB) * (size // MIB)))
    file = ArenaFile.create(size)
    speed(f"reserve {size // MIB} MiB", size, best(lambda: file.reserve(0, size), 1))
    speed("touch it for the first time", size, best(lambda: file.warm(0, size), 1))
    for text, warm in (("fresh mapping", False), ("fresh mapping, filled first", True)):
        mapping = Arena.attach(file.fd, size)

        def put(mapping: Arena = mapping, warm: bool = warm) -> None:
            if warm:
                mapping.warm(0, size)
            copy(mapping.create_view(0, size), source)

        speed(f"put {size // MIB} MiB, {text}", size, best(put, 1))
        mapping.close()
    mapping = Arena.attach(file.fd, size)
    view = mapping.create_view(0, size)
    copy(view, source)
    speed("  warm, two threads", size, best(lambda: copy(view, source)))
    two, copying.TWO_THREADS_BYTES = copying.TWO_THREADS_BYTES, 1 << 60  # type: ignore[misc]
    speed("  warm, one thread", size, best(lambda: copy(view, source)))
    copying.TWO_THREADS_BYTES = two  # type: ignore[misc]
    speed("  warm, slice assignment (holds the GIL)", size, best(lambda: view.__setitem__(slice(None), source), 2))
    reader = Arena.attach(file.fd, size)
    target = memoryview(bytearray(size))
    read = reader.read_view(0, size, None)
    speed("read all of it, fresh mapping", size, best(lambda: copy(target, read), 1))
    speed("  warm", size, best(lambda: copy(target, read)))
    view.release()
    file.close()


class Store:
    def __init__(self, capacity: int) -> None:
        self.table = ObjectTable(Allocator(capacity, span=2 * capacity, idle_s=1e9))
        self.file = ArenaFile.create(2 * capacity)
        self.table.joined("me")

    def perform(self, commands: list[Any]) -> list[Any]:
        answers: list[Any] = []
        for command in commands:
            if isinstance(command, ReserveExtent):
                self.file.reserve(command.start, command.size)
                done = ExtentReserved(command.start, command.size, 0)
                answers += self.perform(self.table.arena_event(done, now=0.0))
            else:
                answers.append(command)
        return answers


def put_loop(size: int, rounds: int) -> None:
    """Large arrays put and dropped again and again, as a driver does: where does the second one land?"""
    store = Store(2 * size)
    mapping = Arena.attach(store.file.fd, store.file.span)
    source = os.urandom(MIB) * (size // MIB)  # not zeros: those would all be one page in the cache
    for number in range(rounds):
        object_id = b"%028d" % number
        start = time.perf_counter()
        (created,) = store.perform(store.table.create("me", object_id, size, now=0.0))
        assert isinstance(created, Created)
        view = mapping.create_view(created.offset, size)
        mapping.warm(created.offset, size)
        copy(view, source)
        view.release()
        store.table.seal("me", object_id, now=0.0)
        speed(f"create + copy + seal {size // MIB} MiB, round {number + 1}", size, time.perf_counter() - start)
        store.table.delete([object_id], now=0.0)
    store.file.close()


def small_puts(size: int, number: int) -> None:
    """1 MB objects through blocks; the owner drops each as the next one comes. All in one process, table included."""
    store = Store(1024 * MIB)
    mapping, blocks = Arena.attach(store.file.fd, store.file.span), Blocks()
    source = os.urandom(size)
    ids = (b"%028d" % each for each in count())
    last: bytes | None = None
    starts = set()

    def put() -> None:
        nonlocal last
        object_id = next(ids)
        place = blocks.place(size)
        while place is None or (wanted := blocks.wanted(size, 0.0)):
            if place is None:
                wanted = blocks.wanted(size, 0.0)
            (lent,) = store.perform(store.table.blocks.lend("me", wanted, now=0.0))
            assert isinstance(lent, BlockLent)
            blocks.lent(lent.block_id, lent.offset, lent.size)
            mapping.warm(lent.offset, lent.size)
            starts.add(lent.offset)
            if place is None:
                place = blocks.place(size)
        block_id, offset = place
        view = mapping.create_view(offset, size)
        copy(view, source)
        view.release()
        blocks.sealed(block_id)
        store.table.blocks.seal_in_block("me", block_id, object_id, offset, size, now=0.0)
        for returned in blocks.to_return():
            store.table.blocks.return_block("me", returned, now=0.0)
        if last is not None:
            store.table.delete([last], now=0.0)
        last = object_id

    for text in ("fresh", "warm"):
        start = time.perf_counter()
        for _ in range(number):
            put()
        seconds = time.perf_counter() - start
        line(f"put {size} B through blocks, {text}, {number} times", f"{number / seconds:.0f} /s")
    line("  different blocks lent for that", str(len(starts)))
    store.table.validate()
    store.file.close()


def decisions(live: int) -> None:
    """The table alone, with that many objects in it; processor time, which neighbours disturb less."""
    allocator = Allocator(4096 * MIB)
    assert allocator.grow(4096 * MIB, 0.0, 0)
    allocator.reserved(0, 4096 * MIB, 0.0)
    table = ObjectTable(allocator)
    table.joined("me")
    ids = [b"%028d" % number for number in range(live)]
    # Sizes that differ and holes everywhere: the free list is long as well.
    start = time.process_time()
    for number, object_id in enumerate(ids):
        table.create("me", object_id, 1000 + number % 37 * 64, now=0.0)
    each(f"create, up to {live} objects", live, time.process_time() - start)
    start = time.process_time()
    for object_id in ids:
        table.seal("me", object_id, now=0.0)
    each("seal", live, time.process_time() - start)
    start = time.process_time()
    for number, object_id in enumerate(ids):
        table.get("me", number, [object_id], now=0.0)
    each("get", live, time.process_time() - start)
    start = time.process_time()
    for object_id in ids:
        table.release("me", [object_id], now=0.0)
    each("release", live, time.process_time() - start)
    start = time.process_time()
    for object_id in ids[::2]:
        table.delete([object_id], now=0.0)
    each("delete every second one", live // 2, time.process_time() - start)
    start = time.process_time()
    for object_id in ids[::2]:
        table.create("me", object_id, 900, now=0.0)
        table.seal("me", object_id, now=0.0)
    each(f"create + seal into {live // 2} holes", live // 2, time.process_time() - start)
    start = time.process_time()
    for object_id in ids:
        table.delete([object_id], now=0.0)
    each("delete all", live, time.process_time() - start)


def views(number: int) -> None:
    file = ArenaFile.create(64 * MIB)
    mapping = file.mapping
    start = time.process_time()
    for _ in range(number):
        mapping.read_view(0, 100_000, 1)
    each("read view, made and dropped", number, time.process_time() - start)
    start = time.process_time()
    for size in range(number // 10):
        mapping.read_view(0, 1000 + size, 1)
    each("read view of a size never seen before", number // 10, time.process_time() - start)
    start = time.process_time()
    for _ in range(number):
        mapping.create_view(0, 100_000).release()
    each("create view, made and released", number, time.process_time() - start)
    file.close()


def main() -> None:
    size = int(sys.argv[1] if len(sys.argv) > 1 else 800) * 1_000_000 // MIB * MIB
    print("load average", *os.getloadavg())
    large_copies(size)
    put_loop(size, 4)
    small_puts(1_000_000, 2000)
    views(20_000)
    decisions(100_000)


if __name__ == "__main__":
    main()
