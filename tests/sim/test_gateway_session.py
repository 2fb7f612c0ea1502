"""A driver outside and its session over a gateway, on a virtual clock: connections break, the newest one counts, nothing is lost.

Real are the driver's voice (`client.remote.outbox`), the session process's (`gateway.owner.speaker`), the numbered logs of both,
and what the gateway does with connections (`gateway.sessions`). A failing seed is named, repeats itself, and is kept.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

from manta.client.remote import outbox
from manta.client.remote.outbox import Outbox
from manta.gateway import sessions
from manta.gateway.owner.speaker import Speaker
from manta.gateway.sessions import Attachment, Session
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import gateway_pb2 as gw
from manta.transport import message_log
from manta.transport.channel import NUMBER
from manta.transport.message_log import MessageLog
from tests.sim.clock import Clock
from tests.sim.cluster.virtual import Machine
from tests.sim.cluster.wires import End, connect, cut
from tests.sim.seeds import Seeds

SEEDS = Seeds("gateway_session.txt")
#: Calls and faults are over then, and everything is told then, seconds. A connection is missed for so long at most.
END_S, LIMIT_S, GRACE_S = 2.0, 8.0, 60.0
#: In the proportion of the real ones, and small, so that what is told has to wait for room.
WINDOW_BYTES, ACKNOWLEDGE_BYTES = 160_000, 20_000


class Pipe:
    """One direction between the gateway and the session's process: in order, and whole."""

    closed, unsent_bytes, full = False, 0, False

    def __init__(self, clock: Clock) -> None:
        self._clock, self._last = clock, 0.0
        self.take: Any = None

    def send(self, message: Any, raw: bytes = b"") -> None:
        self._last = max(self._last, self._clock.now + self._clock.chance.random() ** 3 * 0.02)
        self._clock.at(self._last, lambda: self.take(message, raw))


class Outgoing:
    """What the gateway writes to one connection of the driver."""

    end: End

    def put_nowait(self, data: bytes | None) -> None:
        if data is None:
            self.end.close("the driver has another connection")
            self.end.on_closed("closed here")
        else:
            self.end.send(data)  # type: ignore[arg-type]


class Driver:
    """Calls, and reconnects for as long as it takes."""

    def __init__(self, world: World) -> None:
        self.world, self.clock = world, world.clock
        self.machine = Machine(world.clock, b"driver")
        self.outbox = Outbox(self.later, lambda waiter: None)
        self.calls: list[bytes] = []
        self.told: dict[bytes, bytes] = {}
        self.end: End | None = None
        self.reconnect()

    def later(self) -> None:
        self.clock.after(0.001, self.outbox.flush)

    def call(self, count: int) -> None:
        for _ in range(count):
            self.calls.append(len(self.calls).to_bytes(24, "big"))
            self.outbox.call(b"", 0, self.calls[-1], b"payload" * self.clock.chance.choice((1, 1, 200)))

    def reconnect(self) -> None:
        here, there = connect(self.machine, self.world.gateway)
        self.end = here
        opened = False

        def heard(frame: Any) -> None:
            nonlocal opened
            if self.end is not here:
                return
            if opened:
                self.message(frame)
                return
            opened = True
            first = gw.ConnectResponse.FromString(frame)
            log = self.outbox.log
            # What was said before the session was open is said now, too.
            for data in log.resume(first.resumed.received):
                here.send(data)
            self.outbox.pass_on = here.send

        def closed(reason: str) -> None:
            if self.end is here:
                self.outbox.pass_on = lambda data: None
                self.clock.after(self.clock.chance.choice((0.01, 0.3)), self.reconnect)

        here.on_frame, here.on_closed = heard, closed
        self.clock.after(
            self.clock.chance.random() * 0.05, lambda: self.world.connected(there, self.outbox.log.received)
        )

    def message(self, data: bytes) -> None:
        message = gw.ConnectResponse.FromString(data)
        self.outbox.acknowledged(message.received)
        if message.number and self.outbox.log.take(message.number, len(data)):
            for action in message.actions:
                ids = action.values.object_ids
                for index, value in enumerate(action.values.values):
                    oid = ids[index * 28 : index * 28 + 28]
                    assert oid not in self.told, "a value was told twice"
                    self.told[oid] = value
        self.outbox.acknowledge()


