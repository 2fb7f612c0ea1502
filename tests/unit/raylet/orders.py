"""A node without processes and sockets: control's orders and calls go through their very handlers, encoded and decoded."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

from google.protobuf.message_factory import GetMessageClass

from manta.raylet import events as ev
from manta.raylet.actors import Actors
from manta.raylet.admission import Admission
from manta.raylet.clients import Client, Clients, Job
from manta.raylet.grpc_service import RayletService
from manta.raylet.orders import Orders
from manta.raylet.runner import Runner
from manta.raylet.scheduler import Scheduler
from manta.raylet.scheduling.ledger import Ledger
from manta.raylet.scheduling.limits import Limits
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import raylet_pb2

NODE = b"n" * 28
RPCS = {method.name: method.input_type for method in raylet_pb2.DESCRIPTOR.services_by_name["RayletService"].methods}
ORDERS = {kind.name: kind.message_type for kind in raylet_pb2.Order.DESCRIPTOR.oneofs_by_name["order"].fields}
#: Everything that is asked of a node from outside, by the name of the RPC or the kind of order.
ASKED = {**RPCS, **ORDERS}


class AbortedError(Exception):
    pass


class Context:
    async def abort(self, code, details, trailing_metadata=()):
        raise AbortedError(f"{code.name}: {details}")


class Processes:
    """Notes what it is told to start and to end; a worker connects when the test says so."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def start(self, worker_id, pool):
        self.told.append(("start", worker_id))

    def kill(self, worker_id, reason):
        self.told.append(("kill", worker_id))

    def close_pool(self, pool):
        self.told.append(("close", pool))

    def job_variables(self, job, variables):
        self.told.append(("variables", (job, variables)))


class Node:
    """The decisions of a node with two CPUs, and everything that comes of them. Inside a running loop."""

    def __init__(self) -> None:
        numbers = itertools.count(1)
        self.processes = Processes()
        processes: Any = self.processes
        self.clients = Clients()
        self.jobs: dict[bytes, Job] = {}
        self.reports: list[Any] = []
        self.frames: list[tuple[bytes, Any]] = []
        self.actors = Actors(self.clients, NODE, self.reports.append)
        self.scheduler = Scheduler(
            Ledger({"CPU": 20_000}), make_id=lambda _pool: b"w%d" % next(numbers), limits=Limits(max_spares=0)
        )
        nobody: Any = None
        self.runner = Runner(
            scheduler=self.scheduler,
            processes=processes,
            clients=self.clients,
            actors=self.actors,
            node_id=NODE,
            on_started=lambda _worker: None,
            on_lent=lambda _worker, _pid: None,
            on_room=lambda: None,
            say=lambda _job, _text: None,
        )
        admission = Admission(
            config=nobody,
            clients=self.clients,
            jobs=self.jobs,
            runner=self.runner,
            processes=processes,
            link=nobody,
            arena=(-1, 0),
            start=nobody,
            on_joined=nobody,
            on_left=nobody,
            on_job_over=self.actors.forget_job,
            flush_logs=nobody,
        )
        self.orders = Orders(
            runner=self.runner,
            actors=self.actors,
            clients=self.clients,
            jobs=self.jobs,
            processes=processes,
            job_over=admission.job_over,
        )
        self.service = RayletService(node_id=NODE, describe=self.scheduler.statistics)

    # ---- control's side

    @staticmethod
    def request(name: str, fields: dict[str, Any]) -> bytes:
        if name in ORDERS:
            order = raylet_pb2.Order(number=1, **{name: GetMessageClass(ORDERS[name])(**fields)})  # type: ignore[arg-type]
            return order.SerializeToString()
        message: Any = GetMessageClass(RPCS[name])(**fields)
        if "node_id" in message.DESCRIPTOR.fields_by_name and "node_id" not in fields:
            message.node_id = NODE
        encoded: bytes = message.SerializeToString()
        return encoded

    async def call(self, name: str, encoded: bytes) -> Any:
        """One delivery; what came back, or the refusal as text."""
        if name in ORDERS:
            return self.orders.carry_out(raylet_pb2.Order.FromString(encoded))
        request = GetMessageClass(RPCS[name]).FromString(encoded)
        try:
            return await getattr(self.service, name)(request, Context())
        except AbortedError as refused:
            return str(refused)

    # ---- the workers' side

    def worker_connects(self, number: int) -> None:
        """Worker number `number` is there; whoever waits for it gets it."""
        worker_id = b"w%d" % number
        connection: Any = SimpleNamespace(send=lambda frame: self.frames.append((worker_id, frame)))
        self.clients.add(Client(connection, pb.ROLE_WORKER, worker_id, 1000 + number, "unix:/w", welcomed=True))
        self.runner.tell(ev.WorkerReady(worker_id))

    def actor_started(self, number: int, actor_id: bytes, incarnation: int) -> None:
        client = self.clients.get(b"w%d" % number)
        assert client is not None
        self.actors.started(client, pb.ActorStarted(actor_id=actor_id, incarnation=incarnation))

    def worker_died(self, number: int) -> None:
        self.runner.tell(ev.WorkerDied(b"w%d" % number, -9, "killed"))

    async def prepare(self, steps: Any) -> None:
        """Orders and calls by name, and what happens to workers by the name of a method."""
        for name, what in steps:
            if name in ASKED:
                reply = await self.call(name, self.request(name, what))
                assert not isinstance(reply, str), (name, reply)
            else:
                getattr(self, name)(*what)

    def picture(self) -> dict[str, Any]:
        """Everything that the node holds, was told to do and has said. A frame that says the same again says nothing."""
        self.scheduler.validate()
        said = {(worker_id, type(frame).__name__, frame.SerializeToString()) for worker_id, frame in self.frames}
        return {
            "scheduler": self.scheduler.statistics(),
            "actors": self.actors.running(),
            "lives": [(life.worker_id, life.started, life.failed, life.cause) for life in self.actors._lives.values()],
            "fences": self.actors._fences,
            "jobs": self.jobs,
            "processes": self.processes.told,
            "reports": self.reports,
            "said": sorted(said),
        }
