"""What one scheduling decision costs among many nodes: `python -m benchmarks.micro.scale [NODES] [DECISIONS]`.

One node's scheduler knows the others; each decision is a demand for one lease that its own node cannot give. Printed: median,
99th percentile and most of the CPU microseconds of one event, by strategy, and of a roster update. The clock is virtual: a
millisecond passes between events, so promises to other nodes expire while others are made.
"""

from __future__ import annotations

import gc
import itertools
import sys
import time
from collections.abc import Callable

from manta.core.strategy import ANYWHERE, IN, SPREAD, Strategy, Term
from manta.raylet import events as ev
from manta.raylet.scheduler import Scheduler
from manta.raylet.scheduling.cluster import Cluster
from manta.raylet.scheduling.ledger import Ledger

CPU = 10_000
JOB = b"job1"
STEP_S = 0.001


def node_id(number: int) -> bytes:
    """Id of a node."""
    return number.to_bytes(28, "big")


def scheduler(nodes: int) -> Scheduler:
    """The scheduler of a node without a CPU to give, among so many others with 64 each."""
    numbers = itertools.count()
    made = Scheduler(
        Ledger({"CPU": 0}), make_id=lambda _pool: next(numbers).to_bytes(28, "big"), cluster=Cluster(node_id(0))
    )
    others = tuple(
        ev.NodeSeen(node_id(n), {"CPU": 64 * CPU}, {"CPU": 64 * CPU}, {"zone": str(n % 3)}) for n in range(1, nodes)
    )
    made.handle(ev.ClusterSeen(others, anew=True), 0.0)
    return made


def decide(nodes: int, decisions: int, wanted: Callable[[int], Strategy]) -> list[float]:
    """Microseconds of each demand."""
    made = scheduler(nodes)
    took = []
    for number in range(decisions):
        event = ev.DemandSet(node_id(number), JOB, 1, {"CPU": CPU}, 1, strategy=wanted(number))
        before = time.thread_time()
        commands = made.handle(event, number * STEP_S)
        took.append((time.thread_time() - before) * 1e6)
        assert commands, "every demand is sent somewhere"
    return took


def update(nodes: int, decisions: int) -> list[float]:
    """Microseconds of each report of another node."""
    made = scheduler(nodes)
    took = []
    for number in range(decisions):
        event = ev.ClusterSeen((ev.NodeSeen(node_id(1 + number % (nodes - 1)), {"CPU": 63 * CPU}),))
        before = time.thread_time()
        made.handle(event, number * STEP_S)
        took.append((time.thread_time() - before) * 1e6)
    return took


def show(name: str, took: list[float]) -> None:
    """One line."""
    took = sorted(took)
    print(f"{name:<10} {took[len(took) // 2]:>9.0f} {took[len(took) * 99 // 100]:>9.0f} {took[-1]:>9.0f}")


def main() -> None:
    """Measure and print."""
    nodes, decisions = (int(word) for word in [*sys.argv[1:], "1000", "5000"][:2])
    rows: dict[str, Callable[[int], Strategy]] = {
        "hybrid": lambda _: ANYWHERE,
        "spread": lambda _: SPREAD,
        "affinity": lambda number: ANYWHERE.replace(node=node_id(1 + number % (nodes - 1))),
        "labels": lambda number: ANYWHERE.replace(hard=((Term(key="zone", operator=IN, values=(str(number % 3),)),),)),
    }
    print(f"{nodes} nodes, {decisions} decisions each; microseconds")
    print(f"{'':<10} {'median':>9} {'p99':>9} {'most':>9}")
    for name, wanted in rows.items():
        gc.collect()
        show(name, decide(nodes, decisions, wanted))
    show("update", update(nodes, decisions))


if __name__ == "__main__":
    main()
