"""The channel's face of the raylet: each frame to whom it concerns. Decode, check, pass on."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from google.protobuf.message import Message

from manta.core.errors import OverloadedError, ProtocolError
from manta.core.strategy import ANYWHERE
from manta.raylet import events as ev
from manta.raylet.actors import Actors
from manta.raylet.admission import Admission
from manta.raylet.child_services import ChildServices
from manta.raylet.clients import Client, Clients
from manta.raylet.control_client import ControlLink
from manta.raylet.exchange import Exchange
from manta.raylet.inspection import Inspection
from manta.raylet.object_service import ObjectService
from manta.raylet.runner import Runner
from manta.raylet.semaphores import Semaphores
from manta.raylet.state_service import StateService
from manta.raylet.user_metrics import UserMetricBook
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import control_pb2 as cpb
from manta.transport.channel import Frame
from manta.transport.channel_aio import AsyncConnection
from manta.transport.convert import error_to_proto, resources_from_proto, strategy_from_proto

log = logging.getLogger(__name__)

#: Relayed calls that one process may have open.
MAX_CALLS: Final = 10_000
#: The longest that a relayed call may wait, seconds, and what it gets when it does not say.
MAX_CALL_S: Final = 3600.0
DEFAULT_CALL_S: Final = 60.0

#: What only a raylet says to control.
_NOT_RELAYED: Final = frozenset(
    {"RegisterNode", "Heartbeat", "UnregisterNode", "ReportWorkersDied", "ReportActor", "Watch", "Attach"}
    | {"AnswerQuestion"}
)
#: And what only an administrator's tool on this machine says: no driver or worker, and nobody through the gateway.
_OF_TOOLS: Final = frozenset({"DrainNode"})


class ChannelService:
    """Dispatches the frames of every connection."""

    def __init__(
        self,
        *,
        admission: Admission,
        clients: Clients,
        runner: Runner,
        actors: Actors,
        objects: ObjectService,
        link: ControlLink,
        inspection: Inspection,
        semaphores: Semaphores,
        exchange: Exchange,
        state: StateService,
        measured: UserMetricBook,
        services: ChildServices,
    ) -> None:
        self._admission = admission
        self._clients = clients
        self._runner = runner
        self._link = link
        self._semaphores = semaphores
        self._exchange = exchange
        self._handlers: dict[type[Message], Callable[[Client, Any], None]] = {
            pb.Goodbye: admission.goodbye,
            pb.LeaseDemand: self._lease_demand,
            pb.LeaseReturned: self._lease_returned,
            pb.TakeTokens: self._take_tokens,
            pb.Blocked: lambda client, _: runner.tell(ev.WorkerBlocked(client.worker_id)),
            pb.Unblocked: lambda client, _: runner.tell(ev.WorkerUnblocked(client.worker_id)),
            pb.ActorStarted: actors.started,
            pb.ActorExiting: actors.exiting,
            pb.ControlCall: self._control_call,
            pb.WatchActors: self._watch_actors,
            pb.StackRequest: inspection.stacks,
            pb.StackReply: inspection.stack,
            pb.StatusRequest: inspection.status,
            pb.KeepService: services.asked,
            pb.TaskReport: state.report,
            pb.UserMetrics: lambda client, batch: measured.add(batch, client.job, client.pid),
            **objects.handlers,
        }
        #: How many frames of each type came.
        self.counts: Counter[int] = Counter()
        #: Last state of each actor that somebody here watches.
        self._states: dict[bytes, pb.ActorState] = {}
        #: What a tool may send: it asks, it holds nothing.
        self._for_tools = frozenset({pb.Goodbye, pb.ControlCall, pb.StackRequest, pb.StatusRequest, pb.KeepService})
        #: What a driver without a job may send: it asks, and tells its own numbers.
        self._for_lookers = frozenset({pb.Goodbye, pb.ControlCall, pb.UserMetrics, pb.TaskReport})
        #: What a process of another node may send: it leases.
        self._for_leasers = frozenset({pb.LeaseDemand, pb.LeaseReturned, pb.TakeTokens})

    def frames(self, connection: AsyncConnection, frames: list[Frame]) -> None:
        """Frames came. A ProtocolError out of here closes the connection; the process is told why first."""
        counts = self.counts
        for number, message, _raw in frames:
            counts[number] += 1
            client = connection.peer
            if connection.closed:
                return
            if not isinstance(client, Client):
                try:
                    if self._exchange.takes(connection, message):
                        continue
                except ProtocolError as wrong:
                    self._admission.refuse(connection, wrong)
                    return
                if not isinstance(message, pb.Hello):
                    self._admission.refuse(connection, f"the first frame is Hello, got {type(message).__name__}")
                    return
                self._admission.hello(connection, message)
                continue
            handler = self._handlers.get(type(message))
            if (
                handler is None
                or (client.role == pb.ROLE_TOOL and type(message) not in self._for_tools)
                or (client.looks and type(message) not in self._for_lookers)
                or (client.role == pb.ROLE_LEASER and type(message) not in self._for_leasers)
            ):
                self._admission.refuse(connection, f"a raylet takes no {type(message).__name__} from this process")
                return
            if not client.welcomed:
                self._admission.refuse(connection, f"{type(message).__name__} came before Welcome")
                return
            try:
                handler(client, message)
            except ProtocolError as wrong:
                self._admission.refuse(connection, wrong)
                return

    def closed(self, connection: AsyncConnection, reason: str) -> None:
        """A connection is gone."""
        client = connection.peer
        if isinstance(client, Client):
            if client.actors:
                self._forget_interest(client, client.actors)
            self._admission.closed(client, reason)
        else:
            self._exchange.closed(connection)

    # ---- leases

    def _lease_demand(self, client: Client, message: pb.LeaseDemand) -> None:
        amounts = resources_from_proto(message.resources)
        if any(amount < 0 for amount in amounts.values()):
            raise ProtocolError(f"LeaseDemand {message.name!r}: a resource amount is negative")
        self._runner.tell(
            ev.DemandSet(
                owner=client.worker_id,
                job=client.job,
                key=message.key,
                amounts=amounts,
                wanted=message.wanted,
                environment=message.environment,
                name=message.name,
                depth=message.depth,
                backlog=message.backlog,
                strategy=strategy_from_proto(message.strategy) if message.HasField("strategy") else ANYWHERE,
                prefer=message.prefer,
                away=message.away,
                spill_seen=message.spill_seen,
                # Leasers do not have a say in it: what another node has sent here is never sent on.
                patience_s=message.patience_ms / 1000 if message.spilled or client.role == pb.ROLE_LEASER else None,
            )
        )

    def _lease_returned(self, client: Client, message: pb.LeaseReturned) -> None:
        self._runner.tell(ev.LeaseBack(client.worker_id, message.lease_id, retire=message.retire, kill=message.kill))

        self._semaphores.sweep()

    def _take_tokens(self, client: Client, message: pb.TakeTokens) -> None:
        count = self._semaphores.take(client.worker_id, message.lease_id, message.count)
        client.connection.send(pb.TokensTaken(lease_id=message.lease_id, count=count))

    # ---- control

    def _control_call(self, client: Client, message: pb.ControlCall) -> None:
        if client.calls >= MAX_CALLS:
            error = error_to_proto(
                OverloadedError(f"{MAX_CALLS} calls to control are open already; wait for some to end")
            )
            client.connection.send(pb.ControlReply(request_id=message.request_id, error=error))
            return
        if (
            not message.method.isalpha()
            or message.method in _NOT_RELAYED
            or (message.method in _OF_TOOLS and client.role != pb.ROLE_TOOL)
        ):
            error = error_to_proto(ProtocolError(f"{message.method!r} is no call that a raylet relays"))
            client.connection.send(pb.ControlReply(request_id=message.request_id, error=error))
            return
        client.calls += 1
        timeout_s = min(message.timeout_s, MAX_CALL_S) if message.timeout_s > 0 else DEFAULT_CALL_S
        done = partial(self._answered, client, message.request_id)
        self._link.post(message.method, message.payload, done, timeout_s=timeout_s)

    @staticmethod
    def _answered(client: Client, request_id: int, reply: cpb.LineReply) -> None:
        client.calls -= 1
        error = reply.error if reply.HasField("error") else None
        client.connection.send(pb.ControlReply(request_id=request_id, payload=reply.payload, error=error))

    def _watch_actors(self, client: Client, message: pb.WatchActors) -> None:
        added = set(message.add)
        client.actors |= added
        removed = set(message.remove) & client.actors
        client.actors -= removed
        for actor_id in added & self._states.keys():
            # Known here already, and control says nothing new of what has not changed.
            client.connection.send(self._states[actor_id])
        if added:
            self._link.watch_actors(added, set())
        if removed:
            self._forget_interest(client, removed)

    def _forget_interest(self, client: Client, actors: set[bytes]) -> None:
        gone = set(actors)
        for other in self._clients:
            if other is not client:
                gone -= other.actors
        if gone:
            for actor_id in gone:
                self._states.pop(actor_id, None)
            self._link.watch_actors(set(), gone)

    def actor_state(self, info: cpb.ActorInfo) -> None:
        """Control says how an actor stands: tell who wants to know."""
        state = self._states[info.actor_id] = pb.ActorState(info=info.SerializeToString())
        for client in self._clients:
            if info.actor_id in client.actors:
                client.connection.send(state)
