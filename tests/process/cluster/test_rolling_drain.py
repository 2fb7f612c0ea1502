"""Every node but the head's is replaced by a fresh one, one after the other, while a program goes on as if nothing were."""

from __future__ import annotations

import collections
import threading
from typing import TYPE_CHECKING, Any

import manta
from manta.cli import main
from manta.testing import Cluster
from tests.process.cluster.support import MIB
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from manta.testing import ClusterNode

CLUSTER = None

#: Objects that the program holds on to; the oldest are let go.
_KEPT = 24
SPOT = {"num_cpus": 0, "resources": {"spot": 1}, "max_retries": 0}


@manta.remote(**SPOT)
def make(number: int) -> bytes:
    return number.to_bytes(8, "big") + bytes(MIB // 2)


@manta.remote(**SPOT)
def follow(one: bytes, other: bytes) -> bytes:
    """Takes two large values and returns one."""
    number = int.from_bytes(one[:8], "big") + int.from_bytes(other[:8], "big")
    return number.to_bytes(8, "big") + bytes(MIB // 2)


@manta.remote(num_cpus=0, max_retries=0)
def number_of(value: bytes) -> int:
    return int.from_bytes(value[:8], "big")


@manta.remote(num_cpus=0, resources={"spot": 1}, max_restarts=-1, max_task_retries=-1)
class Echo:
    def same(self, number: int) -> int:
        return number

    def where(self) -> str:
        return manta.get_runtime_context().get_node_id()


class Load:
    """A program that never stops: large results, tasks that take them as arguments, calls of an actor."""

    def __init__(self) -> None:
        self.echo = Echo.remote()
        self.kept: collections.deque[tuple[int, Any]] = collections.deque(maxlen=_KEPT)
        self.wrong: list[object] = []
        self.rounds = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._round()
        except BaseException as wrong:
            self.wrong.append(wrong)

    def _round(self) -> None:
        self.rounds += 1
        number = self.rounds
        made = [make.remote(number), make.remote(2 * number)]
        before = next(iter(self.kept)) if self.kept else (number, made[0])
        followed = follow.remote(made[0], before[1])
        asked = number_of.remote(followed), number_of.remote(made[1]), self.echo.same.remote(number)
        found = manta.get(list(asked), timeout=40)
        expected = [number + before[0], 2 * number, number]
        if found != expected:
            self.wrong.append((found, expected))
        self.kept += [(expected[0], followed), (expected[1], made[1])]

    def goes_on(self) -> None:
        """Wait for two more rounds, and for none of them to have gone wrong."""
        rounds = self.rounds
        wait_until(lambda: self.wrong or self.rounds >= rounds + 2, what="the program to go on", timeout_s=40)
        assert not self.wrong


def drained(head: ClusterNode, node: ClusterNode) -> None:
    assert main(["drain", node.node_id, "--address", f"unix:{head.socket}"]) == 0
    assert node.process.wait(20) == 0


def test_a_rolling_drain_fails_no_task_and_loses_no_object():
    """Not even tasks without retries, and an object outlives every node it has been on."""
    with Cluster(head_node_args={"num_cpus": 2}) as cluster:
        head = cluster.head_node
        assert head is not None
        nodes = [cluster.add_node(num_cpus=1, resources={"spot": 2}) for _ in range(2)]
        cluster.connect(log_to_driver=False)
        early = [make.remote(1000 + number) for number in range(6)]
        manta.wait(early, num_returns=6, fetch_local=False)
        with Load() as load:
            load.goes_on()
            for old in nodes[:]:
                nodes.append(cluster.add_node(num_cpus=1, resources={"spot": 2}))
                drained(head, old)
                nodes.remove(old)
                cluster.remove_node(old)
                load.goes_on()
            assert manta.get(load.echo.where.remote(), timeout=20) in {node.node_id for node in nodes}
        assert not load.wrong
        assert manta.get([number_of.remote(ref) for _, ref in load.kept], timeout=30) == [n for n, _ in load.kept]
        assert manta.get([number_of.remote(ref) for ref in early], timeout=30) == [1000 + n for n in range(6)]
