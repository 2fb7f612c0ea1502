"""One node, its drivers and control: the real decisions, composed without a process, a socket or a clock.

The raylet is its `Scheduler` and its `ObjectTable`, control is its `ControlState` on a store of dicts, an owner is `Lease`,
`Estimate` and `wanted_leases`. What stands between them in a real cluster, the shells, is written here in the fewest lines that
keep their rules: tokens before frames, one confirmation per taking back, results lost with their worker.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from manta.client.lease import Estimate, Lease, Record, wanted_leases
from manta.control import events as control_events
from manta.control.commands import KillOnNode, StartOnNode
from manta.control.model import ActorId, ActorState, Address, DeathCause, DeathKind, RunningActor
from manta.raylet import events as ev
from manta.raylet.objects import commands as store
from manta.raylet.objects.allocator import Allocator
from manta.raylet.objects.table import ObjectTable
from manta.raylet.scheduler import Scheduler
from manta.raylet.scheduling.ledger import Ledger
from manta.shm.layout import MIB
from tests.sim.clock import Clock, Network
from tests.unit.control.worlds import World, node_id, worker_id

CPU = 10_000
NODE = node_id(1)


class Semaphore:
    def __init__(self) -> None:
        self.count = 0

    def put(self, count: int) -> None:
        self.count += count

    def take(self, most: int) -> int:
        taken = min(most, self.count)
        self.count -= taken
        return taken


class Kind:
    """Tasks of one function: what they need, how long they take."""

    def __init__(
        self, number: int, amounts: dict[str, int], longest_s: float, *, large: bool, max_retries: int
    ) -> None:
        self.number = number
        self.amounts = amounts
        self.longest_s = longest_s
        self.large = large
        self.max_retries = max_retries
        self.estimate = Estimate()
        self.pending: deque[Record] = deque()
        self.leases: dict[int, Lease] = {}


class Worker:
    """A worker process."""

    def __init__(self, sim: Sim, name: bytes) -> None:
        self.sim = sim
        self.name = name
        self.alive = True
        self.owner: Owner | None = None
        self.lease: Lease | None = None
        self.queue: deque[bytes] = deque()
        self.dropped = 0
        self.running: bytes | None = None
        self.unsent: list[tuple[bytes, int, int]] = []
        self.actor: tuple[ActorId, int] | None = None

    def hear(self, action: Callable[[], None]) -> None:
        """A frame from the owner of the lease arrives."""
        lease = self.lease
        self.sim.network.send((b"owner", self.name), lambda: action() if self.alive and self.lease is lease else None)

    def push(self, oids: list[bytes]) -> None:
        self.queue.extend(oids)
        self.turn()

    def take_back(self, count: int) -> None:
        left = max(0, count - self.dropped)
        self.dropped = max(0, self.dropped - count)
        for _ in range(min(left, len(self.queue))):
            self.queue.pop()
        self.turn()
        self.tell(lambda lease, owner: owner.took_back(lease))

    def tell(self, action: Callable[[Lease, Owner], None]) -> None:
        """A frame to the owner; worth nothing once the owner knows that the lease is over."""
        lease, owner = self.lease, self.owner
        assert lease is not None
        assert owner is not None
        self.sim.network.send(
            (self.name, b"owner"), lambda: action(lease, owner) if lease.lease_id in owner.leases else None
        )

    def turn(self) -> None:
        while self.alive and self.running is None and self.queue:
            oid = self.queue.popleft()
            assert self.lease is not None
            if not self.lease.tokens.take(1):
                self.dropped += 1
                continue
            assert self.owner is not None
            self.owner.started(self.lease, oid)
            self.running = oid
            seconds = self.sim.clock.chance.random() * self.owner.kinds_of[oid].longest_s
            self.sim.clock.after(seconds, lambda oid=oid, seconds=seconds: self.computed(oid, seconds))
        if self.alive and self.running is None:
            self.flush()

    def flush(self) -> None:
        if self.unsent:
            results, self.unsent = self.unsent, []
            self.tell(lambda lease, owner: owner.results(lease, results))

    def computed(self, oid: bytes, seconds: float) -> None:
        if not self.alive:
            return
        assert self.owner is not None
        size = MIB if self.owner.kinds_of[oid].large else 0
        if size:
            # It may have to wait for room, which only readers of earlier results can make.
            self.flush()
            self.sim.raylet.create(self, oid, size, self.owner, lambda: self.finished(oid, seconds, size))
        else:
            self.finished(oid, seconds, size)

    def finished(self, oid: bytes, seconds: float, size: int) -> None:
        if not self.alive:
            return
        self.running = None
        self.unsent.append((oid, int(seconds * 1e6), size))
        if self.sim.clock.chance.random() < 0.3:
            self.flush()
        self.turn()


class Raylet:
    """The node's scheduler and store, and the processes they command."""

    def __init__(self, sim: Sim, cpus: int) -> None:
        self.sim = sim
        self.total = {"CPU": cpus * CPU}
        self.scheduler = Scheduler(Ledger(self.total), make_id=lambda pool: b"worker%d" % sim.number())
        allocator = Allocator(16 * MIB, span=32 * MIB, extent=4 * MIB, margin=MIB, idle_s=5.0)
        self.table = ObjectTable(allocator, full_timeout_s=60.0)
        self.workers: dict[bytes, Worker] = {}
        self.writing: dict[tuple[bytes, bytes], Callable[[], None]] = {}
        #: Seals on their way.
        self.sealing: Counter[bytes] = Counter()

    # ---- leases

    def tell(self, event: ev.Event) -> None:
        for command in self.scheduler.handle(event, self.sim.clock.now):
            self.perform(command)
        self.scheduler.validate()
        if self.scheduler.wake_at is not None:
            self.sim.clock.at(self.scheduler.wake_at, self.tick)

    def tick(self) -> None:
        wake_at = self.scheduler.wake_at
        if wake_at is not None and wake_at <= self.sim.clock.now:
            self.tell(ev.Tick())

    def perform(self, command: ev.Command) -> None:
        sim, chance = self.sim, self.sim.clock.chance
        match command:
            case ev.StartWorker():
                name = command.worker_id
                sim.clock.after(
                    0.005 + chance.random() * 0.05, lambda: self.started(name, fails=chance.random() < 0.05)
                )
            case ev.Grant():
                worker, owner = self.workers[command.worker_id], sim.owners[command.owner]
                sim.network.send((b"raylet", owner.name), lambda: owner.granted(command.key, command.lease_id, worker))
            case ev.TellLeaseLost():
                owner = sim.owners[command.owner]
                sim.network.send((b"raylet", owner.name), lambda: owner.lost(command.lease_id))
            case ev.Reclaim():
                owner = sim.owners[command.owner]
                sim.network.send((b"raylet", owner.name), lambda: owner.reclaim(command.count))
            case ev.BecomeActor():
                worker = self.workers[command.worker_id]
                worker.actor = (ActorId(command.actor_id), command.incarnation)
                sim.clock.after(chance.random() * 0.05, lambda: sim.control.actor_started(worker))
            case ev.ReportActorDied():
                sim.control.actor_died(ActorId(command.actor_id), command.incarnation)
            case ev.KillWorker() | ev.EndStart() | ev.AskExit():
                status = 0 if isinstance(command, ev.AskExit) else -9
                sim.clock.after(chance.random() * 0.01, lambda: self.crash(command.worker_id, status))
            case ev.ClosePool() | ev.TellInfeasible():
                # Three workers in a row may fail to start: people are told, and it is tried again.
                pass
            case _:
                raise AssertionError(f"not in this world: {command}")

    def started(self, name: bytes, *, fails: bool) -> None:
        if fails:
            self.tell(ev.WorkerDied(name, 1, "it did not start"))
            return
        self.workers[name] = Worker(self.sim, name)
        self.table.joined(name)
        self.tell(ev.WorkerReady(name))

    def crash(self, name: bytes, status: int = -11) -> None:
        """The process is gone now; the raylet hears of it in a moment."""
        worker = self.workers.get(name)
        if worker is None or not worker.alive:
            return
        worker.alive = False
        # What it said last comes first.
        self.sim.clock.after(
            self.sim.clock.chance.random() * 0.1,
            lambda: self.sim.network.send((name, b"store"), lambda: self.buried(worker, status)),
        )

    def buried(self, worker: Worker, status: int) -> None:
        del self.workers[worker.name]
        self.store(self.table.died(worker.name, now=self.sim.clock.now))
        self.tell(ev.WorkerDied(worker.name, status, "it died"))

    # ---- the store

    def create(self, worker: Worker, oid: bytes, size: int, owner: Owner, then: Callable[[], None]) -> None:
        def heard() -> None:
            if worker.name in self.workers:
                self.writing[worker.name, oid] = then
                self.store(self.table.create(worker.name, oid, size, now=self.sim.clock.now, owner=owner.name))

        self.sim.network.send((worker.name, b"store"), heard)

    def free(self, oids: list[bytes], owner: Owner, creator: bytes | None = None) -> None:
        self.store(self.table.delete(oids, now=self.sim.clock.now, by=owner.name, creator=creator))

    def store(self, commands: list[store.Command]) -> None:
        sim = self.sim
        for command in commands:
            match command:
                case store.Created(client, oid, _, _, _):
                    then = self.writing.pop((client, oid))
                    sim.network.send(
                        (b"store", client), lambda client=client, oid=oid, then=then: self.seal(client, oid, then)
                    )
                case store.AlreadyExists(client, oid, _):
                    sim.network.send((b"store", client), self.writing.pop((client, oid)))
                case store.Left(name, creator, oids, _):
                    owner = sim.owners[name]
                    sim.network.send(
                        (b"raylet", name), lambda owner=owner, creator=creator, oids=oids: owner.left(creator, oids)
                    )
                case store.ReserveExtent(start, size, cause):
                    self.arena(store.ExtentReserved(start, size, cause))
                case store.PunchHole(start, size, cause):
                    self.arena(store.HolePunched(start, size, cause))
                case store.Warm(start, size, cause):
                    self.arena(store.RangeWarmed(start, size, cause))
                case _:
                    raise AssertionError(f"not in this world: {command}")
        self.table.validate()
        wake_at = self.table.wake_at()
        if wake_at is not None:
            sim.clock.at(max(wake_at, sim.clock.now), self.table_tick)

    def table_tick(self) -> None:
        wake_at = self.table.wake_at()
        if wake_at is not None and wake_at <= self.sim.clock.now:
            self.store(self.table.tick(now=self.sim.clock.now))

    def arena(self, event: store.ArenaEvent) -> None:
        def answered() -> None:
            self.store(self.table.arena_event(event, now=self.sim.clock.now))

        self.sim.network.send(b"arena", answered)

    def seal(self, client: bytes, oid: bytes, then: Callable[[], None]) -> None:
        """The worker has written it and says so, then goes on with its result."""
        worker = self.workers.get(client)
        if worker is None or not worker.alive:
            return

        def heard() -> None:
            self.sealing[oid] -= 1
            self.store(self.table.seal(client, oid, now=self.sim.clock.now))

        self.sealing[oid] += 1
        self.sim.network.send((client, b"store"), heard)
        # The result travels on another wire: its owner may hear of it, and free it, before the store has heard of the seal.
        then()


