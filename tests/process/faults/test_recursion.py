"""Tasks that wait for tasks: they finish, and the number of processes stays bounded."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

import manta
from tests.process.cluster.support import running_cluster

if TYPE_CHECKING:
    from tests.process.cluster.support import Cluster

CLUSTER = None


class Most:
    """The largest number of workers seen while the block runs."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="looks at workers")
        self.seen = 0

    def _look(self) -> None:
        while not self._stop.wait(0.05):
            self.seen = max(self.seen, len(self._cluster.workers()))

    def __enter__(self) -> Most:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()


@manta.remote
def down(depth: int) -> int:
    return 0 if not depth else 1 + manta.get(down.remote(depth - 1))


@manta.remote
def leaf(number: int) -> int:
    return number


@manta.remote
def waits(number: int) -> int:
    return manta.get(leaf.remote(number))


@manta.remote
def tree(depth: int) -> int:
    return 1 if not depth else sum(manta.get([tree.remote(depth - 1) for _ in range(2)]))


@pytest.mark.timeout(120)
def test_a_hundred_levels_on_one_cpu():
    with running_cluster(num_cpus=1) as cluster, Most(cluster) as most:
        assert manta.get(down.remote(100), timeout=90) == 100
    assert most.seen <= 110, "one process per level is what it takes, and little more"


@pytest.mark.timeout(120)
def test_two_hundred_that_wait_on_two_cpus():
    with running_cluster(num_cpus=2) as cluster, Most(cluster) as most:
        assert manta.get([waits.remote(number) for number in range(200)], timeout=90) == list(range(200))
    assert most.seen < 60, "those that wait do not each get a process at once"


@pytest.mark.timeout(120)
def test_a_tree_of_waits():
    with running_cluster(num_cpus=2) as cluster, Most(cluster) as most:
        assert manta.get(tree.remote(6), timeout=90) == 64
    assert most.seen < 100
