"""How long a pod took to be scheduled, to run and to be ready: each stage once, and nothing that nobody saw."""

from __future__ import annotations

from manta_operator.pod_times import PodTimes


def pod(*conditions, phase="Pending", uid="u"):
    true = [{"type": name, "status": "True"} for name in conditions]
    return {"metadata": {"uid": uid}, "status": {"phase": phase, "conditions": true}}


NEW, SCHEDULED = pod(), pod("PodScheduled")
RUNNING = pod("PodScheduled", phase="Running")
READY = pod("PodScheduled", "Ready", phase="Running")


def test_each_stage_has_its_time():
    """From one to the next."""
    times = PodTimes()
    steps = [(None, NEW, 1.0), (NEW, SCHEDULED, 2.0), (SCHEDULED, RUNNING, 5.0), (RUNNING, READY, 9.0)]
    assert [times.saw(*step) for step in steps] == [[], [("scheduled", 1.0)], [("running", 3.0)], [("ready", 4.0)]]
    assert len(times) == 0


def test_stages_that_came_in_one_step_are_all_counted():
    """The time belongs to the first of them."""
    times = PodTimes()
    times.saw(None, NEW, 1.0)
    assert times.saw(NEW, READY, 3.0) == [("scheduled", 2.0), ("running", 0.0), ("ready", 0.0)]


def test_of_a_pod_that_was_on_its_way_already_nothing_is_said():
    """After a restart nobody knows since when."""
    times = PodTimes()
    assert times.saw(None, RUNNING, 1.0) == []
    assert times.saw(RUNNING, READY, 2.0) == []
    assert len(times) == 0


def test_a_pod_that_gets_unready_and_ready_again_is_counted_once():
    """It is about starts."""
    times = PodTimes()
    times.saw(None, NEW, 0.0)
    times.saw(NEW, READY, 1.0)
    assert times.saw(READY, RUNNING, 2.0) == []
    assert times.saw(RUNNING, READY, 3.0) == []


def test_a_pod_that_goes_is_forgotten():
    """However far it was."""
    times = PodTimes()
    times.saw(None, NEW, 0.0)
    assert times.saw(NEW, None, 1.0) == []
    assert len(times) == 0
