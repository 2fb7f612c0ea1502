"""Calls of an actor that dies and is born again, over connections that break, on a virtual clock.

Real are the callers' side (`client.actors`, `client.actor_calls`, `client.actor_links`) and the actor's (`worker.call_order`,
`worker.inbox`, `worker.delivery`). Connections lose what is under way when they break, and both sides dial anew, each when it has
heard of it; what control says comes in order and late, and not all of it. A failing seed is named, repeats itself, and is kept.
"""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from manta.client.actors import ActorClients
from manta.client.arguments import Extra
from manta.client.links import Link
from manta.client.ownership import Ownership
from manta.client.templates import Templates
from manta.client.values import Failure, Values
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.rpc.v1 import control_pb2 as cpb
from manta.transport.channel import FrameDecoder
from manta.worker.call_order import Admission, CallOrder
from manta.worker.delivery import Delivery
from manta.worker.inbox import Inbox
from tests.sim.clock import Clock
from tests.sim.cluster.virtual import Machine
from tests.sim.cluster.wires import End, connect, cut
from tests.sim.seeds import Seeds

SEEDS = Seeds("actor_calls.txt")
#: Faults and calls are over then, and every call then, seconds.
END_S, LIMIT_S = 3.0, 20.0
ACTOR = b"actor-of-the-sim"


class Process:
    """Something that has connections to its like. Its parts take it for their session."""

    def __init__(self, world: World, name: bytes) -> None:
        self.world = world
        self.worker_id = name.ljust(28, b".")
        self.machine = Machine(world.clock, self.worker_id)
        self.address = common.Address(node_id=self.worker_id, worker_id=self.worker_id)
        self.peers: dict[bytes, Link] = {}
        # Each process is on a machine of its own: what has come from a dead one was read.
        self.links = SimpleNamespace(peers=self.peers, peer=self.peer, read_to_end=lambda link: None)
        self.ownership, self.values = Ownership(), Values()
        world.processes[self.worker_id] = self

    def peer(self, where: common.Address) -> Link | None:
        return self.peers.get(where.worker_id) or self._dial(where.worker_id)

    def _dial(self, worker_id: bytes) -> Link | None:
        other = self.world.processes[worker_id]
        if not other.machine.alive:
            return None
        here, there = connect(self.machine, other.machine)
        self.world.clock.after(self.world.clock.chance.random() * 0.02, lambda: other.takes(there, self.worker_id))
        return self.takes(here, worker_id)

    def takes(self, end: End, worker_id: bytes) -> Link:
        connection: Any = end
        link = Link(connection, worker_id)
        self.peers.setdefault(worker_id, link)
        end.on_frame = lambda frame: self.heard(link, frame)
        end.on_closed = lambda reason: self.closed(link)
        return link

    def send(self, link: Link, message: Any, raw: bytes = b"") -> None:
        link.connection.send(message)

    def closed(self, link: Link) -> None:
        if self.peers.get(link.worker_id) is link:
            del self.peers[link.worker_id]
        if link.worker_id not in self.peers:
            # As `Borrowing.peer_lost`: whoever is there still is reached again.
            again = self._dial(link.worker_id)
            if again is not None:
                self.peers[link.worker_id] = again
        self.lost(link)

    def heard(self, link: Link, frame: Any) -> None:
        raise NotImplementedError

    def lost(self, link: Link) -> None:
        raise NotImplementedError

    def die(self) -> None:
        for end in list(self.machine.ends):
            end.lost()
        self.machine.alive = False


