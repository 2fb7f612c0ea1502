"""References across processes, on a virtual clock: refs are lent, passed on, returned and dropped, and their holders are killed.

Real are counting and both ends of the protocol (`client.ownership`, `client.counting`, `client.borrowing`, `client.values`).
Connections keep their order and overtake each other; they end with one of their processes, as those that merely break are taken
up again, without a gap (`transport.lasting`). A failing seed is named, repeats itself, and is kept.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from manta.client.borrowing import Borrowing
from manta.client.counting import Counting
from manta.client.links import Link
from manta.client.ownership import Ownership
from manta.client.values import Call, Failure, Stored, Values
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from tests.sim.clock import Clock
from tests.sim.cluster.virtual import Machine
from tests.sim.cluster.wires import End, connect
from tests.sim.seeds import Seeds

SEEDS = Seeds("borrowing.txt")
#: What processes do is over then, every wait has ended then, and everything is given back then, seconds.
END_S, CALM_S, LIMIT_S = 2.0, 5.0, 8.0


class Wires:
    """A process's connections to others, by worker id."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.peers: dict[bytes, Link] = {}
        self.dead: dict[bytes, str] = {}

    def send(self, link: Link, message: Any) -> None:
        said = type(message)()
        said.CopyFrom(message)
        link.connection.send(said)

    def peer(self, where: common.Address) -> Link | None:
        link = self.peers.get(where.worker_id)
        return self._dial(where.worker_id) if link is None else link

    def again(self, link: Link) -> Link | None:
        return self._dial(link.worker_id)

    def _dial(self, worker_id: bytes) -> Link | None:
        other = self._process.world.processes.get(worker_id)
        if other is None or not other.machine.alive:
            return None
        here, there = connect(self._process.machine, other.machine)
        other.takes(there, self._process.worker_id)
        return self._process.takes(here, worker_id)