class Owner:
    """The session's process: runs what it hears, and tells what comes of it."""

    def __init__(self, world: World, to_gateway: Pipe) -> None:
        self.clock = world.clock
        self.values = SimpleNamespace(known={})
        self.links = SimpleNamespace(send=lambda link, message, raw=b"": to_gateway.send(message, raw))
        session: Any = self
        link: Any = to_gateway
        self.speaker = Speaker(session, link)
        self.speaker.log = MessageLog(window_bytes=WINDOW_BYTES)
        self.ran: list[bytes] = []

    def take(self, message: Any, raw: bytes) -> None:
        match message:
            case pb.GatewayAttached():
                self.speaker.attached(message.connection, message.received)
            case pb.GatewayDetached():
                self.speaker.detached()
            case pb.GatewayData():
                self.message(raw)

    def message(self, data: bytes) -> None:
        message = gw.ConnectRequest.FromString(data)
        self.speaker.acknowledged(message.received)
        if message.number and self.speaker.log.take(message.number, len(data)):
            for action in message.actions:
                ids = action.submit.task_ids
                for at in range(0, len(ids), 24):
                    self.run(ids[at : at + 24])
            self.speaker.flush()

    def run(self, task_id: bytes) -> None:
        self.ran.append(task_id)
        oid = task_id + b"\1\0\0\0"

        def ended() -> None:
            self.values.known[oid] = b"value" * self.clock.chance.choice((1, 1, 1000))
            self.speaker.ready(oid, self.values.known[oid])
            self.speaker.flush()

        self.clock.after(self.clock.chance.random() ** 2 * 0.3, ended)


class World:
    """A driver, a gateway, a session."""

    def __init__(self, seed: int) -> None:
        self.clock = Clock(seed)
        self.gateway = Machine(self.clock, b"gateway")
        to_owner, to_gateway = Pipe(self.clock), Pipe(self.clock)
        self.owner = Owner(self, to_gateway)
        to_owner.take = self.owner.take
        session: Any = Session.__new__(Session)
        self.session = session
        session.id, session.secret = b"i" * 16, b"s" * 32
        session._sessions = SimpleNamespace(grace_s=GRACE_S)
        session.ready = SimpleNamespace(done=lambda: True, result=pb.GatewayReady)
        session._attachment = session._expiry = None
        session._connections = 0
        session._link = to_owner
        to_gateway.take = lambda message, raw: session._frames(to_owner, [(NUMBER[type(message)], message, raw)])
        self.driver = Driver(self)

    def connected(self, end: End, received: int) -> None:
        """A connection of the driver's has reached the gateway: `gateway.service` has let it in."""
        if end.closed:
            return
        attachment: Attachment = self.session.attach(received)
        outgoing: Any = attachment.outgoing
        outgoing.end = end

        def heard(data: Any) -> None:
            if not self.session.take(attachment, data):
                end.close("it is not the session's any more")

        end.on_frame = heard
        end.on_closed = lambda reason: self.session.detach(attachment)

    def breaks(self) -> None:
        end = self.driver.end
        if end is not None and not end.closed:
            cut(end)


@pytest.mark.parametrize("seed", SEEDS.all())
def test_whatever_breaks_each_call_runs_once_in_order_and_each_value_is_told_once(seed):
    """I1, I3: within the grace period nothing is lost and nothing happens twice; I6: nothing is kept once it was told."""
    with SEEDS.keeping(seed):
        history(seed)


def history(seed: int) -> None:
    """One, to its end."""
    clock = Clock(0)
    holder: dict[str, World] = {}
    loops = SimpleNamespace(get_running_loop=lambda: holder["world"].gateway, Queue=Outgoing)
    times = SimpleNamespace(monotonic=lambda: holder["world"].clock.now)
    with (
        patch.object(sessions, "asyncio", loops),
        patch.object(outbox, "time", times),
        patch.object(message_log, "ACKNOWLEDGE_BYTES", ACKNOWLEDGE_BYTES),
    ):
        world = holder["world"] = World(seed)
        clock, chance = world.clock, world.clock.chance
        for _ in range(chance.randint(1, 10)):
            clock.after(chance.random() * END_S, lambda: world.driver.call(chance.choice((1, 1, 5, 60))))
        for _ in range(chance.randint(0, 10)):
            clock.after(chance.random() * END_S, world.breaks)
        # So that what was told last is acknowledged: an answer to it is on its way.
        clock.at(LIMIT_S - 3.0, lambda: world.driver.call(1))
        clock.at(LIMIT_S, lambda: None)
        clock.run(until=lambda: clock.now >= LIMIT_S, limit_s=LIMIT_S)
    driver, owner = world.driver, world.owner
    assert owner.ran == driver.calls
    assert driver.told.keys() == owner.values.known.keys()
    assert all(driver.told[oid] == value for oid, value in owner.values.known.items())
    assert not driver.outbox.log.kept_bytes
