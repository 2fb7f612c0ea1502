"""Wiring of one node: opened in dependency order, ready at `yield`, closed in reverse."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any, Final

from manta.aio.supervisor import Supervisor
from manta.core.errors import MantaError
from manta.raylet import events as ev
from manta.raylet.actors import Actors
from manta.raylet.child_services import ChildServices
from manta.raylet.clients import Clients, Job
from manta.raylet.cluster import cluster_seen
from manta.raylet.config import RayletConfig
from manta.raylet.last_words import LastWords
from manta.raylet.logs import LogTail
from manta.raylet.memory import MemoryReader, MemoryWatch
from manta.raylet.memory_candidates import candidates
from manta.raylet.objects.allocator import Allocator
from manta.raylet.objects.arena import ArenaFile
from manta.raylet.objects.commands import ArenaEvent
from manta.raylet.objects.keeper import Keeper
from manta.raylet.objects.table import ObjectTable
from manta.raylet.refusals import NodeDeclaredDeadError, NotLetInError
from manta.raylet.registration import registration, total_of
from manta.raylet.scheduler import Scheduler
from manta.raylet.scheduling.cluster import Cluster
from manta.raylet.scheduling.ledger import Ledger
from manta.raylet.scheduling.limits import Limits
from manta.raylet.scheduling.records import WorkerState
from manta.raylet.semaphores import Semaphores
from manta.raylet.workers.guard import Guard
from manta.raylet.workers.launch import Launched
from manta.raylet.workers.pool import WorkerProcesses
from manta.raylet.workers.process import Watch
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.rpc.v1 import control_pb2 as cpb
from manta.rpc.v1 import raylet_pb2 as rpb
from manta.transport.auth import JoinTokens
from manta.transport.channel_aio import AsyncConnection, ChannelServer
from manta.transport.tls import Tls, TlsFiles

log = logging.getLogger(__name__)

#: Bytes of warm, unused arena kept ready at most.
_MARGIN_BYTES: Final = 64 << 20
#: A worker's files are looked at for so long after its work, seconds: threads it left behind may print.
_RECENT_S: Final = 1.0


class Raylet:
    """One running node. Made by `serve`."""

    def __init__(self, config: RayletConfig, door: socket.socket | None = None) -> None:
        self.config = config
        self._door = door
        self._opened_at = time.monotonic()
        self.clients = Clients()
        self.jobs: dict[bytes, Job] = {}
        #: Set when the node has to end: its parent is gone, or control has given it up.
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        #: Why control did not let the node in.
        self.refused: MantaError | None = None
        #: Control has given it up.
        self.fenced = False
        self._tasks: Supervisor | None = None
        #: The session's tokens as they are now; none where the sockets' folder is the credential.
        self._tokens = tuple if config.token_file is None else JoinTokens(str(config.token_file))
        self.last_words = LastWords(self.clients)
        self.services = ChildServices(config.logs / "start.log")
        #: Where health and metrics are; 0 for nowhere, or a Unix socket only.
        self.metrics_port = 0

    def end(self, reason: str) -> None:
        """Ask whoever runs the node to end it."""
        if not self.ended.done():
            self.ended.set_result(reason)

    def start(self, coro: Coroutine[Any, Any, None], name: str) -> None:
        """Run in the background; nothing starts any more once the node stops."""
        if self._tasks is None:
            coro.close()
            return
        with suppress(RuntimeError):
            _task = self._tasks.start(coro, name=name)

    @asynccontextmanager
    async def open(self, guard: Guard, launched: Launched | None) -> AsyncIterator[None]:
        """Everything the node consists of, in dependency order."""
        config = self.config
        async with AsyncExitStack() as stack:
            config.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Workers first: their factory imports what it needs while we do the same.
            self.processes = WorkerProcesses(
                guard=guard,
                raylet=config.channel_path,
                logs=config.logs,
                entry=config.worker_entry,
                on_died=self._worker_died,
                make_id=lambda: os.urandom(28),
                on_unguarded=lambda: self.end("its guard was killed"),
            )
            stack.push_async_callback(self.processes.close)
            cpus = config.resources.get("CPU", 0) // 10_000
            channel = ChannelServer(config.channel_path, self._frames, self._closed)
            await stack.enter_async_context(channel)
            self.processes.prepare(min(config.prestart, max(1, cpus)), launched)

            self._tasks = await stack.enter_async_context(Supervisor())
            self._open_store(stack)
            self._open_books(stack)
            await self._open_control(stack)
            await self._open_door(stack)
            self.start(self.logs.run(), "logs")
            self.start(self._memory_watch().run(), "memory")
            if config.parent_pid:
                watch = Watch(self.ended.get_loop(), config.parent_pid, lambda _pid: self.end("its driver has ended"))
                stack.callback(watch.close)
            if config.control_pid:
                self.services.keep_control(config.control_pid, config.control_command)
            stack.push_async_callback(self.services.close)
            try:
                yield
            finally:
                # What is closed from here on is not news to anybody.
                self._tasks = None

    def _open_store(self, stack: AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        allocator = Allocator(
            self.config.object_store_bytes, margin=min(_MARGIN_BYTES, self.config.object_store_bytes // 8)
        )
        self.arena = ArenaFile.create(allocator.span)
        stack.callback(self.arena.close)

        def report(event: ArenaEvent) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self.objects.arena_did, event)

        keeper = stack.enter_context(Keeper(self.arena, allocator.extent, report))
        # The first that imports gRPC.
        from manta.transport import grpc_settings as _first  # isort: skip  # noqa: F401
        from manta.raylet.object_service import ObjectService

        self.objects = ObjectService(ObjectTable(allocator), self.clients, lambda work: keeper.perform((work,)))
        stack.callback(self.objects.close)
        from manta.raylet.exchange import Exchange

        files = self._tls_files()
        self.exchange = Exchange(
            node_id=self.config.node_id,
            objects=self.objects,
            capacity=allocator.capacity,
            arena=self.arena.mapping,
            clients=self.clients,
            tls=Tls(files) if files is not None else None,
        )
        stack.callback(self.exchange.close)

    def _open_books(self, stack: AsyncExitStack) -> None:
        config = self.config
        self.actors = Actors(self.clients, config.node_id, self._report_actor)
        self.scheduler = Scheduler(
            Ledger(config.resources, config.gpu_ids),
            make_id=self.processes.worker_id,
            is_plain=self.processes.is_plain,
            limits=Limits(prestart=config.prestart, start_s=config.start_timeout_s),
            cluster=Cluster(config.node_id, config.labels, alone=False),
            # Owners have leases of several nodes under their numbers.
            first_lease=int.from_bytes(config.node_id[:4], "big") >> 1 << 32,
        )
        self.semaphores = Semaphores(self.scheduler.lease)
        stack.callback(self.semaphores.close)
        from manta.raylet.forwarding import Forwarding

        self.lines = Forwarding(
            clients=self.clients,
            jobs=self.jobs,
            neighbours=self.exchange.neighbours,
            lives=self.scheduler.cluster.others.__contains__,
        )
        self.logs = LogTail(
            node_ip=config.node_ip, send=self.lines.send, wanted=self.lines.takes, busy=self._busy_workers
        )
        stack.callback(self.logs.close)

    async def _open_control(self, stack: AsyncExitStack) -> None:
        # Late: grpc takes a while to import, and the factory's process does its own importing meanwhile.
        from manta.raylet.admission import Admission
        from manta.raylet.channel_service import ChannelService
        from manta.raylet.control_client import ControlLink
        from manta.raylet.draining import Draining, load
        from manta.raylet.grpc_service import serving
        from manta.raylet.inspection import Inspection
        from manta.raylet.memory_kills import MemoryKills
        from manta.raylet.orders import Orders
        from manta.raylet.questions import Questions
        from manta.raylet.runner import Runner
        from manta.raylet.state_service import StateService
        from manta.raylet.tasks import TaskBook
        from manta.raylet.user_metrics import UserMetricBook

        config = self.config
        self.memory_kills = MemoryKills()
        work = partial(load, self.scheduler, self.clients, self.objects.table, self.exchange)
        self.link = ControlLink(
            config.control,
            token=self._tokens,
            node_id=config.node_id,
            describe=self._registration,
            available=lambda: common.Resources(amounts=self.scheduler.available()),
            on_registered=self._registered,
            on_order=self._order,
            on_actor=self._actor_state,
            files=self._tls_files(),
            on_cluster=self._cluster_news,
            total=partial(total_of, self.scheduler),
            load=work,
            gauges=self.memory_kills.gauges,
        )
        stack.callback(self.link.close)
        self.draining = Draining(config, load=work, link=self.link, exchange=self.exchange, end=self.end)
        stack.callback(self.draining.close)
        self.runner = Runner(
            scheduler=self.scheduler,
            processes=self.processes,
            clients=self.clients,
            actors=self.actors,
            node_id=config.node_id,
            on_started=self._worker_asked_for,
            on_lent=self.logs.runs,
            on_room=self.link.room,
            on_changed=self.link.changed,
            begun=self.semaphores.end,
            say=self._say,
        )
        stack.callback(self.runner.close)
        self.admission = Admission(
            config=config,
            clients=self.clients,
            jobs=self.jobs,
            runner=self.runner,
            processes=self.processes,
            link=self.link,
            arena=(self.arena.fd, self.arena.span),
            start=self.start,
            on_joined=self.objects.joined,
            on_left=self._left,
            on_job_over=self._job_over,
            flush_logs=self.logs.flush,
            obituaries=self.exchange.obituaries,
        )
        #: What processes tell of tasks, and what user code measures.
        self.tasks, self.measured = TaskBook(), UserMetricBook()
        self.state = StateService(config.node_ip, self.clients, self.scheduler, self.objects.table, self.tasks)
        self.link.on_question = Questions(self.link, self.state, config.logs).asked
        self.channel = ChannelService(
            admission=self.admission,
            clients=self.clients,
            runner=self.runner,
            actors=self.actors,
            objects=self.objects,
            link=self.link,
            inspection=Inspection(self.clients, self.describe),
            semaphores=self.semaphores,
            exchange=self.exchange,
            state=self.state,
            measured=self.measured,
            services=self.services,
        )
        self.orders = Orders(
            runner=self.runner,
            actors=self.actors,
            clients=self.clients,
            jobs=self.jobs,
            processes=self.processes,
            job_over=self.admission.job_over,
        )
        await stack.enter_async_context(serving(config, self.describe))
        self.start(self._stay_tied(), "control")
        if config.metrics.wanted:
            from manta.metrics.port import opened
            from manta.raylet.metrics import NodeMetrics

            metrics = NodeMetrics(
                node_id=config.node_id, runner=self.runner, processes=self.processes, clients=self.clients, tasks=self.tasks,
                store=self.objects.table.statistics, frames=self.channel.counts, measured=self.measured,
                transfers=self.exchange.transfers.seconds, transferred=self.exchange.transfers.traffic.totals,
                services=self.services.statistics,
                memory_kills=lambda: self.memory_kills.gauges()["oom_kills"],
            )  # fmt: skip
            port = opened(config.metrics, metrics.text, unready=self._unready, token=self._tokens)
            self.metrics_port = await stack.enter_async_context(port)

    def _unready(self) -> str:
        return "" if self.link.registered.is_set() else "not registered with control"

    async def _open_door(self, stack: AsyncExitStack) -> None:
        if self._door is None:
            return
        from manta.raylet.far import Visitors, opened

        files = self._tls_files()
        assert files is not None, "a door has certificates: see __main__"
        visitors = Visitors(
            self.clients, files, self._frames, self._closed, self.semaphores.of, self.exchange.neighbours.owner
        )
        self.door = await stack.enter_async_context(
            opened(self._door, visitors, node_id=self.config.node_id, start=self.start)
        )

    def _tls_files(self) -> TlsFiles | None:
        config = self.config
        return TlsFiles.of_role(config.tls_folder, "worker", config.tls_cluster) if config.tls_folder else None

    async def _stay_tied(self) -> None:
        try:
            await self.link.run()
        except NotLetInError as refused:
            self.refused = refused.cause
            self.end(f"control does not let the node in: {refused}")
        except NodeDeclaredDeadError as dead:
            self.fenced = not self.ended.done()  # else it has said itself that it leaves, and this is the answer
            self.end(f"control has declared the node dead: {dead}")

    # ---- what others tell us

    def _frames(self, connection: AsyncConnection, frames: list[Any]) -> None:
        self.channel.frames(connection, frames)

    def _closed(self, connection: AsyncConnection, reason: str) -> None:
        if self._tasks is None:
            return
        self.channel.closed(connection, reason)
        self.last_words.said(connection)

    def _worker_asked_for(self, worker_id: bytes) -> None:
        worker = self.scheduler.worker(worker_id)
        process = self.processes.get(worker_id)
        if worker is not None and process is not None:
            self.logs.follow(worker_id, worker.pool[0], process.stdout, process.stderr)
        self.admission.adopted(worker_id)

    def _worker_died(self, worker_id: bytes, status: int | None, text: str, out_of_memory: bool) -> None:
        bury = partial(self._bury, worker_id, status, text, out_of_memory)
        if self._tasks is None:
            bury()
        else:
            self.last_words.of(worker_id, bury)

    def _bury(self, worker_id: bytes, status: int | None, text: str, out_of_memory: bool) -> None:
        known = self.scheduler.worker(worker_id) is not None
        self.state.buried(worker_id, status, text, out_of_memory=out_of_memory)
        self.memory_kills.buried(out_of_memory)
        self.logs.ended(worker_id)
        self.admission.worker_gone(worker_id)
        self.runner.tell(ev.WorkerDied(worker_id, status, text, out_of_memory))
        self._forget_jobs()
        if known:
            self.link.worker_died(worker_id)

    def _left(self, worker_id: bytes) -> None:
        self.objects.died(worker_id)
        self.measured.keep({client.pid for client in self.clients})

    def _job_over(self, job: bytes) -> None:
        self.logs.flush(job)
        self.objects.job_over(job)
        self.actors.forget_job(job)
        self._forget_jobs()

    def _order(self, order: rpb.Order) -> rpb.OrderAnswer:
        return self.orders.carry_out(order)

    def _actor_state(self, info: cpb.ActorInfo) -> None:
        self.channel.actor_state(info)

    def _cluster_news(self, news: cpb.ClusterNews) -> None:
        self.runner.tell(cluster_seen(news))
        for group in news.gone_groups:
            self.runner.tell(ev.GroupGone(group))
        self.exchange.news(news)
        if self.scheduler.cluster.draining:
            self.draining.heard()

    def _registration(self) -> cpb.RegisterNodeRequest:
        return registration(self.config, self.scheduler, self.actors, self.clients, self.jobs)

    def _registered(self, response: cpb.RegisterNodeResponse) -> None:
        for actor in response.kill_actors:
            self._end_actor(actor.actor_id, actor.incarnation, "control does not know it any more")
        for unwanted in response.return_bundles:
            self.runner.tell(ev.BundlesUnwanted(unwanted.group_id, tuple(unwanted.indexes)))
        for job in response.finished_job_ids:
            self.admission.job_over(job)

    def _report_actor(self, report: cpb.ReportActorRequest) -> None:
        """Calls reach control in the order in which they are made: that it died never overtakes that it started."""
        if self.link.registered.is_set():
            # Else it would be old when control hears of it.
            report.available.amounts.update(self.scheduler.available())

        def told(response: bytes) -> None:
            if report.HasField("started") and not cpb.ReportActorResponse.FromString(response).keep:
                self._end_actor(report.actor_id, report.incarnation, "nobody wants this incarnation any more")

        # Of an end that it has ordered itself control knows nearly everything.
        ordered = report.died.kind in (cpb.DEATH_KIND_KILLED, cpb.DEATH_KIND_OUT_OF_SCOPE)
        self.link.tell("ReportActor", report, told, patient=ordered)

    def _end_actor(self, actor_id: bytes, incarnation: int, why: str) -> None:
        if self.actors.unwanted(actor_id, incarnation, why, graceful=False) is not None:
            self.runner.tell(ev.ActorUnwanted(actor_id, incarnation, why))

    def _forget_jobs(self) -> None:
        """Forget jobs that are over and of which nothing runs here any more."""
        over = [job_id for job_id, job in self.jobs.items() if not job.local]
        if not over:
            return
        busy = {worker.pool[0] for worker in self.scheduler.workers()} | self.actors.jobs()
        busy |= {client.job for client in self.clients if client.role == pb.ROLE_LEASER}
        for job_id in over:
            if job_id not in busy:
                del self.jobs[job_id]

    # ---- what we tell others

    def _busy_workers(self) -> list[bytes]:
        recent = time.monotonic() - _RECENT_S
        return [
            worker.worker_id
            for worker in self.scheduler.workers()
            if worker.state in (WorkerState.BUSY, WorkerState.DYING) or worker.idle_since > recent
        ]

    # ---- memory

    def _memory_watch(self) -> MemoryWatch:
        config = self.config
        reader = MemoryReader()
        return MemoryWatch(
            threshold=config.memory_threshold,
            period_s=config.memory_period_s,
            node_ip=config.node_ip,
            candidates=lambda: candidates(self.scheduler, self.processes, reader),
            kill=lambda worker_id, text: self.processes.kill(worker_id, text, out_of_memory=True),
            reader=reader,
        )

    def _say(self, job: bytes, text: str) -> None:
        self.lines.send(
            job, pb.LogLines(pid=os.getpid(), source="raylet", lines=text.splitlines(), stderr=True, from_raylet=True)
        )

    def describe(self) -> dict[str, Any]:
        """The node's state for people and tests."""
        config = self.config
        return {
            "node_id": config.node_id.hex(),
            "node_ip": config.node_ip,
            "pid": os.getpid(),
            "session_dir": str(config.session_dir),
            "metrics_port": self.metrics_port or None,
            "registered": self.link.registered.is_set(),
            "clients": len(self.clients),
            "jobs": sum(job.local for job in self.jobs.values()),
            "actors": len(self.actors),
            "store": {**self.objects.table.statistics(), **self.exchange.statistics()},
            "scheduler": self.scheduler.statistics(),
            "services": self.services.statistics(),
            "uptime_s": round(time.monotonic() - self._opened_at, 3),
        }


@asynccontextmanager
async def serve(
    config: RayletConfig, *, guard: Guard, launched: Launched | None = None, door: socket.socket | None = None
) -> AsyncIterator[Raylet]:
    """Run a node: its channel listens when the block starts; control may come later.

    Args:
        config: The node.
        guard: Forked before the loop was made; the node's own from now on, as is the factory.
        launched: A factory that was started before the loop was.
        door: Bound and listening where `config.door` says; the node's own from now on.
    """
    raylet = Raylet(config, door)
    async with raylet.open(guard, launched):
        yield raylet
