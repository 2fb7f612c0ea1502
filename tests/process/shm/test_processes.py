"""Several processes over one arena: a raylet's table and file here, creators and readers as processes of their own."""

import signal
import subprocess
import sys
import textwrap

import pytest

from manta.raylet.objects.allocator import Allocator
from manta.raylet.objects.arena import ArenaFile
from manta.raylet.objects.commands import BlockLent, Created, ExtentReserved, PunchHole, Ready, ReserveExtent, Warm
from manta.raylet.objects.table import ObjectTable
from manta.shm.layout import MIB

X, Y = b"x" * 28, b"y" * 28
CAPACITY = 32 * MIB

PRELUDE = """
import ctypes, gc, os, signal, sys
from manta.shm.client import Arena
from manta.shm.copy import copy
from manta.shm.errors import ArenaClosedError, MappingError
fd, span = int(sys.argv[1]), int(sys.argv[2])
def say(*words): print(*words, flush=True)
def hear(): return sys.stdin.readline().split()
"""


class Peer:
    """A process that attaches the arena and runs a script; lines go both ways."""

    def __init__(self, arena, script):
        command = [sys.executable, "-c", PRELUDE + textwrap.dedent(script), str(arena.fd), str(arena.span)]
        self.process = subprocess.Popen(
            command,
            pass_fds=[arena.fd],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def say(self, *words):
        print(*words, file=self.process.stdin, flush=True)

    def hear(self):
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        return line.split()

    def end(self):
        """Its exit code, once it has ended by itself."""
        code = self.process.wait(timeout=20)
        assert code <= 0, self.process.stderr.read()
        return code


class Store:
    """What a raylet has, with the slow work done at once."""

    def __init__(self):
        self.allocator = Allocator(CAPACITY, extent=MIB, idle_s=10.0)
        self.table = ObjectTable(self.allocator)
        self.arena = ArenaFile.create(self.allocator.span, room=lambda: None)

    def perform(self, commands):
        """Do the arena's part; return the answers to clients."""
        answers = []
        for command in commands:
            if isinstance(command, ReserveExtent):
                self.arena.reserve(command.start, command.size)
                done = ExtentReserved(command.start, command.size, command.cause)
                answers += self.perform(self.table.arena_event(done, now=0.0))
            elif isinstance(command, PunchHole):
                assert self.arena.give_back(command.start, command.size)
            else:
                assert not isinstance(command, Warm)
                answers.append(command)
        self.table.validate()
        return answers

    def one(self, kind, commands):
        (answer,) = self.perform(commands)
        assert isinstance(answer, kind)
        return answer

    def at_start(self):
        """Everything unused is given back, and that is everything."""
        self.perform(self.table.tick(now=1000.0))
        return self.table.statistics()["used_bytes"] == 0 and self.arena.resident_bytes() == 0


@pytest.fixture
def store():
    store = Store()
    yield store
    store.arena.close()


def test_a_creator_killed_in_the_middle_of_writing_leaves_nothing(store):
    script = """
    arena = Arena.attach(fd, span)
    offset, size = map(int, hear())
    view = arena.create_view(offset, size)
    view[: size // 2] = b"h" * (size // 2)
    say("half")
    hear()
    """
    store.table.joined("creator")
    created = store.one(Created, store.table.create("creator", X, 4 * MIB, now=0.0))
    with Peer(store.arena, script) as creator:
        creator.say(created.offset, created.size)
        assert creator.hear() == ["half"]
        assert bytes(store.arena.mapping.read_view(created.offset, 1, None)) == b"h"
        creator.process.send_signal(signal.SIGKILL)
        assert creator.end() == -signal.SIGKILL
    store.perform(store.table.died("creator", now=1.0))

    assert store.at_start()


def test_a_reader_keeps_what_it_reads_after_the_owner_deleted_it(store):
    """Others create meanwhile; the memory is theirs once the last slice of the reader is gone."""
    script = """
    arena = Arena.attach(fd, span)
    offset, size = map(int, hear())
    part = arena.read_view(offset, size, "pin")[-10:]
    gc.collect()
    say("reading", bytes(part).decode(), len(arena.drain()))
    hear()
    say("still", bytes(part).decode(), len(arena.drain()))
    del part
    say("done", *arena.drain())
    """
    for client in ("creator", "reader"):
        store.table.joined(client)
    created = store.one(Created, store.table.create("creator", X, 4 * MIB, now=0.0))
    view = store.arena.mapping.create_view(created.offset, created.size)
    view[:] = b"k" * created.size
    store.perform(store.table.seal("creator", X, now=0.0))
    store.one(Ready, store.table.get("reader", 1, [X], now=0.0))
    with Peer(store.arena, script) as reader:
        reader.say(created.offset, created.size)
        assert reader.hear() == ["reading", "k" * 10, "0"]
        store.perform(store.table.delete([X], now=1.0))
        other = store.one(Created, store.table.create("creator", Y, 4 * MIB, now=1.0))
        store.arena.mapping.create_view(other.offset, other.size)[:] = b"o" * other.size
        reader.say("go on")
        assert reader.hear() == ["still", "k" * 10, "0"]
        assert reader.hear() == ["done", "pin"]
        assert reader.end() == 0
    store.perform(store.table.release("reader", [X], now=2.0))
    store.perform(store.table.abort("creator", Y, now=2.0))

    assert store.at_start()


def test_writing_around_python_through_a_read_view_ends_the_writer_and_changes_nothing(store):
    script = """
    arena = Arena.attach(fd, span)
    view = arena.read_view(0, 100, "pin")
    address = ctypes.addressof(view.obj)
    assert ctypes.string_at(address, 4) == b"kept"
    say("now")
    ctypes.memset(address, 0, 4)
    say("written")
    """
    store.arena.reserve(0, MIB)
    store.arena.mapping.create_view(0, 4)[:] = b"kept"
    with Peer(store.arena, script) as writer:
        assert writer.hear() == ["now"]
        assert writer.end() == -signal.SIGSEGV
    assert bytes(store.arena.mapping.read_view(0, 4, None)) == b"kept"


def test_a_forked_child_reads_what_its_parent_pinned_and_can_neither_write_nor_pin(store):
    script = """
    arena = Arena.attach(fd, span)
    view = arena.read_view(0, 4, "parent's")
    writable = arena.create_view(64, 4)
    copy(memoryview(bytearray(32 << 20)), bytes(32 << 20))  # starts the helper thread
    def child(work):
        pid = os.fork()
        if not pid:
            try:
                work()
                os._exit(0)
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
        status = os.waitpid(pid, 0)[1]
        return os.waitstatus_to_exitcode(status)
    def reads():
        global view
        assert bytes(view) == b"kept"
        for call in (arena.create_view, arena.warm), (arena.read_view,):
            try:
                call[0](0, 4) if len(call) == 2 else call[0](0, 4, "pin")
            except ArenaClosedError as error:
                assert "forked" in str(error)
            else:
                raise AssertionError("made a view")
        del view
        gc.collect()
        assert arena.drain() == []
        source, target = os.urandom(32 << 20), bytearray(32 << 20)
        copy(memoryview(target), source)
        assert target == source
        arena.close()
    def writes():
        writable[0] = 1
    say(child(reads), child(writes))
    assert bytes(view) == b"kept" and arena.drain() == []
    del view
    say(*arena.drain())
    """
    store.arena.reserve(0, MIB)
    store.arena.mapping.create_view(0, 4)[:] = b"kept"
    with Peer(store.arena, script) as parent:
        assert parent.hear() == ["0", str(-signal.SIGSEGV)]
        assert parent.hear() == ["parent's"]
        assert parent.end() == 0
    assert bytes(store.arena.mapping.read_view(64, 1, None)) == b"\0"


def test_two_processes_fill_their_blocks_at_the_same_time_and_the_other_reads_them(store):
    """The whole path without messages: place, write, seal, read; then everything is free again."""
    script = """
    from manta.shm.block import Blocks
    arena, blocks = Arena.attach(fd, span), Blocks()
    letter, block_id, offset, size = hear()
    blocks.lent(int(block_id), int(offset), int(size))
    arena.warm(int(offset), int(size))
    while (place := blocks.place(100_000)) is not None:
        view = arena.create_view(place[1], 100_000)
        copy(view, letter.encode() * 100_000)
        view.release()
        blocks.sealed(place[0])
        say(place[1])
    say("return", *blocks.to_return())
    offsets = list(map(int, hear()))
    other = "b" if letter == "a" else "a"
    assert all(bytes(arena.read_view(each, 100_000, each)) == other.encode() * 100_000 for each in offsets)
    say(*arena.drain())
    """
    with Peer(store.arena, script) as a, Peer(store.arena, script) as b:
        ids = {"a": [], "b": []}
        offsets = {"a": [], "b": []}
        for name, peer in (("a", a), ("b", b)):
            store.table.joined(name)
            block = store.one(BlockLent, store.table.blocks.lend(name, 2 * MIB, now=0.0))
            peer.say(name, block.block_id, block.offset, block.size)
            while (words := peer.hear())[0] != "return":
                object_id = f"{name}{len(ids[name])}".encode().ljust(28)
                assert (
                    store.perform(
                        store.table.blocks.seal_in_block(
                            name, block.block_id, object_id, int(words[0]), 100_000, now=0.0
                        )
                    )
                    == []
                )
                ids[name].append(object_id)
                offsets[name].append(int(words[0]))
            assert words == ["return", str(block.block_id)]
            store.perform(store.table.blocks.return_block(name, block.block_id, now=0.0))
        for name, other, peer in (("a", "b", a), ("b", "a", b)):
            assert len(ids[name]) == 20
            store.one(Ready, store.table.get(name, 1, ids[other], now=0.0))
            peer.say(*offsets[other])
            assert [int(word) for word in peer.hear()] == offsets[other]
            store.perform(store.table.release(name, ids[other], now=0.0))
            assert peer.end() == 0
        for name in ("a", "b"):
            store.perform(store.table.died(name, now=1.0))
            store.perform(store.table.owner_died(name, now=1.0))

    assert store.at_start()


def test_a_process_that_may_not_map_that_much_is_told_so(store):
    script = """
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (span // 2, resource.RLIM_INFINITY))
    try:
        Arena.attach(fd, span)
    except MappingError as error:
        say("ulimit" in str(error))
    """
    arena = ArenaFile.create(1 << 40, room=lambda: None)
    with Peer(arena, script) as peer:
        assert peer.hear() == ["True"]
        assert peer.end() == 0
    arena.close()


def test_a_raylet_that_may_not_make_a_file_of_that_size_is_told_so(store):
    script = """
    import resource
    from manta.raylet.objects.arena import ArenaFile
    from manta.shm.errors import ReservationError
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
    before = os.listdir("/proc/self/fd")
    try:
        ArenaFile.create(1 << 30)
    except ReservationError as error:
        say("ulimit" in str(error), len(os.listdir("/proc/self/fd")) - len(before))
    """
    with Peer(store.arena, script) as peer:
        assert peer.hear() == ["True", "0"]
        assert peer.end() == 0
