"""Control: its state, its rows as bytes, its RPC methods and orders; a disk that takes its time, and an end without a word."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from google.protobuf.message_factory import GetMessageClass

from manta.control import events
from manta.control.actors.limits import ActorLimits
from manta.control.commands import Publish, Write
from manta.control.logs import EventLog
from manta.control.model import ActorId, ActorState, Instant, NodeId
from manta.control.orders import Line, Orders
from manta.control.records import decode, encode
from manta.control.services.actors import ActorRpcs
from manta.control.services.cluster import ClusterTeller
from manta.control.services.groups import GroupRpcs
from manta.control.services.jobs import JobRpcs
from manta.control.services.nodes import NodeRpcs
from manta.control.state import ControlState, Limits
from manta.core.errors import MantaError
from manta.rpc.v1 import control_pb2 as cpb
from manta.transport.convert import error_to_proto
from tests.sim.cluster.virtual import Machine
from tests.sim.cluster.wires import End

if TYPE_CHECKING:
    from tests.sim.cluster.world import World

_METHODS = cpb.DESCRIPTOR.services_by_name["ControlService"].methods_by_name
#: Events between two looks at every invariant.
LOOK_EVERY = 40


class Disk:
    """The store: rows as bytes, there once they are committed."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, bytes], bytes] = {}

    def commit(self, batch: list[tuple[int, bytes, bytes | None]]) -> None:
        for table, key, value in batch:
            if value is None:
                self.rows.pop((table, key), None)
            else:
                self.rows[table, key] = value


class Runner:
    """What `control.runner` is, without asyncio: writes first, everything else after their commit."""

    def __init__(self, process: ControlProcess, state: ControlState) -> None:
        self.state = state
        self._process = process
        self.on_cluster: Callable[[], None] = lambda: None
        self._cluster_seen = 0
        self._batch: list[tuple[int, bytes, bytes | None]] = []
        self._written = self._committed = 0
        self._busy = False
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()
        self._events = 0

    def decide(self, event: events.Event) -> Any:
        now = self._process.machine.clock.now
        self._events += 1
        answer, commands = self.state.handle(event, Instant(now, int(now * 1000)))
        self.perform(commands)
        if not self._events % LOOK_EVERY:
            self.state.validate()
        version = self.state.nodes.cluster.version
        if version != self._cluster_seen:
            self._cluster_seen = version
            self.on_cluster()
        return answer

    def perform(self, commands: list[Any]) -> None:
        for command in commands:
            if type(command) is Write:
                self._written += 1
                self._batch.append((command.table, command.key, encode(command.table, command.row)))
        for command in commands:
            if type(command) is not Write and not isinstance(command, Publish):
                self._process.orders.tell(command)
        if self._batch and not self._busy:
            self._commit()

    def _commit(self) -> None:
        clock = self._process.machine.clock
        batch, number, self._batch, self._busy = self._batch, self._written, [], True
        self._process.under_way = batch

        def done() -> None:
            if not self._process.alive:
                return
            self._process.world.disk.commit(batch)
            self._process.under_way = []
            self._committed, self._busy = number, False
            if self._batch:
                self._commit()
            while self._waiting and self._waiting[0][0] <= self._committed:
                self._waiting.popleft()[1]()

        clock.after(0.001 + clock.chance.random() ** 2 * 0.01, done)

    def settled(self, call: Callable[[], None]) -> None:
        if self._committed >= self._written:
            call()
        else:
            self._waiting.append((self._written, call))


