"""What people are told: what became different, once."""

from __future__ import annotations

from manta_operator.cluster.telling import events


def status(groups=(), head=None, **conditions):
    """A status with conditions such as Ready="True Ready"."""
    return {
        "conditions": [
            {"type": kind, "status": said.split()[0], "reason": said.split()[1], "message": f"{kind} says"}
            for kind, said in conditions.items()
        ],
        "groups": [{"name": name, "desired": desired} for name, desired in groups],
        **({"head": head} if head else {}),
    }


def told(before, after):
    return [(one.type, one.reason) for one in events(before, after)]


def test_nothing_is_told_twice():
    """The same status is no news, whatever it says."""
    same = status(Ready="False X", Degraded="True X", Suspended="True S", groups=[("w", 2)], head={"lastFailure": "f"})
    assert told(same, same) == []


def test_a_new_cluster_tells_of_what_it_is():
    """Not of what it never was."""
    assert told({}, status(Ready="False HeadNotReady", Degraded="False AsExpected", Suspended="False No")) == []


def test_trouble_is_told_when_it_comes_changes_and_goes():
    """By its reason."""
    fine, quota, image = (
        status(Degraded=said) for said in ("False AsExpected", "True QuotaExceeded", "True ImagePullBackOff")
    )
    assert told(fine, quota) == [("Warning", "QuotaExceeded")]
    assert told(quota, image) == [("Warning", "ImagePullBackOff")]
    assert told(image, fine) == [("Normal", "Recovered")]


def test_readiness_is_told_when_it_comes_and_goes():
    """A cluster that is suspended has gone on purpose."""
    ready, late = status(Ready="True Ready"), status(Ready="False WorkersNotReady")
    assert told(late, ready) == [("Normal", "Ready")]
    assert told(ready, late) == [("Normal", "NotReady")]
    off = status(Ready="False Suspended", Suspended="True Suspended")
    assert told(status(Ready="True Ready", Suspended="False No"), off) == [("Normal", "Suspended")]
    assert told(off, status(Ready="False HeadNotReady", Suspended="False No")) == [("Normal", "Resumed")]


def test_another_size_is_told():
    """Of groups that there were before."""
    [event] = events(status(groups=[("w", 2)]), status(groups=[("w", 5), ("new", 1)]))
    assert (event.reason, event.message) == ("Scaling", "workers of w: 2 -> 5")


def test_a_heads_failure_is_told_once():
    """With its words."""
    [event] = events(status(), status(head={"lastFailure": "control ended"}))
    assert (event.type, event.reason, event.message) == ("Warning", "HeadFailed", "control ended")


def test_long_words_are_cut():
    """An Event has a limit."""
    [event] = events(status(), status(head={"lastFailure": "x" * 5000}))
    assert len(event.message) == 1024
