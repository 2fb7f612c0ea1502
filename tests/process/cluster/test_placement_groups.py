"""Placement groups on three nodes, which all of these tests share."""

from __future__ import annotations

import os
import pickle
import sys
from typing import TYPE_CHECKING, Any

import pytest

import manta
import manta.util.placement_group
from manta.core.ids import PlacementGroupID
from manta.exceptions import ActorDiedError, ActorPlacementGroupRemoved, TaskPlacementGroupRemoved
from manta.util.placement_group import (
    PlacementGroup,
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from manta.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from tests.process.cluster.support import at_rest
from tests.process.cluster.test_two_nodes import SecondNode, Where
from tests.process.semantics.support import Gate, Ledger
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.process.cluster.support import Cluster

pytestmark = pytest.mark.shared_cluster

#: The module, which can be called like the function of the same name.
placement_groups: Any = sys.modules["manta.util.placement_group"]
CLUSTER = {"num_cpus": 2}


@pytest.fixture(scope="module")
def others(module_cluster: Cluster) -> Iterator[list[SecondNode]]:
    """Two nodes beside the cluster's own, with two CPUs each like that."""
    others: list[SecondNode] = []
    try:
        others.extend(SecondNode(module_cluster, name, cpus=2) for name in ("second", "third"))
        yield others
    finally:
        for other in others:
            other.stop()


@pytest.fixture(autouse=True)
def nodes(cluster: Cluster, others: list[SecondNode]) -> Iterator[None]:
    """Each test finds three nodes with all of their CPUs free, and leaves them so."""
    wait_until(lambda: free() == 6.0, what="the CPUs of all nodes to be free")
    yield
    for other in others:
        at_rest(other)


@manta.remote
def where():
    return manta.get_runtime_context().get_node_id()


@manta.remote
def stay(ledger: Ledger, gate: Gate):
    ledger.write(os.getpid())
    gate.wait()
    return manta.get_runtime_context().get_node_id()


@manta.remote
def waits_for(group: PlacementGroup) -> bool:
    return group.wait(30)


def inside(group: PlacementGroup, index: int = -1, capture: bool | None = None) -> PlacementGroupSchedulingStrategy:
    return PlacementGroupSchedulingStrategy(group, index, capture)


def places(group: PlacementGroup) -> list[str]:
    return list(placement_group_table(group)["bundles_to_node_id"].values())


def free() -> float:
    return manta.available_resources().get("CPU", 0.0)


@pytest.mark.parametrize(
    ("strategy", "bundles", "different"),
    [
        ("PACK", 2, 1),
        ("STRICT_PACK", 2, 1),
        ("SPREAD", 3, 3),
        ("STRICT_SPREAD", 3, 3),
        ("PACK", 4, 2),
        ("SPREAD", 4, 3),
    ],
)
def test_bundles_are_laid_out_as_the_strategy_says(strategy, bundles, different):
    group = placement_group([{"CPU": 1}] * bundles, strategy=strategy)
    assert manta.get(group.ready(), timeout=20) == group
    assert len(set(places(group))) == different
    tasks = [where.options(scheduling_strategy=inside(group, index)).remote() for index in range(bundles)]
    assert manta.get(tasks, timeout=20) == places(group)
    actors = [Where.options(num_cpus=1, scheduling_strategy=inside(group, index)).remote() for index in range(bundles)]
    wait_until(lambda: free() == 6.0 - bundles)
    assert manta.get([actor.node.remote() for actor in actors], timeout=20) == places(group)
    del actors
    remove_placement_group(group)
    assert placement_group_table(group)["state"] == "REMOVED"
    wait_until(lambda: free() == 6.0, what="its resources to be free")


def test_what_never_fits_waits_and_is_said_by_name(caplog):
    group = placement_group([{"CPU": 1}] * 4, strategy="STRICT_SPREAD")
    assert not group.wait(1.1)
    assert f"Placement group {group.id.hex()} waits: infeasible: 3 nodes can never hold STRICT_SPREAD" in caplog.text
    row = placement_group_table(group)
    assert (row["state"], row["stats"]["scheduling_state"]) == (
        "PENDING",
        'infeasible: 3 nodes can never hold STRICT_SPREAD bundles {"CPU": 1}, {"CPU": 1}, {"CPU": 1}, {"CPU": 1}',
    )
    remove_placement_group(group)


def test_a_group_waits_until_there_is_room_for_all_of_it(tmp_path):
    ledger, gate = Ledger(tmp_path / "ran"), Gate(tmp_path / "gate")
    refs = [stay.remote(ledger, gate) for _ in range(6)]
    wait_until(lambda: len(ledger.read()) == 6)
    group = placement_group([{"CPU": 2}, {"CPU": 2}])
    assert not group.wait(0.3)
    gate.open()
    manta.get(refs, timeout=20)
    assert group.wait(20)
    assert (
        manta.get(where.options(num_cpus=2, scheduling_strategy=inside(group, 1)).remote(), timeout=20)
        == places(group)[1]
    )
    remove_placement_group(group)


def test_many_are_made_and_removed_without_waiting_for_each():
    """Control is told of each in order: whatever is asked of it next sees what was done before."""
    made = [placement_group([{"CPU": 0.01}]) for _ in range(300)]
    table = placement_group_table()
    assert all(group.id.hex() in table for group in made)
    assert all(group.wait(20) for group in made)
    for group in made:
        remove_placement_group(group)
    table = placement_group_table()
    assert {table[group.id.hex()]["state"] for group in made} == {"REMOVED"}
    again = placement_group([{"CPU": 0.01}])
    assert pickle.loads(pickle.dumps(again)) == again
    remove_placement_group(again)


def test_one_answer_tells_of_all_that_were_made_and_a_removed_one_is_not_among_them(monkeypatch):
    """A hundred groups are waited for one after the other, and control is hardly asked a hundred times."""
    asked: list[list[bytes]] = []
    real = placement_groups._call

    def call(method: str, request: Any, response: Any) -> Any:
        answer = real(method, request, response)
        if method == "WaitPlacementGroup":
            asked.append(list(answer.created))
        return answer

    monkeypatch.setattr(placement_groups, "_call", call)
    # However slow this machine is, what was told counts as fresh.
    monkeypatch.setattr(placement_groups, "_FRESH_S", 60.0)
    first, second, third, gone, never = (placement_group([{"CPU": cpus}]) for cpus in (0.01, 0.01, 0.01, 0.01, 100))
    # Of all at once: whoever asks for one by its handle has waited for control to take it.
    wait_until(lambda: placement_group_table()[gone.id.hex()]["state"] == "CREATED")
    assert first.wait(20)
    assert asked == [[group.id.binary() for group in (second, third, gone)]]
    assert second.wait(20)
    assert third.wait(20)
    assert len(asked) == 1
    remove_placement_group(gone)
    assert not gone.wait(20)
    assert not never.wait(0)
    assert len(asked) == 3
    for group in (first, second, third, never):
        remove_placement_group(group)


def test_a_wait_ends_when_its_group_is_removed_and_lends_its_cpu_meanwhile():
    group = placement_group([{"CPU": 1}] * 4, strategy="STRICT_SPREAD")
    waits = [waits_for.remote(group) for _ in range(6)]
    assert manta.get(where.remote(), timeout=20), "there is a CPU although six tasks hold all and wait"
    remove_placement_group(group)
    assert manta.get(waits, timeout=20) == [False] * 6
    with pytest.raises(ValueError, match="is not known"):
        PlacementGroup(PlacementGroupID(bytes(14) + group.id.binary()[14:])).wait(5)


def test_nobody_else_gets_what_a_group_holds(tmp_path):
    group = placement_group([{"CPU": 2}] * 3, strategy="STRICT_SPREAD")
    manta.get(group.ready(), timeout=20)
    outside = where.remote()
    assert manta.wait([outside], timeout=0.3)[0] == []
    ledger, gate = Ledger(tmp_path / "ran"), Gate(tmp_path / "gate")
    within = [stay.options(scheduling_strategy=inside(group)).remote(ledger, gate) for _ in range(7)]
    wait_until(lambda: len(ledger.read()) == 6)
    gate.open()
    assert set(manta.get(within, timeout=20)) == set(places(group))
    remove_placement_group(group)
    manta.get(outside, timeout=20)


def test_removal_ends_what_is_inside(tmp_path):
    group = placement_group([{"CPU": 1}] * 2, strategy="STRICT_SPREAD", name="team")
    assert get_placement_group("team") == group
    manta.get(group.ready(), timeout=20)
    actor = Where.options(num_cpus=1, scheduling_strategy=inside(group, 0)).remote()
    manta.get(actor.node.remote(), timeout=20)
    ledger = Ledger(tmp_path / "ran")
    task = stay.options(scheduling_strategy=inside(group, 1)).remote(ledger, Gate(tmp_path / "never"))
    wait_until(lambda: ledger.read())
    remove_placement_group(group)
    with pytest.raises(TaskPlacementGroupRemoved):
        manta.get(task, timeout=20)
    with pytest.raises((ActorPlacementGroupRemoved, ActorDiedError)):
        manta.get(actor.node.remote(), timeout=20)
    with pytest.raises(TaskPlacementGroupRemoved):
        manta.get(where.options(scheduling_strategy=inside(group, 1)).remote(), timeout=20)
    with pytest.raises(ValueError, match="Failed to look up placement group with name: team"):
        get_placement_group("team")
    wait_until(lambda: free() == 6.0)


def test_children_run_in_the_group_if_it_captures_them():
    group = placement_group([{"CPU": 2}])
    manta.get(group.ready(), timeout=20)

    @manta.remote(num_cpus=1)
    def parent():
        current = get_current_placement_group()
        child = manta.get(manta.remote(lambda: get_current_placement_group()).remote())
        out = manta.get(
            manta.remote(lambda: get_current_placement_group()).options(scheduling_strategy="DEFAULT").remote()
        )
        actor = Inside.options(num_cpus=1).remote()
        context = manta.get_runtime_context()
        return (
            current,
            child,
            out,
            manta.get(actor.group.remote()),
            context.should_capture_child_tasks_in_placement_group,
            context.get_placement_group_id(),
        )

    @manta.remote
    class Inside:
        def group(self):
            return get_current_placement_group()

    captured = parent.options(scheduling_strategy=inside(group, 0, True)).remote()
    assert manta.get(captured, timeout=20) == (group, group, None, group, True, group.id.hex())
    assert get_current_placement_group() is None
    remove_placement_group(group)