class Owner:
    """A driver: tasks of some kinds on leased workers."""

    def __init__(self, sim: Sim, name: bytes, job: bytes, kinds: list[Kind]) -> None:
        self.sim = sim
        self.name = name
        self.job = job
        self.kinds = kinds
        self.kinds_of: dict[bytes, Kind] = {}
        self.leases: dict[int, tuple[Lease, Worker, Kind]] = {}
        self.attempts: Counter[bytes] = Counter()
        self.ended: dict[bytes, str] = {}
        self.alive = True
        #: Starts that are allowed now: (lease, task).
        self.allowed: set[tuple[int, bytes]] = set()
        #: What dead workers had made, while their last results may be on their way: (worker, objects).
        self.asked: list[tuple[bytes, tuple[bytes, ...]]] = []
        #: External, append-only: every start there ever was.
        self.ledger: Counter[bytes] = Counter()

    # ---- what the program does

    def submit(self, kind: Kind, count: int) -> None:
        for _ in range(count):
            oid = b"%s:%d" % (self.name, self.sim.number())
            self.kinds_of[oid] = kind
            kind.pending.append((oid, kind.number, b""))
        self.push(kind)

    def end(self, oid: bytes, how: str) -> None:
        assert oid not in self.ended, f"{oid!r} ended twice: {self.ended[oid]}, {how}"
        self.ended[oid] = how
        if self.kinds_of[oid].large and how == "value":
            # The program drops its ref some time.
            self.sim.clock.after(
                self.sim.clock.chance.random() * self.sim.clock.chance.random(), lambda: self.free([oid])
            )

    def free(self, oids: list[bytes], creator: bytes | None = None) -> None:
        self.sim.network.send((self.name, b"raylet"), lambda: self.sim.raylet.free(oids, self, creator))

    def left(self, creator: bytes, oids: tuple[bytes, ...]) -> None:
        """A worker died that had made these."""
        self.asked.append((creator, oids))
        self.answer()

    def answer(self) -> None:
        """Free what the dead had made and cannot tell of any more."""
        for entry in list(self.asked):
            creator, oids = entry
            if all(worker.name != creator for _, worker, _ in self.leases.values()):
                self.asked.remove(entry)
                self.free([oid for oid in oids if self.ended.get(oid) != "value"], creator)

    # ---- what its submitter does

    def die(self) -> None:
        """SIGKILL; the raylet reads what was sent before, then the end."""
        self.raylet(ev.OwnerGone(self.name))
        self.alive = False
        self.leases.clear()

    def raylet(self, event: ev.Event) -> None:
        if not self.alive:
            return
        self.sim.network.send((self.name, b"raylet"), lambda: self.sim.raylet.tell(event))

    def demand(self, kind: Kind) -> None:
        wanted = len(kind.leases) + wanted_leases(len(kind.pending), kind.estimate.us)
        self.raylet(ev.DemandSet(self.name, self.job, kind.number, kind.amounts, wanted, name="f"))

    def push(self, kind: Kind) -> None:
        for lease in kind.leases.values():
            oids = []
            while kind.pending and lease.pushable and lease.fits(kind.estimate.us):
                record = kind.pending.popleft()
                lease.push(record, kind.estimate.us)
                oids.append(record[0])
            if oids:
                self.allowed.update((lease.lease_id, oid) for oid in oids)
                lease.tokens.put(len(oids))
                worker = self.leases[lease.lease_id][1]
                worker.hear(lambda worker=worker, oids=oids: worker.push(oids))
            lease.validate()
        self.demand(kind)

    def granted(self, key: int, lease_id: int, worker: Worker) -> None:
        kind = self.kinds[key]
        if not self.alive:
            return
        if not kind.pending:
            self.raylet(ev.LeaseBack(self.name, lease_id))
            return
        lease = Lease(lease_id, kind, worker.name, 1, Semaphore())
        lease.connection = worker
        kind.leases[lease_id] = lease
        self.leases[lease_id] = (lease, worker, kind)
        worker.owner, worker.lease = self, lease
        worker.queue.clear()
        worker.dropped, worker.unsent = 0, []
        self.push(kind)

    def started(self, lease: Lease, oid: bytes) -> None:
        """Seen by nobody but the ledger."""
        self.ledger[oid] += 1
        if lease.lease_id in self.leases:
            assert (lease.lease_id, oid) in self.allowed, f"{oid!r} starts although it was taken back"

    def take_back(self, lease: Lease, most: int) -> None:
        taken = lease.take_back(most)
        if taken:
            kind, worker = self.leases[lease.lease_id][2], self.leases[lease.lease_id][1]
            self.allowed.difference_update((lease.lease_id, record[0]) for record in taken)
            kind.pending.extendleft(reversed(taken))
            worker.hear(lambda: worker.take_back(len(taken)))

    def took_back(self, lease: Lease) -> None:
        lease.took_back()
        self.settle(lease)

    def results(self, lease: Lease, results: list[tuple[bytes, int, int]]) -> None:
        kind = self.leases[lease.lease_id][2]
        for oid, micros, size in results:
            assert lease.done(oid) is not None
            kind.estimate.add(micros)
            assert bool(size) == kind.large
            if size:
                # I2: the value can be read when its owner hears of it.
                assert self.sim.raylet.table.where(oid) is not None or self.sim.raylet.sealing[oid]
            self.end(oid, "value")
        self.settle(lease)

    def settle(self, lease: Lease) -> None:
        """Something ended: more work, somebody else's work, or nothing for a while."""
        kind = self.leases[lease.lease_id][2]
        if lease.draining and not lease.inflight and not lease.taking_back:
            self.give_back(lease)
        elif kind.pending:
            self.push(kind)
        elif not lease.inflight:
            longest = max(kind.leases.values(), key=lambda other: len(other.inflight))
            if len(longest.inflight) > 1 and not longest.taking_back:
                self.take_back(longest, len(longest.inflight) // 2)
                self.push(kind)
            self.sim.clock.after(0.5, lambda: self.give_back_if_idle(lease))

    def give_back_if_idle(self, lease: Lease) -> None:
        entry = self.leases.get(lease.lease_id)
        if entry is not None and not lease.inflight and not lease.taking_back and not entry[2].pending:
            self.give_back(lease)

    def give_back(self, lease: Lease) -> None:
        kind = self.forget(lease)
        self.raylet(ev.LeaseBack(self.name, lease.lease_id))
        self.demand(kind)

    def forget(self, lease: Lease) -> Kind:
        _, _, kind = self.leases.pop(lease.lease_id)
        del kind.leases[lease.lease_id]
        self.answer()
        return kind

    def reclaim(self, count: int) -> None:
        for lease, _, _ in list(self.leases.values()):
            if count > 0 and not lease.inflight and not lease.taking_back:
                self.give_back(lease)
                count -= 1
        for lease, _, _ in list(self.leases.values()):
            if count > 0 and not lease.draining:
                lease.draining = True
                self.take_back(lease, len(lease.inflight))
                count -= 1

    def lost(self, lease_id: int) -> None:
        entry = self.leases.get(lease_id)
        if entry is None:
            return
        lease, _, kind = entry
        begun, unstarted = lease.lost()
        self.forget(lease)
        for record in unstarted:
            self.allowed.discard((lease_id, record[0]))
        kind.pending.extendleft(reversed(unstarted))
        for record in begun:
            oid = record[0]
            if self.attempts[oid] < kind.max_retries:
                self.attempts[oid] += 1
                kind.pending.append(record)
            else:
                self.end(oid, "crashed")
        self.push(kind)

    def validate(self) -> None:
        """I1: every task is in one place."""
        places = Counter(list(self.ended))
        for kind in self.kinds:
            places.update(record[0] for record in kind.pending)
            for lease in kind.leases.values():
                places.update(list(lease.inflight))
        assert places == Counter(list(self.kinds_of)), "a task is lost, or in two places"


class Control:
    """Control's decisions and its store, killed at times, and the wires between it and the raylet."""

    def __init__(self, sim: Sim) -> None:
        self.sim = sim
        self.world = World()
        self.world.register(NODE, cpus=100)
        self.job, self.driver = self.world.job(NODE, namespace="sim")
        self.actors: list[ActorId] = []
        self.highest: Counter[ActorId] = Counter()
        self.seen = 0
        #: What the raylet's shell remembers of starts: the newest life of each actor that was asked for.
        self.newest: dict[bytes, int] = {}
        self.dispatch()
        self.tick()

    def tick(self) -> None:
        """Its timers, and the node's heartbeat."""
        self.world.now = self.sim.clock.now
        self.world.beat(NODE)
        self.world.handle(control_events.Tick())
        self.dispatch()
        self.sim.clock.after(0.5, self.tick)

    def create(self, restarts: int) -> None:
        actor = self.world.create(self.job, self.driver, detached=True, max_restarts=restarts, hold={"CPU": CPU // 2})
        self.actors.append(actor)
        self.dispatch()

    def dispatch(self) -> None:
        """Send what was decided. A start is said again until it is answered, so it may arrive twice."""
        world, sim = self.world, self.sim
        commands, self.seen = world.sent[self.seen :], len(world.sent)
        for command in commands:
            if isinstance(command, StartOnNode):
                actor = command.actor
                actor_id = actor.spec.actor_id
                assert actor.incarnation >= self.highest[actor_id], "I9: incarnations only grow"
                self.highest[actor_id] = actor.incarnation
                wanted = ev.ActorWanted(
                    actor_id, actor.incarnation, b"job1", dict(actor.spec.place), dict(actor.spec.hold), detached=True
                )
                sim.network.send((b"control", b"raylet"), lambda wanted=wanted: self.start(wanted), repeatable=True)
            elif isinstance(command, KillOnNode):
                unwanted = ev.ActorUnwanted(command.actor_id, command.incarnation, command.reason)
                sim.network.send(
                    (b"control", b"raylet"), lambda unwanted=unwanted: sim.raylet.tell(unwanted), repeatable=True
                )

    def start(self, wanted: ev.ActorWanted) -> None:
        """Fenced at the receiver: a life that is not newer than all before it is not begun (again)."""
        if wanted.incarnation > self.newest.get(wanted.actor_id, -1):
            self.newest[wanted.actor_id] = wanted.incarnation
            self.sim.raylet.tell(wanted)

    def actor_started(self, worker: Worker) -> None:
        if not worker.alive or worker.actor is None:
            return
        actor_id, incarnation = worker.actor
        address = Address(NODE, worker_id(self.sim.number()))
        self.report(
            control_events.ReportActor(
                node_id=NODE,
                actor_id=actor_id,
                incarnation=incarnation,
                outcome=control_events.Outcome.STARTED,
                address=address,
                pid=7,
            )
        )
        spec = self.world.actor(actor_id).spec
        self.world.running[NODE][actor_id] = RunningActor(
            actor_id, incarnation, spec.job_id, spec.owner, address, 7, True, spec.hold
        )

    def actor_died(self, actor_id: ActorId, incarnation: int) -> None:
        self.world.running[NODE].pop(actor_id, None)
        self.report(
            control_events.ReportActor(
                node_id=NODE,
                actor_id=actor_id,
                incarnation=incarnation,
                outcome=control_events.Outcome.DIED,
                death=DeathCause(DeathKind.SYSTEM_ERROR, "it crashed"),
            )
        )

    def report(self, event: control_events.ReportActor) -> None:
        def heard() -> None:
            self.world.handle(event)
            self.dispatch()

        self.sim.network.send((b"raylet", b"control"), heard, repeatable=True)

    def restart(self) -> None:
        """I8: SIGKILL; what was acknowledged is there again."""
        before = {actor: self.world.actor(actor).state for actor in self.actors}
        self.world.now = self.sim.clock.now
        self.world.restart()
        self.world.register(NODE)
        self.seen = 0
        for actor, state in before.items():
            row = self.world.state.actors.rows.get(actor)
            assert row is not None or state is ActorState.DEAD, "an acknowledged actor is forgotten"
        self.dispatch()

    def settled(self) -> bool:
        rows = self.world.state.actors.rows
        return all(
            actor not in rows or rows[actor].state in (ActorState.ALIVE, ActorState.DEAD) for actor in self.actors
        )


class Sim:
    """A cluster of one node."""

    def __init__(self, seed: int, *, cpus: int = 4) -> None:
        self.clock = Clock(seed)
        self.network = Network(self.clock, duplicates=0.1)
        self._number = 0
        self.owners: dict[bytes, Owner] = {}
        self.raylet = Raylet(self, cpus)
        self.control = Control(self)

    def number(self) -> int:
        self._number += 1
        return self._number

    def owner(self, name: bytes, kinds: list[Kind]) -> Owner:
        owner = self.owners[name] = Owner(self, name, b"job1", kinds)
        self.raylet.table.joined(name)
        return owner