class Caller(Process):
    """Calls the actor."""

    def __init__(self, world: World, number: int) -> None:
        super().__init__(world, b"caller%d" % number)
        self.now = lambda: world.clock.now
        self.pump = SimpleNamespace(schedule=lambda when: world.clock.at(when, self.tick))
        self.templates = Templates()
        self.raylet_send = lambda message: None
        self.perform = lambda: None
        self.arguments = SimpleNamespace(inline_bytes=lambda extra: 0)
        self.submitter = SimpleNamespace(extras={}, fail_results=self.fail, fill_results=None, note_child=None)
        session: Any = self
        self.actors = ActorClients(session)
        self.client = self.actors.know(ACTOR, "A", counted=False, ordered=True)
        key = self.templates.key_for(b"k", pb.LeaseDemand())
        self.kinds = [
            self.templates.add(pb.DefineTemplate(name=f"f{retries}", num_returns=1), key, max_retries=retries)
            for retries in (0, 0, 1, -1)
        ]
        self.calls: dict[bytes, int] = {}
        #: When control's next word can be here.
        self.told_at = 0.0

    def send_bytes(self, link: Link, data: bytes) -> None:
        for _, message, _ in FrameDecoder().feed(data):
            link.connection.send(message)

    @staticmethod
    def fill_extra(message: pb.TaskExtra, index: int, extra: Extra) -> None:
        message.index, message.attempt = index, extra.attempt

    def fail(self, record: Any, failure: Failure) -> None:
        oid = record[0]
        assert oid not in self.values.known, "a call has ended twice"
        self.submitter.extras.pop(oid, None)
        self.values.set(oid, failure)

    def tick(self) -> None:
        if self.machine.alive:
            self.actors.calls.tick(self.world.clock.now)

    def call(self, count: int) -> None:
        if not self.machine.alive:
            return
        kind = self.world.clock.chance.choice(self.kinds)
        for _ in range(count):
            number = len(self.calls)
            task_id = self.worker_id[6:7] + number.to_bytes(7, "big") + ACTOR
            (oid,) = self.actors.calls.enter(self.client, kind, task_id, b"", Extra(), ())
            self.calls[oid] = kind.max_retries
        self.actors.calls.flush()

    def heard(self, link: Link, frame: Any) -> None:
        match frame:
            case pb.TaskResults():
                before = set(self.values.known)
                self.actors.calls.results(link, frame)
                fresh = [oid for oid in self.values.known if oid not in before]
                assert all(self.world.began[oid] for oid in fresh), "a value of a call that never began"
            case pb.CallsResumed():
                self.actors.links.resumed(link, frame, b"")
        self.tick()

    def lost(self, link: Link) -> None:
        self.actors.links.lost(link)

    def told(self, info: cpb.ActorInfo) -> None:
        """Control says something: in order, sooner or later."""
        clock = self.world.clock
        self.told_at = max(self.told_at, clock.now + clock.chance.random() ** 2 * 0.5)
        clock.at(self.told_at, lambda: self.actors.state_info(info) if self.machine.alive else None)


class Life(Process):
    """One life of the actor: a worker."""

    def __init__(self, world: World, incarnation: int) -> None:
        super().__init__(world, b"life%d" % incarnation)
        self.incarnation = incarnation
        self.order, self.inbox = CallOrder(ACTOR, incarnation), Inbox()
        session: Any = self
        self.delivery = Delivery(session)
        self.running: bytes | None = None
        #: The last call of each caller that began here.
        self.last: dict[bytes, int] = {}

    def heard(self, link: Link, frame: Any) -> None:
        match frame:
            case pb.DefineTemplate():
                link.templates[frame.number] = frame
            case pb.PushCalls():
                if link not in self.delivery.outboxes:
                    self.delivery.open(link, 0)
                elif self.delivery.left(link):
                    return
                caller = link.worker_id, frame.sequence
                verdict = self.order.admit(frame.actor_id, frame.incarnation, caller, frame.first, len(frame.args))
                if verdict is Admission.NEXT:
                    self.inbox.add(link, frame)
                    self.turn()
                # What was pushed to another life, or twice, or after a gap, is not run here.
            case pb.ResumeCalls() if frame.incarnation == self.incarnation:
                self.delivery.rejoin(link)
                mine = set(self.delivery.waiting(link.worker_id))
                ids = [task[1] for task in self.inbox.all() if task[0] in mine]
                ids += [self.running] if self.running is not None else []
                number = self.order.next_of((link.worker_id, frame.sequence))
                self.send(
                    link,
                    pb.CallsResumed(actor_id=ACTOR, incarnation=self.incarnation, next=number, ids=b"".join(ids)),
                )

    def lost(self, link: Link) -> None:
        if link.worker_id in self.peers:
            self.delivery.broken(link)
            return
        self.delivery.close(link)
        self.order.forget(link.worker_id)
        self.delivery.forget(link.worker_id)

    def turn(self) -> None:
        if self.running is not None or not self.machine.alive:
            return
        if not self.inbox.queue:
            self.delivery.flush_all()
            return
        task: Any = self.inbox.queue.popleft()
        link, oid = task[0], task[1]
        self.world.starts(self, link.worker_id, oid)
        self.running = oid
        chance = self.world.clock.chance

        def over() -> None:
            if not self.machine.alive:
                return
            self.running = None
            self.delivery.finish(link, oid, b"value", 10)
            if chance.random() < 0.3:
                self.delivery.flush(link)
            self.turn()

        self.world.clock.after(chance.choice((0.0001, 0.001, 0.05)) * chance.random(), over)


