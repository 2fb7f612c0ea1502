"""An owner: the real submitter with its leases here and elsewhere, values and reference counts; and a program that uses them."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from manta.client import moved
from manta.client.arguments import Arguments, Extra
from manta.client.copies import Copies
from manta.client.links import Link
from manta.client.ownership import Ownership
from manta.client.store import StoreClient
from manta.client.submit import Submitter
from manta.client.templates import Template, Templates
from manta.client.values import Failure, Stored, Values
from manta.core.bundles import in_group
from manta.core.errors import MantaError
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.rpc.v1 import control_pb2 as cpb
from manta.transport.channel import FrameDecoder
from manta.transport.convert import error_from_proto
from tests.sim.cluster.wires import connect

if TYPE_CHECKING:
    from tests.sim.cluster.raylet import Raylet

CPU = 10_000


class Ordered(dict[Any, None]):
    """A set that gives back what came first."""

    def add(self, item: Any) -> None:
        self[item] = None

    def discard(self, item: Any) -> None:
        super().pop(item, None)

    def pop(self) -> Any:  # type: ignore[override]
        item = next(iter(self))
        del self[item]
        return item


class Store(StoreClient):
    """What an owner says of large values, without an arena."""

    def __init__(self, owner: Owner) -> None:
        session: Any = owner
        self._session = session
        self._left = {}
        self.node_id = owner.node_id
        self.copies = Copies(session)


class OwnerLinks:
    """Connections of the process: to workers, and to raylets of other nodes."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.endpoint = "unix:d"
        self.dead: dict[bytes, str] = {}
        #: It is reached from other nodes.
        self.far = True
        self.all: dict[Link, None] = {}

    def is_far(self, where: common.Address) -> bool:
        return where.node_id != self.owner.node_id

    def on(self, kind: type, handler: Any) -> None:
        """Frames are handed out in `Owner.heard`."""

    def linked(self, worker_id: bytes) -> bool:
        return any(link.worker_id == worker_id for link in self.all)

    def dial(
        self,
        where: common.Address,
        *,
        first: tuple[Any, ...] = (),
        descriptors: tuple[int, ...] = (),
        lease_id: int = 0,
        hello: pb.Hello | None = None,
    ) -> Link | None:
        owner, world = self.owner, self.owner.world
        far = self.is_far(where)
        machine = world.machine_of(where.node_id)
        here, there = connect(owner.raylet_process.machine, machine)
        if far:
            world.clock.after(
                0.002, lambda: world.door(there, where.node_id, worker_id=where.worker_id, lease_id=lease_id)
            )
        else:
            worker = owner.raylet_process.processes.workers.get(where.worker_id)
            if worker is None or not worker.alive:
                here.lost()
                return None
            worker.accept(there, world.kernel.dup(descriptors[0]))
        connection: Any = here
        link = Link(connection, where.worker_id, where.endpoint)
        link.node_id, link.door = where.node_id, where.door
        self.all[link] = None
        here.on_frame = lambda frame: owner.heard(link, frame)
        here.on_closed = lambda reason: self.close(link)
        hello = hello or pb.Hello(worker_id=owner.worker_id, node_id=owner.node_id)
        for message in (hello, *first):
            here.send(message)
        return link

    def read_to_end(self, link: Link) -> None:
        connection: Any = link.connection
        connection.read_to_end()

    def close(self, link: Link) -> None:
        if link in self.all:
            del self.all[link]
            link.connection.close()
            self.owner.link_closed(link)


