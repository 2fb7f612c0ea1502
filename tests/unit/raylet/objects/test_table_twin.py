"""Any order of events: no byte of an object changes while somebody may read it, each request has one answer, nothing is left."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

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
    HolePunched,
    Left,
    PunchHole,
    RangeWarmed,
    Ready,
    RecallBlocks,
    ReserveExtent,
    StoreFull,
    Warm,
)
from manta.raylet.objects.table import ObjectTable
from manta.shm.layout import MIB, aligned

CAPACITY = 32 * MIB
UNIT = MIB // 4  # what the twin keeps track of: sizes are multiples of it
IDS = [bytes([number]) * 28 for number in range(4)]
OWNERS = ["driver", "other"]
SIZES = st.sampled_from([UNIT, 2 * UNIT, MIB, 3 * MIB, 9 * MIB, 20 * MIB, CAPACITY, CAPACITY + UNIT])
TIMEOUT_S = 10.0


class Twin:
    """The memory itself, and what everybody may rely on: slow, and free of cleverness."""

    def __init__(self):
        self.memory = [None] * (2 * CAPACITY // UNIT)
        self.writing = {}  # (client, id) -> (offset, size, owner, secondary)
        self.objects = {}  # id -> [offset, size, mark, owner, secondary]
        self.doomed = {}  # id -> (offset, size, mark): deleted, still read
        self.pins = Counter()  # (client, id)
        self.creates = {}  # (client, id) -> (since, size, owner, secondary)
        self.gets = {}  # (client, request) -> ids
        self.blocks = {}  # block id -> [client, offset, size, next]
        self.lends = Counter()
        self.clients = set()
        self.dead_owners = set()
        self.ahead = {}  # id -> clients who may have sealed it: deleted before it came
        self.made = {}  # id -> who made it, or found it made, last
        self.lefts = []  # questions to the driver about what the dead had made: (creator, ids)
        self.passing = None  # the last object that was there for a moment only, because of that

    def units(self, offset, size):
        return range(offset // UNIT, (offset + aligned(size)) // UNIT)

    def write(self, offset, size, mark):
        for unit in self.units(offset, size):
            self.memory[unit] = mark

    def read(self, offset, size):
        return {self.memory[unit] for unit in self.units(offset, size)}


class TableMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        allocator = Allocator(CAPACITY, span=2 * CAPACITY, extent=MIB, margin=MIB, idle_s=5.0)
        self.table = ObjectTable(allocator, full_timeout_s=TIMEOUT_S)
        self.twin = Twin()
        self.arena = []
        self.now = 0.0
        self.serial = 0
        self.table.joined("driver")
        # Most of what is interesting takes two clients and room.
        self.join()
        self.join()

    # --- what the shell and the clients do with commands --------------------------------------------------------------

    def perform(self, commands):
        twin = self.twin
        for command in commands:
            match command:
                case Created(client, object_id, offset, size, _):
                    waiting = twin.creates.pop((client, object_id))
                    assert waiting[1] == size
                    self.serial += 1
                    twin.write(offset, size, self.serial)
                    twin.writing[client, object_id] = (offset, size, self.serial, *waiting[2:])
                case AlreadyExists(client, object_id, _):
                    _, _, owner, secondary = twin.creates.pop((client, object_id))
                    there = object_id in twin.objects or object_id == twin.passing
                    assert there or object_id in twin.doomed
                    if not secondary:
                        self.found(client, object_id, owner)
                case StoreFull(client, object_id, size, _, used, largest, _, waited, _, _):
                    since, asked, *_ = twin.creates.pop((client, object_id))
                    assert asked == size
                    # Its deadline is since + TIMEOUT_S, rounded; so the difference may be a little less.
                    assert size > CAPACITY or (waited >= TIMEOUT_S - 1e-6 and waited == self.now - since)
                    assert used + largest <= CAPACITY
                case Ready(client, request, places, _):
                    ids = twin.gets.pop((client, request))
                    assert [place[0] for place in places] == list(ids)
                    for object_id, offset, size in places:
                        assert tuple(twin.objects.get(object_id, twin.doomed.get(object_id))[:2]) == (offset, size)
                        twin.pins[client, object_id] += 1
                case Gone(client, request, object_id, _):
                    assert object_id in twin.gets.pop((client, request))
                    assert object_id not in twin.objects
                case BlockLent(client, block_id, offset, size, _):
                    twin.lends[client] -= 1
                    twin.blocks[block_id] = [client, offset, size, offset]
                case BlockRefused(client, _):
                    twin.lends[client] -= 1
                case RecallBlocks(client, _):
                    assert any(block[0] == client for block in twin.blocks.values())
                case Evicted(object_id, _, _):
                    evicted = twin.objects.pop(object_id)
                    assert evicted[4], "only copies are evicted"
                    assert not any(twin.pins[client, object_id] for client in twin.clients)
                case Left(owner, creator, ids, _):
                    assert owner == "driver"
                    made = {oid for oid, item in twin.objects.items() if item[3] == owner and twin.made[oid] == creator}
                    assert set(ids) == made
                    twin.lefts.append((creator, ids))
                case ReserveExtent() | PunchHole() | Warm():
                    self.arena.append(command)
                case _:
                    raise AssertionError(f"nobody did anything wrong: {command}")

    def sealed(self, client, object_id, offset, size, mark, owner, secondary):
        twin = self.twin
        was_deleted = twin.ahead.pop(object_id, None)
        if object_id in twin.doomed or object_id in twin.objects:
            if not secondary:
                self.found(client, object_id, owner)
        elif owner not in twin.dead_owners:
            twin.made[object_id] = client
            twin.objects[object_id] = (offset, size, mark, owner, secondary)
            if was_deleted:
                twin.passing = object_id
                self.deleted(object_id)

    def found(self, client, object_id, owner):
        """Whoever was to make it finds it made: a deleted one is wanted again, a copy is the original from now on."""
        twin = self.twin
        twin.made[object_id] = client
        if object_id in twin.doomed:
            twin.objects[object_id] = twin.doomed.pop(object_id)
        if object_id in twin.objects and twin.objects[object_id][4]:
            twin.objects[object_id] = (*twin.objects[object_id][:3], owner, False)

    def deleted(self, object_id):
        twin = self.twin
        item = twin.objects.pop(object_id, None)
        # A get that waits for others has this one pinned already.
        pinned = any(twin.pins[client, object_id] for client in twin.clients)
        waiting = any(object_id in ids for ids in twin.gets.values())
        if item is not None and (pinned or waiting):
            twin.doomed[object_id] = item

    def settle(self):
        """Forget deleted objects that nobody reads any more."""
        twin = self.twin
        for object_id in list(twin.doomed):
            if not any(twin.pins[client, object_id] for client in twin.clients) and not any(
                object_id in ids for ids in twin.gets.values()
            ):
                del twin.doomed[object_id]

    # --- events -------------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.twin.clients) < 3)
    @rule()
    def join(self):
        self.serial += 1
        self.twin.clients.add(self.serial)
        self.table.joined(self.serial)

    def client(self, data):
        return data.draw(st.sampled_from(sorted(self.twin.clients)))

    @precondition(lambda self: self.twin.clients)
    @rule(
        data=st.data(),
        object_id=st.sampled_from(IDS),
        size=SIZES,
        owner=st.sampled_from(OWNERS),
        secondary=st.booleans(),
    )
    def create(self, data, object_id, size, owner, secondary):
        client, twin = self.client(data), self.twin
        twin.ahead.pop(object_id, None)
        since = twin.creates.get((client, object_id), (self.now,))[0]
        known = twin.writing.pop((client, object_id), None)
        if known is not None and known[1] == size:
            owner, secondary = known[3:]
        earlier = twin.creates.get((client, object_id))
        if earlier is not None:
            owner, secondary = earlier[2:]
        twin.creates[client, object_id] = (since, size, owner, secondary)
        self.perform(self.table.create(client, object_id, size, now=self.now, owner=owner, secondary=secondary))

    @precondition(lambda self: self.twin.clients)
    @rule(data=st.data(), object_id=st.sampled_from(IDS), secondary=st.booleans())
    def put(self, data, object_id, secondary):
        """Create and, once there is room, seal."""
        client = self.client(data)
        if (client, object_id) in self.twin.writing or (client, object_id) in self.twin.creates:
            return
        self.twin.ahead.pop(object_id, None)
        self.twin.creates[client, object_id] = (self.now, MIB, "driver", secondary)
        self.perform(self.table.create(client, object_id, MIB, now=self.now, owner="driver", secondary=secondary))
        while self.arena:
            self.arena_answers(refuse=False, part=False)
        if (client, object_id) in self.twin.writing:
            self.seal_one(client, object_id)

    @precondition(lambda self: self.twin.objects)
    @rule(data=st.data())
    def read(self, data):
        """Get what is there."""
        object_id = data.draw(st.sampled_from(sorted(self.twin.objects)))
        if self.twin.clients:
            self.get(data, [object_id])

    @precondition(lambda self: self.twin.writing)
    @rule(data=st.data())
    def seal(self, data):
        self.seal_one(*data.draw(st.sampled_from(sorted(self.twin.writing))))

    def seal_one(self, client, object_id):
        offset, size, mark, owner, secondary = self.twin.writing.pop((client, object_id))
        assert self.twin.read(offset, size) == {mark}, "nobody else wrote there"
        self.sealed(client, object_id, offset, size, mark, owner, secondary)
        self.perform(self.table.seal(client, object_id, now=self.now))

    @precondition(lambda self: self.twin.writing or self.twin.creates)
    @rule(data=st.data())
    def abort(self, data):
        client, object_id = data.draw(st.sampled_from(sorted({*self.twin.writing, *self.twin.creates})))
        if self.twin.writing.pop((client, object_id), None):
            self.will_not_seal(client, [object_id])
        self.twin.creates.pop((client, object_id), None)
        self.perform(self.table.abort(client, object_id, now=self.now))

    @precondition(lambda self: self.twin.clients)
    @rule(data=st.data(), ids=st.lists(st.sampled_from(IDS), min_size=1, max_size=3))
    def get(self, data, ids):
        client = self.client(data)
        self.serial += 1
        self.twin.gets[client, self.serial] = tuple(ids)
        self.perform(self.table.get(client, self.serial, ids, now=self.now))

    @precondition(lambda self: self.twin.gets)
    @rule(data=st.data())
    def cancel_get(self, data):
        client, request = data.draw(st.sampled_from(sorted(self.twin.gets)))
        del self.twin.gets[client, request]
        self.perform(self.table.cancel_get(client, request, now=self.now))

    @precondition(lambda self: +self.twin.pins)
    @rule(data=st.data())
    def release(self, data):
        client, object_id = data.draw(st.sampled_from(sorted(+self.twin.pins)))
        self.twin.pins[client, object_id] -= 1
        self.perform(self.table.release(client, [object_id], now=self.now))

    @rule(ids=st.lists(st.sampled_from(IDS), max_size=3, unique=True))
    def delete(self, ids):
        for object_id in ids:
            self.deleted(object_id)
        self.perform(self.table.delete(ids, now=self.now))

    @precondition(lambda self: self.twin.clients)
    @rule(data=st.data(), ids=st.lists(st.sampled_from(IDS), max_size=3, unique=True))
    def delete_by(self, data, ids):
        client, twin = self.client(data), self.twin
        for object_id in ids:
            if object_id not in twin.objects and object_id not in twin.doomed:
                creators = {writer for writer, wrote in twin.writing if wrote == object_id}
                creators |= {block[0] for block in twin.blocks.values()}
                creators = (creators - {client}) | twin.ahead.pop(object_id, set())
                if creators:
                    twin.ahead[object_id] = creators
            self.deleted(object_id)
        self.perform(self.table.delete(ids, now=self.now, by=client))

    @precondition(lambda self: self.twin.lefts)
    @rule(data=st.data())
    def answer(self, data):
        """The driver frees some of what a dead process had made; what others have made or found since then stays."""
        creator, ids = self.twin.lefts.pop(0)
        untold = data.draw(st.lists(st.sampled_from(sorted(ids)), unique=True))
        for object_id in untold:
            if self.twin.made[object_id] == creator:
                self.deleted(object_id)
        self.perform(self.table.delete(untold, now=self.now, by="driver", creator=creator))

    def will_not_seal(self, client, ids):
        for object_id in ids:
            creators = self.twin.ahead.get(object_id, set())
            creators.discard(client)
            if not creators:
                self.twin.ahead.pop(object_id, None)

    @rule(object_id=st.sampled_from(IDS))
    def promote(self, object_id):
        item = self.twin.objects.get(object_id, self.twin.doomed.get(object_id))
        assert self.table.promote(object_id) == (item is not None)
        for file in (self.twin.objects, self.twin.doomed):
            if object_id in file:
                file[object_id] = (*file[object_id][:4], False)

    @rule(object_id=st.sampled_from(IDS))
    def promote_for(self, object_id):
        """It is the driver's from now on."""
        item = self.twin.objects.get(object_id)
        assert self.table.promote(object_id, "driver") == (item is not None or object_id in self.twin.doomed)
        for file in (self.twin.objects, self.twin.doomed):
            if object_id in file:
                file[object_id] = (*file[object_id][:3], "driver", False)
                self.twin.made[object_id] = "driver"

    @rule(object_id=st.sampled_from(IDS))
    def demote(self, object_id):
        item = self.twin.objects.get(object_id)
        if item is not None and not item[4]:
            self.twin.objects[object_id] = (*item[:3], "copies", True)
            self.twin.made[object_id] = "copies"
        self.perform(self.table.demote(object_id, "copies", now=self.now))

    @precondition(lambda self: self.twin.clients)
    @rule(data=st.data(), size=st.sampled_from([MIB, 2 * MIB, 8 * MIB]))
    def lend(self, data, size):
        client = self.client(data)
        self.twin.lends[client] += 1
        self.perform(self.table.blocks.lend(client, size, now=self.now))

    @precondition(lambda self: self.twin.blocks)
    @rule(data=st.data(), object_id=st.sampled_from(IDS), owner=st.sampled_from(OWNERS), skip=st.booleans())
    def seal_in_block(self, data, object_id, owner, skip):
        block_id = data.draw(st.sampled_from(sorted(self.twin.blocks)))
        block = self.twin.blocks[block_id]
        if skip:
            block[3] += UNIT  # an aborted object leaves a gap
        offset = block[3]
        if offset + UNIT > block[1] + block[2]:
            return
        block[3] += UNIT
        self.serial += 1
        self.twin.write(offset, UNIT, self.serial)
        self.sealed(block[0], object_id, offset, UNIT, self.serial, owner, False)
        self.perform(
            self.table.blocks.seal_in_block(block[0], block_id, object_id, offset, UNIT, now=self.now, owner=owner)
        )

    @precondition(lambda self: self.twin.blocks)
    @rule(data=st.data())
    def return_block(self, data):
        block_id = data.draw(st.sampled_from(sorted(self.twin.blocks)))
        client = self.twin.blocks.pop(block_id)[0]
        self.perform(self.table.blocks.return_block(client, block_id, now=self.now))

    @precondition(lambda self: self.twin.clients)
    @rule(data=st.data())
    def die(self, data):
        self.kill(self.client(data))

    def kill(self, client):
        twin = self.twin
        twin.clients.remove(client)
        for file in (twin.writing, twin.creates, twin.gets, twin.pins):
            for key in [key for key in file if key[0] == client]:
                del file[key]
        for block_id in [block_id for block_id, block in twin.blocks.items() if block[0] == client]:
            del twin.blocks[block_id]
        del twin.lends[client]
        self.will_not_seal(client, IDS)
        self.perform(self.table.died(client, now=self.now))

    @rule(owner=st.sampled_from(OWNERS[1:]))
    def owner_dies(self, owner):
        self.twin.dead_owners.add(owner)
        for object_id, item in list(self.twin.objects.items()):
            if item[3] == owner:
                self.deleted(object_id)
        self.perform(self.table.owner_died(owner, now=self.now))

    @precondition(lambda self: self.arena)
    @rule(refuse=st.booleans(), part=st.booleans())
    def arena_answers(self, refuse, part):
        command = self.arena.pop(0)
        start, size, cause = command
        if isinstance(command, Warm):
            event = RangeWarmed(start, size, cause)
        elif isinstance(command, PunchHole):
            self.twin.write(start, size, None)
            event = HolePunched(start, size, cause)
        elif refuse:
            event = ExtentRefused(start, size, "no memory", cause)
        else:
            if part and size > MIB:
                self.arena.insert(0, ReserveExtent(start + MIB, size - MIB, cause))
                size = MIB
            event = ExtentReserved(start, size, cause)
        self.perform(self.table.arena_event(event, now=self.now))

    @rule(later=st.floats(0.1, 6.0))
    def tick(self, later):
        self.now += later
        self.perform(self.table.tick(now=self.now))

    @rule()
    def tick_when_due(self):
        """A tick at the time the table asked for does something, or the table asks for a later one: a timer never spins."""
        wake_at = self.table.wake_at()
        if wake_at is None:
            return
        self.now = max(self.now, wake_at)
        commands = self.table.tick(now=self.now)
        self.perform(commands)
        after = self.table.wake_at()
        assert commands or after is None or after > self.now

    # --- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def everybody_finds_what_the_twin_says(self):
        self.settle()
        self.table.validate()
        twin = self.twin
        for object_id in IDS:
            item = twin.objects.get(object_id)
            assert self.table.where(object_id) == (tuple(item[:2]) if item else None)
            for offset, size, mark, *_ in filter(None, (item, twin.doomed.get(object_id))):
                assert twin.read(offset, size) == {mark}, "no byte of an object changes"
        numbers = self.table.statistics()
        assert numbers["objects"] == len(twin.objects) + len(twin.doomed)
        assert numbers["deleted_ahead"] == len(twin.ahead)
        assert numbers["waiting_creates"] == len(twin.creates)
        assert numbers["waiting_gets"] == len(twin.gets)
        for ids in twin.gets.values():
            assert not all(object_id in twin.objects for object_id in ids), "who has everything is answered"

    def teardown(self):
        for client in list(self.twin.clients):
            self.kill(client)
        self.delete(IDS)
        while self.arena:
            self.arena_answers(refuse=False, part=False)
        self.settle()
        self.table.validate()
        numbers = self.table.statistics()
        assert (
            numbers["used_bytes"] == numbers["objects"] == numbers["waiting_creates"] == numbers["deleted_ahead"] == 0
        )


TestTableMachine = TableMachine.TestCase
TestTableMachine.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
