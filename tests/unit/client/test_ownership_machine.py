"""Distributed reference counting, any order of events: nothing is freed while somebody refers to it, nothing is left at the end.

Several processes, each with the real table and with a shell that follows the session's rules in a few lines; between them
connections that keep their own order and none among each other. Beside them the slow and obvious twin: who really refers to what,
found by looking into every heap, every running call and every message.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from manta.client.ownership import Ownership

NAMES = (b"driver", b"anna", b"bert", b"carl")
PICK = st.integers(0, 1 << 16)
MANY = st.lists(PICK, max_size=3)


@dataclass(eq=False)
class Call:
    """One call under way: its caller keeps `held` until it is over; `local` is what the callee's frame refers to."""

    number: int
    caller: bytes
    callee: bytes
    held: list[bytes]
    local: list[bytes] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    state: str = "pushed"  # running, ending, over


class Process:
    """A process: the table under test, and what user code in it refers to."""

    def __init__(self, world: World, name: bytes) -> None:
        self.world = world
        self.name = name
        self.table = Ownership()
        self.alive = True
        #: References that user code keeps.
        self.refs: Counter[bytes] = Counter()
        #: References that the session keeps for a while: containers being read.
        self.pinned: Counter[bytes] = Counter()
        #: Values made here: the refs inside.
        self.values: dict[bytes, tuple[bytes, ...]] = {}
        self.acks: dict[int, tuple[bytes, object]] = {}

    # ---- the session's rules

    def receive(self, oid: bytes) -> None:
        self.table.receive(oid, owner_of(oid), owner_of(oid) == self.name)

    def perform(self) -> None:
        commands = self.table.take_commands()
        if commands is None:
            return
        for oid in commands.freed:
            assert owner_of(oid) == self.name
            self.world.check_nobody_refers_to(oid)
            del self.values[oid]
        for oid in commands.forgotten:
            assert oid not in self.table.counts
        for owner, oid in commands.releases:
            if self.world.connect(self.name, owner):
                self.world.send("peer", self.name, owner, ("release", [oid], self.name))

    def lend_own(self, oid: bytes, borrower: bytes) -> None:
        """Write a borrower down, and make sure to hear of its death."""
        assert self.table.add_borrower(oid, borrower), "a borrower registers while its lender holds the object"
        if not self.world.connect(self.name, borrower):
            self.table.borrower_died(borrower)

    def announce(self, by_owner: dict[bytes, list[bytes]], borrower: bytes, then) -> None:
        waiting = [1]

        def one_done() -> None:
            waiting[0] -= 1
            if not waiting[0]:
                then()

        for owner, oids in by_owner.items():
            if not self.world.connect(self.name, owner):
                continue
            borrows = [self.table.asked(oid) for oid in oids] if borrower == self.name else []

            def acknowledged(borrows=borrows) -> None:
                for borrow in borrows:
                    self.table.acknowledged(borrow)
                one_done()

            waiting[0] += 1
            request = self.world.number()
            self.acks[request] = (owner, acknowledged)
            self.world.send("peer", self.name, owner, ("add", request, oids, borrower, self.name))
        one_done()

    def register(self, oids: list[bytes], then) -> None:
        by_owner: dict[bytes, list[bytes]] = {}
        for oid in self.table.unregistered(oids):
            by_owner.setdefault(self.table.borrows[oid].owner, []).append(oid)
        self.announce(by_owner, self.name, then)

    def read(self, oid: bytes) -> None:
        """The value of a container has come: user code keeps what was inside; the container stays until we are known."""
        inner = list(self.world.value(oid))
        for one in inner:
            self.receive(one)
            self.refs[one] += 1
        if owner_of(oid) != self.name and inner:
            self.table.add(oid)
            self.pinned[oid] += 1

            def known() -> None:
                self.pinned[oid] -= 1
                self.table.drop(oid)

            self.register(inner, known)

    # ---- the callee

    def start(self, call: Call) -> None:
        call.state = "running"
        for oid in call.held:
            self.receive(oid)
        call.local = list(call.held)
        call.received = list(call.held)

    def finish(self, call: Call, keep: list[bytes], returned: list[bytes]) -> None:
        """The function returns `returned` and leaves `keep` behind in this process."""
        call.state = "ending"
        for oid in keep:
            self.table.add(oid)
            self.refs[oid] += 1
        for oid in returned:
            self.table.add(oid)
            call.local.append(oid)
        elsewhere: dict[bytes, list[bytes]] = {}
        for oid in returned:
            owner = owner_of(oid)
            if owner == self.name:
                self.lend_own(oid, call.caller)
            elif owner != call.caller:
                elsewhere.setdefault(owner, []).append(oid)
        self.announce(elsewhere, call.caller, lambda: self.report(call, returned))

    def report(self, call: Call, returned: list[bytes]) -> None:
        """The value is lent; drop what the frame held, then tell the owners of what stays."""
        self.table.drop_many(call.local)
        call.local = []
        unknown = self.table.unregistered(list(dict.fromkeys(call.received)))
        mine = [oid for oid in unknown if owner_of(oid) == call.caller]
        for oid in mine:
            self.table.lent(oid)
        call.received = []

        def send() -> None:
            call.state = "over"
            self.world.send("call", self.name, call.caller, ("result", call, returned, mine))

        self.register(unknown, send)

    # ---- frames

    def handle(self, message: tuple) -> None:
        match message:
            case ("push", call):
                self.start(call)
            case ("result", call, returned, borrowed):
                for oid in borrowed:
                    self.lend_own(oid, call.callee)
                for oid in returned:
                    self.receive(oid)
                    self.table.lent(oid)
                    self.refs[oid] += 1
                self.over(call)
            case ("add", request, oids, borrower, sender):
                for oid in oids:
                    self.lend_own(oid, borrower)
                if self.world.connect(self.name, sender):
                    self.world.send("peer", self.name, sender, ("added", request))
            case ("added", request):
                self.acks.pop(request)[1]()
            case ("release", oids, sender):
                for oid in oids:
                    self.table.remove_borrower(oid, sender)
            case ("want", oid, sender):
                if self.world.connect(self.name, sender):
                    self.world.send("peer", self.name, sender, ("value", oid))
            case ("value", oid):
                self.read(oid)
                self.pinned[oid] -= 1
                self.table.drop(oid)
            case ("gone", name):
                self.table.borrower_died(name)
                for request, (owner, done) in list(self.acks.items()):
                    if owner == name:  # a dead owner answers nobody
                        del self.acks[request]
                        done()
                for oid, count in list(self.pinned.items()):
                    # A read that its owner's death interrupted.
                    if owner_of(oid) == name and count:
                        self.pinned[oid] = 0
                        for _ in range(count):
                            self.table.drop(oid)
            case ("crashed", name):
                self.table.borrower_died(name)
                for call in [call for call in self.world.calls if (call.caller, call.callee) == (self.name, name)]:
                    self.over(call)

    def over(self, call: Call) -> None:
        self.world.calls.remove(call)
        self.table.drop_many(call.held)
        call.held = []


