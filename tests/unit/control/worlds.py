"""A world around `ControlState` without wire, disk or clock: a dict for the store, sets for the raylets."""

import itertools

from manta.control import events
from manta.control.commands import FinishJobOnNode, KillOnNode, Publish, StartOnNode, Table, Write
from manta.control.model import (
    Actor,
    ActorId,
    ActorSpec,
    Address,
    DeathCause,
    DeathKind,
    Instant,
    JobId,
    Node,
    NodeId,
    RunningActor,
    WorkerId,
)
from manta.control.state import ControlState, Limits, Stored

CPU = 10_000


def node_id(n: int) -> NodeId:
    return NodeId(b"node" + n.to_bytes(24, "big"))


def worker_id(n: int) -> WorkerId:
    return WorkerId(b"wrkr" + n.to_bytes(24, "big"))


class World:
    """Performs commands the simplest way and checks every invariant after each event.

    Attributes:
        store: (table, key) -> row, as it would be on disk.
        sent: Commands for raylets, in order.
        published: Rows that watchers heard of.
        running: What runs where, as the raylets know: node -> actor -> RunningActor.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits
        self.now = 0.0
        self.store: dict[tuple[Table, bytes], object] = {}
        self.sent: list[StartOnNode | KillOnNode | FinishJobOnNode] = []
        self.published: list[object] = []
        self.running: dict[NodeId, dict[ActorId, RunningActor]] = {}
        self.cpus: dict[NodeId, int] = {}
        self.drivers: dict[NodeId, set[WorkerId]] = {}
        self._numbers = itertools.count(1)
        self.state = self._start()

    def _start(self) -> ControlState:
        def rows(table):
            return [row for (where, _), row in self.store.items() if where is table]

        def pairs(table):
            return [(key, row) for (where, key), row in self.store.items() if where is table]

        stored = Stored(
            meta=dict(pairs(Table.META)),
            nodes=rows(Table.NODES),
            jobs=rows(Table.JOBS),
            actors=rows(Table.ACTORS),
            kv=pairs(Table.KV),
            functions=pairs(Table.FUNCTIONS),
            requests=pairs(Table.REQUESTS),
            groups=rows(Table.GROUPS),
        )
        state = ControlState(stored, Instant(self.now), limits=self.limits)
        self._perform(state.opening)
        state.validate()
        return state

    def restart(self) -> None:
        """SIGKILL and start again on the same store."""
        self.sent.clear()
        self.state = self._start()

    def _perform(self, commands) -> None:
        for command in commands:
            match command:
                case Write(table, key, None):
                    self.store.pop((table, key), None)
                case Write(table, key, row):
                    self.store[table, key] = row
                case Publish(row):
                    self.published.append(row)
                case _:
                    self.sent.append(command)

    def handle(self, event):
        answer, commands = self.state.handle(event, Instant(self.now, int(self.now * 1000)))
        self._perform(commands)
        self.state.validate()
        return answer

    def request_id(self) -> bytes:
        return next(self._numbers).to_bytes(16, "big")

    def sleep(self, seconds: float) -> None:
        """Let time pass in small steps, as the shell's timer does; every node that still runs keeps saying so."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 0.5)
            for node in list(self.running):
                if self.state.nodes.is_alive(node):
                    self.beat(node)
            self.handle(events.Tick())

    # ---- nodes

    def free(self, node: NodeId) -> dict[str, int]:
        used = sum(actor.hold.get("CPU", 0) for actor in self.running[node].values())
        return {"CPU": self.cpus[node] * CPU - used}

    def register(self, node: NodeId, cpus: int = 2, **fields):
        self.running.setdefault(node, {})
        self.cpus.setdefault(node, cpus)
        actors = tuple(self.running[node].values())
        answer = self.handle(
            events.RegisterNode(
                request_id=fields.pop("request_id", None) or self.request_id(),
                node=Node(node, f"unix:{node.hex()}", total={"CPU": self.cpus[node] * CPU}),
                available=self.free(node),
                actors=actors,
                driver_ids=frozenset(self.drivers.get(node, ())),
                **fields,
            )
        )
        for actor_id, incarnation in self.state.unwanted(node, actors):
            found = self.running[node].get(actor_id)
            if found is not None and found.incarnation == incarnation:
                del self.running[node][actor_id]
        return answer

    def beat(self, node: NodeId):
        return self.handle(events.Heartbeat(node_id=node, number=next(self._numbers), available=self.free(node)))

    # ---- jobs and actors

    def job(self, node: NodeId, n: int = 0, **fields) -> tuple[JobId, Address]:
        driver = Address(node, worker_id(1_000_000 + next(self._numbers)))
        self.drivers.setdefault(node, set()).add(driver.worker_id)
        return self.handle(events.RegisterJob(request_id=self.request_id(), driver=driver, **fields)), driver

    def create(self, job: JobId, owner: Address, n: int | None = None, *, get_if_exists=False, **fields) -> ActorId:
        number = next(self._numbers) if n is None else n
        actor_id = ActorId(number.to_bytes(12, "big") + job)
        unready = fields.pop("dependencies_unready", False)
        known = fields.pop("known", None)
        fields.setdefault("place", {"CPU": CPU})
        answer = self.handle(
            events.CreateActor(
                request_id=self.request_id(),
                spec=ActorSpec(actor_id, job, owner, **fields),
                get_if_exists=get_if_exists,
                dependencies_unready=unready,
                known=known,
            )
        )
        return ActorId(answer[1:])

    def actor(self, actor_id: ActorId) -> Actor:
        return self.state.actors.get(actor_id)

    def start(self, actor_id: ActorId) -> Address:
        """The raylet on which it was placed runs it and says so."""
        row = self.actor(actor_id)
        command = next(
            each for each in reversed(self.sent) if isinstance(each, StartOnNode) and each.actor.actor_id == actor_id
        )
        address = Address(command.node_id, worker_id(next(self._numbers)))
        spec = row.spec
        self.running[command.node_id][actor_id] = RunningActor(
            actor_id, command.actor.incarnation, spec.job_id, spec.owner, address, 7, spec.detached, spec.hold
        )
        self.handle(
            events.ReportActor(
                node_id=command.node_id,
                actor_id=actor_id,
                incarnation=command.actor.incarnation,
                outcome=events.Outcome.STARTED,
                address=address,
                pid=7,
            )
        )
        return address

    def die(self, actor_id: ActorId, kind: DeathKind = DeathKind.SYSTEM_ERROR, message: str = "it crashed") -> None:
        """Its process ends and its raylet says so."""
        row = self.actor(actor_id)
        node = row.node_id
        self.running[node].pop(actor_id, None)
        self.handle(
            events.ReportActor(
                node_id=node,
                actor_id=actor_id,
                incarnation=row.incarnation,
                outcome=events.Outcome.DIED,
                death=DeathCause(kind, message),
            )
        )

    def starts(self) -> list[tuple[ActorId, int, NodeId]]:
        return [
            (each.actor.actor_id, each.actor.incarnation, each.node_id)
            for each in self.sent
            if isinstance(each, StartOnNode)
        ]

    def kills(self) -> list[tuple[ActorId, int, bool]]:
        return [(each.actor_id, each.incarnation, each.graceful) for each in self.sent if isinstance(each, KillOnNode)]
