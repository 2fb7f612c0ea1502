"""A hundred nodes' schedulers on a virtual clock: reports are lost and late, nodes crash, and every demand is granted or named.

A failing seed is named and repeats itself.
"""

from __future__ import annotations

import heapq
import itertools
import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from manta.raylet import events as ev
from manta.raylet.scheduler import Scheduler
from manta.raylet.scheduling.cluster import Cluster
from manta.raylet.scheduling.ledger import Ledger

SEEDS = range(int(os.environ.get("MANTA_TEST_SEEDS", "3")))
NODES = 100
CPU = 10_000
JOB = b"job1"


class World:
    """The nodes, and owners that do as they are told."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self.nodes: dict[bytes, Scheduler] = {}
        self.wanted: dict[bytes, dict[str, Any]] = {}
        self.named: set[bytes] = set()
        for n in range(NODES):
            total = {"CPU": self.chance.choice((1, 2, 4)) * CPU}
            if n % 10 == 3:
                total["x"] = CPU
            node_id = n.to_bytes(28, "big")
            self.nodes[node_id] = Scheduler(
                Ledger(total),
                make_id=lambda _pool: next(self._numbers).to_bytes(28, "big"),
                cluster=Cluster(node_id),
                first_lease=n << 32,
            )
        for node_id in self.nodes:
            self.tell(node_id, ev.ClusterSeen(tuple(self.seen(other, facts=True) for other in self.nodes), anew=True))
        self.report()

    def after(self, delay: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + delay, next(self._numbers), call))

    def run(self, until: float) -> None:
        while self._queue and self._queue[0][0] <= until:
            self.now, _, call = heapq.heappop(self._queue)
            call()

    def seen(self, node_id: bytes, *, facts: bool = False) -> ev.NodeSeen:
        scheduler = self.nodes[node_id]
        return ev.NodeSeen(node_id, scheduler.available(), dict(scheduler.ledger.total) if facts else None)

    def report(self) -> None:
        """Every second each node hears what is free on most others, in one piece as from control, and some of it late."""
        said = [self.seen(node_id) for node_id in self.nodes]
        for node_id in self.nodes:
            heard = tuple(seen for seen in said if self.chance.random() < 0.7)
            self.after(self.chance.random() * 0.5, lambda node_id=node_id, heard=heard: self.hear(node_id, heard))
        self.after(1.0, self.report)

    def hear(self, node_id: bytes, heard: tuple[ev.NodeSeen, ...]) -> None:
        self.tell(node_id, ev.ClusterSeen(tuple(seen for seen in heard if seen.node_id in self.nodes)))

    def crash(self, node_id: bytes) -> None:
        del self.nodes[node_id]
        for owner, demand in self.wanted.items():
            if demand["home"] == node_id:
                demand["over"] = True
                for other in list(self.nodes):
                    self.tell(other, ev.OwnerGone(owner))
            elif demand["asked"].pop(node_id, 0):
                demand["leases"] = [lease for lease in demand["leases"] if lease[0] != node_id]
                self.say(owner)
        for other in list(self.nodes):
            self.tell(other, ev.ClusterSeen((), (node_id,)))

    def want(self, owner: bytes, home: bytes, amounts: dict[str, int], count: int) -> None:
        self.wanted[owner] = {
            "home": home, "amounts": amounts, "left": count, "asked": {}, "seen": 0, "leases": [], "over": False,
        }  # fmt: skip
        self.say(owner)

    def say(self, owner: bytes) -> None:
        demand = self.wanted[owner]
        if demand["over"] or demand["home"] not in self.nodes:
            return
        held = len(demand["leases"])
        away = sum(demand["asked"].values())
        event = ev.DemandSet(
            owner, JOB, 1, demand["amounts"], held + demand["left"], away=away, spill_seen=demand["seen"]
        )
        self.after(self.chance.random() * 0.01, lambda: self.tell(demand["home"], event))

    def ask(self, owner: bytes, node_id: bytes, patience_s: float) -> None:
        demand = self.wanted[owner]
        event = ev.DemandSet(owner, JOB, 1, demand["amounts"], demand["asked"].get(node_id, 0), patience_s=patience_s)
        self.tell(node_id, event)

    def tell(self, node_id: bytes, event: ev.Event) -> None:
        scheduler = self.nodes.get(node_id)
        if scheduler is None:
            return
        commands = scheduler.handle(event, self.now)
        if not isinstance(event, ev.ClusterSeen):
            scheduler.validate()  # no resource is given twice
        for command in commands:
            self.after(0.001, lambda command=command: self.perform(node_id, command))
        if scheduler.wake_at is not None:
            self.after(max(0.001, scheduler.wake_at - self.now), lambda: self.tell(node_id, ev.Tick()))

    def perform(self, node_id: bytes, command: ev.Command) -> None:
        if node_id not in self.nodes:
            return
        match command:
            case ev.StartWorker():
                self.after(0.01, lambda: self.tell(node_id, ev.WorkerReady(command.worker_id)))
            case ev.AskExit() | ev.KillWorker():
                self.after(0.01, lambda: self.tell(node_id, ev.WorkerDied(command.worker_id, 0, "it left")))
            case ev.Spill():
                demand = self.wanted[command.owner]
                demand["seen"] = command.number
                if not demand["over"]:
                    if command.node_id in self.nodes:
                        asked = demand["asked"]
                        asked[command.node_id] = asked.get(command.node_id, 0) + command.count
                        self.ask(command.owner, command.node_id, command.patience_s)
                    self.say(command.owner)
            case ev.Refuse():
                asked = self.wanted[command.owner]["asked"]
                left = asked.get(node_id, 0) - command.count
                asked.pop(node_id, None)
                if left > 0:
                    asked[node_id] = left
                self.say(command.owner)
            case ev.TellInfeasible():
                self.named.add(command.owner)
            case ev.Grant():
                self.wanted[command.owner]["leases"].append((node_id, command.lease_id))
                self.after(self.chance.random(), lambda: self.done(command.owner, node_id, command.lease_id))

    def done(self, owner: bytes, node_id: bytes, lease_id: int) -> None:
        """What ran has ended: the lease goes back."""
        demand = self.wanted[owner]
        if (node_id, lease_id) not in demand["leases"] or demand["over"]:
            return
        demand["leases"].remove((node_id, lease_id))
        demand["left"] = max(0, demand["left"] - 1)
        if node_id != demand["home"]:
            left = demand["asked"].get(node_id, 0) - 1
            demand["asked"].pop(node_id, None)
            if left > 0:
                demand["asked"][node_id] = left
            self.ask(owner, node_id, 0.0)
        self.tell(node_id, ev.LeaseBack(owner, lease_id))
        self.say(owner)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_demand_is_granted_or_named_infeasible(seed):
    world = World(seed)
    chance = world.chance
    homes = list(world.nodes)
    for n in range(30):
        amounts = chance.choice(({"CPU": CPU}, {"CPU": 2 * CPU}, {"x": CPU}, {"CPU": 8 * CPU}, {"y": CPU}))
        owner = (1000 + n).to_bytes(28, "big")
        world.after(
            chance.random() * 2,
            lambda owner=owner, amounts=amounts: world.want(
                owner, chance.choice(homes), amounts, chance.randint(1, 20)
            ),
        )
    for node_id in chance.sample(homes, 5):
        world.after(chance.random() * 5, lambda node_id=node_id: world.crash(node_id))

    world.run(until=20.0)

    for owner, demand in world.wanted.items():
        if demand["over"] or demand["home"] not in world.nodes:
            continue
        infeasible = "y" in demand["amounts"] or demand["amounts"].get("CPU", 0) > 4 * CPU
        assert (owner in world.named) == infeasible, f"seed {seed}"
        assert infeasible or not demand["left"], f"seed {seed}: {demand} waits at {world.now}"
