"""What workers print on other nodes reaches their driver."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import manta
from manta.testing import Cluster
from tests.support.waiting import wait_until

CLUSTER = None


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """A cluster this process has joined; the id of its node that the driver is not on."""
    with Cluster(head_node_args={"num_cpus": 1}) as cluster:
        node = cluster.add_node(num_cpus=2, resources={"there": 2})
        cluster.connect(log_to_driver=True)
        yield node.node_id
        manta.shutdown()


def test_lines_of_tasks_and_actors_on_another_node_are_the_drivers(elsewhere: str, capfd: pytest.CaptureFixture[str]):
    @manta.remote(resources={"there": 1})
    def task() -> str:
        print("said by a task")
        return manta.get_runtime_context().get_node_id()

    @manta.remote(resources={"there": 1})
    class Actor:
        def speak(self) -> str:
            print("said by an actor")
            return manta.get_runtime_context().get_node_id()

    actor = Actor.remote()
    assert manta.get([task.remote(), actor.speak.remote()], timeout=30) == [elsewhere] * 2
    seen = ""

    def both() -> bool:
        nonlocal seen
        out, err = capfd.readouterr()
        seen += out + err
        return "said by a task" in seen and "said by an actor" in seen

    wait_until(both, timeout_s=30, what="both lines to be printed here")


def test_lines_are_not_sent_to_a_driver_that_does_not_want_them(capfd: pytest.CaptureFixture[str]):
    with Cluster(head_node_args={"num_cpus": 1}) as cluster:
        cluster.add_node(num_cpus=1, resources={"there": 1})
        cluster.connect(log_to_driver=False)

        @manta.remote(resources={"there": 1})
        def task(text: str) -> None:
            print(text)

        manta.get([task.remote(f"silent {n}") for n in range(3)], timeout=30)
        manta.shutdown()
    out, err = capfd.readouterr()
    assert "silent" not in out + err
