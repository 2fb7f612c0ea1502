"""Placement groups that lose a node."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack

import manta
from manta.util.placement_group import placement_group, placement_group_table
from tests.process.cluster.support import running_cluster
from tests.process.cluster.test_placement_groups import inside, places
from tests.process.cluster.test_two_nodes import SecondNode, Where
from tests.support.waiting import wait_until

CLUSTER = None


def test_bundles_of_a_dead_node_are_placed_again():
    with running_cluster(num_cpus=2) as cluster, ExitStack() as stack:
        others: list[SecondNode] = []
        for name in ("second", "third"):
            others.append(SecondNode(cluster, name, cpus=2))
            stack.callback(others[-1].stop)
        group = placement_group([{"CPU": 1}] * 2, strategy="STRICT_SPREAD")
        manta.get(group.ready(), timeout=20)
        lost = next((other for other in others if other.node_id in places(group)), None)
        assert lost is not None
        index = places(group).index(lost.node_id)
        kept = places(group)[1 - index]
        actor = Where.options(
            num_cpus=1, max_restarts=-1, max_task_retries=-1, scheduling_strategy=inside(group, index)
        ).remote()
        assert manta.get(actor.node.remote(), timeout=20) == lost.node_id
        os.kill(lost.process.pid, signal.SIGKILL)
        wait_until(
            lambda: placement_group_table(group)["state"] == "CREATED" and lost.node_id not in places(group),
            timeout_s=20,
        )
        assert places(group)[1 - index] == kept
        assert manta.get(actor.node.remote(), timeout=30) == places(group)[index] != kept
