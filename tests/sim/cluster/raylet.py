"""A raylet: the real books, wired as `raylet.server` wires them, and the tie to control as `raylet.control_client` keeps it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from manta.core.errors import MantaError
from manta.raylet import events as ev
from manta.raylet.actors import Actors
from manta.raylet.channel_service import ChannelService
from manta.raylet.clients import Client, Clients, Job
from manta.raylet.cluster import cluster_seen
from manta.raylet.control_calls import ControlCalls
from manta.raylet.draining import LOOK_S, holds, load
from manta.raylet.moving import Moving
from manta.raylet.neighbours import Neighbours
from manta.raylet.object_service import ObjectService
from manta.raylet.objects import commands as oc
from manta.raylet.objects.allocator import Allocator
from manta.raylet.objects.table import ObjectTable
from manta.raylet.orders import Orders
from manta.raylet.runner import Runner
from manta.raylet.scheduler import Scheduler
from manta.raylet.scheduling.cluster import Cluster
from manta.raylet.scheduling.ledger import Ledger
from manta.raylet.semaphores import Semaphores
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.rpc.v1 import control_pb2 as cpb
from manta.rpc.v1 import raylet_pb2 as rpb
from manta.shm.layout import MIB
from manta.transport.convert import error_to_proto
from tests.sim.cluster.shipping import Shipping
from tests.sim.cluster.virtual import Machine, Timer
from tests.sim.cluster.wires import End, connect
from tests.sim.cluster.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.cluster.owner import Owner
    from tests.sim.cluster.world import World

BEAT_S = 1.0
STORE_BYTES = 16 * MIB


class Link(End):
    """What `raylet.neighbours` dials: the other raylet's end is made with it."""

    def __init__(
        self, dialled: tuple[Raylet, bytes], on_frames: Callable[..., None], on_close: Callable[..., None]
    ) -> None:
        here, node_id = dialled
        super().__init__(here.machine)
        there = here.world.machine_of(node_id)
        self.other = End(there)
        self.other.other = self
        self.on_frame = lambda frame: on_frames(self, [(0, frame, b"")])
        self.on_closed = lambda reason: on_close(self, reason)
        here.world.clock.after(0.002, lambda: here.world.door(self.other, node_id))

    def close(self, reason: str = "") -> None:
        if not self.closed:
            super().close(reason)
            self.on_closed(reason)


class OtherNodes(Neighbours):
    """Neighbours on virtual connections."""

    raylet: Raylet

    def dial(self, node_id: bytes) -> Any:
        if node_id not in self._doors:
            super().dial(node_id)
        return self.raylet, node_id


class Processes:
    """Starts and ends workers: not at once, and not always."""

    def __init__(self, raylet: Raylet) -> None:
        self.raylet = raylet
        self.workers: dict[bytes, Worker] = {}
        self._last = 0

    def worker_id(self, pool: Any) -> bytes:
        self._last += 1
        return b"wrkr" + self.raylet.number.to_bytes(8, "big") + self._last.to_bytes(16, "big")

    def start(self, worker_id: bytes, pool: Any) -> None:
        clock = self.raylet.world.clock
        fails = clock.chance.random() < 0.02

        def there() -> None:
            if fails:
                self.raylet.buried(worker_id, 1, "it did not start")
                return
            worker = self.workers[worker_id] = Worker(self.raylet, worker_id)
            self.raylet.worker_connected(worker)

        self.raylet.machine.call_later(0.003 + clock.chance.random() * 0.03, there)

    def kill(self, worker_id: bytes, reason: str) -> None:
        self.ends(worker_id, -9, reason)

    end_start = kill

    def ends(self, worker_id: bytes, code: int, text: str) -> None:
        """The process ends now; the raylet hears of it when it has read what that said."""
        worker = self.workers.get(worker_id)
        if worker is None or not worker.alive:
            return
        worker.dies()
        machine = self.raylet.machine
        worker.at_raylet.on_closed = lambda reason: machine.run(lambda: self.raylet.buried(worker_id, code, text))

    def close_pool(self, pool: Any) -> None: ...

    def job_variables(self, job: bytes, variables: dict[str, str]) -> None: ...


