"""Everything together: who is where, what goes wrong, and what has to hold in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from manta.control import events
from manta.control.groups.model import GroupState
from manta.control.model import ActorState, NodeId
from manta.core.errors import MantaError, ProtocolError
from manta.rpc.v1 import channel_pb2 as pb
from tests.sim.clock import Clock
from tests.sim.cluster.control import ControlProcess, Disk
from tests.sim.cluster.owner import CPU, Owner
from tests.sim.cluster.raylet import Link, Raylet
from tests.sim.cluster.virtual import Machine, Virtual
from tests.sim.cluster.wires import End, cut
from tests.sim.cluster.worker import Worker


class World:
    """A cluster.

    Attributes:
        ledger: Every start of a task there ever was, seen by nobody inside.
        history: Faults, for whoever reads a failure.
    """

    def __init__(self, seed: int) -> None:
        self.clock = Clock(seed)
        self.virtual = Virtual(self.clock)
        self.kernel = self.virtual.kernel
        self.head = Machine(self.clock, b"head")
        self.disk = Disk()
        self.machines: dict[bytes, Machine] = {}
        self.raylets: dict[bytes, Raylet] = {}
        self.owners: list[Owner] = []
        self.control_ends: list[End] = []
        self.durable: set[bytes] = set()
        self.ledger: Counter[bytes] = Counter()
        self.history: list[str] = []
        self._numbers = 0
        self.control = ControlProcess(self, self.head)

    @classmethod
    @contextmanager
    def of(cls, seed: int) -> Iterator[World]:
        """A world; its modules see nothing else within the block."""
        world = cls(seed)
        with world.virtual.installed(Link):
            yield world

    def request_id(self) -> bytes:
        self._numbers += 1
        return self._numbers.to_bytes(16, "big")

    # ---- who is where

    def add_node(self, total: dict[str, int]) -> Raylet:
        number = len(self.machines) + 1
        node_id = number.to_bytes(4, "big") + b"node" * 6
        machine = self.machines[node_id] = Machine(self.clock, node_id)
        raylet = self.raylets[node_id] = Raylet(self, machine, number, total)
        return raylet

    def add_owner(self, raylet: Raylet, program: Callable[[Owner], None]) -> Owner:
        owner = Owner(raylet, len(self.owners) + 1)
        owner.program = lambda: program(owner)  # type: ignore[method-assign]
        self.owners.append(owner)
        return owner

    def machine_of(self, node_id: bytes) -> Machine:
        return self.machines[node_id]

    @staticmethod
    def door_of(node_id: bytes) -> str:
        return f"door-{node_id[:4].hex()}:7610"

    def door(self, end: End, node_id: bytes, *, worker_id: bytes = b"", lease_id: int = 0) -> None:
        """Somebody of another node dials in: for a process, or for the raylet."""
        machine = self.machines[node_id]
        when = max(machine.stands_still_until, machine.cut_off_until, end.other.machine.cut_off_until)
        if when > self.clock.now and machine.alive:
            self.clock.at(when, lambda: self.door(end, node_id, worker_id=worker_id, lease_id=lease_id))
            return
        raylet = self.raylets.get(node_id)
        if raylet is None or end.closed:
            end.lost()
            return
        if not worker_id:
            end.on_frame = lambda frame: self._visitor(raylet, end, frame)
            return
        worker = raylet.processes.workers.get(worker_id)
        tokens = raylet.semaphores.of(lease_id, worker_id)
        if worker is None or not worker.alive or tokens is None:
            end.lost()
            return
        worker.accept(end, self.kernel.dup(tokens[0]), self.kernel.dup(tokens[1]))

    def _visitor(self, raylet: Raylet, end: Any, frame: Any) -> None:
        if isinstance(frame, pb.Hello):
            raylet.leaser(end, frame)
        elif isinstance(frame, pb.PullObject):
            raylet.transfers.asked(end, frame)
        elif isinstance(frame, pb.PeerHello):
            try:
                raylet.neighbours.hello(end, frame)
            except ProtocolError:
                # It is declared dead.
                end.close("refused")
                return
            end.on_frame = lambda frame: raylet.neighbours.said(end, end.peer, frame)
            end.on_closed = lambda reason: raylet.neighbours.incoming_closed(end)

    # ---- what is seen from outside

    def drained(self, raylet: Raylet) -> None:
        """A node says goodbye: whoever lives looks for nothing there any more."""
        self.note(f"node {raylet.number} was drained")
        for owner in self.owners:
            if owner.alive and owner.machine.stands_still_until <= self.clock.now:
                left = [oid for oid in owner.looked_for_at(raylet.node_id) if owner.ownership.alive(oid)]
                assert not left, f"node {raylet.number} leaves with {len(left)} objects of owner {owner.number}"

    def drain(self, raylet: Raylet, grace_s: float) -> None:
        """Somebody has control take a node out of service."""
        if not self.control.alive:
            return
        self.note(f"node {raylet.number} is to be drained within {grace_s:g} s")
        request = events.DrainNode(
            request_id=self.request_id(), node_id=NodeId(raylet.node_id), grace_ms=int(grace_s * 1000), reason="asked"
        )
        with suppress(MantaError):
            # The last one that takes work is not drained, nor one that is dead.
            self.control.runner.decide(request)

    def started(self, oid: bytes, worker_id: bytes) -> None:
        self.ledger[oid] += 1

    def unread(self, worker: Worker, link: Any, frame: pb.ObjectsReady) -> None:
        """An argument cannot be read: it may be lost, and was not freed as long as its task is not over."""
        if frame.error.code != "OBJECT_FREED" or link.connection.closed or link.connection.other.closed:
            return
        owner = next((owner for owner in self.owners if owner.worker_id == link.worker_id), None)
        if owner is not None and owner.alive:
            freed = [oid for oid in frame.object_ids if owner.ownership.alive(oid)]
            assert not freed, f"{freed[0].hex()} was freed under a task that reads it"

    def acknowledged(self, thing: bytes) -> None:
        """Somebody heard that control has this."""
        self.durable.add(bytes(thing))

    # ---- what goes wrong

    def note(self, what: str) -> None:
        self.history.append(f"{self.clock.now:.3f} {what}")

    def crash(self, raylet: Raylet, why: str, *, silent: bool) -> None:
        """A node is gone, with everything on it. Silent: by its power cord."""
        if not raylet.machine.alive:
            return
        self.note(f"node {raylet.number} is gone: {why}{' (silent)' if silent else ''}")
        del self.raylets[raylet.node_id]
        for worker in raylet.processes.workers.values():
            if worker.alive:
                worker.dies(silent)
        for owner in self.owners:
            if owner.raylet_process is raylet and owner.alive:
                owner.die()
        raylet.semaphores.close()
        for end in list(raylet.machine.ends):
            end.lost(silent)
        raylet.machine.alive = False

    def kill_control(self, down_s: float) -> None:
        if not self.control.alive:
            return
        self.note(f"control is killed for {down_s:.1f} s")
        self.control.killed()
        for end in self.control_ends:
            if not end.closed:
                end.lost()
        self.control_ends.clear()
        self.clock.after(down_s, self.start_control)

    def start_control(self) -> None:
        self.virtual.loop = self.head
        self.control = ControlProcess(self, self.head)
        for thing in self.durable:
            state = self.control.state
            assert thing in state.actors.rows or thing in state.groups.rows, (
                f"{thing!r} was acknowledged and is forgotten"
            )

    def cut_something(self) -> None:
        """A connection between machines breaks."""
        everyone = [
            end
            for raylet in self.raylets.values()
            for end in raylet.machine.ends
            if end.other.machine is not end.machine and not end.closed
        ]
        if everyone:
            everyone.sort(key=lambda end: (end.machine.node_id, end.other.machine.node_id, end.number))
            end = self.clock.chance.choice(everyone)
            self.note(
                f"a connection of node {end.machine.node_id[:4].hex()} to {end.other.machine.node_id[:4].hex()} breaks"
            )
            cut(end)

    def kill_worker(self) -> None:
        living = sorted(
            (raylet.number, worker_id)
            for raylet in self.raylets.values()
            for worker_id, worker in raylet.processes.workers.items()
            if worker.alive
        )
        if living:
            number, worker_id = self.clock.chance.choice(living)
            raylet = next(raylet for raylet in self.raylets.values() if raylet.number == number)
            self.note(f"worker {worker_id[-1]} of node {number} crashes")
            raylet.processes.ends(worker_id, -11, "it crashed")

    # ---- what has to hold

    def validate(self) -> None:
        """At any time."""
        self.control.state.validate()
        for raylet in self.raylets.values():
            raylet.scheduler.validate()
            raylet.objects.table.validate()
            raylet.neighbours.far.validate()
            raylet.transfers.pulls.validate()
            raylet.transfers.chains.validate()
            raylet.moving.giving.validate()
            raylet.moving.taking.validate()
        for owner in self.owners:
            if owner.alive:
                owner.validate()

    def tasks_over(self) -> bool:
        return all(not owner.alive or (owner.job and not owner.open_tasks()) for owner in self.owners)

    def check_tasks(self) -> None:
        """I1, I3: each has one end, and began no more often than it may."""
        for owner in self.owners:
            for oid, retries in owner.retries.items():
                starts = self.ledger[oid]
                assert starts <= 1 + retries, f"{oid.hex()} began {starts} times, {1 + retries} are allowed"
                if owner.alive and oid in owner.values.known and owner.error_of(oid) is None:
                    assert starts >= 1, f"{oid.hex()} has a value and never began"

    def groups_settled(self) -> bool:
        """Every group is held, or waits for a reason that it names."""
        for group_id, row in self.control.state.groups.rows.items():
            if row.state is GroupState.REMOVED:
                continue
            if row.missing:
                if not row.waiting_reason:
                    return False
            elif row.state is not GroupState.CREATED:
                return False
            for index, node_id in enumerate(row.nodes):
                if node_id and row.state is GroupState.CREATED:
                    raylet = self.raylets.get(node_id)
                    bundle = raylet.scheduler.bundles.by_key.get((group_id, index)) if raylet is not None else None
                    if bundle is None or not bundle.committed:
                        return False
        return True

    def actors_settled(self) -> bool:
        """Control and the nodes agree on who lives, and nobody is on the way who could be there."""
        living: dict[bytes, tuple[bytes, int]] = {}
        for raylet in self.raylets.values():
            for worker in raylet.processes.workers.values():
                if worker.alive and worker.actor is not None:
                    actor_id, incarnation = worker.actor
                    if actor_id in living:
                        return False
                    living[actor_id] = raylet.node_id, incarnation
        waiting = [
            row
            for row in self.control.state.actors.rows.values()
            if row.state not in (ActorState.ALIVE, ActorState.DEAD) and not row.waiting_reason
        ]
        return not waiting and living == self.control.living_actors()

    def at_rest(self) -> str:
        """What is still held although nobody has anything to do; empty when all is given back."""
        for raylet in self.raylets.values():
            scheduler, where = raylet.scheduler, f"node {raylet.number}"
            expected = dict(raylet.total)
            for lease in scheduler._leases.by_id.values():
                if lease.actor is None:
                    return f"{where} has a lease out: {lease}"
                expected["CPU"] -= lease.actor.hold.get("CPU", 0)
            rows = self.control.state.groups.rows
            for group, index in scheduler.bundles.by_key:
                row = rows.get(group)  # type: ignore[call-overload]
                if row is None or row.nodes[index] != raylet.node_id:
                    return f"{where} holds a bundle that control does not know of: {group!r} {index}"
                for name, amount in row.bundles[index].items():
                    expected[name] -= amount
            got = {name: scheduler.ledger.available.get(name, 0) for name in expected}
            if got != expected:
                return f"{where} has {got} free, not {expected}"
            if scheduler._demands.by_key:
                return f"{where} has demands: {scheduler._demands.by_key}"
            statistics = raylet.objects.table.statistics()
            for name in ("pinned_bytes", "unsealed_bytes", "waiting_creates", "waiting_gets"):
                if statistics[name]:
                    return f"{where}: {name} is {statistics[name]}"
            # A copy that was not told of its original's end is evictable, and costs nobody any room.
            if raylet.objects.table.primaries() != (0, 0):
                return f"{where} keeps {raylet.objects.table.primaries()} objects and bytes"
            under_way = {
                **raylet.transfers.pulls.statistics(),
                **raylet.transfers.chains.statistics(),
                **raylet.moving.statistics(),
            }
            for name in ("pulls", "pull_requests_waiting", "pull_requests_begun", "sends", "objects_being_taken"):
                if under_way[name]:
                    return f"{where}: {name} is {under_way[name]}"
            if len(raylet.moving.saving):
                return f"{where} waits for {len(raylet.moving.saving)} copies to be kept"
            debts = raylet.neighbours.far.statistics()
            if any(debts.values()):
                return f"{where} owes: {debts}"
            if len(raylet.calls):
                return f"{where} has {len(raylet.calls)} calls to control open"
            raylet.semaphores.sweep()
        if self.kernel:
            return f"{len(self.kernel)} semaphores are left"
        if self.control.orders.statistics()["orders_open"]:
            return f"orders are open: {self.control.orders._open}"
        return ""


__all__ = ["CPU", "Owner", "World"]