class Process:
    """One process, and what its program holds. Its parts take it for their session."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.machine = Machine(world.clock, bytes([number]) * 28)
        self.worker_id = b"proc" + number.to_bytes(24, "big")
        self.address = common.Address(node_id=self.machine.node_id, worker_id=self.worker_id)
        self.me = self.address.SerializeToString(deterministic=True)
        self.ownership, self.values = Ownership(), Values()
        wires: Any = Wires(self)
        self.links = wires
        session: Any = self
        self.borrowing, self.counting = Borrowing(session), Counting(session)
        self.perform = self.counting.perform
        self.fetching = SimpleNamespace(stored=Stored)
        self.actors = SimpleNamespace(handle_freed=lambda oid: None)
        self.store = SimpleNamespace(copies=SimpleNamespace(holders={}), free=lambda stored: None)
        self.closed = False
        #: Refs of the program, each counted once; and its waits that have not ended.
        self.refs: list[bytes] = []
        self.waits = 0
        self._made = 0

    # ---- the session

    def link_to(self, owner: bytes) -> Link | None:
        link: Link | None = self.links.peer(common.Address.FromString(owner))
        return link

    def takes(self, end: End, worker_id: bytes) -> Link:
        """A connection to or from another process."""
        connection: Any = end
        link = Link(connection, worker_id)
        self.links.peers.setdefault(worker_id, link)
        end.on_frame = lambda frame: self.heard(link, frame)
        end.on_closed = lambda reason: self.parted(link)
        return link

    def parted(self, link: Link) -> None:
        if self.links.peers.get(link.worker_id) is link:
            del self.links.peers[link.worker_id]
        self.borrowing.peer_lost(link)
        self.borrowing.link_closed(link)
        for index, (caller, worker, oid) in list(self.world.calls.items()):
            if caller is self and worker.worker_id == link.worker_id:
                # Nobody will answer: the call has failed.
                del self.world.calls[index]
                self.ownership.drop(oid)
                self.world.lent(self, worker, oid)
        self.perform()

    def heard(self, link: Link, frame: Any) -> None:
        match frame:
            case pb.AddBorrower():
                self.borrowing.add_borrower(link, frame, b"")
            case pb.BorrowerAdded():
                self.borrowing.borrower_added(link, frame, b"")
            case pb.ReleaseBorrow():
                self.borrowing.release_borrow(link, frame, b"")
            case pb.WantObject():
                self.borrowing.want_object(link, frame, b"")
            case pb.ObjectValue():
                self.borrowing.object_value(link, frame, b"")
            case pb.ContainedRef():
                self.given(frame)
            case pb.TaskExtra():
                self.called(link, frame)
        self.perform()
        self.ownership.validate()

    # ---- the program

    def make(self) -> None:
        """An object of its own, there sooner or later; large ones are somewhere."""
        self._made += 1
        oid = self.worker_id[-12:] + self._made.to_bytes(16, "big")
        self.world.owners[oid] = self
        self.ownership.add(oid)
        self.refs.append(oid)
        chance = self.world.clock.chance
        value: Any = Stored(1 << 20, self.machine.node_id) if chance.random() < 0.3 else b"value"

        def there() -> None:
            if self.machine.alive and self.ownership.alive(oid):
                self.values.set(oid, value)

        self.world.clock.after(chance.random() * 0.1, there)

    def owner_of(self, oid: bytes) -> bytes:
        borrow = self.ownership.borrows.get(oid)
        return self.me if borrow is None else borrow.owner

    def call(self, other: Process, oid: bytes) -> None:
        """Another process gets the ref as an argument: held here until that has said that it is done with it, or counted."""
        link = self.links.peer(other.address)
        if link is None:
            return
        self.ownership.add(oid)
        self.world.lends(self, other, oid)
        said = pb.TaskExtra(index=self.world.number())
        said.refs.add(object_id=oid, owner=common.Address.FromString(self.owner_of(oid)))
        self.world.calls[said.index] = self, other, oid
        self.links.send(link, said)
        self.often_drop(oid)

    def called(self, link: Link, frame: pb.TaskExtra) -> None:
        caller, worker, oid = self.world.calls[frame.index]
        if worker is not self:
            # The other side has answered.
            del self.world.calls[frame.index]
            self.ownership.drop(oid)
            self.world.lent(self, worker, oid)
            return
        owner = frame.refs[0].owner.SerializeToString(deterministic=True)
        self.ownership.receive(oid, owner, owner == self.me)
        self.refs.append(oid)
        chance = self.world.clock.chance

        def over() -> None:
            if not self.machine.alive:
                return
            if chance.random() < 0.5 and oid in self.refs:
                self.drop(oid)
            other = self.links.peer(caller.address)
            if other is not None:
                self.borrowing.register_borrows([oid], lambda: self.links.send(other, frame))
            self.perform()

        self.world.clock.after(chance.random() * 0.05, over)

    def give(self, other: Process, oid: bytes) -> None:
        """Another process gets the ref inside a value: it is registered by this one, and then it hears of it."""
        link = self.links.peer(other.address)
        if link is None:
            return
        owner = self.owner_of(oid)
        self.ownership.add(oid)
        self.world.lends(self, other, oid)

        told = pb.ContainedRef(object_id=oid, owner=common.Address.FromString(owner))

        def counted() -> None:
            self.links.send(link, told)
            over()

        def over() -> None:
            self.ownership.drop(oid)
            self.world.lent(self, other, oid)

        if owner == self.me:
            self.ownership.add_borrower(oid, other.worker_id)
            counted()
        elif owner != other.me:
            self.borrowing.announce({owner: [oid]}, other.address, counted)
        else:
            # It goes home: held here until that has read of it, as whoever else lets go may be faster (`worker.delivery`).
            self.links.send(link, told)
            self.borrowing.when_read(link, over)
        self.often_drop(oid)
        self.perform()

    def often_drop(self, oid: bytes) -> None:
        """What was lent is often of no more use to its lender."""
        if self.world.clock.chance.random() < 0.6:
            self.drop(oid)

    def given(self, frame: pb.ContainedRef) -> None:
        owner = frame.owner.SerializeToString(deterministic=True)
        self.ownership.receive(frame.object_id, owner, owner == self.me)
        self.ownership.lent(frame.object_id)
        self.refs.append(frame.object_id)

    def read(self, oid: bytes) -> None:
        """Wait for the value: it comes, or a failure, unless nobody here refers to it any more."""
        self.waits += 1
        self.ownership.add(oid)

        def there(oid: bytes, value: Any) -> None:
            self.waits -= 1
            self.ownership.drop(oid)
            owner = self.world.owners[oid]
            if isinstance(value, Failure):
                assert not owner.machine.alive or (self, oid) in self.world.unsafe, "it was lost, and its owner lives"
            self.perform()

        self.borrowing.watch(oid, Call(there))

    def drop(self, oid: bytes) -> None:
        self.refs.remove(oid)
        self.ownership.drop(oid)
        self.perform()

    def act(self) -> None:
        """Some step of the program."""
        chance = self.world.clock.chance
        others = [other for other in self.world.processes.values() if other is not self]
        if not self.refs or chance.random() < 0.2:
            self.make()
            return
        oid = chance.choice(self.refs)
        chance.choice((
            lambda: self.call(chance.choice(others), oid),
            lambda: self.call(chance.choice(others), oid),
            lambda: self.give(chance.choice(others), oid),
            lambda: self.read(oid),
            lambda: self.drop(oid),
        ))()  # fmt: skip

    def die(self) -> None:
        for end in list(self.machine.ends):
            end.lost()
        self.machine.alive = False


class World:
    """The processes, and who may count on what."""

    def __init__(self, seed: int) -> None:
        self.clock = Clock(seed)
        self.owners: dict[bytes, Process] = {}
        self.calls: dict[int, tuple[Process, Process, bytes]] = {}
        self._numbers = 0
        #: Loans under way. Whose lender dies meanwhile may be too late at the owner: nobody can count on those.
        self._loans: list[tuple[Process, Process, bytes]] = []
        self.unsafe: set[tuple[Process, bytes]] = set()
        self.processes: dict[bytes, Process] = {}
        for number in range(1, self.clock.chance.randint(3, 6)):
            process = Process(self, number)
            self.processes[process.worker_id] = process

    def number(self) -> int:
        self._numbers += 1
        return self._numbers

    def lends(self, lender: Process, borrower: Process, oid: bytes) -> None:
        self._loans.append((lender, borrower, oid))
        if (lender, oid) in self.unsafe:
            self.unsafe.add((borrower, oid))

    def lent(self, lender: Process, borrower: Process, oid: bytes) -> None:
        self._loans.remove((lender, borrower, oid))

    def kill(self) -> None:
        living = [process for process in self.processes.values() if process.machine.alive]
        if len(living) < 2:
            return
        one = self.clock.chance.choice(living)
        one.die()
        late = [(borrower, oid) for lender, borrower, oid in self._loans if lender is one]
        while late:
            borrower, oid = late.pop()
            if (borrower, oid) not in self.unsafe:
                self.unsafe.add((borrower, oid))
                late += [(other, oid) for lender, other, lent in self._loans if lender is borrower and lent == oid]

    def delay(self) -> None:
        """What some process says to some other comes late: all others' frames overtake it."""
        chance = self.clock.chance
        ends = list(chance.choice(list(self.processes.values())).machine.ends)
        if ends:
            chance.choice(ends).hold(chance.choice((0.02, 0.1, 0.3)))

    def check(self) -> None:
        """I7: what somebody refers to is kept, as long as its owner lives."""
        for process in self.processes.values():
            if process.machine.alive:
                for oid in process.ownership.counts:
                    owner = self.owners[oid]
                    safe = (process, oid) not in self.unsafe
                    kept = owner.ownership.alive(oid) and oid not in owner.ownership.lost
                    assert not (safe and owner.machine.alive) or kept, (
                        f"{oid.hex()} was freed while process {process.worker_id[-1]} refers to it"
                    )


