"""What a million queued tasks cost the scheduler: `python -m benchmarks.micro.queued [NODES] [TASKS] [OWNERS]`; goal p99 < 1 ms.

One node's scheduler has all of it: the tasks of all owners, each of which lasts a second on average and has a lease of its own,
which is the most that there can be to decide. The other nodes are models: they give what they have, refuse the rest when
patience is over, and report once a second, as control passes it on among a thousand. The clock is virtual; only the scheduler's
CPU is counted.

Printed: tasks placed in all and per second of the scheduler's CPU, and of single events the median, the 99th percentile and the
most: `decision` is one lease's share of the event that placed it, `event` a whole one with all that it placed (at most a
thousand), `other` one that placed nothing, `news` a report of all nodes.
"""

from __future__ import annotations

import gc
import heapq
import itertools
import random
import sys
import time
from collections import deque
from functools import partial
from typing import Any

from manta.raylet import events as ev
from manta.raylet.scheduler import Scheduler
from manta.raylet.scheduling.cluster import Cluster
from manta.raylet.scheduling.ledger import Ledger

CPU = 10_000
CPUS = 64
JOB = b"job1"
#: Owners say what has changed, and nodes report, so often, seconds.
SAY_S, REPORT_S = 0.05, 1.0
#: A task lasts up to twice this, seconds.
TASK_S = 1.0


def node_id(number: int) -> bytes:
    """Id of a node."""
    return number.to_bytes(28, "big")


class Owner:
    """Has tasks that wait, and asks for a lease for each."""

    def __init__(self, number: int, tasks: int) -> None:
        self.id = b"owner" + number.to_bytes(23, "big")
        self.waiting = tasks
        self.here = 0
        #: Asked of other nodes, those that run there included; and the last spill that it heard of.
        self.away = self.running_away = self.seen = 0

    def demand(self) -> ev.DemandSet:
        """What it wants from now on."""
        # One lease for each that waits; those asked for elsewhere that have not come yet are for some of them.
        wanted = self.here + max(self.away, self.waiting + self.running_away)
        return ev.DemandSet(self.id, JOB, 1, {"CPU": CPU}, wanted, away=self.away, spill_seen=self.seen)


class Other:
    """Another node: gives what it has, in order."""

    def __init__(self) -> None:
        self.free = CPUS
        #: Owner, leases, until when they may wait.
        self.line: deque[tuple[Owner, int, float]] = deque()
        self.changed = False