class Attached:
    """One node's line, as `control.services.attach` keeps it."""

    def __init__(self, process: ControlProcess, end: End, first: cpb.AttachRequest) -> None:
        self.process, self.end = process, end
        self.node_id = NodeId(first.node_id)
        process.runner.state.nodes.require_alive(self.node_id)
        process.streams += 1
        self.stream = process.streams
        self._soon = False
        self.line = Line(self.wake)
        process.runner.decide(events.NodeConnected(node_id=self.node_id, stream=self.stream))
        self.told = process.teller.join(first.cluster if first.HasField("cluster") else None, self.wake)
        process.orders.opened(self.node_id, self.line)
        self.said(first)

    def wake(self) -> None:
        if not self._soon:
            self._soon = True
            self.process.machine.clock.at(self.process.machine.clock.now, self._turn)

    def said(self, request: cpb.AttachRequest) -> None:
        for answer in request.answers:
            self.process.orders.answered(self.node_id, answer)
        for call in request.calls:
            reply = cpb.LineReply(number=call.number)
            try:
                reply.payload = self.process.answer(call.method, call.payload)
            except MantaError as error:
                reply.error.CopyFrom(error_to_proto(error))
            self.line.replies.append(reply)
        if request.calls:
            self.wake()

    def _turn(self) -> None:
        self._soon = False
        if not self.process.alive:
            return
        if self.line.ended:
            self.over()
            self.end.close("the node is dead")
            return
        if self.end.closed:
            return
        replies, numbers = list(self.line.replies), list(self.line.orders)
        self.line.replies.clear()
        self.line.orders.clear()
        picture = self.process.teller.take(self.told)
        if replies or numbers or picture:
            self.process.runner.settled(lambda: self._say(replies, numbers, picture))

    def _say(self, replies: list[cpb.LineReply], numbers: list[int], picture: bytes) -> None:
        if self.end.closed:
            return
        orders = [
            order for number in numbers if (order := self.process.orders.encode(self.node_id, number)) is not None
        ]
        self.end.send(cpb.AttachResponse(replies=replies, orders=orders, cluster=picture))

    def over(self) -> None:
        self.process.teller.leave(self.told)
        self.process.orders.closed(self.node_id, self.line)
        self.process.runner.decide(events.NodeDisconnected(node_id=self.node_id, stream=self.stream))


class ControlProcess:
    """One start of control on the disk."""

    def __init__(self, world: World, machine: Machine) -> None:
        self.world, self.machine = world, machine
        self.alive = True
        self.under_way: list[tuple[int, bytes, bytes | None]] = []
        self.streams = 0
        now = machine.clock.now
        stored = decode([(table, key, value) for (table, key), value in world.disk.rows.items()], "disk")
        limits = Limits(actors=ActorLimits())
        state = ControlState(stored, Instant(now, int(now * 1000)), new_cluster_id=b"c" * 16, limits=limits)
        state.validate()
        self.state = state
        self.orders = Orders(EventLog(None))
        self.runner = Runner(self, state)
        self.orders.attach(state, self.runner.decide)
        runner: Any = self.runner
        loop: Any = machine
        self.teller = ClusterTeller(runner, loop)
        self._faces = (NodeRpcs(runner), JobRpcs(runner), ActorRpcs(runner), GroupRpcs(runner))
        self.runner.perform(state.opening)
        self._tick()

    def _tick(self) -> None:
        if not self.alive:
            return
        now = self.machine.clock.now
        due = self.state.next_due()
        if due is not None and due <= now:
            self.runner.decide(events.Tick(cause="time"))
        self.machine.clock.after(0.25, self._tick)

    def answer(self, method: str, payload: bytes) -> bytes:
        """One encoded call; nobody may see what comes back before it is settled."""
        request = GetMessageClass(_METHODS[method].input_type).FromString(payload)
        face = next(face for face in self._faces if hasattr(face, method))
        response: bytes = getattr(face, method)(request, method).SerializeToString()
        return response

    def accept(self, end: End) -> None:
        """A raylet has connected: it registers, then the connection is its line."""
        attached: list[Attached] = []

        def frame(message: Any) -> None:
            if not self.alive:
                return
            try:
                match message:
                    case cpb.RegisterNodeRequest() | cpb.HeartbeatRequest():
                        name = "RegisterNode" if isinstance(message, cpb.RegisterNodeRequest) else "Heartbeat"
                        face: Any = self._faces[0]
                        response = getattr(face, name)(message, name)
                        self.runner.settled(lambda: end.send(response))
                    case cpb.AttachRequest() if not attached:
                        attached.append(Attached(self, end, message))
                    case cpb.AttachRequest():
                        attached[0].said(message)
            except MantaError as error:
                info = error_to_proto(error)
                self.runner.settled(lambda: end.send(info))

        def closed(reason: str) -> None:
            if self.alive and attached:
                attached[0].over()

        end.on_frame, end.on_closed = frame, closed

    def killed(self) -> None:
        """SIGKILL: of what is being written all is on the disk or nothing."""
        self.alive = False
        if self.machine.clock.chance.random() < 0.5:
            self.world.disk.commit(self.under_way)

    # ---- for the world

    def living_actors(self) -> dict[bytes, tuple[bytes, int]]:
        """Actors that are alive: their node and incarnation."""
        return {
            bytes(actor_id): (row.node_id, row.incarnation)
            for actor_id, row in self.state.actors.rows.items()
            if row.state is ActorState.ALIVE
        }

    def actor_state(self, actor_id: bytes) -> ActorState | None:
        row = self.state.actors.rows.get(ActorId(actor_id))
        return None if row is None else row.state