@pytest.mark.parametrize("seed", SEEDS.all())
def test_what_is_referred_to_anywhere_is_kept_and_the_rest_is_freed(seed):
    """I7: a live ref resolves or raises; nothing is kept after the last. I10: every wait ends."""
    with SEEDS.keeping(seed):
        history(seed)


def history(seed: int) -> None:
    """One, to its end."""
    world = World(seed)
    clock, chance = world.clock, world.clock.chance

    def act() -> None:
        living = [process for process in world.processes.values() if process.machine.alive]
        chance.choice(living).act()
        world.check()
        if clock.now < END_S:
            clock.after(chance.random() * 0.02, act)

    act()
    for _ in range(chance.choice((0, 0, 1, 2))):
        clock.after(chance.random() * END_S, world.kill)
    for _ in range(60):
        clock.after(chance.random() * END_S, world.delay)
    for moment in (CALM_S, LIMIT_S):
        clock.at(moment, lambda: None)
    clock.run(until=lambda: clock.now >= CALM_S, limit_s=LIMIT_S)
    world.check()
    living = [process for process in world.processes.values() if process.machine.alive]
    for process in living:
        assert not process.waits, f"process {process.worker_id[-1]} waits for ever"
        while process.refs:
            process.drop(process.refs[-1])
    clock.run(until=lambda: clock.now >= LIMIT_S, limit_s=LIMIT_S)
    for process in living:
        assert not process.ownership.counts
        assert not process.ownership.borrows
        assert not process.ownership.lost
        # Who was registered by a lender that died before it gave the ref knows nothing of it: its own end is what frees that.
        lent = process.ownership.borrowers.items()
        left = [oid for oid, holders in lent for one in holders if (world.processes[one], oid) not in world.unsafe]
        assert not left, f"{len(left)} objects are kept for who has let go of them"
        assert not process.values.known or all(oid not in process.ownership.counts for oid in process.values.known)
        assert not process.values.watchers
        assert not process.borrowing._acks