class World:
    """The processes and what is between them."""

    def __init__(self) -> None:
        self.processes = {name: Process(self, name) for name in NAMES}
        #: (kind, from, to) -> messages in order.
        self.wires: dict[tuple[str, bytes, bytes], deque[tuple]] = {}
        self.links: set[frozenset[bytes]] = set()
        self.calls: list[Call] = []
        self.serial = 0

    def number(self) -> int:
        self.serial += 1
        return self.serial

    def connect(self, one: bytes, other: bytes) -> bool:
        """A link between two processes; False when the other is dead."""
        if one != other and not self.processes[other].alive:
            return False
        self.links.add(frozenset((one, other)))
        return True

    def send(self, kind: str, sender: bytes, receiver: bytes, message: tuple) -> None:
        if self.processes[sender].alive and self.processes[receiver].alive:
            self.wires.setdefault((kind, sender, receiver), deque()).append(message)

    def deliver(self, where: tuple[str, bytes, bytes]) -> None:
        message = self.wires[where].popleft()
        if not self.wires[where]:
            del self.wires[where]
        process = self.processes[where[2]]
        if process.alive:
            process.handle(message)
            process.perform()
        self.validate()

    def value(self, oid: bytes) -> tuple[bytes, ...]:
        return self.processes[owner_of(oid)].values[oid]

    def die(self, name: bytes) -> None:
        """SIGKILL. A worker does not survive the callers of what it runs: its raylet sees to that."""
        dead = self.processes[name]
        dead.alive = False
        for where in [where for where in self.wires if where[2] == name or where[:2] == ("call", name)]:
            del self.wires[where]  # results of a dead worker are not read: what it ran has failed
        for other in self.processes.values():
            if other.alive and frozenset((name, other.name)) in self.links:
                self.wires.setdefault(("peer", name, other.name), deque()).append(("gone", name))
        for caller in sorted({call.caller for call in self.calls if call.callee == name}):
            if self.processes[caller].alive:
                self.wires.setdefault(("raylet", name, caller), deque()).append(("crashed", name))
        orphans = {call.callee for call in self.calls if call.caller == name and call.state in ("running", "ending")}
        self.calls = [call for call in self.calls if call.caller != name]
        for orphan in sorted(orphans):
            if self.processes[orphan].alive:
                self.die(orphan)

    # ---- the twin

    def references(self, oid: bytes) -> list[str]:
        """Where a living process refers to the object, or will when its messages arrive."""
        found = []
        for process in self.processes.values():
            if not process.alive:
                continue
            if process.refs[oid] > 0:
                found.append(f"user code in {process.name!r}")
            if process.pinned[oid] > 0:
                found.append(f"a read in {process.name!r}")
            found += [f"the value of {name!r}" for name, inner in process.values.items() if oid in inner]
        for call in self.calls:
            if self.processes[call.caller].alive and oid in call.held:
                found.append(f"arguments of call {call.number}")
            if self.processes[call.callee].alive and oid in call.local:
                found.append(f"the frame of call {call.number}")
        for (kind, sender, receiver), messages in self.wires.items():
            if self.processes[receiver].alive:
                for message in messages:
                    if message[0] == "result" and oid in message[2]:
                        found.append(f"a result from {sender!r} to {receiver!r} ({kind})")
        return found

    def check_nobody_refers_to(self, oid: bytes) -> None:
        found = self.references(oid)
        assert not found, f"{oid!r} is freed although there is {', '.join(found)}"

    def validate(self) -> None:
        for process in self.processes.values():
            if process.alive:
                process.table.validate()


