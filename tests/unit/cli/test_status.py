"""Facts about a cluster as text: bad news first, hostile names tamed, long lists cut."""

import pytest

from manta.cli.screen import Screen
from manta.cli.status import render

STORE = {
    "capacity_bytes": 100 << 20,
    "pinned_bytes": 10 << 20,
    "sealed_bytes": 30 << 20,
    "evictable_bytes": 5 << 20,
    "unsealed_bytes": 0,
    "lent_bytes": 0,
    "objects": 3,
    "waiting_creates": 0,
}


def node(**changed):
    return {
        "node_id": "ab" * 28,
        "name": "n1",
        "host": "10.0.0.1",
        "state": "ALIVE",
        "head": True,
        "pid": 7,
        "labels": {},
        "uptime_s": 5.0,
        "death_reason": None,
        "resources": {},
        "store": dict(STORE),
        "workers": {"busy": 2, "idle": 1},
        "demands": [],
        **changed,
    }


def facts(**changed):
    return {
        "session": "s",
        "address": "unix:/s/raylet.sock",
        "driver_pid": 1,
        "metrics": {"raylet": "http://127.0.0.1:8090"},
        "services": {"gateway": {"pid": 7, "restarts": 2}},
        "uptime_s": 61.0,
        "nodes": [node()],
        "resources": {"CPU": {"total": 4.0, "used": 1.5}, "memory": {"total": float(1 << 30), "used": 0.0}},
        "jobs": [],
        "actors": [],
        "problems": [],
        **changed,
    }


def text(*, wide=False, **changed):
    screen = Screen(color=False)
    render(facts(**changed), screen, wide=wide)
    return screen.text()


def actor(number, **changed):
    return {
        "actor_id": f"{number:032x}",
        "class_name": "C",
        "name": None,
        "namespace": "",
        "state": "ALIVE",
        "pid": 1,
        "restarts": 0,
        "waiting_reason": None,
        "death_cause": None,
        **changed,
    }


def test_the_whole_of_a_small_cluster():
    assert text() == (
        "Cluster s   up 1 min 1 s   driver 1\n"
        "  unix:/s/raylet.sock\n"
        "\n"
        "Nodes   1 alive\n"
        "  abababab  ALIVE  n1  head  pid 7  up 5 s\n"
        "\n"
        "Resources\n"
        "  CPU     1.5 of 4        [########............]  38%\n"
        "  memory  0 B of 1.0 GiB  [....................]   0%\n"
        "\n"
        "Object store   30.0 MiB of 100 MiB   3 objects\n"
        "  [####======++............................]  30%\n"
        "  # pinned 10.0 MiB, = kept 15.0 MiB, + evictable 5.0 MiB\n"
        "\n"
        "Workers   2 busy, 1 idle\n"
        "\n"
        "Waiting for a worker   nothing\n"
        "\n"
        "Jobs   none\n"
        "\n"
        "Actors   none\n"
    )


def test_what_can_never_run_comes_first_and_says_what_to_do():
    def demand(name, cpus, waiting, feasible):
        return {"name": name, "resources": {"CPU": cpus}, "waiting": waiting, "feasible": feasible}

    lines = text(
        nodes=[node(demands=[demand("f", 1.0, 50, True), demand("g", 64.0, 1, False), demand("f", 1.0, 2, True)])]
    ).splitlines()

    first, second = lines[lines.index("Waiting for a worker") + 1 :][:2]
    assert ["g", "1", "x", "{CPU", "64}"] == first.split()[:5]
    assert "no node can ever give that" in first
    assert ["f", "52", "x", "{CPU", "1}"] == second.split()


def test_dead_nodes_and_actors_are_counted_and_shown_when_asked():
    dead = node(state="DEAD", node_id="cd" * 28, uptime_s=None, death_reason="it burned", store=None, workers=None)
    gone = actor(2, state="DEAD", death_cause="it left")
    short = text(nodes=[node(), dead], actors=[actor(1), gone])
    wide = text(nodes=[node(), dead], actors=[actor(1), gone], wide=True)

    assert "1 alive, 1 dead" in short
    assert "it burned" not in short
    assert "it left" not in short
    assert "it burned" in wide
    assert "it left" in wide


def test_long_lists_are_cut_and_say_so():
    many = [actor(number) for number in range(30)]
    assert "and 10 more (-o wide shows all)" in text(actors=many)
    assert 30 == text(actors=many, wide=True).count("  C  ")


def test_problems_are_told_before_anything_else():
    assert "control did not answer" == text(problems=["control did not answer"]).splitlines()[2].strip()


def test_creators_that_wait_for_room_are_told():
    assert "2 creators wait for room" in text(nodes=[node(store={**STORE, "waiting_creates": 2})])


@pytest.mark.parametrize("wide", [False, True])
def test_hostile_names_stay_in_their_line(wide):
    evil = "\x1b[2J\nFAKE LINE\r" + "x" * 5000
    shown = text(
        wide=wide,
        actors=[actor(1, name=evil, class_name=evil, waiting_reason=evil, namespace=evil)],
        nodes=[node(name=evil, demands=[{"name": evil, "resources": {"CPU": 1.0}, "waiting": 1, "feasible": True}])],
        resources={evil: {"total": 1.0, "used": 0.0}},
    )
    assert "\x1b" not in shown
    assert not any(line.startswith("FAKE") for line in shown.splitlines())
    assert max(map(len, shown.splitlines())) < 1000


def waits(**changed):
    return {"tasks": [], "actors": [], "placement_groups": [], "draining": [], "left_off": 0, **changed}


def shape(name, count, infeasible=None, **resources):
    return {"name": name, "resources": resources or {"CPU": 1.0}, "count": count, "infeasible": infeasible}


def test_what_waits_on_other_machines_is_told_by_control_the_impossible_first():
    found = text(
        nodes=[node(), node(node_id="cd" * 28, workers=None, store=None)],
        demand=waits(
            tasks=[shape("many", 12), shape("huge", 1, "no node has 64 CPU")], actors=[shape("Spot", 2, spot=1.0)]
        ),
    )
    where = found.index("Waiting for a worker")
    assert where < found.index("huge") < found.index("no node has 64 CPU") < found.index("many")
    assert "12 x" in found
    assert found.index("Actors without a place") < found.index("Spot") < found.index("{spot 1}")


def test_what_this_machines_nodes_say_themselves_is_preferred():
    found = text(demand=waits(tasks=[shape("old", 12)]))
    assert "Waiting for a worker   nothing" in found
    assert "old" not in found


def test_a_drained_node_is_shown_with_what_holds_it():
    held = dict.fromkeys(("tasks", "actors", "drivers", "owners"), 0)
    held |= {"tasks": 1, "objects": 3, "object_bytes": 120 << 20, "stuck_objects": 3, "stuck_bytes": 120 << 20}
    draining = {"node_id": "ef" * 28, "name": "w3", "reason": "kernel", "grace_s": 60.0, "deadline_unix_ms": 0}
    group = {"placement_group_id": "ad" * 18, "name": "g", "state": "RESCHEDULING", "bundles": 2, "waiting": 1}
    found = text(
        demand=waits(
            draining=[{**draining, "holds": {**held, "stuck_reason": "no other node takes objects"}}],
            placement_groups=[{**group, "waiting_reason": "no room\n"}],
            left_off=7,
        )
    )
    assert (
        "it still holds 1 task, 3 objects; 3 objects, 120 MiB, have nowhere to go: no other node takes objects" in found
    )
    assert "1 of 2 bundles" in found
    assert "kernel" in found
    assert "7 rows more" in found