class Raylet:
    """One node."""

    def __init__(self, world: World, machine: Machine, number: int, total: dict[str, int]) -> None:
        self.world, self.machine, self.number, self.total = world, machine, number, total
        self.node_id = machine.node_id
        world.virtual.loop = machine
        self.clients = Clients()
        self.jobs: dict[bytes, Job] = {}
        self.drivers: dict[bytes, Owner] = {}
        processes: Any = Processes(self)
        self.processes: Processes = processes
        self.scheduler = Scheduler(
            Ledger(dict(total)),
            make_id=self.processes.worker_id,
            cluster=Cluster(self.node_id, alone=False),
            first_lease=number << 32,
        )
        self.semaphores = Semaphores(self.scheduler.lease)
        self.calls = ControlCalls(self.speak, lambda: self.speak(0.005))
        self.actors = Actors(self.clients, self.node_id, self.report_actor)
        allocator = Allocator(STORE_BYTES, span=2 * STORE_BYTES, extent=4 * MIB, margin=MIB, idle_s=5.0)
        self.objects = ObjectService(ObjectTable(allocator, full_timeout_s=60.0), self.clients, self.arena)
        self.neighbours = self.objects.neighbours = OtherNodes(
            node_id=self.node_id,
            tls=None,
            clients=self.clients,
            free=self.objects.free,
            drop=self.objects.drop_copies,
            owner_died=self.objects.owner_died,
            node_died=self.node_died,
        )
        self.neighbours.raylet = self
        nothing: Any = None
        self.transfers = self.objects.transfers = Shipping(
            node_id=self.node_id,
            table=self.objects.table,
            capacity=STORE_BYTES,
            arena=nothing,
            perform=self.objects.perform,
            fail=self.objects.cannot_fetch,
            dial=self.neighbours.dial,
        )
        self.transfers.raylet = self
        self.transfers.tell_copies = self.neighbours.drop_copies
        self.moving = self.objects.moving = self.neighbours.moving = Moving(
            node_id=self.node_id,
            objects=self.objects,
            transfers=self.transfers,
            neighbours=self.neighbours,
            clients=self.clients,
        )
        self.transfers.tell_moves, self.transfers.tell_owner = self.moving.told, self.moving.copied
        self.drained = False
        self.objects.table.owners_elsewhere = self.neighbours.far.owners
        self.runner = Runner(
            scheduler=self.scheduler,
            processes=processes,
            clients=self.clients,
            actors=self.actors,
            node_id=self.node_id,
            on_started=lambda worker_id: None,
            on_lent=lambda worker_id, pid: None,
            on_room=lambda: None,
            on_changed=self.changed,
            begun=self.semaphores.end,
            say=lambda job, text: None,
        )
        self.orders = Orders(
            runner=self.runner,
            actors=self.actors,
            clients=self.clients,
            jobs=self.jobs,
            processes=processes,
            job_over=self.job_over,
        )
        # What it does with an owner's frames is the channel service's; its other parts are not here.
        self.channel: Any = ChannelService.__new__(ChannelService)
        self.channel._runner, self.channel._semaphores = self.runner, self.semaphores
        #: The line to control, once it is one.
        self.line: End | None = None
        self.attached = False
        self.position: cpb.ClusterPosition | None = None
        self.epoch = 0
        self.answers: list[rpb.OrderAnswer] = []
        self.reported: dict[str, int] = {}
        self.beats = 0
        self._soon: Timer | None = None
        self._report: Timer | None = None
        self.tie()
        self.machine.call_later(BEAT_S, self.beat, True)

    # ---- the tie to control

    def tie(self) -> None:
        self.line, self.attached = None, False
        control = self.world.control
        if not control.alive:
            self.machine.call_later(0.05 + self.world.clock.chance.random() * 0.1, self.tie)
            return
        here, there = connect(self.machine, self.world.head)
        control.accept(there)
        self.world.control_ends.append(there)
        self.line = here
        here.on_frame = lambda frame: self.heard(here, frame)
        here.on_closed = lambda reason: self.untied(here)
        here.send(self.registration())
        # A registration may take ten seconds.
        self.machine.call_later(10.0, lambda: self.give_up(here) if not self.attached else None)

    def give_up(self, line: End) -> None:
        if self.line is line:
            line.close()
            self.untied(line)

    def untied(self, line: End) -> None:
        if self.line is line:
            self.machine.call_later(0.003, self.tie)
            self.line, self.attached = None, False

    def registration(self) -> cpb.RegisterNodeRequest:
        return cpb.RegisterNodeRequest(
            request_id=self.world.request_id(),
            node=cpb.NodeInfo(
                node_id=self.node_id,
                raylet_target="unix:r",
                channel_endpoint="unix:c",
                door=self.world.door_of(self.node_id),
                host="h",
                name=f"n{self.number}",
                total=common.Resources(amounts=self.scheduler.ledger.total),
                available=common.Resources(amounts=self.scheduler.available()),
            ),
            actors=self.actors.running(),
            driver_ids=[driver.worker_id for driver in self.drivers.values() if driver.job and driver.alive],
            job_ids=list(self.jobs),
            bundles=[
                cpb.HeldBundles(group_id=group, indexes=indexes)
                for group, indexes in self.scheduler.bundles.held().items()
            ],
        )

    def heard(self, line: End, frame: Any) -> None:
        if self.line is not line:
            return
        match frame:
            case common.ErrorInfo():
                if frame.code == "NODE_DEAD":
                    self.world.crash(self, "control has declared it dead", silent=False)
                else:
                    self.give_up(line)
            case cpb.RegisterNodeResponse():
                self.registered(frame)
            case cpb.AttachResponse():
                for reply in frame.replies:
                    self.calls.answered(reply)
                for order in frame.orders:
                    try:
                        answer = self.orders.carry_out(order)
                    except MantaError as error:
                        answer = rpb.OrderAnswer(error=error_to_proto(error))
                    answer.number = order.number
                    self.answers.append(answer)
                    self.speak(0.005)
                if frame.cluster:
                    self.cluster_news(cpb.ClusterNews.FromString(frame.cluster))

    def registered(self, response: cpb.RegisterNodeResponse) -> None:
        for actor in response.kill_actors:
            self.end_actor(actor.actor_id, actor.incarnation, "control does not know it any more")
        for unwanted in response.return_bundles:
            self.runner.tell(ev.BundlesUnwanted(unwanted.group_id, tuple(unwanted.indexes)))
        for job in response.finished_job_ids:
            self.job_over(job)
        self.calls.new_line()
        self.answers.clear()
        first = cpb.AttachRequest(node_id=self.node_id, calls=self.calls.take(1 << 20))
        if self.position is not None:
            first.cluster.CopyFrom(self.position)
        assert self.line is not None
        self.line.send(first)
        self.attached = True
        if self.epoch not in (0, response.epoch):
            for driver in self.drivers.values():
                driver.announce()
        self.epoch = response.epoch

    def speak(self, pause: float = 0.0) -> None:
        if self._soon is None or self._soon.when() > self.machine.time() + pause:
            if self._soon is not None:
                self._soon.cancel()
            self._soon = self.machine.call_later(pause, self._speak)

    def _speak(self) -> None:
        self._soon = None
        if self.line is None or not self.attached:
            return
        answers, self.answers = self.answers, []
        calls = self.calls.take(1 << 20)
        if calls or answers:
            self.line.send(cpb.AttachRequest(calls=calls, answers=answers))

    def beat(self, again: bool = False) -> None:
        if self.line is not None and self.attached:
            self.beats += 1
            self.reported = self.scheduler.available()
            beat = cpb.HeartbeatRequest(
                node_id=self.node_id, number=self.beats, available=common.Resources(amounts=self.reported)
            )
            if self.scheduler.ledger.version:
                beat.total.amounts.update(self.scheduler.ledger.total)
            self.line.send(beat)
        if again:
            self.machine.call_later(BEAT_S, self.beat, True)

    def changed(self) -> None:
        if self._report is None and len(self.world.raylets) > 1:
            self._report = self.machine.call_later(0.1 if len(self.world.raylets) < 50 else 1.0, self._report_now)

    def _report_now(self) -> None:
        self._report = None
        if self.scheduler.available() != self.reported:
            self.beat()

    def cluster_news(self, news: cpb.ClusterNews) -> None:
        self.position = news.position
        self.runner.tell(cluster_seen(news))
        for group in news.gone_groups:
            self.runner.tell(ev.GroupGone(group))
        for node in news.nodes:
            if node.HasField("facts"):
                self.neighbours.seen(node.node_id, node.facts.raylet.door)
                self.moving.seen(node.node_id, draining=node.facts.draining)
                if node.node_id == self.node_id and node.facts.draining and not self.drained:
                    self.drained = True
                    self.machine.call_later(LOOK_S, self.drain)
        for node_id in news.gone:
            self.neighbours.gone(node_id, "control has given it up")

    def node_died(self, node_id: bytes, reason: str) -> None:
        for driver in self.drivers.values():
            driver.end.other.send(pb.NodesDied(node_ids=[node_id], reasons=[reason]))
        self.transfers.node_died(node_id, reason)
        self.moving.node_died(node_id, reason)

    def drain(self) -> None:
        """This node goes out of service, when nothing holds it any more."""
        self.moving.look()
        exchange: Any = self
        if holds(load(self.scheduler, self.clients, self.objects.table, exchange)) or self.transfers.chains.sends:
            self.machine.call_later(LOOK_S, self.drain)
            return
        self.world.drained(self)
        request = cpb.UnregisterNodeRequest(
            request_id=self.world.request_id(), node_id=self.node_id, reason="it was drained"
        )
        self.call("UnregisterNode", request)
        self.machine.call_later(1.0, lambda: self.world.crash(self, "it was drained", silent=False))

    # ---- calls to control

    def call(self, method: str, request: Any, done: Callable[[Any], None] = lambda reply: None) -> None:
        """One that has to arrive, however long control is away."""
        self.calls.add(method, request.SerializeToString(), done, None)

    def report_actor(self, report: cpb.ReportActorRequest) -> None:
        if self.attached:
            report.available.amounts.update(self.scheduler.available())

        def told(reply: cpb.LineReply) -> None:
            if reply.HasField("error") or not report.HasField("started"):
                return
            if not cpb.ReportActorResponse.FromString(reply.payload).keep:
                self.end_actor(report.actor_id, report.incarnation, "nobody wants this incarnation any more")

        self.call("ReportActor", report, told)

    def end_actor(self, actor_id: bytes, incarnation: int, why: str) -> None:
        if self.actors.unwanted(actor_id, incarnation, why, graceful=False) is not None:
            self.runner.tell(ev.ActorUnwanted(actor_id, incarnation, why))

    def job_over(self, job_id: bytes) -> None:
        job = self.jobs.get(job_id)
        if job is not None:
            job.local = False
        self.runner.tell(ev.JobFinished(job_id))
        self.objects.job_over(job_id)
        self.actors.forget_job(job_id)

    # ---- workers

    def worker_connected(self, worker: Worker) -> None:
        known = self.scheduler.worker(worker.worker_id)
        if known is None:
            worker.dies()
            return
        end: Any = worker.at_raylet
        client = Client(end, pb.ROLE_WORKER, worker.worker_id, 1, "unix:w", known.pool[0], welcomed=True)
        client.door = self.world.door_of(self.node_id)
        end.peer = client
        self.clients.add(client)
        end.on_frame = partial(self.frame, client)
        self.objects.joined(client)
        self.runner.tell(ev.WorkerReady(worker.worker_id, 1))

    def buried(self, worker_id: bytes, code: int, text: str) -> None:
        """A worker's process has ended and everything it said was read."""
        self.processes.workers.pop(worker_id, None)
        known = self.scheduler.worker(worker_id) is not None
        client = self.clients.get(worker_id)
        if client is not None:
            self.clients.remove(client)
            self.objects.died(worker_id)
        self.runner.tell(ev.WorkerDied(worker_id, code, text))
        if known:
            self.call(
                "ReportWorkersDied",
                cpb.ReportWorkersDiedRequest(
                    request_id=self.world.request_id(), node_id=self.node_id, worker_ids=[worker_id]
                ),
            )

    def arena(self, command: Any) -> None:
        match command:
            case oc.ReserveExtent(start, size, cause):
                event: oc.ArenaEvent = oc.ExtentReserved(start, size, cause)
            case oc.PunchHole(start, size, cause):
                event = oc.HolePunched(start, size, cause)
            case oc.Warm(start, size, cause):
                event = oc.RangeWarmed(start, size, cause)
        self.machine.call_later(0.002, self.objects.arena_did, event)

    # ---- frames of processes, as `raylet.channel_service` hands them out

    def frame(self, client: Client, frame: Any) -> None:
        match frame:
            case pb.LeaseDemand():
                self.channel._lease_demand(client, frame)
            case pb.LeaseReturned():
                self.channel._lease_returned(client, frame)
            case pb.TakeTokens():
                self.channel._take_tokens(client, frame)
            case pb.ActorStarted():
                self.actors.started(client, frame)
            case _:
                self.objects.handlers[type(frame)](client, frame)

    # ---- owners

    def driver_joined(self, owner: Owner, end: Any) -> None:
        client = Client(end, pb.ROLE_DRIVER, owner.worker_id, 1, "unix:d")
        client.door = self.world.door_of(self.node_id)
        end.peer = client
        self.clients.add(client)
        self.drivers[owner.worker_id] = owner
        request = cpb.RegisterJobRequest(
            request_id=self.world.request_id(), driver=client.address(self.node_id), namespace="sim"
        )
        end.on_frame = partial(self.frame, client)
        end.on_closed = lambda reason: self.driver_left(owner, client, finished=False)

        def registered(reply: cpb.LineReply) -> None:
            assert not reply.HasField("error"), reply.error
            job_id = cpb.RegisterJobResponse.FromString(reply.payload).job.job_id
            client.job, client.welcomed = job_id, True
            job = self.jobs[job_id] = Job(job_id, namespace="sim", driver=client.address(self.node_id), local=True)
            self.objects.joined(client)
            self.runner.tell(ev.JobStarted(job.job_id))
            if end.closed:
                self.driver_left(owner, client, finished=False)
            else:
                owner.welcomed(job_id)

        self.call("RegisterJob", request, registered)

    def driver_left(self, owner: Owner, client: Client, *, finished: bool) -> None:
        if self.drivers.get(owner.worker_id) is not owner or not client.job:
            return
        del self.drivers[owner.worker_id]
        self.clients.remove(client)
        self.objects.died(client.worker_id)
        self.job_over(client.job)
        self.runner.tell(ev.OwnerGone(client.worker_id))
        state = cpb.JOB_STATE_SUCCEEDED if finished else cpb.JOB_STATE_FAILED
        request = cpb.FinishJobRequest(request_id=self.world.request_id(), job_id=client.job, state=state)
        self.call("FinishJob", request)

    def leaser(self, end: Any, hello: pb.Hello) -> None:
        """A process of another node has come through the door to lease."""
        client = Client(end, pb.ROLE_LEASER, hello.worker_id, 1, hello.endpoint, hello.job_id)
        client.node_id, client.door = hello.node_id, hello.door
        if hello.node_id in self.neighbours._dead:
            end.send(pb.Refused(error=common.ErrorInfo(code="PROTOCOL_ERROR", message="its node was declared dead")))
            end.close("refused")
            return
        if not self.clients.add(client):
            end.send(pb.Refused(error=common.ErrorInfo(code="PROTOCOL_ERROR", message="connected already")))
            end.close("refused")
            return
        client.welcomed = True
        end.peer = client
        if hello.job_id not in self.jobs:
            self.jobs[hello.job_id] = Job(hello.job_id, hello.job_config, hello.namespace)
        end.on_frame = partial(self.frame, client)

        def closed(reason: str) -> None:
            self.clients.remove(client)
            self.runner.tell(ev.OwnerGone(client.worker_id))

        end.on_closed = closed