class World:
    """An actor, those who call it, and control, which says who lives."""

    def __init__(self, seed: int) -> None:
        self.clock = Clock(seed)
        self.processes: dict[bytes, Process] = {}
        #: Starts of each call ever, and in one life.
        self.began: Counter[bytes] = Counter()
        self._in_life: set[tuple[int, bytes]] = set()
        self.left = self.clock.chance.choice((0, 1, 3, 100))
        self.callers = [Caller(self, number) for number in range(self.clock.chance.randint(1, 3))]
        self.life: Life | None = None
        self._incarnation = 0
        self.clock.after(0.1, self.born)

    def born(self) -> None:
        self._incarnation += 1
        self.life = Life(self, self._incarnation)
        self.say(cpb.ACTOR_PHASE_ALIVE, self.life.address)

    def say(self, phase: Any, address: common.Address | None = None) -> None:
        info = cpb.ActorInfo(actor_id=ACTOR, state=phase, incarnation=self._incarnation, max_restarts=5, pid=1)
        if address is not None:
            info.address.CopyFrom(address)
        for caller in self.callers:
            if phase != cpb.ACTOR_PHASE_RESTARTING or self.clock.chance.random() < 0.7:
                caller.told(info)

    def kill(self) -> None:
        life, chance = self.life, self.clock.chance
        if life is None:
            return
        life.die()
        self.life = None
        if not self.left:
            self.clock.after(chance.random() * 0.3, lambda: self.say(cpb.ACTOR_PHASE_DEAD))
            return
        self.left -= 1
        self.clock.after(chance.random() * 0.3, lambda: self.say(cpb.ACTOR_PHASE_RESTARTING))
        self.clock.after(0.3 + chance.random() * 0.3, self.born)

    def broken(self) -> None:
        """A connection breaks, with what is under way."""
        chance = self.clock.chance
        ends = [end for caller in self.callers for end in caller.machine.ends if not end.closed]
        if ends:
            cut(chance.choice(ends))

    def starts(self, life: Life, caller: bytes, oid: bytes) -> None:
        """I3, I4: once in a life, and in its caller's order."""
        assert (life.incarnation, oid) not in self._in_life, "a call began twice in one life"
        self._in_life.add((life.incarnation, oid))
        self.began[oid] += 1
        number = int.from_bytes(oid[1:8], "big")
        assert number > life.last.get(caller, -1), "a call overtook an earlier one of its caller"
        life.last[caller] = number


@pytest.mark.parametrize("seed", SEEDS.all())
def test_calls_end_once_run_in_order_and_no_more_often_than_they_may(seed):
    """I1, I3, I4, I10: whatever breaks, each call ends, at most once per life and attempt, in its caller's order."""
    with SEEDS.keeping(seed):
        history(seed)


def history(seed: int) -> None:
    """One, to its end."""
    world = World(seed)
    clock, chance = world.clock, world.clock.chance
    for caller in world.callers:
        for _ in range(chance.randint(1, 12)):
            clock.after(chance.random() * END_S, lambda caller=caller: caller.call(chance.choice((1, 3, 20))))
    for most, fault in ((4, world.kill), (12, world.broken)):
        for _ in range(chance.randint(0, most)):
            clock.after(0.1 + chance.random() * END_S, fault)
    clock.at(LIMIT_S, lambda: None)
    clock.run(until=lambda: clock.now >= LIMIT_S, limit_s=LIMIT_S)
    for caller in world.callers:
        for oid, retries in caller.calls.items():
            assert oid in caller.values.known, f"call {oid[:8].hex()} has not ended"
            most = world._incarnation if retries < 0 else 1 + retries
            assert world.began[oid] <= most, f"call {oid[:8].hex()} began {world.began[oid]} times"
        assert not caller.client.inflight
        assert not caller.client.queue