def owner_of(oid: bytes) -> bytes:
    return oid.split(b":")[0]


class OwnershipMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    # ---- picking

    def living(self) -> list[Process]:
        return [process for process in self.world.processes.values() if process.alive]

    def one(self, pick: int) -> Process:
        living = self.living()
        return living[pick % len(living)]

    @staticmethod
    def refs_of(process: Process, picks: list[int]) -> list[bytes]:
        mine = sorted(oid for oid, count in process.refs.items() if count)
        return [mine[pick % len(mine)] for pick in picks] if mine else []

    # ---- what user code does

    @rule(who=PICK, inner=MANY)
    def put(self, who, inner):
        process = self.one(who)
        oid = b"%s:%d" % (process.name, self.world.number())
        contents = tuple(self.refs_of(process, inner))
        for one in contents:
            process.table.add(one)
        process.table.add(oid)
        if contents:
            process.table.store_contained(oid, contents)
        process.values[oid] = contents
        process.refs[oid] += 1
        self.done(process)

    @rule(who=PICK, which=PICK)
    def copy(self, who, which):
        process = self.one(who)
        for oid in self.refs_of(process, [which]):
            process.table.add(oid)
            process.refs[oid] += 1
        self.done(process)

    @rule(who=PICK, which=MANY)
    def drop(self, who, which):
        process = self.one(who)
        for pick in which:
            for oid in self.refs_of(process, [pick]):
                process.refs[oid] -= 1
                process.table.drop(oid)
        self.done(process)

    @rule(who=PICK, which=PICK)
    def get(self, who, which):
        process = self.one(who)
        for oid in self.refs_of(process, [which]):
            owner = owner_of(oid)
            if owner == process.name:
                process.read(oid)
            elif self.world.connect(process.name, owner):
                process.table.add(oid)
                process.pinned[oid] += 1
                self.world.send("peer", process.name, owner, ("want", oid, process.name))
        self.done(process)

    @rule(who=PICK, whom=PICK, which=MANY)
    def call(self, who, whom, which):
        caller, callee = self.one(who), self.one(whom)
        if caller is callee or callee.name == b"driver":
            return
        held = self.refs_of(caller, which)
        for oid in held:
            caller.table.add(oid)
        call = Call(self.world.number(), caller.name, callee.name, held)
        self.world.calls.append(call)
        self.world.send("call", caller.name, callee.name, ("push", call))
        self.done(caller)

    @precondition(lambda self: any(call.state == "running" for call in self.world.calls))
    @rule(which=PICK, keep=MANY, returned=MANY, own=st.booleans())
    def finish(self, which, keep, returned, own):
        running = [call for call in self.world.calls if call.state == "running"]
        call = running[which % len(running)]
        callee = self.world.processes[call.callee]
        if not callee.alive:
            return
        local = call.local
        there = local + self.refs_of(callee, [0, 1, 2])
        callee.finish(
            call,
            [local[pick % len(local)] for pick in keep] if local else [],
            [there[pick % len(there)] for pick in returned] if there and own else local[: len(returned)],
        )
        self.done(callee)

    # ---- what the world does

    @precondition(lambda self: self.world.wires)
    @rule(which=PICK)
    def deliver(self, which):
        wires = sorted(self.world.wires)
        self.world.deliver(wires[which % len(wires)])

    @precondition(lambda self: len(self.world.wires) > 1)
    @rule(which=PICK, count=st.integers(2, 8))
    def one_wire_is_slow(self, which, count):
        """All others go ahead of it: the crossings that matter take several steps."""
        wires = sorted(self.world.wires)
        slow = wires[which % len(wires)]
        for _ in range(count):
            for where in [where for where in sorted(self.world.wires) if where != slow][:1]:
                self.world.deliver(where)

    @precondition(lambda self: len(self.living()) > 2)
    @rule(which=PICK, often=st.integers(0, 3))
    def die(self, which, often):
        if not often:  # most of what is interesting takes living ones
            workers = self.living()[1:]
            self.world.die(workers[which % len(workers)].name)
            self.world.validate()

    def done(self, process: Process) -> None:
        process.perform()
        self.world.validate()

    def teardown(self) -> None:
        """Everybody ends what they do and lets go of everything: nothing is left in any table."""
        for _ in range(100):
            for call in list(self.world.calls):
                callee = self.world.processes[call.callee]
                if call.state == "running" and callee.alive:
                    callee.finish(call, [], [])
                    callee.perform()
            for process in self.living():
                for oid, count in process.refs.items():
                    for _ in range(count):
                        process.table.drop(oid)
                process.refs.clear()
                process.perform()
            while self.world.wires:
                self.world.deliver(min(self.world.wires))
            if not self.world.calls and not any(process.refs.total() for process in self.living()):
                break
        for process in self.living():
            left = process.table.statistics()
            assert not any(left.values()), f"{process.name!r} is left with {left}: {process.table.borrowers}"
            assert not process.acks, "somebody waits for an answer"
            assert not process.values, "a value nobody can reach is kept"
            assert not process.table._ahead, "a release waits for ever"
            assert not process.table._by_borrower, "somebody is remembered"
        super().teardown()


TestOwnershipMachine = OwnershipMachine.TestCase
TestOwnershipMachine.settings = settings(stateful_step_count=60)
