"""Which pods count: present, going, over, lost, somebody else's."""

from __future__ import annotations

import pytest

from manta_operator.cluster.pods import MISSING_S, SILENT_S, UNREADY_S, ZOMBIE_S, Standing, pods_of
from manta_operator.cluster.seen import Control, ControlNode, Drain, Seen
from tests.support.kubernetes import NOW, cluster, node, pod

NODES = (node(),)


def look(*pods, nodes=NODES, control=None, watched=True, now=NOW):
    """The pods of the cluster `demo` as a plan sees them."""
    seen = Seen(
        raw=cluster(),
        cluster=None,
        pods=pods,
        nodes={one["metadata"]["name"]: one for one in nodes} if watched else None,
        control=control or Control(),
    )
    return pods_of(seen, now)


#: Another node, which answers, so that it is not the API server that is deaf.
OTHER = node("node-2")


@pytest.mark.parametrize(
    ("raw", "standing"),
    [
        (pod(), Standing.PRESENT),
        (pod(ready=False), Standing.PRESENT),
        (pod(host="", phase="Pending", ready=False), Standing.PRESENT),
        (pod(going=True), Standing.GOING),
        (pod(phase="Failed", reason="Evicted"), Standing.OVER),
        (pod(phase="Succeeded"), Standing.OVER),
        (pod(owner=None), Standing.FOREIGN),
        (pod(owner="a former cluster of this name"), Standing.FOREIGN),
        (pod(phase="Failed", going=True), Standing.GOING),
    ],
)
def test_a_pod_counts_while_it_is_present_ready_or_not(raw, standing):
    """Whatever else it is says why it does not."""
    assert [one.standing for one in look(raw)] == [standing]


@pytest.mark.parametrize(("ready", "limit"), [("Unknown", SILENT_S), ("False", UNREADY_S)])
def test_a_pod_is_lost_when_its_node_has_not_answered_for_a_while(ready, limit):
    """A node that says itself that it is not ready has longer."""
    broken = node(ready=ready, since=NOW)
    [before] = look(pod(), nodes=[broken, OTHER], now=NOW + limit - 1)
    assert (before.standing, before.lost_at) == (Standing.PRESENT, NOW + limit)
    [after] = look(pod(), nodes=[broken, OTHER], now=NOW + limit)
    assert (after.standing, after.ready) == (Standing.LOST, False)


def test_one_that_control_still_hears_is_lost_later():
    """A node whose kubelet stands still may come back, and its pods go on working."""
    control = Control(nodes=(ControlNode(id="n", pod_uid="demo-w-0-uid"),))
    silent = node(ready="Unknown", since=NOW)
    for now, standing in ((NOW + ZOMBIE_S - 1, Standing.PRESENT), (NOW + ZOMBIE_S, Standing.LOST)):
        assert [one.standing for one in look(pod(), nodes=[silent, OTHER], control=control, now=now)] == [standing]


def test_if_no_node_answers_it_is_not_the_nodes():
    """The API server hears nobody: work goes on, and to replace everything would end it."""
    nodes = [node(ready="Unknown", since=NOW - 9999), node("node-2", ready="Unknown", since=NOW - 9999)]
    assert [one.standing for one in look(pod(), nodes=nodes)] == [Standing.PRESENT]


def test_a_node_that_is_gone_counts_after_a_while():
    """A pod may be known before its node is; one that control hears has a node."""
    [fresh] = look(pod(created=NOW - 1), nodes=[OTHER])
    assert (fresh.standing, fresh.lost_at) == (Standing.PRESENT, NOW - 1 + MISSING_S)
    [old] = look(pod(), nodes=[OTHER])
    assert old.standing is Standing.LOST
    [heard] = look(pod(), nodes=[OTHER], control=Control(nodes=(ControlNode(id="n", pod_uid="demo-w-0-uid"),)))
    assert heard.standing is Standing.PRESENT


def test_out_of_service_is_at_once():
    """An administrator's word that the machine is off."""
    [one] = look(pod(), nodes=[node(out=True), OTHER])
    assert (one.standing, one.out_of_service) == (Standing.LOST, True)


def test_where_nodes_are_not_watched_nothing_is_lost():
    """Kubernetes deletes the pods of dead nodes by itself, later."""
    assert [one.standing for one in look(pod(), nodes=[], watched=False)] == [Standing.PRESENT]


def test_a_pod_is_drained_if_any_raylet_of_it_was():
    """The one that started anew after that is not wanted; the living one is the one to speak with."""
    nodes = (
        ControlNode(id="old", pod_uid="demo-w-0-uid", alive=False, drain=Drain.DRAINED),
        ControlNode(id="new", pod_uid="demo-w-0-uid"),
    )
    [one] = look(pod(), control=Control(nodes=nodes))
    assert (one.node.id, one.drained, one.alive) == ("new", True, False)


def test_the_head_comes_first_and_strangers_names_are_nobodys():
    """By group and slot; a pod that only carries our label has no place."""
    names = ["demo-w-10", "demo-w-2", "demo-head", "demo-a-0", "something-else"]
    assert [one.name for one in look(*(pod(name) for name in names))] == [
        "demo-head",
        "demo-a-0",
        "demo-w-2",
        "demo-w-10",
    ]