class Owner:
    """A driver's process. Its parts take it for their session."""

    def __init__(self, raylet: Raylet, number: int) -> None:
        self.raylet_process, self.world, self.number = raylet, raylet.world, number
        self.node_id, self.machine = raylet.node_id, raylet.machine
        self.worker_id = b"drvr" + number.to_bytes(24, "big")
        self.pid = 1
        self.alive = True
        self.job = b""
        self.finished = False
        # ---- what its parts look for
        self.now = lambda: self.world.clock.now
        self.pump = SimpleNamespace(schedule=self.schedule)
        self.templates, self.values, self.ownership = Templates(), Values(), Ownership()
        self.links = OwnerLinks(self)
        self.address = common.Address(node_id=self.node_id, worker_id=self.worker_id)
        self.streams: dict[bytes, Any] = {}
        self.fetching = SimpleNamespace(stored=lambda size, node: Stored(size, node, node == self.node_id))
        self.reporter = SimpleNamespace(lost=lambda *facts: None)
        self.on_infeasible = lambda text: self.infeasible.append(text)
        self.welcome = pb.Welcome(node_id=self.node_id, door=self.world.door_of(self.node_id), node_ip="h")
        self.infeasible: list[str] = []
        self.lost_nodes = SimpleNamespace(cause=lambda node_id: "its node is dead")
        session: Any = self
        self.arguments = Arguments(session)
        self.fill_extra = self.arguments.fill
        self.submitter = Submitter(session)
        self.leasing = self.submitter.leasing
        # In the real thing the order of these is chance; here the seed's is the only one.
        self.leasing.dirty = self.submitter._dirty = Ordered()  # type: ignore[assignment]
        self.store = Store(self)
        # ---- the program's memory
        self.ids: list[bytes] = []
        self.large: set[bytes] = set()
        self.retries: dict[bytes, int] = {}
        self.dropped: set[bytes] = set()
        self.kinds: list[Template] = []
        self.actors: dict[bytes, cpb.CreateActorRequest] = {}
        self.groups: dict[bytes, str] = {}
        self.waits: list[Any] = []
        self._round_at: float | None = None
        here, there = connect(raylet.machine, raylet.machine)
        connection: Any = here
        self.raylet: Any = Link(connection)
        self.end = here
        here.on_frame = lambda frame: self.heard(self.raylet, frame)
        raylet.driver_joined(self, there)

    # ---- the session

    def send(self, link: Link, message: Any, raw: bytes = b"") -> None:
        link.connection.send(message)

    def send_bytes(self, link: Link, data: bytes) -> None:
        for _, message, _ in FrameDecoder().feed(data):
            link.connection.send(message)

    def raylet_send(self, message: Any) -> None:
        said = type(message)()
        said.CopyFrom(message)
        self.end.send(said)

    def watch(self, oid: bytes, waiting: Any) -> None:
        if oid in self.values.known:
            waiting.ready(oid, self.values.known[oid])
        else:
            self.values.watch(oid, waiting)

    def store_return(self, oid: bytes, value: pb.ReturnValue) -> None:
        if self.ownership.alive(oid):
            self.values.set(oid, Stored(value.size, value.node_id))
        else:
            self.store.free({value.node_id: [oid]})

    def schedule(self, when: float) -> None:
        clock = self.world.clock
        when = max(when, clock.now)
        if self._round_at is None or when < self._round_at:
            self._round_at = when

            def due() -> None:
                if self._round_at == when:
                    self._round_at = None
                    self.round()

            clock.at(when, lambda: self.raylet_process.machine.run(due))

    def round(self) -> None:
        if self.alive:
            self.perform()
            due = self.leasing.tick(self.world.clock.now)
            if due is not None:
                self.schedule(due)

    def heard(self, link: Any, frame: Any) -> None:
        if not self.alive:
            return
        leasing = self.leasing
        match frame:
            case pb.LeaseGranted():
                leasing.granted(frame, link)
            case pb.LeaseReclaim():
                leasing.reclaim(frame.count, link)
            case pb.LeaseInfeasible():
                leasing.infeasible(frame)
            case pb.LeaseFailed():
                leasing.failed(frame, link)
            case pb.LeaseSpill():
                leasing.far.spilled(frame)
            case pb.LeaseRefused():
                leasing.far.refused(link, frame)
            case pb.TokensTaken():
                leasing.tokens_taken(frame)
            case pb.Refused():
                leasing.far.refused_us(link, frame)
            case pb.WorkerDied():
                leasing.worker_died(frame)
            case pb.TaskResults():
                if link.lease is not None:
                    self.submitter.results(link.lease, frame)
            case pb.TookBack():
                leasing.took_back(frame.lease_id)
            case pb.ObjectsLeft():
                self.store.left(frame)
            case pb.ObjectMoved():
                session: Any = self
                moved.told(session, frame)
            case pb.ObjectsCopied():
                self.store.copies.told(link, frame, b"")
            case pb.NodesDied():
                for node_id, reason in zip(frame.node_ids, frame.reasons, strict=True):
                    self.links.dead[node_id] = reason
                    self.node_gone(node_id)
                    self.store.copies.node_died(node_id)
            case pb.WantObject():
                self.asked(link, frame)
            case pb.RecallBlocks():
                known = self.values.known
                self.drop([oid for oid in self.ids if oid not in self.dropped and type(known.get(oid)) is Stored])
            case _:
                raise AssertionError(f"not for an owner: {frame}")
        self.round()

    def link_closed(self, link: Any) -> None:
        if not self.alive:
            return
        if link.lease is not None:
            if link.lease.connection is link:
                self.leasing.broken(link.lease)
        elif self.leasing.far.raylet(link):
            self.leasing.far.lost(link)
        self.store.link_closed(link.worker_id)
        self.round()

    def asked(self, link: Any, frame: pb.WantObject) -> None:
        """A worker finds an argument no longer where it was said to be."""
        (oid,) = frame.object_ids
        if frame.dead_node:
            self.store.copies.without(oid, frame.dead_node)
        answer = pb.ObjectValue(object_id=oid, unknown=True)
        value = self.values.known.get(oid)
        if type(value) is Stored:
            answer = pb.ObjectValue(object_id=oid)
            answer.value.size, answer.value.node_id = value.size, value.node_id
        link.connection.send(answer)

    def looked_for_at(self, node_id: bytes) -> list[bytes]:
        known = self.values.known
        return [oid for oid, value in known.items() if type(value) is Stored and value.node_id == node_id]

    def node_gone(self, node_id: bytes) -> None:
        """Its raylet has heard that a node is dead: nothing more comes from there."""
        for link in [link for link in self.links.all if link.node_id == node_id]:
            self.links.close(link)

    # ---- the program

    def welcomed(self, job: bytes) -> None:
        self.job = self.welcome.job_id = job
        self.program()

    def program(self) -> None:
        """What the script does; the world sets it."""

    def kind(self, amounts: dict[str, int], longest_us: int, *, large: bool, max_retries: int) -> Template:
        demand = pb.LeaseDemand(resources=common.Resources(amounts=amounts), name="f")
        key = self.templates.key_for(repr(sorted(amounts.items())).encode(), demand)
        name = f"{longest_us} large" if large else str(longest_us)
        template = self.templates.add(pb.DefineTemplate(name=name, num_returns=1), key, max_retries=max_retries)
        self.kinds.append(template)
        return template

    def submit(self, template: Template, count: int, after: Iterable[bytes] = ()) -> list[bytes]:
        if not self.alive or self.finished:
            return []
        made = []
        for _ in range(count):
            task_id = self.worker_id[-8:] + len(self.ids).to_bytes(8, "big") + b"taskid00"
            extra = Extra()
            extra.held = list(after)
            extra.refs = [(position, "", oid) for position, oid in enumerate(extra.held)]
            missing = set(self.arguments.hold(extra))
            made += self.submitter.enter(template, task_id, b"", extra, missing)
            self.ids.append(made[-1])
            self.retries[made[-1]] = template.max_retries
            if template.name.endswith("large"):
                self.large.add(made[-1])
        self.round()
        return made

    def create_actor(self, name: str, *, detached: bool, max_restarts: int) -> None:
        actor_id = b"actr" + self.number.to_bytes(4, "big") + len(self.actors).to_bytes(4, "big") + self.job
        amounts = {"CPU": CPU // 2}
        self.actors[actor_id] = request = cpb.CreateActorRequest(
            request_id=self.world.request_id(),
            actor_id=actor_id,
            job_id=self.job,
            owner=common.Address(node_id=self.node_id, worker_id=self.worker_id, endpoint="unix:d"),
            spec=b"spec",
            name=name,
            detached=detached,
            get_if_exists=bool(name),
            place=common.Resources(amounts=amounts),
            hold=common.Resources(amounts=amounts),
            max_restarts=max_restarts,
            class_name="A",
        )
        self.ask(request)

    def ask(self, request: cpb.CreateActorRequest) -> None:
        def created(reply: cpb.LineReply) -> None:
            if not reply.HasField("error"):
                found = cpb.CreateActorResponse.FromString(reply.payload).actor
                if request.detached:
                    self.world.acknowledged(found.actor_id)

        self.raylet_process.call("CreateActor", request, created)

    def announce(self) -> None:
        """Control was replaced: it knows what was durable, and the rest is said again."""
        for request in self.actors.values():
            again = cpb.CreateActorRequest()
            again.CopyFrom(request)
            again.request_id = self.world.request_id()
            self.ask(again)

    def kill_actor(self, actor_id: bytes, *, no_restart: bool) -> None:
        request = cpb.KillActorRequest(request_id=self.world.request_id(), actor_id=actor_id, no_restart=no_restart)
        self.raylet_process.call("KillActor", request)

    def create_group(self, bundles: list[dict[str, int]], strategy: int, *, detached: bool) -> bytes:
        group_id = b"pgrp" + self.number.to_bytes(4, "big") + len(self.groups).to_bytes(6, "big") + self.job
        self.groups[group_id] = "asked"
        group = cpb.PlacementGroupInfo(
            group_id=group_id, job_id=self.job, owner=self.worker_id, detached=detached, strategy=strategy,  # type: ignore[arg-type]
            bundles=[common.Resources(amounts=bundle) for bundle in bundles],
        )  # fmt: skip
        request = cpb.CreatePlacementGroupRequest(request_id=self.world.request_id(), group=group)

        def created(reply: cpb.LineReply) -> None:
            if not reply.HasField("error"):
                self.world.acknowledged(group_id)

        self.raylet_process.call("CreatePlacementGroup", request, created)
        return group_id

    def remove_group(self, group_id: bytes) -> None:
        self.groups[group_id] = "removed"
        request = cpb.RemovePlacementGroupRequest(request_id=self.world.request_id(), group_id=group_id)
        self.raylet_process.call("RemovePlacementGroup", request)

    @staticmethod
    def inside(amounts: dict[str, int], group_id: bytes, index: int) -> dict[str, int]:
        return in_group(amounts, group_id, index)

    # ---- what has become of it

    def open_tasks(self) -> int:
        return sum(oid not in self.values.known and oid not in self.dropped for oid in self.ids)

    def error_of(self, oid: bytes) -> MantaError | None:
        value = self.values.known.get(oid)
        return error_from_proto(value.fields.error) if isinstance(value, Failure) else None

    def drop(self, oids: list[bytes]) -> None:
        """The program lets go of these refs."""
        self.dropped.update(oids)
        self.ownership.drop_many(oids)
        self.perform()

    def perform(self) -> None:
        """Do what reference counting asks for."""
        known = self.values.known
        commands = self.ownership.take_commands()
        stored: dict[bytes, list[bytes]] = {}
        if commands is not None:
            for oid in commands.freed:
                value = known.pop(oid, None)
                if type(value) is Stored:
                    stored.setdefault(value.node_id, []).append(oid)
                    self.store.copies.holders.pop(oid, None)
        self.store.free(stored)

    def drop_all(self) -> None:
        """And of all others."""
        self.drop([oid for oid in self.ids if oid not in self.dropped])

    def finish(self) -> None:
        """The script is over: it says goodbye."""
        self.finished = True
        raylet = self.raylet_process
        client = raylet.clients.get(self.worker_id)
        assert client is not None
        self.end.other.on_closed = lambda reason: raylet.driver_left(self, client, finished=True)
        self.die()

    def die(self) -> None:
        """SIGKILL, or the end of the program: either way its raylet reads what it has said, then the end."""
        self.alive = False
        for lease in list(self.leasing.leases.values()):
            lease.tokens.close()  # type: ignore[attr-defined]
        for link in list(self.links.all):
            link.connection.lost()  # type: ignore[attr-defined]
        self.links.all.clear()
        self.end.lost()

    def validate(self) -> None:
        """I1: every task is in one place."""
        under_way = self.submitter.under_way()
        places = [oid for oid in self.ids if oid in self.values.known or oid in self.dropped]
        assert not under_way.intersection(places), "a task that is over is under way"
        assert len(under_way) + len(places) == len(self.ids), "a task is lost"
        assert self.submitter.unfinished == len(under_way), "a task has ended twice, or is counted wrong"
        for lease in self.leasing.leases.values():
            lease.validate()
        self.ownership.validate()
