"""Who may talk to the raylet, from Hello to the end: drivers with their jobs, workers with their pools, tools."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from google.protobuf.message import DecodeError

from manta.core.errors import MantaError, ProtocolError
from manta.core.ids import JOB_ID_BYTES, nil
from manta.raylet import events as ev
from manta.raylet.clients import Client, Clients, Job
from manta.raylet.config import RayletConfig
from manta.raylet.control_client import ControlLink
from manta.raylet.obituaries import Obituaries
from manta.raylet.runner import Runner
from manta.raylet.workers.pool import WorkerProcesses
from manta.raylet.workers.process import Watch
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.rpc.v1 import control_pb2 as cpb
from manta.transport.channel import PROTOCOL
from manta.transport.channel_aio import AsyncConnection
from manta.transport.convert import error_to_proto

log = logging.getLogger(__name__)

#: How long control may take to register a job, seconds; it may be starting.
_REGISTER_S: Final = 30.0
#: A worker that closed its connection has this long to end by itself, seconds.
_LEAVE_S: Final = 5.0

_ID_BYTES: Final = 28
#: Of who only looks.
NO_JOB: Final = nil(JOB_ID_BYTES)

#: Who may come from another node.
FAR_ROLES: Final[frozenset[int]] = frozenset({pb.ROLE_LEASER})

#: Variables that the loader, the C library or the interpreter read once.
_READ_AT_START: Final = ("LD_", "PYTHON", "MALLOC_", "GLIBC_")


class Admission:
    """Admits processes and sees them off.

    Args:
        config: This node.
        clients: Filled here.
        jobs: Filled here.
        runner: Hears of workers, owners and jobs.
        processes: Knows which workers are ours.
        link: Registers and finishes jobs.
        arena: (descriptor, bytes) for those who may use the store.
        start: Runs a coroutine in the background, by name.
        on_joined: Called with each driver and worker that was admitted.
        on_left: Called with the id of each process that is gone for good.
        flush_logs: Forwards every line a job's workers have written so far.
        obituaries: Knows which nodes are dead; None for none.
    """

    def __init__(
        self,
        *,
        config: RayletConfig,
        clients: Clients,
        jobs: dict[bytes, Job],
        runner: Runner,
        processes: WorkerProcesses,
        link: ControlLink,
        arena: tuple[int, int],
        start: Callable[[Coroutine[Any, Any, None], str], object],
        on_joined: Callable[[Client], None],
        on_left: Callable[[bytes], None],
        on_job_over: Callable[[bytes], None],
        flush_logs: Callable[[bytes], None],
        obituaries: Obituaries | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._config = config
        self._clients = clients
        self._jobs = jobs
        self._runner = runner
        self._processes = processes
        self._link = link
        self._arena = arena
        self._start = start
        self._on_joined, self._on_left, self._on_job_over = on_joined, on_left, on_job_over
        self._flush_logs = flush_logs
        self._obituaries = obituaries or Obituaries(clients)

    # ---- hello

    def hello(self, connection: AsyncConnection, message: pb.Hello) -> None:
        """Answer the first frame of a connection: Welcome now or soon, or Refused."""
        wrong = self._what_is_wrong(connection, message)
        if wrong:
            self.refuse(connection, wrong)
            return
        client = Client(connection, message.role, message.worker_id, message.pid, message.endpoint, message.job_id)
        client.door = self._config.door
        if not self._clients.add(client):
            self.refuse(connection, f"process id {message.worker_id.hex()} is connected already")
            return
        connection.peer = client
        if message.role == pb.ROLE_WORKER:
            self._processes.connected(client.worker_id)
            if self._processes.is_spare(client.worker_id):
                self._runner.tell(ev.SpareReady())
            self.welcome_worker(client)
        elif message.role == pb.ROLE_TOOL:
            self._welcome(client, None)
        elif message.role == pb.ROLE_LEASER:
            self._admit_leaser(client, message)
        elif message.looks:
            client.looks = True
            self._watch(client)
            self._welcome(client, None)
        else:
            self._watch(client)
            self._start(self._admit_driver(client, message), f"admit driver {client.pid}")

    def _watch(self, client: Client) -> None:
        """See the end of a driver's process, which may be in another container of the pod: never by the number that it says.

        One that the kernel does not show ends with its connection. That is a moment later where a child of its has it, too.
        """
        connection = client.connection
        fd, client.pid_here = connection.peer_process()
        if fd >= 0 or client.pid_here:
            client.watch = Watch(
                self._loop, client.pid_here, lambda _pid: connection.close("the driver's process ended"), fd
            )

    def _what_is_wrong(self, connection: AsyncConnection, message: pb.Hello) -> str:
        if connection.far and message.role not in FAR_ROLES:
            return "a process joins the raylet of its own node; from another node this one takes no such process"
        if message.protocol != PROTOCOL:
            return (
                f"this process speaks channel protocol {message.protocol}, the raylet speaks {PROTOCOL}: "
                "install the same version of manta on both sides"
            )
        ours = f"{sys.version_info.major}.{sys.version_info.minor}"
        theirs = ".".join(message.python.split(".")[:2])
        if message.role != pb.ROLE_TOOL and theirs != ours:
            version = message.python or "(unknown)"
            return f"this process runs Python {version}, the cluster runs {ours}: use the same minor version"
        if len(message.worker_id) != _ID_BYTES:
            return f"a process id has {_ID_BYTES} bytes, got {len(message.worker_id)}"
        if message.role == pb.ROLE_WORKER:
            worker = self._processes.get(message.worker_id)
            if worker is None or (worker.pid and worker.pid != message.pid):
                return "this worker was not started by this raylet"
        elif message.role == pb.ROLE_LEASER:
            if len(message.node_id) != _ID_BYTES or not message.job_id:
                return "who leases workers of another node says where it lives and for which job"
            reason = self._obituaries.reason(message.node_id)
            if reason is not None:
                return f"node {message.node_id.hex()} was declared dead: {reason}"
        elif message.role not in (pb.ROLE_DRIVER, pb.ROLE_TOOL):
            return f"role {message.role} is unknown"
        return ""

    @staticmethod
    def refuse(connection: AsyncConnection, why: str | MantaError) -> None:
        """Say why, and close."""
        error = ProtocolError(why) if isinstance(why, str) else why
        log.info("a process was refused: %s", error)
        connection.send(pb.Refused(error=error_to_proto(error)))
        connection.close("refused")

    def welcome_worker(self, client: Client) -> None:
        """Admit a worker, if it belongs to a job by now; else it waits to be adopted."""
        worker = self._runner.scheduler.worker(client.worker_id)
        if worker is None or client.welcomed:
            return
        client.job = worker.pool[0]
        self._welcome(client, self._jobs.get(client.job))
        self._runner.tell(ev.WorkerReady(client.worker_id, client.pid))

    def adopted(self, worker_id: bytes) -> None:
        """The scheduler has asked for this worker: if it waits here already, it is welcome now."""
        client = self._clients.get(worker_id)
        if client is not None and client.role == pb.ROLE_WORKER:
            self.welcome_worker(client)

    def _admit_leaser(self, client: Client, message: pb.Hello) -> None:
        """A process of another node: what its job's workers need comes with it, and it is not answered."""
        client.node_id, client.door = message.node_id, message.door
        if message.job_id not in self._jobs:
            job = Job(message.job_id, message.job_config, message.namespace)
            if message.HasField("driver"):
                job.driver = message.driver
            job.log_to_driver = settings_of(job.config).log_to_driver
            self._jobs[job.job_id] = job
            self._processes.job_variables(job.job_id, variables_of(settings_of(job.config)))
        client.welcomed = True

    async def _admit_driver(self, client: Client, message: pb.Hello) -> None:
        if message.job_id:
            job = Job(message.job_id, message.job_config, message.namespace)
        else:
            request = cpb.RegisterJobRequest(
                # The same in every repetition, so that a lost answer does not make two jobs.
                request_id=os.urandom(16),
                driver=client.address(self._config.node_id),
                driver_pid=client.pid,
                entrypoint=settings_of(message.job_config).entrypoint,
                config=message.job_config,
                namespace=message.namespace,
            )
            try:
                await asyncio.wait_for(self._link.registered.wait(), _REGISTER_S)
                response = await self._link.call("RegisterJob", request, cpb.RegisterJobResponse, timeout_s=_REGISTER_S)
            except (MantaError, TimeoutError) as error:
                if not client.connection.closed:
                    why = error if isinstance(error, MantaError) else f"control did not answer for {_REGISTER_S:g} s"
                    self.refuse(client.connection, why)
                return
            job = Job(response.job.job_id, response.job.config, response.job.namespace)
        client.job = job.job_id
        job.driver, job.local = client.address(self._config.node_id), True
        job.log_to_driver = settings_of(job.config).log_to_driver
        self._jobs[job.job_id] = job
        if client.connection.closed:
            # It left while it was being registered.
            self._finish_job(client)
            return
        self._processes.job_variables(job.job_id, variables_of(settings_of(job.config)))
        self._welcome(client, job)
        self._runner.tell(ev.JobStarted(job.job_id))

    def _welcome(self, client: Client, job: Job | None) -> None:
        config = self._config
        fd, size = self._arena
        uses_store = client.role != pb.ROLE_TOOL
        welcome = pb.Welcome(
            node_id=config.node_id,
            node_ip=config.node_ip,
            session_dir=str(config.session_dir),
            session_name=config.session_name or config.session_dir.name,
            job_id=NO_JOB if client.looks else client.job,
            arena_bytes=size if uses_store else 0,
            resources=common.Resources(amounts=dict(config.resources)),
            door=config.door,
            credentials=config.tls_folder,
            cluster=config.tls_cluster,
        )
        if job is not None:
            welcome.namespace = job.namespace
            welcome.job_config = job.config
            if job.driver is not None:
                welcome.driver.CopyFrom(job.driver)
        client.welcomed = True
        if uses_store:
            self._on_joined(client)
            self._obituaries.joined(client)
        client.connection.send_first([welcome], [fd] if uses_store else [])

    # ---- the end

    def goodbye(self, client: Client, message: pb.Goodbye) -> None:
        """The process leaves on purpose: everything it sent is done, its lines are on their way."""
        client.goodbye = message.finished
        if client.role == pb.ROLE_DRIVER:
            self._flush_logs(client.job)
        client.connection.send(pb.Farewell())

    def closed(self, client: Client, reason: str) -> None:
        """A connection is gone. For a driver or tool that is its end; a worker's end is its process's."""
        if client.watch is not None:
            client.watch.close()
        if client.role == pb.ROLE_WORKER:
            if self._processes.get(client.worker_id) is not None:
                self._loop.call_later(
                    _LEAVE_S,
                    self._processes.kill,
                    client.worker_id,
                    f"it closed its connection to the raylet ({reason})",
                )
            return
        self._clients.remove(client)
        if client.role == pb.ROLE_LEASER:
            self._runner.tell(ev.OwnerGone(client.worker_id, cause="a process of another node left"))
        if client.role != pb.ROLE_DRIVER:
            return
        if client.welcomed:
            self._on_left(client.worker_id)
        if client.job:
            log.info("driver left: pid=%d reason=%s", client.pid, "goodbye" if client.goodbye is not None else reason)
            self._finish_job(client)

    def _finish_job(self, client: Client) -> None:
        well = bool(client.goodbye)
        self.job_over(client.job)
        self._runner.tell(ev.OwnerGone(client.worker_id, cause="driver left"))
        request = cpb.FinishJobRequest(
            request_id=os.urandom(16),
            job_id=client.job,
            state=cpb.JOB_STATE_SUCCEEDED if well else cpb.JOB_STATE_FAILED,
            message="" if well else "the driver's process ended without shutting down",
        )
        self._link.tell("FinishJob", request)

    def job_over(self, job_id: bytes) -> None:
        """Free what a job holds here, detached actors aside. Safe to repeat."""
        job = self._jobs.get(job_id)
        if job is not None:
            job.local = False
        self._runner.tell(ev.JobFinished(job_id, cause="job finished"))
        self._on_job_over(job_id)

    def worker_gone(self, worker_id: bytes) -> None:
        """A worker's process has ended: so has its connection, and what it owned."""
        client = self._clients.get(worker_id)
        self._remove_sockets(worker_id, client)
        if client is None:
            return
        self._clients.remove(client)
        client.connection.close("its process ended")
        if client.welcomed:
            self._on_left(worker_id)

    def _remove_sockets(self, worker_id: bytes, client: Client | None) -> None:
        """Remove what a worker listened on; only in our own folder, as the name came from the worker."""
        folder = self._config.session_dir
        if client is not None:
            path = Path(client.endpoint.removeprefix("unix:"))
            found = [path] if path.parent == folder else []
        else:
            # It died before it told us the name, which bears its id.
            found = list(folder.glob(f"*-{worker_id.hex()[:8]}*.sock"))
        for path in found:
            with suppress(OSError):
                path.unlink()


def settings_of(job_config: bytes) -> pb.JobConfig:
    """A job's configuration; an empty one when it is not one of ours: what is in it is the workers' business."""
    with suppress(DecodeError):
        return pb.JobConfig.FromString(job_config)
    return pb.JobConfig(log_to_driver=True)


def variables_of(settings: pb.JobConfig) -> dict[str, str]:
    """Environment variables with which a job's factory has to be started.

    Workers set their job's variables themselves, so that they can come from a factory that was started before the job. Some
    are read only when a process starts: a job that sets one of those gets a factory of its own.
    """
    if any(name.startswith(_READ_AT_START) for name in settings.env_vars):
        return dict(settings.env_vars)
    return {}