class World:
    """One scheduler, its owners, and the others."""

    def __init__(self, nodes: int, tasks: int, owners: int) -> None:
        numbers = itertools.count()
        self.scheduler = Scheduler(
            Ledger({"CPU": CPUS * CPU}),
            make_id=lambda _pool: b"work" + next(numbers).to_bytes(24, "big"),
            cluster=Cluster(node_id(0)),
        )
        self.chance = random.Random(1)
        self.now = 0.0
        self.owners = {owner.id: owner for owner in (Owner(n, tasks // owners) for n in range(owners))}
        self.others = {node_id(n): Other() for n in range(1, nodes)}
        self.total = owners * (tasks // owners)
        self.placed = self.ended = 0
        self.dirty: dict[bytes, None] = {}
        self.queue: list[tuple[float, int, Any]] = []
        self.numbers = itertools.count()
        self.decisions: list[tuple[float, int]] = []
        self.idle: list[float] = []
        self.news: list[float] = []
        self.cpu_s = 0.0
        seen = tuple(
            ev.NodeSeen(other, {"CPU": CPUS * CPU}, {"CPU": CPUS * CPU}, {"zone": str(n % 3)})
            for n, other in enumerate(self.others)
        )
        self.tell(ev.ClusterSeen(seen, anew=True), self.news)

    def after(self, seconds: float, call: Any) -> None:
        """Something happens later."""
        heapq.heappush(self.queue, (self.now + seconds, next(self.numbers), call))

    def tell(self, event: ev.Event, took: list[float] | None = None) -> None:
        """One event, timed, and what comes of it."""
        before = time.thread_time()
        commands = self.scheduler.handle(event, self.now)
        seconds = time.thread_time() - before
        self.cpu_s += seconds
        # A worker that starts was decided with its reservation; its grant is another event.
        leases = sum(
            command.count if isinstance(command, ev.Spill) else isinstance(command, ev.Grant) for command in commands
        )
        if leases:
            self.decisions.append((seconds, leases))
        elif took is None:
            self.idle.append(seconds)
        if took is not None:
            took.append(seconds)
        for command in commands:
            self.do(command)

    def do(self, command: ev.Command) -> None:
        """Perform one command."""
        match command:
            case ev.StartWorker():
                self.after(0.005, lambda: self.tell(ev.WorkerReady(command.worker_id, 1)))
            case ev.Grant():
                owner = self.owners[command.owner]
                if owner.waiting:
                    owner.waiting -= 1
                    owner.here += 1
                    self.placed += 1
                    self.after(self.lasts(), lambda: self.ended_here(owner, command.lease_id))
                else:
                    self.tell(owner.demand())
                    self.after(0.0, lambda: self.tell(ev.LeaseBack(owner.id, command.lease_id)))
            case ev.Spill():
                owner = self.owners[command.owner]
                owner.seen = command.number
                owner.away += command.count
                other = self.others[command.node_id]
                other.line.append((owner, command.count, self.now + command.patience_s))
                self.dirty[owner.id] = None
                self.give(other)
                if other.line and command.patience_s:
                    self.after(command.patience_s + 0.001, lambda: self.give(other))
            case ev.AskExit():
                self.after(0.0, lambda: self.tell(ev.WorkerDied(command.worker_id, 0, "it left")))
            case _:
                pass

    def lasts(self) -> float:
        """Of one task."""
        return self.chance.random() * 2 * TASK_S

    def give(self, other: Other) -> None:
        """A node serves its line, and refuses those who have waited long enough."""
        while other.line:
            owner, count, until = other.line[0]
            given = min(count, other.free, owner.waiting)
            other.free -= given
            owner.waiting -= given
            owner.running_away += given
            self.placed += given
            for _ in range(given):
                self.after(self.lasts(), partial(self.ended_there, owner, other))
            other.changed |= given > 0
            left = count - given
            if left and owner.waiting and self.now < until:
                other.line[0] = owner, left, until
                return
            other.line.popleft()
            owner.away -= left
            self.dirty[owner.id] = None

    def ended_here(self, owner: Owner, lease_id: int) -> None:
        """A task of this node has ended."""
        owner.here -= 1
        self.ended += 1
        self.dirty[owner.id] = None
        self.tell(ev.LeaseBack(owner.id, lease_id))

    def ended_there(self, owner: Owner, other: Other) -> None:
        """A task of another node has ended."""
        owner.away -= 1
        owner.running_away -= 1
        other.free += 1
        other.changed = True
        self.ended += 1
        self.dirty[owner.id] = None
        self.give(other)

    def say(self) -> None:
        """Owners whose numbers have changed say so."""
        dirty, self.dirty = self.dirty, {}
        for owner_id in dirty:
            self.tell(self.owners[owner_id].demand())
        self.after(SAY_S, self.say)

    def report(self) -> None:
        """Nodes say what is free."""
        seen = []
        for number, other in self.others.items():
            if other.changed:
                other.changed = False
                seen.append(ev.NodeSeen(number, {"CPU": other.free * CPU}))
        if seen:
            self.tell(ev.ClusterSeen(tuple(seen)), self.news)
        self.after(REPORT_S, self.report)

    def run(self) -> None:
        """Until every task has ended."""
        for owner in self.owners.values():
            self.dirty[owner.id] = None
        self.after(0.0, self.say)
        self.after(REPORT_S, self.report)
        while self.ended < self.total:
            wake = self.scheduler.wake_at
            if wake is not None and wake <= self.queue[0][0]:
                self.now = max(self.now, wake)
                self.tell(ev.Tick())
                continue
            self.now, _, call = heapq.heappop(self.queue)
            call()


def show(name: str, took: list[float]) -> None:
    """One line, in microseconds."""
    took = sorted(took) or [0.0]
    middle, high = took[len(took) // 2], took[len(took) * 99 // 100]
    print(f"{name:<10} {middle * 1e6:>9.1f} {high * 1e6:>9.1f} {took[-1] * 1e6:>9.0f} {len(took):>9}")


def main() -> None:
    """Measure and print."""
    defaults = ["1000", "1000000", "1000"]
    nodes, tasks, owners = (int(word) for word in [*sys.argv[1:], *defaults[len(sys.argv) - 1 :]])
    gc.collect()
    began = time.monotonic()
    world = World(nodes, tasks, owners)
    world.run()
    print(
        f"{nodes} nodes of {CPUS} CPUs, {world.total} tasks of {owners} owners, over after {world.now:.1f} virtual seconds"
    )
    rate, wall_s = world.placed / world.cpu_s, time.monotonic() - began
    print(f"{rate:,.0f} tasks placed per second of CPU ({world.cpu_s:.1f} s; {wall_s:.0f} s in all)")
    print(f"{'':<10} {'median':>9} {'p99':>9} {'most':>9} {'events':>9}")
    show("decision", [seconds / leases for seconds, leases in world.decisions for _ in range(leases)])
    show("event", [seconds for seconds, _ in world.decisions])
    show("other", world.idle)
    show("news", world.news)


if __name__ == "__main__":
    main()
